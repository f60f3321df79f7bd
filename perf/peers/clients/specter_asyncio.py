"""Specter's asyncio client, through its public face."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, TypeVar

import specter
from perf.kit.identity import specter_build
from perf.peers import asynchronous
from perf.peers.adapter import Adapter, Sample, expect, now, zeros

T = TypeVar("T")


class Tunnel:
    def __init__(self, tunnel: specter.AsyncTunnel) -> None:
        self._tunnel = tunnel
        self.receive = tunnel.receive
        self.close = tunnel.aclose

    async def send(self, data: bytes, fin: bool) -> None:
        await self._tunnel.send(data, eof=fin)


class Client(Adapter):
    version = specter.__version__

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._loop = asyncio.new_event_loop()
        self._client: Any = None

    def details(self) -> dict[str, Any]:
        return specter_build()

    def _run(self, work: Awaitable[T]) -> T:
        return self._loop.run_until_complete(work)

    def _new(self) -> Any:
        return specter.AsyncClient(verify=self._ca_file, base_url=self._url, **self._options)

    def connect(self, url: str, ca_file: str) -> None:
        self._url, self._ca_file = url, ca_file

        async def work() -> None:
            self._client = self._new()
            response = await self._client.get("/health")
            expect(response.status_code in (200, 404), "no health")

        self._run(work())

    async def _get(self, client: Any, path: str) -> Sample:
        begin = now()
        async with client.stream("GET", path) as response:
            headers = now()
            first = size = 0
            async for piece in response.aiter_bytes():
                first = first or now()
                size += len(piece)
            end = now()
            expect(response.status_code == 200, f"status {response.status_code}")
        return begin, headers, first or end, end, size

    def stream(self, path: str, count: int) -> Sequence[Sample]:
        return self.many(path, count, 1)

    def many(self, path: str, count: int, at_once: int) -> Sequence[Sample]:
        async def work() -> list[Sample]:
            if at_once == 1:
                return [await self._get(self._client, path) for _ in range(count)]
            room = asyncio.Semaphore(at_once)

            async def one() -> Sample:
                async with room:
                    return await self._get(self._client, path)

            return await asyncio.gather(*(one() for _ in range(count)))

        return self._run(work())

    def upload(self, path: str, size: int) -> Sequence[Sample]:
        async def work() -> list[Sample]:
            begin = now()
            headers = {"content-length": str(size)}
            response = await self._client.post(path, content=_zeros(size), headers=headers)
            expect(response.status_code < 300, f"status {response.status_code}")
            end = now()
            return [(begin, end, end, end, size)]

        return self._run(work())

    def handshakes(self, path: str, count: int) -> Sequence[Sample]:
        async def work() -> list[Sample]:
            samples = []
            for _ in range(count):
                begin = now()
                async with self._new() as client:
                    _, headers, first, _, size = await self._get(client, path)
                samples.append((begin, headers, first, now(), size))
            return samples

        return self._run(work())

    def _opener(self, path: str) -> asynchronous.Open:
        async def open_tunnel() -> Tunnel:
            return Tunnel(await self._client.tunnel(path))

        return open_tunnel

    def echo(self, path: str, count: int, size: int) -> Sequence[Sample]:
        return self._run(asynchronous.echo(self._opener(path), count, size))

    def close_fin(self, path: str, count: int, size: int) -> Sequence[Sample]:
        return self._run(asynchronous.close_fin(self._opener(path), count, size))

    def mixed(self, path: str, tunnel: str, count: int, size: int, writes: int) -> Sequence[Sample]:
        work = asynchronous.mixed(self._opener(tunnel), lambda: self._get(self._client, path), count, size, writes)
        return self._run(work)

    def close(self) -> None:
        if self._client is not None:
            self._run(self._client.aclose())
        self._loop.close()


async def _zeros(size: int) -> AsyncIterator[bytes]:
    for piece in zeros(size):
        yield piece
