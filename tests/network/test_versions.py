"""Which QUIC version two sides end up with, whatever the network or an attacker makes of it (RFC 9368, RFC 9369)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import pytest

from specter.quic.config import QuicConfig
from specter.quic.events import CloseKind, TokenReceived
from specter.quic.packet import (
    QUIC_V1,
    QUIC_V2,
    Header,
    PacketError,
    PacketType,
    encode_version_negotiation,
    parse_header,
)
from specter.testing.network import Link, Transit
from specter.testing.pair import Pair, fixed_credential
from specter.testing.transfers import Action, Order
from specter.tls.config import ServerTlsConfig
from specter.tls.key_exchange import NamedGroup

SECOND = 1_000_000_000
GREASE = 0x0A1A2A3A
BOTH = (QUIC_V1, QUIC_V2)
ORDERS = (Order(Action.DOWNLOAD, 30_000), Order(Action.ECHO, 5_000))
ONLY_V1 = QuicConfig(versions=(QUIC_V1,))
ONLY_V2 = QuicConfig(versions=(QUIC_V2,))
LIKES_V2 = QuicConfig(versions=(QUIC_V2, QUIC_V1))
STARTS_V2 = QuicConfig(versions=BOTH, original_version=QUIC_V2)
STARTS_AND_LIKES_V2 = QuicConfig(versions=(QUIC_V2, QUIC_V1), original_version=QUIC_V2)
MOVES_TO_V2 = QuicConfig(preferred_version=QUIC_V2)
MOVES_TO_V1 = QuicConfig(preferred_version=QUIC_V1)


@dataclass(frozen=True)
class Seen:
    """One long header on the wire."""

    to_server: bool
    header: Header


class Wire:
    """Keeps the long headers of everything that is sent."""

    def __init__(self, pair: Pair) -> None:
        self.seen: list[Seen] = []
        self.datagrams: list[Transit] = []
        pair.network.taps.append(self.tap)

    def tap(self, transit: Transit) -> None:
        self.datagrams.append(transit)
        pos, data = 0, transit.data
        while pos < len(data) and data[pos] & 0x80:
            try:
                header = parse_header(data, pos, len(data), 8)
            except PacketError:
                return
            self.seen.append(Seen(transit.to_server, header))
            pos = header.end

    def versions(self, kind: PacketType, *, to_server: bool) -> list[int]:
        return [seen.header.version for seen in self.seen if seen.header.type is kind and seen.to_server is to_server]


def started(pair: Pair) -> Wire:
    """Put the client of a pair made with ``start=False`` on the network, watched from the first datagram."""
    wire = Wire(pair)
    pair.client_host = pair.add(pair.client, pair.client_host.address)
    return wire


def version_of(pair: Pair) -> int:
    """Return the version both sides say they use."""
    assert pair.client.connection.version == pair.server.connection.version
    return pair.client.connection.version


def inject(pair: Pair, data: bytes) -> None:
    """Let a datagram reach the client right now, in the server's name."""
    transit = Transit(pair.network.server, pair.client_host.address, data, 0, pair.now, False, 0)
    pair.network.inject(transit, pair.now)


def negotiation(initial: Transit, *versions: int) -> bytes:
    """Return a Version Negotiation packet in answer to ``initial``."""
    header = parse_header(initial.data, 0, len(initial.data), 8)
    return encode_version_negotiation(header.dcid, header.scid, versions)


def packets_of(kind: PacketType) -> Callable[[Transit], bool]:
    def match(transit: Transit) -> bool:
        return parse_header(transit.data, 0, len(transit.data), 8).type is kind

    return match


