"""Cancelled wherever it waits: the stream is reset with the right code, and the connection serves everybody else."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from typing import Any

import pytest

import specter
from specter.h3.errors import H3ErrorCode
from specter.quic.config import QuicConfig
from specter.testing.content import content
from tests.client.watching import Ending, WatchingServer
from tests.loops import Run

CANCELLED = H3ErrorCode.H3_REQUEST_CANCELLED


@pytest.fixture
def server() -> Iterator[WatchingServer]:
    with WatchingServer(config=QuicConfig(max_streams_bidi=4)) as running:
        yield running


def make_client(server: WatchingServer, **options: Any) -> specter.AsyncClient:
    return specter.AsyncClient(**{"verify": server.ca_file, "base_url": server.url, **options})


class Counted:
    """A coroutine whose task is cancelled when it waits for the ``limit``-th time."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], limit: int) -> None:
        self._coroutine = coroutine
        self._limit = limit
        self.waits = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self._coroutine.__await__()
        task = asyncio.current_task()
        assert task is not None
        value = None
        while True:
            try:
                waits_for = inner.send(value)
            except StopIteration as done:
                return done.value
            self.waits += 1
            if self.waits == self._limit:
                asyncio.get_running_loop().call_soon(task.cancel)
            try:
                value = yield waits_for
            except BaseException as error:
                try:
                    waits_for = inner.throw(error)
                except StopIteration as done:
                    return done.value
                value = yield waits_for


async def cancelled_at(limit: int, coroutine: Coroutine[Any, Any, Any]) -> bool:
    """Cancel ``coroutine`` at its ``limit``-th wait; return False when it has fewer."""
    counted = Counted(coroutine, limit)

    async def main() -> Any:
        return await counted

    task = asyncio.create_task(main())
    await asyncio.wait([task])
    if task.cancelled():
        return True
    task.result()
    return counted.waits >= limit


async def body(pieces: int = 20) -> AsyncIterator[bytes]:
    for index in range(pieces):
        await asyncio.sleep(0)
        yield content(index, 100_000)


async def read_slowly(client: specter.AsyncClient) -> None:
    async with client.stream("GET", "/drip?count=5&bytes=2000&interval=0.01") as response:
        async for _ in response.aiter_bytes():
            pass


async def read_into(client: specter.AsyncClient) -> None:
    async with client.stream("GET", "/bytes/300000") as response:
        buffer = bytearray(100_000)
        assert all([await response.areadinto(buffer) for _ in range(3)])


async def upload_a_file(client: specter.AsyncClient, path: Any) -> None:
    with open(path, "rb") as file:  # noqa: ASYNC230
        await client.post("/digest", content=file)


WORKS: dict[str, Callable[[specter.AsyncClient], Coroutine[Any, Any, Any]]] = {
    "a late answer": lambda client: client.get("/delay/0.05"),
    "a slow answer": read_slowly,
    "a large answer": read_into,
    "an upload": lambda client: client.post("/digest", content=bytes(3_000_000)),
    "an asynchronous upload": lambda client: client.post("/digest", content=body()),
    "an echo": lambda client: client.post("/echo", content=body(5)),
}


@pytest.mark.parametrize("name", WORKS)
def test_at_any_wait_on_a_connection_that_is_there(run: Run, server: WatchingServer, name: str) -> None:
    async def main() -> None:
        async with make_client(server) as client:
            await client.get("/bytes/1")
            limit = 1
            while await cancelled_at(limit, WORKS[name](client)):
                connection = next(iter(client.pool._connections.values()))
                assert not connection.busy
                response = await client.get("/bytes/5")
                assert response.timing.reused
                assert response.content == content(0, 5)
                limit += 1 if limit < 8 else limit // 3
            assert limit > 1

    run(main())
    assert {ending.code for ending in server.wait_for(1)} == {CANCELLED}


def test_nothing_is_left_of_an_error_that_was_handled(run: Run, server: WatchingServer) -> None:
    """A coroutine that keeps the exception it was ended with makes it the context of all that come later."""

    async def main() -> None:
        async with make_client(server) as client:
            await client.get("/bytes/1")
            for name, work in WORKS.items():
                assert await cancelled_at(1, work(client)), name
            with pytest.raises(specter.ReadTimeout):
                await client.get("/delay/5", timeout=0.05)
            assert sys.exc_info() == (None, None, None)
            with pytest.raises(specter.InvalidURL) as caught:
                await client.get("https://")
            assert caught.value.__context__ is None or isinstance(caught.value.__context__, ValueError)

    run(main())


