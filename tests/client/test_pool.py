"""Connections: shared, found dead, made again."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

import specter
from specter.client.pool import Pool
from specter.client.url import Origin
from specter.net.blocking import BlockingConnection
from specter.net.budget import Budget
from specter.net.dialing import Dialer
from specter.net.inline import run_inline
from specter.net.resolver import Resolver
from specter.net.threads import ThreadDriver
from specter.quic.config import QuicConfig
from specter.testing.certificates import CertificateAuthority
from specter.testing.server import Server
from tests.client.support import MakeClient, StartServer


def accepted(server: Server) -> int:
    assert server.endpoint is not None
    return server.endpoint.stats.accepted


def rekey(server: Server) -> None:
    """Make the server forget how to reset what it has forgotten."""
    server._reset_key = bytes(32)


def connection_of(client: specter.Client, server: Server) -> Any:
    return client._pool._connections[Origin(server.host, server.port)]


def wait_until(condition: Any, seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.005)


def in_threads(count: int, work: Any) -> list[Any]:
    """Run ``work`` in so many threads; return what came of each, exceptions among it."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            results.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    return results


# -- sharing ------------------------------------------------------------------------------------------


def test_one_connection_per_origin(start_server: StartServer) -> None:
    one, two = start_server(), start_server()
    trust = [one.authority.certificate, two.authority.certificate]  # type: ignore[union-attr]
    with specter.Client(verify=trust) as client:
        for _ in range(3):
            client.get(one.url + "/bytes/1")
            client.get(two.url + "/bytes/1")
    assert (accepted(one), accepted(two)) == (1, 1)


def test_threads_share_one_dial(start_server: StartServer, make_client: MakeClient) -> None:
    server = start_server()
    client = make_client(server)
    results = in_threads(8, lambda: client.get("/bytes/100").status_code)
    assert results == [200] * 8
    assert accepted(server) == 1


def test_threads_share_a_failed_dial(server: Server) -> None:
    with specter.Client(timeout=2) as client:  # trusts others
        results = in_threads(4, lambda: client.get(server.url + "/bytes/1"))
    assert all(isinstance(result, specter.CertificateError) for result in results)
    assert len({id(result) for result in results}) == 4


def test_the_haste_of_one_thread_is_not_the_others(black_hole: int) -> None:
    url = f"https://127.0.0.1:{black_hole}/"
    with specter.Client() as client:
        hasty = threading.Thread(target=in_threads, args=(1, lambda: client.get(url, timeout=0.2)))
        hasty.start()
        time.sleep(0.05)
        start = time.monotonic()
        with pytest.raises(specter.ConnectTimeout):
            client.get(url, timeout=0.6)
        assert time.monotonic() - start >= 0.6
        hasty.join()


def test_connecting_to_one_origin_holds_up_no_other(server: Server, black_hole: int) -> None:
    with specter.Client(verify=server.ca_file) as client:
        slow = threading.Thread(
            target=in_threads, args=(1, lambda: client.get(f"https://127.0.0.1:{black_hole}/", timeout=1))
        )
        slow.start()
        time.sleep(0.05)
        start = time.monotonic()
        assert client.get(server.url + "/bytes/1").status_code == 200
        assert time.monotonic() - start < 0.9
        slow.join()


# -- connections that end -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_server_that_stopped_politely(start_server: StartServer, make_client: MakeClient, method: str) -> None:
    server = start_server()
    client = make_client(server)
    client.get("/bytes/1")
    server.stop()
    server.start()
    response = client.request(method, "/headers")
    assert response.status_code == 200
    assert not response.timing.reused


def test_a_server_that_crashed_and_resets(start_server: StartServer, make_client: MakeClient) -> None:
    server = start_server()
    client = make_client(server)
    client.get("/bytes/1")
    server.stop(abrupt=True)
    server.start()
    response = client.get("/bytes/2")
    assert len(response.content) == 2
    assert not response.timing.reused


def test_a_request_with_consequences_is_not_repeated(start_server: StartServer, make_client: MakeClient) -> None:
    server = start_server()
    client = make_client(server)
    client.get("/bytes/1")
    server.stop(abrupt=True)
    server.start()
    with pytest.raises(specter.NetworkError, match="stateless reset"):
        client.post("/echo", content=b"once only")
    assert client.post("/echo", content=b"once only").content == b"once only"