# -- compatible negotiation ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "server", "original", "negotiated"),
    [
        (QuicConfig(), QuicConfig(), QUIC_V1, QUIC_V1),
        (LIKES_V2, QuicConfig(), QUIC_V1, QUIC_V2),
        (QuicConfig(), MOVES_TO_V2, QUIC_V1, QUIC_V2),
        (ONLY_V1, MOVES_TO_V2, QUIC_V1, QUIC_V1),
        (LIKES_V2, ONLY_V1, QUIC_V1, QUIC_V1),
        (ONLY_V2, QuicConfig(), QUIC_V2, QUIC_V2),
        (STARTS_AND_LIKES_V2, QuicConfig(), QUIC_V2, QUIC_V2),
        (STARTS_V2, QuicConfig(), QUIC_V2, QUIC_V1),
        (STARTS_AND_LIKES_V2, MOVES_TO_V1, QUIC_V2, QUIC_V1),
        (ONLY_V2, ONLY_V2, QUIC_V2, QUIC_V2),
    ],
)
def test_compatible_negotiation(client: QuicConfig, server: QuicConfig, original: int, negotiated: int) -> None:
    pair = Pair(1, orders=ORDERS, client_config=client, server_config=server, start=False)
    wire = started(pair)
    pair.transfer()
    assert version_of(pair) == negotiated
    assert wire.versions(PacketType.INITIAL, to_server=True)[0] == original
    assert wire.versions(PacketType.INITIAL, to_server=True)[-1] == negotiated
    for to_server in (True, False):
        assert set(wire.versions(PacketType.HANDSHAKE, to_server=to_server)) == {negotiated}
    assert pair.endpoint.stats.negotiations == 0


def test_keys_are_updated_in_version_2() -> None:
    pair = Pair(2, orders=ORDERS, client_config=LIKES_V2)
    pair.transfer()
    for connection in (pair.client.connection, pair.server.connection):
        connection.update_keys()
        pair.client.order(*ORDERS)
        pair.client.work()
        pair.poke()
        pair.transfer()
        pair.advance(1.0)
    assert version_of(pair) == QUIC_V2
    keys = pair.client.connection._core.app.sealer
    assert keys is not None
    assert keys.updates == 2


