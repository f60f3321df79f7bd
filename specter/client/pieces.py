"""What becomes of a body's bytes on their way to the caller, one piece after the other."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from specter.client.text import LineSplitter

__all__ = ["Chunks", "Lines", "Step", "Text", "through"]

T_co = TypeVar("T_co", covariant=True)


class Step(Protocol[T_co]):
    """Takes the body as it comes and gives something else; it waits for nothing."""

    def feed(self, piece: bytes) -> Iterable[T_co]:
        """Return what ``piece`` completes."""

    def finish(self) -> Iterable[T_co]:
        """Return what is left when the body has ended."""


def through(step: Step[T_co], pieces: Iterable[bytes]) -> Iterator[T_co]:
    """Yield what ``step`` makes of ``pieces``."""
    for piece in pieces:
        yield from step.feed(piece)
    yield from step.finish()


class Chunks:
    """Cuts the body anew, into chunks of ``size`` bytes; the last may be shorter."""

    __slots__ = ("_buffer", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._buffer = bytearray()

    def feed(self, piece: bytes) -> Iterator[bytes]:
        buffer, size = self._buffer, self._size
        buffer += piece
        start = 0
        while len(buffer) - start >= size:
            yield bytes(buffer[start : start + size])
            start += size
        del buffer[:start]

    def finish(self) -> Iterator[bytes]:
        if self._buffer:
            yield bytes(self._buffer)
            self._buffer.clear()


class Text:
    """Decodes the body; what does not decode becomes U+FFFD."""

    __slots__ = ("_decoder",)

    def __init__(self, encoding: str) -> None:
        self._decoder = codecs.getincrementaldecoder(encoding)(errors="replace")

    def feed(self, piece: bytes) -> tuple[str, ...]:
        text = self._decoder.decode(piece)
        return (text,) if text else ()

    def finish(self) -> tuple[str, ...]:
        text = self._decoder.decode(b"", True)
        return (text,) if text else ()


class Lines:
    """Decodes the body and cuts it into lines, without their ends."""

    __slots__ = ("_splitter", "_text")

    def __init__(self, encoding: str) -> None:
        self._text = Text(encoding)
        self._splitter = LineSplitter()

    def feed(self, piece: bytes) -> Iterator[str]:
        for text in self._text.feed(piece):
            yield from self._splitter.feed(text)

    def finish(self) -> Iterator[str]:
        for text in self._text.finish():
            yield from self._splitter.feed(text)
        yield from self._splitter.finish()