def test_a_server_that_forgot_everything(start_server: StartServer, make_client: MakeClient) -> None:
    """Nobody answers on the old connection, nobody says why: curl_cffi#797."""
    server = start_server()
    client = make_client(server)
    client.get("/bytes/1")
    server.stop(abrupt=True)
    rekey(server)
    server.start()
    start = time.monotonic()
    assert len(client.get("/bytes/2").content) == 2
    assert time.monotonic() - start < 2.5


def test_a_server_that_is_gone(start_server: StartServer, make_client: MakeClient) -> None:
    server = start_server()
    client = make_client(server)
    client.get("/bytes/1")
    server.stop(abrupt=True)
    start = time.monotonic()
    with pytest.raises(specter.ConnectError, match="refused"):
        client.get("/bytes/1")
    with pytest.raises(specter.ConnectError, match="refused"):
        client.post("/echo", content=b"x")
    assert time.monotonic() - start < 2


def test_a_server_that_goes_in_the_middle(start_server: StartServer, make_client: MakeClient) -> None:
    server = start_server()
    client = make_client(server)
    with client.stream("GET", "/drip?count=100&interval=0.02") as response:
        pieces = response.iter_bytes()
        next(pieces)
        server.stop()
        with pytest.raises(specter.NetworkError, match=r"closed the connection: H3_NO_ERROR: the server stops"):
            list(pieces)


def test_a_connection_closed_by_the_server_with_an_error(start_server: StartServer, make_client: MakeClient) -> None:
    client = make_client(start_server())
    with pytest.raises(specter.NetworkError, match="H3_INTERNAL_ERROR"):
        client.get("/close/2000")
    response = client.get("/bytes/1")
    assert not response.timing.reused


def test_an_idle_connection_is_replaced(start_server: StartServer, make_client: MakeClient) -> None:
    server = start_server()
    client = make_client(server, quic=QuicConfig(idle_timeout=1_000_000_000))
    client.get("/bytes/1")
    assert client.get("/bytes/1").timing.reused
    time.sleep(1.1)  # a busy machine makes the round trip long, and three probe timeouts are the least there is
    response = client.post("/echo", content=b"x")
    assert not response.timing.reused
    assert accepted(server) == 2


def test_a_nearly_idle_connection_is_replaced_too(start_server: StartServer, make_client: MakeClient) -> None:
    client = make_client(start_server(), quic=QuicConfig(idle_timeout=1_000_000_000))
    client.get("/bytes/1")
    time.sleep(0.9)
    assert not client.get("/bytes/1").timing.reused


def test_keep_alive(start_server: StartServer, make_client: MakeClient) -> None:
    client = make_client(start_server(), keep_alive=0.1, quic=QuicConfig(idle_timeout=400_000_000))
    client.get("/bytes/1")
    time.sleep(1)
    assert client.get("/bytes/1").timing.reused


def test_a_server_going_away(start_server: StartServer, make_client: MakeClient) -> None:
    server = start_server()
    client = make_client(server)
    assert client.get("/goaway").text == "going away\n"
    wait_until(lambda: not client.get("/bytes/1").timing.reused, 2)
    assert accepted(server) == 2
    assert client.get("/bytes/1").timing.reused


def test_exchanges_outlive_the_goaway(start_server: StartServer, make_client: MakeClient) -> None:
    client = make_client(start_server())
    with client.stream("GET", "/drip?count=5&interval=0.05") as response:
        client.get("/goaway")
        assert len(response.read()) == 5


def test_connections_that_were_retired_are_closed(start_server: StartServer, make_client: MakeClient) -> None:
    server = start_server()
    client = make_client(server)
    client.get("/bytes/1")
    connection = connection_of(client, server)
    with client.stream("GET", "/drip?count=3&interval=0.05") as response:
        client._pool.discard(Origin(server.host, server.port), connection)
        assert not connection.closed
        response.read()
    assert connection.closed
    assert connection.channel.udp.fileno() == -1
    assert not client.get("/bytes/1").timing.reused


def test_too_many_connections(start_server: StartServer) -> None:
    servers = [start_server() for _ in range(4)]
    trust = [server.authority.certificate for server in servers if server.authority]
    slow = servers[0].url + "/drip?count=3&interval=0.1"
    limits = specter.Limits(max_idle=1)
    with specter.Client(verify=trust, limits=limits) as client, client.stream("GET", slow) as busy:
        for server in servers[1:]:
            client.get(server.url + "/bytes/1")
        assert len(client._pool._connections) == 2
        assert Origin(servers[0].host, servers[0].port) in client._pool._connections
        assert len(busy.read()) == 3