def test_the_server_answers_in_the_original_version_until_it_knows_better() -> None:
    """The ClientHello takes two datagrams; the first alone is acknowledged in the version it came in."""
    pair = Pair(3, orders=ORDERS, client_config=LIKES_V2, start=False)
    wire = started(pair)
    held = pair.network.arrivals(pair.now + SECOND)[pair.network.server]
    assert len(held) == 2
    for number, transit in enumerate(held):
        pair.network.inject(transit, pair.now + (1 + number) * SECOND // 5)
    pair.transfer()
    versions = wire.versions(PacketType.INITIAL, to_server=False)
    assert versions == sorted(versions)
    assert set(versions) == {QUIC_V1, QUIC_V2}
    assert version_of(pair) == QUIC_V2


def test_a_hello_retry_request_is_of_the_negotiated_version() -> None:
    tls = ServerTlsConfig(credentials=(fixed_credential().tls,), alpn=("specter-test",), groups=(NamedGroup.SECP384R1,))
    pair = Pair(4, orders=ORDERS, client_config=LIKES_V2, server_tls=tls, start=False)
    wire = started(pair)
    pair.transfer()
    assert version_of(pair) == QUIC_V2
    assert wire.versions(PacketType.INITIAL, to_server=True).count(QUIC_V2) >= 2


def test_handshake_packets_that_overtake_the_version() -> None:
    """They are of a version the client does not know it is in, and are kept until it does."""
    pair = Pair(5, orders=ORDERS, client_config=LIKES_V2, start=False)
    started(pair)
    pair.advance(0.015)
    hello, rest = pair.network.arrivals(pair.now + SECOND)[pair.client_host.address]
    initial = parse_header(rest.data, 0, len(rest.data), 8)
    assert parse_header(rest.data, initial.end, len(rest.data), 8).type is PacketType.HANDSHAKE
    inject(pair, rest.data[initial.end :])
    pair.advance(0.01)
    assert pair.client.connection.version == QUIC_V1
    dropped = pair.client.connection.stats.packets_dropped
    inject(pair, hello.data)
    inject(pair, rest.data[: initial.end])
    pair.run(lambda: pair.client.connection.handshake_complete, limit=0.01)
    assert pair.client.connection.stats.packets_dropped == dropped
    pair.transfer()
    assert version_of(pair) == QUIC_V2


@pytest.mark.security
def test_packets_of_another_version_after_the_choice_are_dropped() -> None:
    """Both sides settled on version 1: the same handshake's packets with the other version's bits count nothing."""
    pair = Pair(6, orders=ORDERS, start=False)
    wire = started(pair)
    pair.transfer()
    dropped = pair.client.connection.stats.packets_dropped
    for transit in [transit for transit in wire.datagrams if not transit.to_server and transit.data[0] & 0x80]:
        inject(pair, bytes([transit.data[0]]) + QUIC_V2.to_bytes(4, "big") + transit.data[5:])
    pair.client.order(*ORDERS)
    pair.client.work()
    pair.flush(pair.client_host)
    pair.transfer()
    assert pair.client.connection.stats.packets_dropped > dropped
    assert version_of(pair) == QUIC_V1


# -- with Retry and tokens ------------------------------------------------------------------------------


@pytest.mark.parametrize("client", [LIKES_V2, STARTS_V2])
def test_a_retry_is_of_the_original_version(client: QuicConfig) -> None:
    pair = Pair(7, orders=ORDERS, client_config=client, retry=True, start=False)
    wire = started(pair)
    pair.transfer()
    assert set(wire.versions(PacketType.RETRY, to_server=False)) == {client.first_version}
    assert version_of(pair) == client.versions[0] != client.first_version
    assert pair.endpoint.stats.accepted == 1


def test_a_retry_of_another_version_is_ignored() -> None:
    pair = Pair(8, orders=ORDERS, client_config=LIKES_V2, retry=True, start=False)
    wire = started(pair)
    pair.advance(0.015)
    (retries,) = pair.network.arrivals(pair.now + SECOND).values()
    for retry in retries:
        pair.network.inject(retry, pair.now + SECOND)
        changed = bytes([0xC0 | retry.data[0] & 0x0F]) + QUIC_V2.to_bytes(4, "big") + retry.data[5:]
        assert parse_header(changed, 0, len(changed), 8).type is PacketType.RETRY
        inject(pair, changed)
    before = len(wire.seen)
    pair.advance(0.01)
    assert len(wire.seen) == before
    pair.transfer()


def test_a_token_is_good_for_its_version_only() -> None:
    """RFC 9369, section 5: a token of a version 2 connection counts for nothing in version 1."""
    pair = Pair(9, client_config=STARTS_AND_LIKES_V2, retry=True)
    pair.run(lambda: pair.client.connection.confirmed)
    server = pair.server.connection
    server.issue_token(pair.endpoint.new_token(pair.client_host.address, pair.now, version=server.version))
    pair.poke()
    pair.run(lambda: any(isinstance(event, TokenReceived) for event in pair.client.log))
    token = next(event.token for event in pair.client.log if isinstance(event, TokenReceived))
    retries = []
    for number, config in enumerate((STARTS_AND_LIKES_V2, QuicConfig())):
        pair.client_config = config
        before = pair.endpoint.stats.retries
        again = pair.new_client(ORDERS, name=f"again {number}", token=token)
        pair.add(again, ("client", 50_001 + number))
        pair.run(lambda again=again: again.done)  # type: ignore[misc]
        retries.append(pair.endpoint.stats.retries > before)
    assert retries == [False, True]


# -- incompatible negotiation ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "server", "negotiated"),
    [
        (QuicConfig(), ONLY_V2, QUIC_V2),
        (LIKES_V2, ONLY_V2, QUIC_V2),
        (STARTS_V2, ONLY_V1, QUIC_V1),
        (STARTS_AND_LIKES_V2, ONLY_V1, QUIC_V1),
    ],
)
@pytest.mark.parametrize("retry", [False, True])
def test_incompatible_negotiation(client: QuicConfig, server: QuicConfig, negotiated: int, retry: bool) -> None:
    pair = Pair(10, orders=ORDERS, client_config=client, server_config=server, retry=retry, start=False)
    wire = started(pair)
    pair.transfer()
    assert version_of(pair) == negotiated
    assert pair.endpoint.stats.negotiations > 0
    assert pair.endpoint.stats.accepted == 1
    first, last = (wire.versions(PacketType.INITIAL, to_server=True)[at] for at in (0, -1))
    assert (first, last) == (client.first_version, negotiated)
    sent = [seen.header.dcid for seen in wire.seen if seen.to_server and seen.header.type is PacketType.INITIAL]
    assert len(set(sent)) >= 2


