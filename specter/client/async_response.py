"""A response of the asyncio client, read as a whole or piece by piece."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

from specter.client.base_response import CHUNK, BaseResponse, Take, checked, kept
from specter.client.pieces import Chunks, Lines, Step, Text

__all__ = ["AsyncResponse"]

T = TypeVar("T")


class AsyncResponse(BaseResponse):
    """What the server answered.

    Of a streamed response (``client.stream``) the body is read with ``aread``, ``areadinto`` or one of the iterators,
    once; of any other it is here already. Reading raises what went wrong: ``ReadTimeout``, ``StreamReset`` ... A read
    that is cancelled ends the exchange; the connection goes on.
    """

    async def aread(self) -> bytes:
        """Read the body to its end and return it; again and again."""
        return await self._read()

    def aiter_bytes(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        """Yield the body as it comes, or in chunks of ``chunk_size`` bytes (the last may be shorter)."""
        return self._iterate(self._taker(), chunk_size)

    def aiter_raw(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        """Like ``aiter_bytes``, with content codings left as they are where the request said ``decode``."""
        self._require_raw()
        return self._iterate(self._piece, chunk_size)

    def _iterate(self, take: Take, chunk_size: int | None) -> AsyncIterator[bytes]:
        size = checked(chunk_size)
        if self._content is not None:
            return _Kept(kept(self._content, size))
        self._begin()
        return _Pieces(take) if size is None else _Through(Chunks(size), _Pieces(take, max(size, CHUNK)))

    def aiter_text(self, chunk_size: int | None = None) -> AsyncIterator[str]:
        """Yield the body as text, decoded piece by piece."""
        return _Through(Text(self.encoding), self.aiter_bytes(chunk_size))

    def aiter_lines(self) -> AsyncIterator[str]:
        """Yield the body's lines, without their ends."""
        return _Through(Lines(self.encoding), self.aiter_bytes())

    async def areadinto(self, buffer: bytearray | memoryview) -> int:
        """Put body bytes into ``buffer``, as they come without a copy in between; return how many, 0 at the end.

        May be called again and again, but not mixed with the iterators.
        """
        return await self._readinto(buffer)

    async def aclose(self) -> None:
        """End the exchange; what the server still sends of it is dropped. Any number of times."""
        await self._close()

    async def __aenter__(self) -> AsyncResponse:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


# Classes rather than generators: whoever stops half-way leaves nothing behind that the loop has to finalise.


class _Kept:
    """A body that was read before."""

    __slots__ = ("_pieces",)

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        for piece in self._pieces:
            return piece
        raise StopAsyncIteration


class _Pieces:
    """A body as it comes."""

    __slots__ = ("_limit", "_take")

    def __init__(self, take: Take, limit: int = CHUNK) -> None:
        self._take = take
        self._limit = limit

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if piece := await self._take(self._limit):
            return piece
        raise StopAsyncIteration


class _Through(Generic[T]):
    """What a step makes of a body."""

    __slots__ = ("_over", "_parts", "_pieces", "_step")

    def __init__(self, step: Step[T], pieces: AsyncIterator[bytes]) -> None:
        self._step = step
        self._pieces = pieces
        self._parts: Iterable[T] = iter(())
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while True:
            for part in self._parts:
                return part
            if self._over:
                raise StopAsyncIteration
            try:
                self._parts = iter(self._step.feed(await anext(self._pieces)))
            except StopAsyncIteration:
                self._over = True
                self._parts = iter(self._step.finish())