# -- closing the client ---------------------------------------------------------------------------------


def test_closing_ends_every_wait(server: Server, make_client: MakeClient) -> None:
    client = make_client(server, timeout=10)
    client.get("/bytes/1")
    results: list[Any] = []
    waiting = threading.Thread(target=lambda: results.extend(in_threads(4, lambda: client.get("/delay/5"))))
    waiting.start()
    wait_until(lambda: len(connection_of(client, server)._exchanges) == 4)
    time.sleep(0.05)
    start = time.monotonic()
    client.close()
    waiting.join(5)
    assert time.monotonic() - start < 1
    assert len(results) == 4
    for result in results:
        assert isinstance(result, specter.NetworkError)
        assert "client" in str(result)
        assert "closed" in str(result)


def test_closing_ends_a_dial(black_hole: int) -> None:
    client = specter.Client(timeout=10)
    results: list[Any] = []
    url = f"https://127.0.0.1:{black_hole}/"
    waiting = threading.Thread(target=lambda: results.extend(in_threads(3, lambda: client.get(url))))
    waiting.start()
    time.sleep(0.1)
    client.close()
    waiting.join(5)
    assert [str(result) for result in results] == ["the client is closed"] * 3
    assert all(isinstance(result, specter.NetworkError) for result in results)


def test_closing_tells_the_server_and_leaves_no_sockets(server: Server) -> None:
    before = 0 if server.endpoint is None else len(server.endpoint.connections)
    with specter.Client(verify=server.ca_file) as client:
        client.get(server.url + "/bytes/1")
        connection = connection_of(client, server)
        with client.stream("GET", server.url + "/bytes/10000000") as response:
            next(response.iter_bytes())
    assert connection.closed
    assert connection.channel.udp.fileno() == -1
    wait_until(lambda: server.endpoint is not None and len(server.endpoint.connections) <= before)


# -- pool logic with a fake dial --------------------------------------------------------------------------


def make_pool(monkeypatch: pytest.MonkeyPatch, dial: Any) -> Pool[BlockingConnection]:
    monkeypatch.setattr("specter.client.pool.dial", dial)
    return Pool(Dialer(tls=lambda host: None, resolver=Resolver()), ThreadDriver())  # type: ignore[arg-type, return-value]


def test_an_interrupted_dial_is_taken_over(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    calls: list[str] = []
    started = threading.Event()

    async def dial(*arguments: Any, **options: Any) -> Any:
        calls.append(threading.current_thread().name)
        if len(calls) == 1:
            started.set()
            time.sleep(0.1)  # noqa: ASYNC251
            raise KeyboardInterrupt
        raise specter.ConnectError("refused")

    pool = make_pool(monkeypatch, dial)
    results: list[Any] = []
    origin = Origin("a.example", 443)

    def acquire() -> Any:
        return run_inline(pool.acquire(origin, Budget.of(connect=5)))

    first = threading.Thread(target=lambda: results.extend(in_threads(1, acquire)))
    first.start()
    started.wait(5)
    with pytest.raises(specter.ConnectError, match="refused"):
        acquire()
    first.join()
    assert isinstance(results[0], KeyboardInterrupt)
    assert len(set(calls)) == 2
    assert not pool._dials


# -- what it takes to connect -----------------------------------------------------------------------------


def test_the_steps_of_connecting_are_timed(start_server: StartServer, tmp_path: Path) -> None:
    authority = CertificateAuthority()
    authority.write(tmp_path / "ca.pem")
    server = start_server(credential=authority.issue("a.example"))

    def slow_lookup(host: str, port: int) -> list[Any]:
        time.sleep(0.2)
        return [("127.0.0.1", port)]

    with specter.Client(verify=tmp_path / "ca.pem") as client:
        client._pool._dialer.resolver._lookup = slow_lookup
        timing = client.get(f"https://a.example:{server.port}/bytes/1").timing
    assert timing.looked_up is not None
    assert timing.answered is not None
    assert timing.secured is not None
    assert 0.2 <= timing.looked_up < timing.answered <= timing.secured < 5


def test_who_waits_for_the_dial_of_another_reuses_its_connection(server: Server, make_client: MakeClient) -> None:
    client = make_client(server)
    timings = in_threads(4, lambda: client.get("/bytes/1").timing)
    assert sorted(timing.reused for timing in timings) == [False, True, True, True]
    for timing in timings:
        assert (timing.secured is None) == timing.reused
