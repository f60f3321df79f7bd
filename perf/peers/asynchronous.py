"""The tunnel workloads of a client that runs on asyncio, from two calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

from perf.peers.adapter import FIRST_NAP, NAP, Sample, now


class AsyncTunnel(Protocol):
    """An open tunnel."""

    async def send(self, data: bytes, fin: bool) -> None: ...

    async def receive(self) -> bytes:
        """Return bytes, ``b""`` at the end."""

    async def close(self) -> None: ...


Open: TypeAlias = Callable[[], Awaitable[AsyncTunnel]]
"""Opens a tunnel; done when the server has agreed to it."""


async def echo(open_tunnel: Open, count: int, size: int) -> Sequence[Sample]:
    """Do ``Adapter.echo``."""
    tunnel, data = await open_tunnel(), bytes(size)
    samples = [await _echo(tunnel, data) for _ in range(count)]
    await tunnel.close()
    return samples


async def _echo(tunnel: AsyncTunnel, data: bytes) -> Sample:
    begin = now()
    await tunnel.send(data, False)
    got = len(await tunnel.receive())
    first = now()
    while got < len(data):
        got += len(await tunnel.receive())
    return begin, first, first, now(), got


async def close_fin(open_tunnel: Open, count: int, size: int) -> Sequence[Sample]:
    """Do ``Adapter.close_fin``."""
    return [await _close_fin(open_tunnel, bytes(size)) for _ in range(count)]


async def _close_fin(open_tunnel: Open, data: bytes) -> Sample:
    begin = now()
    tunnel = await open_tunnel()
    opened = now()
    await tunnel.send(data, True)
    first = got = 0
    while piece := await tunnel.receive():
        first = first or now()
        got += len(piece)
    end = now()
    await tunnel.close()
    return begin, opened, first or end, end, got


async def mixed(
    open_tunnel: Open, get: Callable[[], Awaitable[Sample]], count: int, size: int, writes: int
) -> Sequence[Sample]:
    """Do ``Adapter.mixed``."""
    return [await _mixed(open_tunnel, get, bytes(size), writes) for _ in range(count)]


async def _mixed(open_tunnel: Open, get: Callable[[], Awaitable[Sample]], data: bytes, writes: int) -> Sample:
    begin = now()
    sample, (last, got) = await asyncio.gather(get(), _slow(open_tunnel, data, writes))
    _, headers, first, end, size = sample
    return begin, headers, first, max(end, last), size + got


async def _slow(open_tunnel: Open, data: bytes, writes: int) -> tuple[int, int]:
    """Write at once, read with pauses; return when the end came, and the bytes."""
    tunnel, got = await open_tunnel(), 0
    for index in range(writes):
        await tunnel.send(data, index == writes - 1)
    await asyncio.sleep(FIRST_NAP)
    while True:
        await asyncio.sleep(NAP)
        piece = await tunnel.receive()
        if not piece:
            await tunnel.close()
            return now(), got
        got += len(piece)
