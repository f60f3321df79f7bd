"""Limits on connections: how many, for how long, and who waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

import specter
from specter.client.url import Origin
from specter.quic.config import QuicConfig
from specter.testing.content import content
from specter.testing.server import Server
from tests.client.support import MakeClient, StartServer

MakeShared = Callable[..., tuple[specter.Client, list[Server]]]


@pytest.fixture
def make_shared(start_server: StartServer, make_client: MakeClient) -> MakeShared:
    """A client and so many servers that it trusts."""

    def make(count: int, **limits: Any) -> tuple[specter.Client, list[Server]]:
        servers = [start_server() for _ in range(count)]
        trust = [server.authority.certificate for server in servers if server.authority]
        return make_client(servers[0], verify=trust, limits=specter.Limits(**limits)), servers

    return make


def accepted(server: Server) -> int:
    assert server.endpoint is not None
    return server.endpoint.stats.accepted


def in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    results: list[Any] = []

    def run(number: int) -> None:
        try:
            results.append(work(number))
        except BaseException as error:
            results.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    return results


# -- in all -----------------------------------------------------------------------------------------------


def test_an_unused_connection_makes_room(make_shared: MakeShared) -> None:
    client, (one, two) = make_shared(2, max_connections=1)
    for _ in range(2):
        assert client.get(one.url + "/bytes/1").status_code == 200
        assert client.get(one.url + "/bytes/1").timing.reused
        assert client.get(two.url + "/bytes/1").status_code == 200
    assert (accepted(one), accepted(two)) == (2, 2)


def test_the_longest_unused_goes(make_shared: MakeShared) -> None:
    client, (one, two, three) = make_shared(3, max_connections=2)
    for server in (one, two, one, three):
        client.get(server.url + "/bytes/1")
    assert client.get(one.url + "/bytes/1").timing.reused
    assert not client.get(two.url + "/bytes/1").timing.reused


def test_who_finds_no_room_waits_for_it(make_shared: MakeShared) -> None:
    client, (one, two) = make_shared(2, max_connections=1)
    with client.stream("GET", one.url + "/drip?count=4&interval=0.1") as response:
        results: list[Any] = []
        url = two.url + "/bytes/9"
        waiting = threading.Thread(target=lambda: results.extend(in_threads(3, lambda _: client.get(url))))
        waiting.start()
        time.sleep(0.1)
        assert accepted(two) == 0
        assert len(response.read()) == 4
    waiting.join(10)
    assert [result.content for result in results] == [content(0, 9)] * 3
    assert accepted(two) == 1


def test_who_waits_too_long(make_shared: MakeShared) -> None:
    client, (one, two) = make_shared(2, max_connections=1)
    with client.stream("GET", one.url + "/drip?count=3&interval=0.4") as response:
        start = time.monotonic()
        with pytest.raises(specter.PoolTimeout, match="all 1 connections are in use"):
            client.get(two.url + "/bytes/1", timeout=specter.Timeouts(5, pool=0.2))
        assert 0.2 <= time.monotonic() - start < 1.5
        assert client.get(one.url + "/bytes/1").timing.reused
        response.close()
        assert client.get(two.url + "/bytes/1").status_code == 200


def test_a_failed_dial_makes_room(make_shared: MakeShared, black_hole: int) -> None:
    client, (one,) = make_shared(1, max_connections=1)
    hole = f"https://127.0.0.1:{black_hole}/"
    failing = threading.Thread(target=in_threads, args=(1, lambda _: client.get(hole, timeout=0.4)))
    failing.start()
    time.sleep(0.1)
    assert client.get(one.url + "/bytes/1").status_code == 200
    failing.join()


def test_many_threads_and_little_room(make_shared: MakeShared) -> None:
    client, servers = make_shared(3, max_connections=2)

    def work(number: int) -> int:
        return sum(len(client.get(servers[(number + turn) % 3].url + "/bytes/100").content) for turn in range(4))

    assert in_threads(9, work) == [400] * 9


def test_closing_ends_the_wait_for_room(make_shared: MakeShared) -> None:
    client, (one, two) = make_shared(2, max_connections=1)
    results: list[Any] = []
    with ExitStack() as stack:
        stack.enter_context(client.stream("GET", one.url + "/drip?count=50&interval=0.1"))
        waiting = threading.Thread(target=lambda: results.extend(in_threads(2, lambda _: client.get(two.url + "/"))))
        waiting.start()
        time.sleep(0.1)
        client.close()
        waiting.join(5)
    assert [str(result) for result in results] == ["the client is closed"] * 2


# -- for an origin ------------------------------------------------------------------------------------------


@pytest.fixture
def narrow(start_server: StartServer) -> Server:
    """A server that allows one request at a time on a connection."""
    return start_server(config=QuicConfig(max_streams_bidi=1))


def test_by_default_requests_wait_for_a_stream(narrow: Server, make_client: MakeClient) -> None:
    client = make_client(narrow)
    client.get("/bytes/1")
    assert in_threads(4, lambda _: client.get("/delay/0.05").status_code) == [200] * 4
    assert accepted(narrow) == 1


def test_more_connections_where_the_server_allows_few_streams(narrow: Server, make_client: MakeClient) -> None:
    client = make_client(narrow, limits=specter.Limits(max_per_origin=3))
    with ExitStack() as stack:
        slow = [stack.enter_context(client.stream("GET", "/drip?count=3&interval=0.2")) for _ in range(3)]
        assert accepted(narrow) == 3
        with pytest.raises(specter.PoolTimeout, match="no more streams"):
            client.get("/bytes/1", timeout=specter.Timeouts(5, pool=0.1))
        assert [len(response.read()) for response in slow] == [3] * 3
    assert all(client.get("/bytes/1").timing.reused for _ in range(6))
    assert accepted(narrow) == 3


def test_one_connection_is_enough_while_there_are_streams(server: Server, make_client: MakeClient) -> None:
    before = accepted(server)
    client = make_client(server, limits=specter.Limits(max_per_origin=5))
    client.get("/bytes/1")
    assert in_threads(8, lambda _: client.get("/delay/0.1").status_code) == [200] * 8
    assert accepted(server) - before == 1


def test_both_limits_together(narrow: Server, make_client: MakeClient) -> None:
    client = make_client(narrow, limits=specter.Limits(max_per_origin=5, max_connections=2))
    results = in_threads(6, lambda _: client.get("/delay/0.05").status_code)
    assert results == [200] * 6
    assert accepted(narrow) <= 2


def test_a_further_connection_that_fails_is_done_without(narrow: Server, make_client: MakeClient) -> None:
    client = make_client(narrow, limits=specter.Limits(max_per_origin=3), timeout=specter.Timeouts(5, connect=0.3))
    with client.stream("GET", "/drip?count=3&interval=0.4") as response:
        narrow.call(lambda endpoint: setattr(endpoint, "accepting", False))
        start = time.monotonic()
        results: list[Any] = []
        waiting = threading.Thread(target=lambda: results.extend(in_threads(4, lambda _: client.get("/bytes/5"))))
        waiting.start()
        assert len(response.read()) == 3
        waiting.join(10)
    assert [result.content for result in results] == [content(0, 5)] * 4
    assert time.monotonic() - start < 4
    assert accepted(narrow) == 1


def test_further_connections_that_end_are_forgotten(narrow: Server, make_client: MakeClient) -> None:
    client = make_client(narrow, limits=specter.Limits(max_per_origin=2))
    with client.stream("GET", "/drip?count=2&interval=0.1") as response:
        client.get("/bytes/1")
        response.read()
    narrow.stop()
    narrow.start()
    for _ in range(3):
        assert client.get("/bytes/2").content == content(0, 2)
    assert accepted(narrow) == len(client._pool._connections.every()) <= 2


def test_closing_closes_further_connections_too(narrow: Server, make_client: MakeClient) -> None:
    client = make_client(narrow, limits=specter.Limits(max_per_origin=2))
    with client.stream("GET", "/drip?count=2&interval=0.1") as response:
        client.get("/bytes/1")
        response.read()
    connections = [connection for _, connection in client._pool._connections.every()]
    assert len(connections) == 2
    client.close()
    assert all(connection.closed for connection in connections)
    assert all(connection.channel.udp.fileno() == -1 for connection in connections)


# -- unused connections -------------------------------------------------------------------------------------


def test_unused_connections_expire(server: Server, make_client: MakeClient) -> None:
    client = make_client(server, limits=specter.Limits(idle_expiry=0.3))
    client.get("/bytes/1")
    assert client.get("/bytes/1").timing.reused
    old = client._pool._connections[Origin(server.host, server.port)]
    time.sleep(0.4)
    assert not client.get("/bytes/1").timing.reused
    assert old.closed


def test_a_connection_in_use_does_not_expire(server: Server, make_client: MakeClient) -> None:
    client = make_client(server, limits=specter.Limits(idle_expiry=0.2))
    with client.stream("GET", "/drip?count=2&interval=0.5") as response:
        assert len(response.read()) == 2
    assert client.get("/bytes/1").timing.reused


def test_a_connection_that_is_kept_alive_expires_all_the_same(server: Server, make_client: MakeClient) -> None:
    client = make_client(server, limits=specter.Limits(idle_expiry=0.3), keep_alive=0.05)
    client.get("/bytes/1")
    time.sleep(0.5)
    assert not client.get("/bytes/1").timing.reused


@pytest.mark.parametrize(("most", "left"), [(0, 1), (1, 1), (3, 3), (None, 4)])
def test_how_many_unused_connections_are_kept(make_shared: MakeShared, most: int | None, left: int) -> None:
    client, servers = make_shared(4, max_idle=most)
    for server in servers:
        client.get(server.url + "/bytes/1")
    assert len(client._pool._connections) == left


# -- bad arguments ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["max_connections", "max_per_origin", "idle_expiry", "max_idle"])
@pytest.mark.parametrize("value", [-1, float("nan")])
def test_limits_are_above_zero(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        specter.Limits(**{name: value})


def test_a_limit_of_none_at_all() -> None:
    for name in ("max_connections", "max_per_origin", "idle_expiry"):
        with pytest.raises(ValueError, match="above 0"):
            specter.Limits(**{name: 0})
    assert specter.Limits(max_idle=0).max_idle == 0
