"""A response of the blocking client, read as a whole or piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

from specter.client.base_response import CHUNK, BaseResponse, Take, checked, kept
from specter.client.pieces import Chunks, Lines, Text, through
from specter.net.inline import run_inline

__all__ = ["Response"]


class Response(BaseResponse):
    """What the server answered.

    Of a streamed response (``client.stream``) the body is read with ``read``, ``readinto`` or one of the iterators,
    once; of any other it is here already. Reading raises what went wrong: ``ReadTimeout``, ``StreamReset`` ...
    """

    def read(self) -> bytes:
        """Read the body to its end and return it; again and again."""
        return run_inline(self._read())

    def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """Yield the body as it comes, or in chunks of ``chunk_size`` bytes (the last may be shorter)."""
        return self._iterate(self._taker(), chunk_size)

    def iter_raw(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """Like ``iter_bytes``, with content codings left as they are where the request said ``decode``."""
        self._require_raw()
        return self._iterate(self._piece, chunk_size)

    def _iterate(self, take: Take, chunk_size: int | None) -> Iterator[bytes]:
        size = checked(chunk_size)
        if self._content is not None:
            return kept(self._content, size)
        self._begin()
        return _pieces(take, CHUNK) if size is None else through(Chunks(size), _pieces(take, max(size, CHUNK)))

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
        return run_inline(self._readinto(buffer))

    def close(self) -> None:
        """End the exchange; what the server still sends of it is dropped. Any number of times."""
        self._end()

    def __enter__(self) -> Response:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _pieces(take: Take, limit: int) -> Iterator[bytes]:
    while piece := run_inline(take(limit)):
        yield piece
