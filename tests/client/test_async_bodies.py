"""Bodies that have to be awaited: sent beside the response, within limits, and ended whatever happens."""

from __future__ import annotations

import asyncio
import io
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import specter
from specter.quic.config import QuicConfig
from specter.testing.content import content
from specter.testing.server import Server
from tests.loops import Run

SMALL = QuicConfig(
    stream_window=16_384,
    stream_window_max=16_384,
    connection_window=32_768,
    connection_window_max=32_768,
    send_buffer=16_384,
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def make_client(server: Server, **options: Any) -> specter.AsyncClient:
    return specter.AsyncClient(**{"verify": server.ca_file, "base_url": server.url, **options})


async def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        await asyncio.sleep(0.001)


async def endless(size: int = 10_000) -> AsyncIterator[bytes]:
    while True:
        await asyncio.sleep(0)
        yield bytes(size)


def test_each_piece_is_made_of_the_answer_to_the_one_before(run: Run, server: Server) -> None:
    async def main() -> None:
        answers: asyncio.Queue[bytes] = asyncio.Queue()

        async def questions() -> AsyncIterator[bytes]:
            yield b"1"
            for _ in range(20):
                answer = await answers.get()
                yield b"%d" % (int(answer) + 1)

        seen = []
        async with make_client(server) as client, client.stream("POST", "/echo", content=questions()) as response:
            async for piece in response.aiter_bytes():
                seen.append(int(piece))
                answers.put_nowait(piece)
        assert seen == list(range(1, 22))

    run(main())


def test_an_answer_comes_while_the_body_waits_for_something_else(run: Run, server: Server) -> None:
    """A blocking client would have to wait for the next piece first."""
    closed = []

    async def stuck() -> AsyncIterator[bytes]:
        try:
            yield b"begin"
            await asyncio.sleep(3600)
        finally:
            closed.append(True)

    async def main() -> None:
        async with make_client(server) as client:
            async with client.stream("POST", "/echo", content=stuck()) as response:
                assert await anext(response.aiter_bytes()) == b"begin"
            assert closed
            assert (await client.get("/bytes/1")).timing.reused

    run(main())


@pytest.mark.parametrize("after", [0, 3])
def test_its_exceptions_are_the_callers(run: Run, server: Server, after: int) -> None:
    async def failing() -> AsyncIterator[bytes]:
        for _ in range(after):
            yield bytes(50_000)
        raise KeyError("mine")

    async def main() -> None:
        async with make_client(server) as client:
            await client.get("/bytes/1")
            with pytest.raises(KeyError, match="mine"):
                await client.post("/digest", content=failing())
            with pytest.raises(TypeError, match="gives text"):
                await client.post("/digest", content=texts())
            assert (await client.get("/bytes/1")).timing.reused

    async def texts() -> AsyncIterator[Any]:
        yield "text"

    run(main())


def test_its_exceptions_come_while_the_response_is_read(run: Run, server: Server) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.sleep(0.05)
        raise KeyError("mine")

    async def main() -> None:
        async with make_client(server) as client:
            with pytest.raises(KeyError, match="mine"):
                async with client.stream("POST", "/echo", content=failing()) as response:
                    await response.aread()
            assert (await client.get("/bytes/1")).timing.reused

    run(main())


def test_a_server_that_takes_no_more(run: Run) -> None:
    async def main(server: Server) -> None:
        async with make_client(server) as client:
            start = time.monotonic()
            with pytest.raises(specter.WriteTimeout, match=r"0\.3 s"):
                await client.post("/delay/30", content=endless(), timeout=specter.Timeouts(5, write=0.3))
            assert 0.3 <= time.monotonic() - start < 2
            with pytest.raises(specter.TotalTimeout):
                await client.post("/delay/30", content=endless(), timeout=specter.Timeouts(5, total=0.3))
            assert (await client.get("/bytes/1")).timing.reused

    with Server(config=SMALL) as server:
        run(main(server))


def test_an_answer_that_goes_on_after_the_server_takes_no_more(run: Run, server: Server) -> None:
    """Who reads has a limit of his own; the body's counts again when the response is complete."""

    async def main() -> None:
        async with make_client(server, timeout=specter.Timeouts(5, write=0.2)) as client:
            response = await client.post("/drip?count=5&interval=0.1", content=endless())
            assert len(response.content) == 5
            assert (await client.get("/bytes/1")).timing.reused

    run(main())


def test_a_body_that_never_comes_ends_with_the_total_limit(run: Run, server: Server) -> None:
    async def never() -> AsyncIterator[bytes]:
        await asyncio.sleep(3600)
        yield b""

    async def main() -> None:
        async with make_client(server) as client:
            start = time.monotonic()
            with pytest.raises(specter.TotalTimeout):
                await client.post("/digest", content=never(), timeout=specter.Timeouts(1, total=0.3))
            assert 0.3 <= time.monotonic() - start < 1.5

    run(main())


def test_an_early_answer_ends_it(run: Run, server: Server) -> None:
    async def main() -> None:
        async with make_client(server) as client:
            response = await client.post("/status/413", content=endless())
            assert (response.status_code, response.text) == (413, "413\n")
            assert (await client.get("/bytes/1")).timing.reused

    run(main())


def test_a_slow_server_slows_it_down(run: Run) -> None:
    """No more is taken from the body than fits into the windows."""
    made = 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal made
        while True:
            made += 1000
            yield bytes(1000)

    async def main(server: Server) -> None:
        async with make_client(server, quic=SMALL) as client:
            task = asyncio.create_task(client.post("/delay/30", content=counted()))
            await asyncio.sleep(0.3)
            before = made
            await asyncio.sleep(0.2)
            assert made == before < 100_000
            task.cancel()
            await asyncio.wait([task])

    with Server(config=SMALL) as server:
        run(main(server))


# -- files ----------------------------------------------------------------------------------------------------


class SlowFile(io.RawIOBase):
    """Reads take their time. Their threads are noted."""

    def __init__(self, body: bytes) -> None:
        self._inner = io.BytesIO(body)
        self.reading = 0
        self.readers: set[int] = set()

    def read(self, size: int = -1) -> bytes:
        assert not self.reading, "two at once"
        self.reading += 1
        self.readers.add(threading.get_ident())
        time.sleep(0.02)
        self.reading -= 1
        return self._inner.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        assert not self.reading, "moved while it was read"
        return self._inner.seek(offset, whence)

    def tell(self) -> int:
        return self._inner.tell()


def test_a_slow_file_holds_nobody_up(run: Run, server: Server) -> None:
    body = content(0, 2_000_000)

    async def main() -> None:
        async with make_client(server) as client:
            file = SlowFile(body)
            assert (await client.post("/echo", content=file)).content == body
            assert file.readers
            assert threading.get_ident() not in file.readers

    run(main())


def test_a_file_that_is_being_read_is_not_sent_again(run: Run, server: Server) -> None:
    """Not before the thread that is in it has come back."""

    async def main() -> None:
        async with make_client(server) as client:
            await client.get("/bytes/1")
            request = client.build_request("PUT", "/digest", content=SlowFile(bytes(5_000_000)))
            assert request.body is not None
            task = asyncio.create_task(client.send(request))
            await until(lambda: not request.replayable)
            task.cancel()
            await asyncio.wait([task])
            await until(lambda: request.replayable)
            assert (await client.send(request)).json()["bytes"] == 5_000_000

    run(main())


def test_a_pipe(run: Run, server: Server) -> None:
    async def main() -> None:
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb") as source, os.fdopen(writing, "wb") as sink:
            async with make_client(server) as client:
                task = asyncio.create_task(client.post("/digest", content=source))
                for _ in range(3):
                    await asyncio.sleep(0.02)
                    sink.write(bytes(1000))
                    sink.flush()
                    assert (await client.get("/bytes/1")).status_code == 200
                sink.close()
                assert (await task).json()["bytes"] == 3000

    run(main())