def test_a_lost_version_negotiation_packet() -> None:
    pair = Pair(11, orders=ORDERS, server_config=ONLY_V2, start=False)
    lost: list[Transit] = []

    def drop(transit: Transit) -> bool:
        if len(lost) < 3 and packets_of(PacketType.VERSION_NEGOTIATION)(transit):
            lost.append(transit)
            return False
        return True

    pair.network.filters.append(drop)
    started(pair)
    pair.transfer()
    assert len(lost) == 3
    assert version_of(pair) == QUIC_V2


@pytest.mark.security
def test_a_second_version_negotiation_packet_is_ignored() -> None:
    """Duplicates of the first, and one for the second attempt that would send the client back."""
    pair = Pair(12, Link(duplicate=1.0), orders=ORDERS, server_config=ONLY_V2, start=False)
    wire = started(pair)
    pair.run(lambda: pair.client.connection.version == QUIC_V2)
    second = next(transit for transit in wire.datagrams if transit.to_server and transit.data[1:5] != b"\0\0\0\1")
    inject(pair, negotiation(second, QUIC_V1))
    pair.transfer()
    assert version_of(pair) == QUIC_V2


def test_no_version_in_common() -> None:
    pair = Pair(13, versions=(GREASE, 0x709A50C4))
    pair.run(lambda: pair.client.closed is not None)
    closed = pair.client.closed
    assert closed is not None
    assert closed.kind is CloseKind.VERSION
    assert "0x709a50c4" in closed.reason
    pair.settle()
    assert pair.network.up.sent <= 2


# -- attacks ----------------------------------------------------------------------------------------------


@pytest.mark.security
@pytest.mark.parametrize(("client", "leaves"), [(QuicConfig(), QUIC_V2), (STARTS_AND_LIKES_V2, QUIC_V1)])
def test_a_forged_version_negotiation_packet_is_found_out(client: QuicConfig, leaves: int) -> None:
    """It left out the original version, which the server speaks, as its parameters tell (RFC 9368, section 4)."""
    pair = Pair(14, orders=ORDERS, client_config=client, start=False)
    wire = started(pair)
    inject(pair, negotiation(wire.datagrams[0], leaves, GREASE))
    pair.run(lambda: pair.client.closed is not None)
    closed = pair.client.closed
    assert closed is not None
    assert (closed.kind, closed.error_code) == (CloseKind.LOCAL, 0x11)
    assert "left out" in closed.reason


@pytest.mark.security
def test_a_forged_packet_that_leaves_nothing_ends_in_time() -> None:
    """The server does not speak what the forger said: its own answer must be ignored, and the time limit holds."""
    pair = Pair(15, orders=ORDERS, server_config=ONLY_V1, start=False)
    wire = started(pair)
    inject(pair, negotiation(wire.datagrams[0], QUIC_V2))
    pair.run(lambda: pair.client.closed is not None, limit=11)
    assert pair.client.closed is not None
    assert pair.client.closed.kind is CloseKind.TIMEOUT


