"""Handshakes with servers that others wrote, over bad paths; ``scenarios`` tells which pairs are left out."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

import specter
from specter.quic.config import QuicConfig
from specter.quic.packet import QUIC_V1, QUIC_V2
from specter.testing import Link
from specter.testing.network import Transit
from tests.interop.conftest import NAMES, MakeServer
from tests.interop.harness import ServerProcess
from tests.interop.scenarios import LINE, MEGABYTE, MS, NEAR, check, download, path_to

pytestmark = pytest.mark.interop

V1, V2 = f"{QUIC_V1:x}", f"{QUIC_V2:x}"
STARTS_V2 = QuicConfig(versions=(QUIC_V2, QUIC_V1), original_version=QUIC_V2)
LONG_NAMES = tuple(f"{'many-names-make-a-large-certificate'}-{number}.specter.test" for number in range(200))
FIRST_DROPPED = 2
DROPPED = range(FIRST_DROPPED, FIRST_DROPPED + 6)
"""The ClientHello takes two datagrams; what the client says next the server does not hear."""


def test_handshake(server: ServerProcess) -> None:
    with path_to(server, LINE) as path, path.client() as client:
        connection = download(client, 1)
        assert (connection.quic_version, connection.alpn) == ("QUICv1", "h3")
        assert connection.round_trip_time >= 0.03
        assert len(path.clients) == 1


def test_long_round_trip(server: ServerProcess) -> None:
    """A second and a half there and back, which the client does not know of when it first sends."""
    with path_to(server, Link(delay=750 * MS)) as path, path.client() as client:
        assert download(client, 1).round_trip_time >= 1.5
        assert len(path.clients) == 1


def test_chacha20(make_server: MakeServer) -> None:
    server = make_server("aioquic", cipher="CHACHA20_POLY1305_SHA256")
    with path_to(server, LINE) as path, path.client() as client:
        assert download(client, MEGABYTE).cipher_suite == "TLS_CHACHA20_POLY1305_SHA256"


def test_retry(make_server: MakeServer) -> None:
    flights: list[Transit] = []
    server = make_server("aioquic", retry=True)
    with path_to(server, LINE, taps=[flights.append]) as path, path.client() as client:
        download(client, 1)
        assert len(path.clients) == 1
    first_answer = next(transit.data for transit in flights if not transit.to_server)
    assert first_answer[0] & 0xF0 == 0xF0  # a long header, type Retry


def test_ipv6(make_server: MakeServer, kind: str) -> None:
    with path_to(make_server(kind, host="::1"), NEAR) as path, path.client() as client:
        assert download(client, MEGABYTE).remote_address == ("::1", path.relay.port)


@pytest.mark.parametrize(("kind", "versions"), [("aioquic", V1), ("caddy", "")])
def test_version_negotiation(make_server: MakeServer, kind: str, versions: str) -> None:
    flights: list[Transit] = []
    server = make_server(kind, versions=versions)
    with path_to(server, LINE, taps=[flights.append]) as path, path.client(quic=STARTS_V2) as client:
        negotiated = download(client, MEGABYTE).quic_version
        assert len(path.clients) == 1
    offered, answered = (next(t.data[1:5] for t in flights if t.to_server is way) for way in (True, False))
    assert offered == QUIC_V2.to_bytes(4, "big")
    assert (negotiated, answered) == ("QUICv1", bytes(4))


def test_version_2(make_server: MakeServer) -> None:
    flights: list[Transit] = []
    server = make_server("aioquic", versions=f"{V1},{V2}")
    with path_to(server, LINE, taps=[flights.append]) as path, path.client(quic=STARTS_V2) as client:
        assert download(client, MEGABYTE).quic_version == "QUICv2"
    assert not any(transit.data[1:5] == bytes(4) for transit in flights if transit.data[0] & 0x80)


def test_resumption(make_server: MakeServer, kind: str) -> None:
    """0-RTT saves one round trip of two, if the server hears it."""
    server = make_server(kind, tickets=True)
    cache = specter.SessionCache()
    with path_to(server, Link(delay=120 * MS)) as path:
        with path.client(session_cache=cache) as client:
            assert not download(client, 1).resumed
            client.post("/echo", content=b"x").raise_for_status()  # the tickets come after the response
        for early_data in (False, True):
            with path.client(session_cache=cache, early_data=early_data) as client:
                start = time.monotonic()
                response = client.get("/bytes/1")
                took = time.monotonic() - start
                client.post("/echo", content=b"x").raise_for_status()
            assert check(response, 1).resumed
            assert response.early_data == ("accepted" if early_data else None)
            assert took >= (0.24 if early_data else 0.48)
            assert took < 0.48 or kind == "caddy" or not early_data


def test_amplification_limit(make_server: MakeServer, kind: str) -> None:
    """The server may not send all of its certificate before it hears of the client again, and for long it does not."""
    received: dict[bool, int] = {True: 0, False: 0}
    stopped_at: list[int] = []

    def count_bytes(transit: Transit) -> None:
        if transit.to_server and transit.index == FIRST_DROPPED:
            stopped_at.append(received[False])
        if not transit.to_server or transit.index < FIRST_DROPPED:
            received[transit.to_server] += len(transit.data)

    server = make_server(kind, names=(*NAMES, *LONG_NAMES))
    link = replace(LINE, queue=0)
    with path_to(server, link, taps=[count_bytes]) as path:
        path.relay.filters.append(lambda transit: not (transit.to_server and transit.index in DROPPED))
        with path.client() as client:
            connection = download(client, 1)
            leaf = connection.peer_certificates[0].tbs_certificate_bytes
            assert len(leaf) > 3 * received[True] > 0
            assert len(path.clients) == 1
        assert path.relay.up.filtered == len(DROPPED)


BAD = {
    "loss": (Link(delay=15 * MS, loss=0.3), 50),
    "corruption": (Link(delay=15 * MS, corrupt=0.3), 25),
}
AT_ONCE = 17


@pytest.mark.parametrize(("link", "runs"), BAD.values(), ids=BAD.keys())
def test_bad_handshakes(server: ServerProcess, link: Link, runs: int) -> None:
    """Some at a time, to save waiting, each over a path of its own."""
    took = []

    def connect(seed: int) -> None:
        with path_to(server, link, seed=seed) as path, path.client() as client:
            start = time.monotonic()
            download(client, 1)
            took.append(time.monotonic() - start)
            assert len(path.clients) == 1

    with ThreadPoolExecutor(AT_ONCE) as threads:
        for _ in threads.map(connect, range(runs)):
            pass
    assert len(took) == runs