def test_a_file_that_is_read_in_a_thread(run: Run, server: WatchingServer, tmp_path: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(content(0, 2_000_000))

    async def main() -> None:
        async with make_client(server) as client:
            await client.get("/bytes/1")
            limit = 1
            while await cancelled_at(limit, upload_a_file(client, path)):
                assert (await client.get("/bytes/5")).timing.reused
                limit += 1
            assert limit > 2

    run(main())


def test_at_any_wait_while_connecting(run: Run, server: WatchingServer) -> None:
    async def main() -> None:
        limit = 1
        while True:
            async with make_client(server, resolve={"a.example": [server.host, "127.0.0.2"]}) as client:
                url = f"https://localhost:{server.port}/bytes/9"
                was_cancelled = await cancelled_at(limit, client.get(url))
                assert not client.pool._dials
                assert (await client.get(url)).content == content(0, 9)
                if not was_cancelled:
                    break
            limit += 1
        assert limit > 2

    run(main())


def test_the_code_that_the_server_sees(run: Run, server: WatchingServer) -> None:
    async def cancel(client: specter.AsyncClient, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await client.get("/bytes/1")

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1000)
            await asyncio.sleep(0.01)

    async def main() -> None:
        async with make_client(server) as client:
            await cancel(client, client.get("/delay/5"))
            assert server.wait_for(1) == [Ending("stop", CANCELLED)]
            server.endings.clear()
            await cancel(client, client.post("/digest", content=endless()))
            assert set(server.wait_for(2)) >= {Ending("reset", CANCELLED)}
            assert {ending.code for ending in server.endings} == {CANCELLED}

    run(main())


def test_while_waiting_for_a_stream(run: Run, server: WatchingServer) -> None:
    """The server allows four at once: those behind in the queue are not lost with the one that leaves it."""

    async def main() -> None:
        async with make_client(server) as client:
            await client.get("/bytes/1")
            busy = [asyncio.create_task(client.get("/delay/0.3")) for _ in range(4)]
            waiting = [asyncio.create_task(client.get("/bytes/7")) for _ in range(6)]
            await asyncio.sleep(0.05)
            for task in (waiting[0], waiting[2], waiting[5]):
                task.cancel()
            results = await asyncio.gather(*busy, *waiting, return_exceptions=True)
        answered = [isinstance(result, specter.AsyncResponse) for result in results[4:]]
        assert answered == [False, True, False, True, True, False]
        assert {response.status_code for response in results[:4]} == {200}  # type: ignore[union-attr]

    run(main())
    assert server.requests == 1 + 4 + 3


def test_the_caller_of_a_dial_that_others_wait_for(run: Run, server: WatchingServer) -> None:
    async def main() -> None:
        async with make_client(server) as client:
            first = asyncio.create_task(client.get("/bytes/1"))
            others = [asyncio.create_task(client.get("/bytes/2")) for _ in range(5)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            first.cancel()
            assert [len(response.content) for response in await asyncio.gather(*others)] == [2] * 5
            assert first.cancelled()
            assert len(client.pool._connections) == 1
            assert not client.pool._dials

    run(main())


def test_a_time_limit_of_asyncio(run: Run, server: WatchingServer) -> None:
    async def main() -> None:
        async with make_client(server) as client:
            await client.get("/bytes/1")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await client.get("/delay/5")
            assert (await client.get("/bytes/1")).timing.reused

    run(main())


def test_a_task_group(run: Run, server: WatchingServer) -> None:
    """One fails, the others are cancelled."""

    async def group_of(client: specter.AsyncClient) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(client.get("/delay/5"))
            group.create_task(client.post("/digest", content=body(10_000)))
            group.create_task(client.get("/reset"))

    async def main() -> None:
        async with make_client(server) as client:
            with pytest.raises(ExceptionGroup) as caught:
                await group_of(client)
            assert [type(error) for error in caught.value.exceptions] == [specter.StreamReset]
            assert (await client.get("/bytes/1")).timing.reused

    run(main())


def test_the_body_is_closed_before_the_request_is_over(run: Run, server: WatchingServer) -> None:
    closed: list[str] = []

    async def pieces() -> AsyncIterator[bytes]:
        try:
            while True:
                yield os.urandom(100)
                await asyncio.sleep(0.005)
        finally:
            await asyncio.sleep(0.01)
            closed.append("yes")

    async def main() -> None:
        async with make_client(server) as client:
            task = asyncio.create_task(client.post("/digest", content=pieces()))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert closed == ["yes"]

    run(main())