@pytest.mark.security
@pytest.mark.parametrize("when", ["at once", "after a Retry", "after the first packet", "at the end"])
def test_version_negotiation_that_does_not_count(when: str) -> None:
    """Void when it lists our version, once a Retry was followed, and once any packet was accepted."""
    pair = Pair(16, orders=ORDERS, retry=when == "after a Retry", start=False)
    wire = started(pair)
    first = wire.datagrams[0]
    if when == "at once":
        inject(pair, negotiation(first, GREASE, QUIC_V1, QUIC_V2))
    elif when == "after a Retry":
        pair.run(lambda: bool(wire.versions(PacketType.RETRY, to_server=False)))
        pair.run(lambda: len(wire.versions(PacketType.INITIAL, to_server=True)) > 2)
        for initial in [transit for transit in wire.datagrams if transit.to_server]:
            inject(pair, negotiation(initial, QUIC_V2))
    elif when == "after the first packet":
        pair.run(lambda: pair.client.connection.stats.datagrams_received > 0)
        inject(pair, negotiation(first, QUIC_V2))
    else:
        pair.transfer()
        inject(pair, negotiation(first, QUIC_V2))
    pair.transfer()
    assert version_of(pair) == QUIC_V1


@pytest.mark.security
def test_version_negotiation_with_other_ids_does_not_count() -> None:
    pair = Pair(17, orders=ORDERS, start=False)
    wire = started(pair)
    header = parse_header(wire.datagrams[0].data, 0, len(wire.datagrams[0].data), 8)
    for scid, dcid in [(b"x" * 8, header.scid), (header.dcid, b"x" * 8), (header.scid, header.dcid), (b"", b"")]:
        inject(pair, encode_version_negotiation(scid, dcid, (QUIC_V2,)))
    pair.transfer()
    assert version_of(pair) == QUIC_V1


@pytest.mark.security
@pytest.mark.parametrize("established", [True, False])
def test_version_negotiation_for_a_server(established: bool) -> None:
    """msquic GHSA-xh5m-8qqp-c5x7: it is not for servers, whoever they are connected with or not at all."""
    pair = Pair(18, orders=ORDERS, start=False)
    wire = started(pair)
    if established:
        pair.transfer()
    first = next(seen.header for seen in wire.seen if seen.to_server)
    cids = [first.dcid]
    if established:
        cids += pair.server.connection.host_cids
    before = pair.network.down.sent
    for cid in cids:
        data = encode_version_negotiation(first.scid, cid, (QUIC_V2,)).ljust(1_201, b"\0")
        pair.network.inject(
            Transit(pair.client_host.address, pair.network.server, data, 0, pair.now, True, 0), pair.now
        )
        pair.step(pair.now)
    assert pair.network.down.sent == before
    pair.client.order(*ORDERS)
    pair.client.work()
    pair.flush(pair.client_host)
    pair.transfer()
    assert version_of(pair) == QUIC_V1


# -- on bad networks --------------------------------------------------------------------------------------


CLIENTS = (QuicConfig(), LIKES_V2, STARTS_V2, STARTS_AND_LIKES_V2, ONLY_V2)
SERVERS = (QuicConfig(), MOVES_TO_V2, ONLY_V1, ONLY_V2)


@pytest.mark.parametrize("retry", [False, True])
def test_all_pairings_on_a_bad_network(retry: bool) -> None:
    for seed, (client, server) in enumerate(product(CLIENTS, SERVERS)):
        if not set(client.versions) & set(server.versions):
            continue
        link = Link(loss=0.1, duplicate=0.1, reorder=0.2, corrupt=0.05)
        pair = Pair(seed, link, orders=ORDERS, client_config=client, server_config=server, retry=retry)
        pair.transfer()
        assert version_of(pair) in server.versions
        pair.close()
        assert pair.endpoint.peers == {}
