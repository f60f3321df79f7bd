"""A tunnel of the asyncio client."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from specter.client.async_response import AsyncResponse
from specter.client.tunneling import CHUNK, BaseTunnel, moment

__all__ = ["AsyncTunnel", "Opening"]


class Closing(Protocol):
    """What is used in ``async with``."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


T = TypeVar("T", bound=Closing)


class Opening(Generic[T]):
    """Opens something: to be awaited, or used in ``async with``, once."""

    def __init__(self, opening: Coroutine[Any, Any, T]) -> None:
        self._opening = opening
        self._opened: T | None = None

    def __await__(self) -> Generator[Any, Any, T]:
        return self._opening.__await__()

    async def __aenter__(self) -> T:
        self._opened = await self._opening
        return await self._opened.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is not None:
            await self._opened.__aexit__(kind, error, trace)


class AsyncTunnel(BaseTunnel[AsyncResponse]):
    """Bytes in both directions, each of which has its own end. ``AsyncClient.tunnel`` opens one.

    One task may send while another receives. PINGs keep the connection alive while the tunnel is open.

    Every operation raises what went wrong: ``StreamReset`` when the server reset the tunnel, ``NetworkError`` when the
    connection is lost, ``StreamClosed`` after ``aclose``. A ``receive`` that is cancelled takes nothing with it.
    """

    async def send(self, data: bytes | bytearray | memoryview, *, eof: bool = False) -> None:
        """Send all of ``data``; where flow control makes it wait, the client's write timeout counts. ``eof`` ends this
        direction with it.

        Raises:
            WriteTimeout: the server took no more; how much of ``data`` it has is unknown, as after a cancellation.
        """
        await self._use().send(data, eof=eof)

    async def send_eof(self) -> None:
        """End this direction; the server's goes on. Any number of times."""
        self._use().send_eof()

    async def receive(self, max_bytes: int = CHUNK, *, timeout: float | None = None) -> bytes:
        """Return 1 to ``max_bytes`` bytes, ``b""`` when the server has ended its direction.

        Bytes that are not received make the server wait, by flow control.

        Raises:
            ReadTimeout: nothing came for ``timeout`` seconds; the tunnel goes on. None waits for as long as it takes.
        """
        if max_bytes < 1:
            raise ValueError("max_bytes must be positive")
        return await self._use().receive(max_bytes, moment(timeout))

    async def receive_into(self, buffer: bytearray | memoryview, *, timeout: float | None = None) -> int:
        """Like ``receive``, into ``buffer``, without a copy in between; return how many bytes, 0 at the end."""
        view = memoryview(buffer).cast("B")
        if not view:
            raise ValueError("the buffer is empty")
        return await self._use().receive_into(view, moment(timeout))

    async def aclose(self) -> None:
        """End the tunnel: what is not finished in either direction is cancelled. Any number of times.

        A task that waits in it gets ``StreamClosed``.
        """
        self._end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
