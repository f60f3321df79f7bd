"""Handshakes on networks that lose exactly the wrong datagram."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest

from specter._entropy import SeededEntropy
from specter.quic.config import QuicConfig
from specter.quic.connection import Connection
from specter.quic.events import CloseKind, TokenReceived
from specter.quic.packet import PacketError, PacketType, parse_header
from specter.testing.certificates import CertificateAuthority, Credential
from specter.testing.endpoint import Endpoint
from specter.testing.network import Link, Transit
from specter.testing.pair import ALPN, NAME, Pair, fixed_credential
from specter.testing.transfers import Action, Order, TransferClient
from specter.tls.config import ClientTlsConfig, ServerTlsConfig
from specter.tls.trust import TrustStore

MS = 1_000_000
SECOND = 1_000_000_000
HELLO = 2
"""Datagrams of a ClientHello, which holds a post-quantum key share."""
DOWNLOAD = Order(Action.DOWNLOAD, 20_000)


def types(data: bytes) -> list[PacketType]:
    """Return the types of the packets in a datagram."""
    found, pos = [], 0
    while pos < len(data):
        try:
            header = parse_header(data, pos, len(data), 8)
        except PacketError:
            break
        found.append(header.type)
        pos = header.end
    return found


def drop(match: Callable[[Transit], bool], count: int) -> Callable[[Transit], bool]:
    """Return a filter that drops the first ``count`` datagrams that ``match``."""
    left = [count]

    def allow(transit: Transit) -> bool:
        if left[0] and match(transit):
            left[0] -= 1
            return False
        return True

    return allow


@cache
def long_chain() -> Credential:
    """A chain that takes more than three datagrams."""
    authority = CertificateAuthority(key="rsa")
    for number in range(4):
        authority = CertificateAuthority(f"intermediate {number}", key="rsa", parent=authority)
    return authority.issue(*(f"host{number}.{NAME}" for number in range(60)), key="rsa")


def transfer(pair: Pair) -> None:
    pair.transfer()
    pair.close()
    assert pair.endpoint.peers == {}


# -- losses -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("up", [False, True], ids=["from server", "from client"])
@pytest.mark.parametrize("index", range(6))
@pytest.mark.parametrize("count", [1, 3])
def test_any_datagram_of_the_handshake_may_be_lost(up: bool, index: int, count: int) -> None:
    pair = Pair(1, orders=[DOWNLOAD], start=False)
    pair.network.filters.append(drop(lambda transit: transit.to_server == up and transit.index >= index, count))
    pair.client_host = pair.add(pair.client, pair.client_host.address)
    transfer(pair)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_lost_client_finished(count: int) -> None:
    """Everything with a Handshake packet of the client vanishes, the 1-RTT data coalesced behind it too."""
    pair = Pair(2, orders=[DOWNLOAD], start=False)
    pair.network.filters.append(
        drop(lambda transit: transit.to_server and PacketType.HANDSHAKE in types(transit.data), count)
    )
    pair.client_host = pair.add(pair.client, pair.client_host.address)
    transfer(pair)


def test_lost_handshake_done() -> None:
    """The server's first 1-RTT datagrams vanish: HANDSHAKE_DONE comes again, and the handshake gets confirmed."""
    pair = Pair(3)
    pair.network.filters.append(
        drop(lambda transit: not transit.to_server and types(transit.data) == [PacketType.ONE_RTT], 4)
    )
    pair.run(lambda: pair.client.connection.confirmed)
    pair.close()


def test_the_clients_first_request_survives_its_lost_finished() -> None:
    pair = Pair(4, orders=[Order(Action.UPLOAD, 5_000)])
    pair.network.filters.append(drop(lambda transit: transit.to_server and transit.index > 1, 3))
    transfer(pair)


def test_a_probe_of_the_handshake_repeats_the_request() -> None:
    """They were in one datagram, and a server that has the Finished has dropped the keys that it came under."""
    pair = Pair(5, orders=[DOWNLOAD], start=False)
    sent: list[tuple[int, list[PacketType]]] = []
    pair.network.taps.append(lambda transit: transit.to_server and sent.append((transit.time, types(transit.data))))
    pair.network.filters.append(
        drop(lambda transit: transit.to_server and PacketType.HANDSHAKE in types(transit.data), 1)
    )
    pair.client_host = pair.add(pair.client, pair.client_host.address)
    pair.run(lambda: pair.client.connection.confirmed)
    begun = next(time for time, found in sent if PacketType.HANDSHAKE in found)
    later = [(time, found) for time, found in sent if time > begun]
    probes = {kind for time, found in later if time == later[0][0] for kind in found}
    assert probes == {PacketType.HANDSHAKE, PacketType.ONE_RTT}
    transfer(pair)


