from __future__ import annotations

import threading
import time
import warnings
from typing import Any

import pytest

import specter
from specter.client.security import Security
from specter.client.url import Origin
from specter.errors import NetworkError
from specter.net.budget import Budget
from specter.net.dialing import Dialer, TokenCache, dial
from specter.net.inline import run_inline
from specter.net.threads import ThreadDriver
from specter.testing.server import Server


def test_tokens_are_used_once_and_kept_in_bounds() -> None:
    cache = TokenCache()
    cache.put("a.example", 443, 1, b"old")
    cache.put("a.example", 443, 1, b"new")
    cache.put("a.example", 444, 1, b"other")
    assert cache.take("a.example", 443, 2) == b""
    assert cache.take("a.example", 443, 1) == b"new"
    assert cache.take("a.example", 443, 1) == b""
    for number in range(TokenCache.LIMIT + 10):
        cache.put("b.example", number, 1, b"x")
    assert cache.take("a.example", 444, 1) == b""
    assert cache.take("b.example", 9, 1) == b""
    assert cache.take("b.example", 10, 1) == b"x"


def test_a_token_of_the_server_is_kept_for_the_next_connection() -> None:
    with Server() as server, specter.Client(verify=server.ca_file) as client:
        client.get(server.url + "/bytes/1")
        server.call(lambda endpoint: [connection.issue_token(b"a token") for connection in endpoint.connections])
        tokens = client._pool._dialer.tokens
        end = time.monotonic() + 5
        while not tokens._tokens:
            assert time.monotonic() < end
            client.get(server.url + "/bytes/1")
        assert tokens._tokens == {(server.host, server.port, 1): b"a token"}
        client._pool.discard(Origin(server.host, server.port), client._pool._connections.popitem()[1])
        assert client.get(server.url + "/bytes/1").status_code == 200
        assert not tokens._tokens


def test_a_dial_that_nobody_wants_any_more() -> None:
    with Server() as server:
        server.stop()
        unwanted = threading.Event()

        def stop() -> None:
            if unwanted.is_set():
                raise NetworkError("closed")

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dialer = Dialer(tls=Security(False).config)
        unwanted.set()
        driver = ThreadDriver()
        driver.wake()
        with pytest.raises((NetworkError, specter.ConnectError)):
            run_inline(dial(dialer, driver, server.host, server.port, Budget.of(connect=5), stop))


def test_a_client_that_is_closed_while_it_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    with Server() as server:
        client = specter.Client(verify=server.ca_file)
        made: list[Any] = []

        async def dial_and_close(*arguments: Any, **options: Any) -> Any:
            made.append(await dial(*arguments, **options))
            client.close()
            return made[0]

        monkeypatch.setattr("specter.client.pool.dial", dial_and_close)
        with pytest.raises(specter.NetworkError, match="closed"):
            client.get(server.url + "/bytes/1")
        assert made[0].closed
        assert made[0].channel.udp.fileno() == -1
