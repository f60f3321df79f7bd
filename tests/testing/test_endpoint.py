"""What the server's endpoint does with datagrams that belong to no connection, and with those that do."""

from __future__ import annotations

import random

import pytest

from specter._backend import batch as batches
from specter._entropy import SeededEntropy
from specter._wire import NEVER
from specter.quic.cids import reset_token
from specter.quic.config import QuicConfig
from specter.quic.connection import Connection
from specter.quic.packet import QUIC_V1, QUIC_V2, PacketType, check_retry, parse_header, parse_version_negotiation
from specter.testing.endpoint import Endpoint
from specter.testing.pair import ALPN, NAME, RESET_KEY, fixed_credential
from specter.tls.config import ClientTlsConfig, ServerTlsConfig

NOW = 10**12
SECOND = 10**9
HERE = ("client", 1)


def endpoint(**options: object) -> Endpoint:
    tls = ServerTlsConfig(credentials=(fixed_credential().tls,), alpn=ALPN)
    return Endpoint(QuicConfig(), tls, SeededEntropy(1), reset_key=RESET_KEY, **options)  # type: ignore[arg-type]


def hello(seed: int = 1) -> list[bytes]:
    """Return the datagrams of a ClientHello."""
    tls = ClientTlsConfig(server_name=NAME, verify=False, alpn=ALPN)
    client = Connection.client(QuicConfig(), tls, SeededEntropy(f"client {seed}"), NOW)
    return [bytes(data) for data, _, _ in client.send(NOW)]


def give(server: Endpoint, *datagrams: bytes, address: tuple[str, int] = HERE, now: int = NOW) -> list[bytes]:
    """Hand in datagrams and return what comes out."""
    batch = batches.ReceiveBatch()
    for data in datagrams:
        batch.append(data, address, 0)
    server.receive(batch, now)
    out: list[bytes] = []
    while len(outbox := server.send(now)):
        for sealed, to, _ in outbox:
            assert to == address
            out.append(bytes(sealed))
    return out


def long_header(version: int, dcid: bytes, scid: bytes, size: int) -> bytes:
    head = b"\xc0" + version.to_bytes(4, "big") + bytes([len(dcid)]) + dcid + bytes([len(scid)]) + scid
    return head.ljust(size, b"\0")


def test_an_initial_makes_a_connection() -> None:
    server = endpoint()
    out = give(server, *hello())
    assert server.stats.accepted == 1
    assert parse_header(out[0], 0, len(out[0]), 8).type is PacketType.INITIAL
    assert server.next_deadline() < NEVER


def test_the_datagrams_of_one_client_are_one_connection() -> None:
    server = endpoint()
    give(server, *hello(1), *hello(2), *hello(1))
    assert server.stats.accepted == 2


@pytest.mark.security
def test_noise_makes_no_connection_and_no_answer() -> None:
    server = endpoint()
    chance = random.Random(5)
    first, *_ = hello()
    for _ in range(300):
        noise = bytearray(chance.randbytes(chance.randrange(0, 1500)))
        if noise:
            noise[0] |= 0x80
        noise[1:5] = (1).to_bytes(4, "big")
        assert give(server, bytes(noise)) == []
        damaged = bytearray(first)
        damaged[chance.randrange(6, len(first))] ^= chance.randint(1, 255)
        give(server, bytes(damaged))
    assert server.stats.accepted == 0
    assert server.peers == {}


def test_small_initials_are_ignored() -> None:
    server = endpoint()
    first, *_ = hello()
    assert give(server, first[:1199]) == []
    assert server.peers == {}


def test_version_negotiation_only_for_large_datagrams() -> None:
    server = endpoint()
    dcid, scid = bytes(range(30)), bytes(range(100, 255))
    (answer,) = give(server, long_header(0x0A1A2A3A, dcid, scid, 1200))
    header = parse_header(answer, 0, len(answer), 8)
    assert (header.type, header.dcid, header.scid) == (PacketType.VERSION_NEGOTIATION, scid, dcid)
    assert parse_version_negotiation(answer, 0, len(answer)) == (QUIC_V1, QUIC_V2)
    assert give(server, long_header(0x0A1A2A3A, dcid, scid, 1199)) == []
    assert give(server, long_header(0, dcid, scid, 1200)) == []