# -- the amplification limit ------------------------------------------------------------------------


def big_pair(seed: int) -> Pair:
    return Pair(
        seed, orders=[DOWNLOAD], server_tls=ServerTlsConfig(credentials=(long_chain().tls,), alpn=ALPN), start=False
    )


def test_the_server_sends_at_most_three_times_what_came_from_an_unproven_address() -> None:
    """The client falls silent after its first flight; the server's probes stay within the limit, too."""
    pair = big_pair(5)
    received = sent = 0
    worst = 0.0

    def watch(transit: Transit) -> bool:
        nonlocal received, sent, worst
        if transit.to_server:
            if transit.index > 1:
                return False
            received += len(transit.data)
        else:
            sent += len(transit.data)
            worst = max(worst, sent / received)
        return True

    pair.network.filters.append(watch)
    pair.client_host = pair.add(pair.client, pair.client_host.address)
    pair.advance(9.0)
    assert 2.0 < worst <= 3.0


def test_the_client_breaks_the_amplification_deadlock() -> None:
    """The server has spent its credit and all of it is lost: only the client can bring the handshake on."""
    pair = big_pair(6)
    pair.network.filters.append(drop(lambda transit: not transit.to_server, 7))
    pair.client_host = pair.add(pair.client, pair.client_host.address)
    transfer(pair)


def test_the_client_probes_without_anything_in_flight() -> None:
    """All of the client's Initials are acknowledged, the server's Handshake packets are lost (RFC 9002, 6.2.2.1)."""
    pair = big_pair(7)
    pair.network.filters.append(
        drop(lambda transit: not transit.to_server and PacketType.HANDSHAKE in types(transit.data), 6)
    )
    pair.client_host = pair.add(pair.client, pair.client_host.address)
    transfer(pair)


def test_a_long_chain_under_loss() -> None:
    for seed in range(8):
        pair = Pair(
            seed,
            Link(loss=0.25),
            orders=[DOWNLOAD],
            client_config=QuicConfig(handshake_timeout=60 * SECOND),
            server_config=QuicConfig(handshake_timeout=60 * SECOND),
            server_tls=ServerTlsConfig(credentials=(long_chain().tls,), alpn=ALPN),
        )
        pair.transfer()


# -- nobody answers ---------------------------------------------------------------------------------


def test_a_server_that_never_answers() -> None:
    """The client gives up by its handshake timeout, having sent ever more rarely."""
    pair = Pair(8, start=False)
    times: list[int] = []
    pair.network.taps.append(lambda transit: times.append(transit.time))
    pair.network.set_links(Link(loss=1.0))
    pair.client_host = pair.add(pair.client, pair.client_host.address)
    begin = pair.now
    pair.run(lambda: pair.client.closed is not None)
    assert pair.client.closed is not None
    assert pair.client.closed.kind is CloseKind.TIMEOUT
    assert pair.now - begin == 10 * SECOND
    gaps = [after - before for before, after in pairwise(times[:-1]) if after - before > 100 * MS]
    assert len(times) <= 14
    assert len(gaps) >= 3
    assert gaps == sorted(gaps)


@pytest.mark.security
def test_a_peer_that_acknowledges_but_never_finishes() -> None:
    """aioquic#637: no endless probing when the handshake never completes."""
    pair = Pair(9)
    pair.network.filters.append(lambda transit: transit.to_server or PacketType.HANDSHAKE not in types(transit.data))
    pair.run(lambda: pair.client.closed is not None)
    assert pair.client.closed is not None
    assert pair.client.closed.kind is CloseKind.TIMEOUT
    assert pair.network.up.sent < 60
    pair.settle()
    assert pair.endpoint.peers == {}


def test_a_server_that_vanishes_in_mid_handshake_is_forgotten_by_its_endpoint() -> None:
    pair = Pair(10)
    pair.network.filters.append(lambda transit: transit.to_server and transit.index == 0)
    pair.advance(1.0)
    assert len(pair.endpoint.peers) == 1
    pair.settle()
    assert pair.endpoint.peers == {}


# -- Retry, tokens ------------------------------------------------------------------------


def test_retry() -> None:
    pair = Pair(11, orders=[DOWNLOAD], retry=True)
    transfer(pair)
    assert (pair.endpoint.stats.retries, pair.endpoint.stats.accepted) == (HELLO, 1)


