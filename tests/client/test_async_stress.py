"""Many tasks that do everything at once, and are cancelled at any time: whoever is not gets what was asked for."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator

import pytest

import specter
from specter.quic.config import QuicConfig
from specter.testing.content import content
from specter.testing.server import Server
from tests.loops import Run

SMALL = QuicConfig(
    stream_window=32_768, stream_window_max=65_536, connection_window=65_536, connection_window_max=131_072
)


@pytest.fixture(params=[None, SMALL], ids=["usual windows", "small windows"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    config = request.param or QuicConfig(max_streams_bidi=10)
    with Server(config=config) as running:
        yield running


class Worker:
    """One of many tasks."""

    def __init__(self, client: specter.AsyncClient, seed: int) -> None:
        self._client = client
        self._chance = random.Random(seed)
        self.done = 0

    async def run(self) -> None:
        for _ in range(25):
            work = self._chance.choice([self.get, self.stream, self.post, self.feed, self.fill, self.leave, self.fail])
            if self._chance.random() < 0.3:
                task = asyncio.create_task(work())
                await asyncio.wait([task], timeout=self._chance.random() * 0.03)
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled():
                    task.result()
            else:
                await work()
                self.done += 1

    def size(self) -> int:
        return int(10 ** (self._chance.random() * 5))

    async def get(self) -> None:
        size = self.size()
        assert (await self._client.get(f"/bytes/{size}")).content == content(0, size)

    async def stream(self) -> None:
        size, body = self.size(), b""
        async with self._client.stream("GET", f"/bytes/{size}") as response:
            async for piece in response.aiter_bytes(self._chance.choice([None, 1000, 70_000])):
                body += piece
                if self._chance.random() < 0.1:
                    await asyncio.sleep(0)
        assert body == content(0, size)

    async def post(self) -> None:
        body = content(self._chance.randrange(99), self.size())
        assert (await self._client.post("/echo", content=body)).content == body

    async def feed(self) -> None:
        size = self.size()

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, size, 5000):
                if self._chance.random() < 0.5:
                    await asyncio.sleep(0)
                yield content(start, min(5000, size - start))

        assert (await self._client.post("/digest", content=pieces())).json()["bytes"] == size

    async def fill(self) -> None:
        size = self.size()
        buffer, filled = bytearray(size), 0
        async with self._client.stream("GET", f"/bytes/{size}") as response:
            while count := await response.areadinto(memoryview(buffer)[filled : filled + 3000] or bytearray(1)):
                filled += count
        assert buffer == content(0, size)

    async def leave(self) -> None:
        async with self._client.stream("GET", "/bytes/500000") as response:
            async for _ in response.aiter_bytes():
                break

    async def fail(self) -> None:
        with pytest.raises(specter.StreamReset):
            await self._client.get("/reset/2000")


@pytest.mark.parametrize("seed", range(3))
def test_everything_at_once(run: Run, server: Server, seed: int) -> None:
    async def main() -> None:
        async with specter.AsyncClient(verify=server.ca_file, base_url=server.url, timeout=30) as client:
            await client.get("/bytes/1")
            connection = next(iter(client.pool._connections.values()))
            workers = [Worker(client, 1000 * seed + number) for number in range(30)]
            await asyncio.gather(*(worker.run() for worker in workers))
            assert sum(worker.done for worker in workers) > 100
            assert not connection.busy
            assert not connection.closed
            assert not connection._waiters
            response = await client.get("/bytes/100")
            assert response.timing.reused
            assert response.content == content(0, 100)
            assert server.endpoint is not None
            assert server.endpoint.stats.accepted == 1
            end = time.monotonic() + 5
            while any(peer.engine._exchanges for peer in server.endpoint.peers):  # type: ignore[attr-defined]
                assert time.monotonic() < end, "the server still has exchanges"
                await asyncio.sleep(0.01)

    run(main())
