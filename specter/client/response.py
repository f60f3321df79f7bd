"""A response of the blocking client, read as a whole or piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Protocol

from specter.client.base_response import CHUNK, LARGE, BaseResponse, BaseSource
from specter.client.pieces import Chunks, Lines, Text, through

__all__ = ["Response"]


class Source(BaseSource, Protocol):
    """Where the body comes from."""

    def read(self, limit: int) -> bytes: ...

    def readinto(self, view: memoryview) -> int: ...


class Response(BaseResponse[Source]):
    """What the server answered.

    Of a streamed response (``client.stream``) the body is read with ``read``, ``readinto`` or one of the iterators,
    once; of any other it is here already. Reading raises what went wrong: ``ReadTimeout``, ``StreamReset`` ...
    """

    def read(self) -> bytes:
        """Read the body to its end and return it; again and again."""
        if self._content is not None:
            return self._content
        self._begin()
        return self._keep(list(self._pieces(LARGE)))

    def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """Yield the body as it comes, or in chunks of ``chunk_size`` bytes (the last may be shorter)."""
        if chunk_size is not None and chunk_size < 1:
            raise ValueError("chunk_size must be positive")
        if self._content is not None:
            return self._kept(self._content, chunk_size)
        self._begin()
        if chunk_size is None:
            return self._pieces(CHUNK)
        return through(Chunks(chunk_size), self._pieces(max(chunk_size, CHUNK)))

    def iter_raw(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """The same as ``iter_bytes``: content codings are not undone."""
        return self.iter_bytes(chunk_size)

    def iter_text(self, chunk_size: int | None = None) -> Iterator[str]:
        """Yield the body as text, decoded piece by piece."""
        return through(Text(self.encoding), self.iter_bytes(chunk_size))

    def iter_lines(self) -> Iterator[str]:
        """Yield the body's lines, without their ends."""
        return through(Lines(self.encoding), self.iter_bytes())

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Put body bytes into ``buffer`` without a copy in between; return how many, 0 at the end.

        May be called again and again, but not mixed with the iterators.
        """
        if not self._begin_into():
            return 0
        view = memoryview(buffer).cast("B")
        try:
            count = self._source.readinto(view) if len(view) else 0
        except BaseException:
            self.close()
            raise
        if not count and len(view):
            self._finish()
        return count

    def close(self) -> None:
        """End the exchange; what the server still sends of it is dropped. Any number of times."""
        self._end()

    def __enter__(self) -> Response:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _pieces(self, limit: int) -> Iterator[bytes]:
        read = self._source.read
        while True:
            self._require_open()
            try:
                piece = read(limit)
            except BaseException:
                self.close()
                raise
            if not piece:
                break
            yield piece
        self._finish()
