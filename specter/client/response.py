"""A response of the blocking client, read as a whole or piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Protocol

from specter.client.base_response import CHUNK, LARGE, BaseResponse, BaseSource
from specter.client.decoding import Decoder
from specter.client.pieces import Chunks, Lines, Text, through
from specter.errors import DecodingError

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

    _decoded: Iterator[bytes] | None = None
    """The body on its way into the caller's buffers."""

    def read(self) -> bytes:
        """Read the body to its end and return it; again and again."""
        if self._content is not None:
            return self._content
        self._begin()
        return self._keep(list(self._body(LARGE)))

    def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """Yield the body as it comes, or in chunks of ``chunk_size`` bytes (the last may be shorter)."""
        return self._iterate(self._body, chunk_size)

    def iter_raw(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """Like ``iter_bytes``, with content codings left as they are where the request said ``decode``."""
        self._require_raw()
        return self._iterate(self._pieces, chunk_size)

    def _iterate(self, body: Callable[[int], Iterator[bytes]], chunk_size: int | None) -> Iterator[bytes]:
        if chunk_size is not None and chunk_size < 1:
            raise ValueError("chunk_size must be positive")
        if self._content is not None:
            return self._kept(self._content, chunk_size)
        self._begin()
        if chunk_size is None:
            return body(CHUNK)
        return through(Chunks(chunk_size), body(max(chunk_size, CHUNK)))

    def iter_text(self, chunk_size: int | None = None) -> Iterator[str]:
        """Yield the body as text, decoded piece by piece."""
        return through(Text(self.encoding), self.iter_bytes(chunk_size))

    def iter_lines(self) -> Iterator[str]:
        """Yield the body's lines, without their ends."""
        return through(Lines(self.encoding), self.iter_bytes())

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Put body bytes into ``buffer``, as they come without a copy in between; return how many, 0 at the end.

        May be called again and again, but not mixed with the iterators.
        """
        view = memoryview(buffer).cast("B")
        if self._decoder is not None:
            return self._decoded_into(view)
        if not self._begin_into():
            return 0
        try:
            count = self._source.readinto(view) if len(view) else 0
        except BaseException:
            self.close()
            raise
        if not count and len(view):
            self._finish()
        return count

    def _decoded_into(self, view: memoryview) -> int:
        if self._decoded is None:
            self._begin()
            self._decoded = self._body(CHUNK)
        if not self._rest:
            try:
                self._rest = memoryview(next(self._decoded, b""))
            except BaseException:
                self._decoded = None
                raise
        return self._fill(view)

    def close(self) -> None:
        """End the exchange; what the server still sends of it is dropped. Any number of times."""
        self._end()

    def __enter__(self) -> Response:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _body(self, limit: int) -> Iterator[bytes]:
        """Yield the body, decoded where that was asked for."""
        return self._pieces(limit) if self._decoder is None else self._decode(self._decoder)

    def _decode(self, decoder: Decoder) -> Iterator[bytes]:
        try:
            yield from through(decoder, self._pieces(CHUNK))
        except DecodingError:
            self.close()
            raise

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