def test_a_retry_is_made_for_the_initial_it_answers() -> None:
    server = endpoint(retry=True)
    first, *_ = hello()
    (answer,) = give(server, first)
    assert check_retry(answer, parse_header(first, 0, len(first), 8).dcid)
    assert server.peers == {}


def test_stateless_resets() -> None:
    server = endpoint()
    cid = b"\x01\x02\x03\x04\x05\x06\x07\x08"
    (answer,) = give(server, b"\x41" + cid + bytes(51))
    assert answer[-16:] == reset_token(RESET_KEY, cid)
    assert 21 <= len(answer) < 60
    assert answer[0] & 0xC0 == 0x40
    (small,) = give(server, b"\x41" + cid + bytes(13))
    assert len(small) == 21
    assert give(server, b"\x41" + cid + bytes(12)) == []


def test_answers_without_state_are_limited() -> None:
    server = endpoint()
    flood = [b"\x41" + number.to_bytes(8, "big") + bytes(60) for number in range(96)]
    answers = sum(len(give(server, *flood, now=NOW + burst)) for burst in range(20))
    assert 50 <= answers <= 200
    assert len(give(server, *flood, now=NOW + 5 * SECOND)) > 50


def test_unfinished_handshakes_are_limited() -> None:
    server = endpoint(max_handshakes=10)
    for seed in range(30):
        give(server, *hello(seed))
    assert len(server.peers) == 10
    assert server.stats.refused >= 20


def test_handshakes_that_clients_gave_up_make_room_at_once() -> None:
    server = endpoint(max_handshakes=2)
    for seed in range(10):
        tls = ClientTlsConfig(server_name=NAME, verify=False, alpn=ALPN)
        client = Connection.client(QuicConfig(), tls, SeededEntropy(f"client {seed}"), NOW)
        give(server, *[bytes(data) for data, _, _ in client.send(NOW)])
        client.close(0, "changed my mind")
        give(server, *[bytes(data) for data, _, _ in client.send(NOW)])
    assert (server.stats.accepted, server.stats.refused) == (10, 0)


def test_connections_are_limited() -> None:
    server = endpoint(max_connections=3)
    for seed in range(5):
        give(server, *hello(seed))
    assert len(server.peers) == 3


def test_unfinished_connections_go_away() -> None:
    server = endpoint()
    for seed in range(5):
        give(server, *hello(seed))
    now = NOW
    while (deadline := server.next_deadline()) != NEVER:
        assert deadline > now
        now = deadline
        server.handle_deadline(now)
        while len(server.send(now)):
            pass
    assert server.peers == {}
    assert server._routes == {}
    assert now - NOW < 60 * SECOND


def test_an_endpoint_that_closed_accepts_nothing() -> None:
    server = endpoint()
    give(server, *hello(1))
    server.close()
    assert len(give(server)) >= 1
    give(server, *hello(2))
    assert len(server.peers) == 1


def test_failures_of_an_engine_are_told_or_raised() -> None:
    class Broken:
        def __init__(self, connection: Connection) -> None:
            self.connection = connection

        def receive(self, batch: batches.ReceiveBatch, now: int) -> None:
            raise ZeroDivisionError

    server = endpoint(wrap=Broken)
    with pytest.raises(ZeroDivisionError):
        give(server, *hello(1))
    failures: list[Exception] = []
    server = endpoint(wrap=Broken)
    server.on_failure = lambda peer, error: failures.append(error)
    give(server, *hello(1))
    assert [type(error) for error in failures] == [ZeroDivisionError]
    assert server.peers == {}


def test_the_timer_heap_stays_small() -> None:
    server = endpoint()
    for seed in range(5):
        give(server, *hello(seed))
    for step in range(2_000):
        peer = list(server.peers)[step % 5]
        peer.deadline = NEVER
        server.touch(peer)
        give(server, now=NOW + step)
    assert len(server._timers) < 1_000