def test_retry_under_loss_and_duplication() -> None:
    for seed in range(10):
        pair = Pair(seed, Link(loss=0.2, duplicate=0.3, reorder=0.2), orders=[DOWNLOAD], retry=True)
        pair.transfer()


def test_a_token_spares_the_next_connection_the_retry() -> None:
    pair = Pair(12, retry=True)
    pair.run(lambda: pair.client.connection.confirmed)
    pair.server.connection.issue_token(pair.endpoint.new_token(pair.client_host.address, pair.now))
    pair.poke()
    pair.run(lambda: any(isinstance(event, TokenReceived) for event in pair.client.log))
    token = next(event.token for event in pair.client.log if isinstance(event, TokenReceived))
    again = pair.new_client([DOWNLOAD], name="again", token=token)
    pair.add(again, ("client", 50_001))
    pair.run(lambda: again.done)
    assert (pair.endpoint.stats.retries, pair.endpoint.stats.accepted) == (HELLO, 2)


def test_a_token_of_another_address_is_worth_nothing() -> None:
    pair = Pair(13, retry=True, start=False)
    token = pair.endpoint.new_token(("elsewhere", 1), pair.now)
    other = pair.new_client([DOWNLOAD], name="other", token=token)
    pair.add(other, ("client", 50_001))
    pair.run(lambda: other.done)
    assert pair.endpoint.stats.retries == HELLO


def test_a_retry_token_of_another_address_ends_the_attempt() -> None:
    """INVALID_TOKEN (RFC 9000, section 8.1.2): the client learns at once that this will not work."""
    pair = Pair(14, retry=True)
    pair.advance(0.015)
    moved = ("moved", 1)
    for retry in pair.network.arrivals(pair.now + SECOND)[pair.client_host.address]:
        pair.network.inject(replace(retry, destination=moved), pair.now)
    pair.client_host.address = moved
    pair.run(lambda: pair.client.closed is not None)
    closed = pair.client.closed
    assert closed is not None
    assert (closed.kind, closed.error_code) == (CloseKind.REMOTE, 0x0B)
    assert pair.endpoint.stats.accepted == 0


# -- many -------------------------------------------------------------------------------------------


def test_a_hundred_clients_at_once() -> None:
    pair = Pair(17, Link(jitter=5 * MS), start=False)
    clients = [pair.new_client([Order(Action.ECHO, 2_000, number)], name=f"client {number}") for number in range(100)]
    for number, client in enumerate(clients):
        pair.add(client, ("client", number))
    pair.run(lambda: all(client.done for client in clients))
    assert len(pair.endpoint.connections) == 100
    for client in clients:
        client.connection.close()
    pair.poke()
    pair.settle()
    assert pair.endpoint.peers == {}


def test_a_server_with_no_room_says_so() -> None:
    pair = Pair(18, start=False)
    tls = ServerTlsConfig(credentials=(fixed_credential().tls,), alpn=ALPN)
    small = Endpoint(QuicConfig(), tls, SeededEntropy(18), max_handshakes=1)
    pair.server_host.engine = small
    for number in range(2):
        pair.add(pair.new_client(name=f"client {number}"), ("client", number))
    second = pair.hosts[-1].engine
    assert isinstance(second, TransferClient)
    pair.run(lambda: second.closed is not None)
    assert second.closed is not None
    assert (second.closed.kind, second.closed.error_code) == (CloseKind.REMOTE, 2)
    assert small.stats.refused == HELLO


def test_a_certificate_that_is_checked() -> None:
    """The simulations skip the chain check for speed; here it is made, and fails for the wrong name."""
    authority = CertificateAuthority()
    tls = ServerTlsConfig(credentials=(authority.issue(NAME).tls,), alpn=ALPN)
    pair = Pair(19, server_tls=tls, start=False)
    trust = TrustStore([authority.certificate])
    ends = []
    for number, name in enumerate([NAME, "other.test"]):
        config = ClientTlsConfig(server_name=name, trust=trust, alpn=ALPN)
        connection = Connection.client(
            QuicConfig(), config, SeededEntropy(f"checked {number}"), pair.now, address=pair.network.server
        )
        client = TransferClient(connection, [DOWNLOAD])
        pair.add(client, ("client", number))
        pair.run(lambda client=client: client.done or client.closed is not None)  # type: ignore[misc]
        ends.append(client.closed)
    assert ends[0] is None
    assert ends[1] is not None
    assert ends[1].kind is CloseKind.LOCAL
    assert 0x100 <= ends[1].error_code < 0x200
    assert ends[1].failure is not None
