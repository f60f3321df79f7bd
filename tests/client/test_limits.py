"""Each of the time limits, against servers that try them."""

from __future__ import annotations

import threading
import time

import pytest

import specter
from specter.quic.config import QuicConfig
from specter.testing.server import Server
from tests.client.support import MakeClient, StartServer


def test_connect(black_hole: int) -> None:
    start = time.monotonic()
    with pytest.raises(specter.ConnectTimeout, match=r"0\.2 s.*127\.0\.0\.1"):
        specter.get(f"https://127.0.0.1:{black_hole}/", timeout=specter.Timeouts(None, connect=0.2))
    assert 0.2 <= time.monotonic() - start < 1.5


def test_the_engines_own_handshake_limit(black_hole: int) -> None:
    with pytest.raises(specter.ConnectTimeout, match="handshake"):
        specter.get(f"https://127.0.0.1:{black_hole}/", timeout=None, quic=QuicConfig(handshake_timeout=200_000_000))


def test_read_headers(client: specter.Client) -> None:
    client.get("/bytes/1")
    start = time.monotonic()
    with pytest.raises(specter.ReadTimeout, match=r"0\.2 s"):
        client.get("/delay/3", timeout=specter.Timeouts(5, read=0.2))
    assert 0.2 <= time.monotonic() - start < 1.5
    assert client.get("/bytes/1").timing.reused


def test_read_body(client: specter.Client) -> None:
    with client.stream("GET", "/drip?count=2&interval=3", timeout=specter.Timeouts(5, read=0.2)) as response:
        pieces = response.iter_bytes()
        assert next(pieces)
        with pytest.raises(specter.ReadTimeout):
            next(pieces)
    assert response.is_closed


def test_each_read_has_its_own_limit(client: specter.Client) -> None:
    response = client.get("/drip?count=5&interval=0.15", timeout=specter.Timeouts(5, read=0.4))
    assert len(response.content) == 5


def test_total(client: specter.Client) -> None:
    start = time.monotonic()
    with pytest.raises(specter.TotalTimeout, match=r"0\.3 s"):
        client.get("/drip?count=50&interval=0.1", timeout=specter.Timeouts(5, total=0.3))
    assert 0.3 <= time.monotonic() - start < 1.5


def test_total_counts_connecting_too(black_hole: int) -> None:
    with pytest.raises(specter.TotalTimeout):
        specter.get(f"https://127.0.0.1:{black_hole}/", timeout=specter.Timeouts(5, total=0.2))


def test_pool(start_server: StartServer, make_client: MakeClient) -> None:
    server = start_server(config=QuicConfig(max_streams_bidi=1))
    client = make_client(server)
    with client.stream("GET", "/drip?count=2&interval=0.6"):
        start = time.monotonic()
        with pytest.raises(specter.PoolTimeout, match="no more streams"):
            client.get("/bytes/1", timeout=specter.Timeouts(5, pool=0.2))
        assert 0.2 <= time.monotonic() - start < 1.5
    assert client.get("/bytes/1").timing.reused


def test_streams_are_shared_out_in_turn(start_server: StartServer, make_client: MakeClient) -> None:
    server = start_server(config=QuicConfig(max_streams_bidi=2))
    client = make_client(server)
    client.get("/bytes/1")
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(10):
                assert len(client.get("/bytes/3000").content) == 3000
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not errors
    assert not any(thread.is_alive() for thread in threads)


def test_no_limits(client: specter.Client) -> None:
    assert client.get("/delay/0.3", timeout=None).status_code == 200


def test_a_hanging_server_is_left_behind(server: Server, make_client: MakeClient) -> None:
    """After a read timeout the connection goes on being used as long as it shows signs of life."""
    client = make_client(server, timeout=specter.Timeouts(5, read=0.2))
    for _ in range(3):
        with pytest.raises(specter.ReadTimeout):
            client.get("/delay/2")
    assert client.get("/bytes/5").timing.reused
