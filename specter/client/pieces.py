"""What becomes of a body's bytes on their way to the caller, one piece after the other."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterable, Iterator
from typing import Final, Protocol, TypeVar

from specter.client.text import LineSplitter

__all__ = ["Chunks", "Lines", "Step", "Text", "through"]

T_co = TypeVar("T_co", covariant=True)

_NATIVE, _OTHER = ("le", "be") if sys.byteorder == "little" else ("be", "le")
_ORDERS: Final[dict[str, tuple[tuple[bytes, str], ...]]] = {
    "utf-16": ((codecs.BOM_UTF16, f"utf-16-{_NATIVE}"), (codecs.BOM_UTF16[::-1], f"utf-16-{_OTHER}")),
    "utf-32": ((codecs.BOM_UTF32, f"utf-32-{_NATIVE}"), (codecs.BOM_UTF32[::-1], f"utf-32-{_OTHER}")),
}
"""Byte order marks of encodings that may do without, this machine's first; Python's own decoders insist on one."""


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

    __slots__ = ("_decoder", "_held", "_orders")

    def __init__(self, encoding: str) -> None:
        self._orders = _ORDERS.get(codecs.lookup(encoding).name, ())
        self._held = b""
        """The first bytes, as long as they may become a byte order mark."""
        self._decoder = _decoder(encoding)

    def feed(self, piece: bytes) -> tuple[str, ...]:
        if self._orders:
            piece = self._held = self._held + piece
            if len(piece) < len(self._orders[0][0]):
                return ()
            piece = self._order()
        text = self._decoder.decode(piece)
        return (text,) if text else ()

    def _order(self) -> bytes:
        """Decode with the order that the body begins with, or this machine's, as ``bytes.decode`` does."""
        found = [(mark, name) for mark, name in self._orders if self._held.startswith(mark)]
        mark, name = found[0] if found else (b"", self._orders[0][1])
        self._decoder, self._orders = _decoder(name), ()
        return self._held[len(mark) :]

    def finish(self) -> tuple[str, ...]:
        text = self._decoder.decode(self._order() if self._orders else b"", True)
        return (text,) if text else ()


def _decoder(encoding: str) -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder(encoding)(errors="replace")


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
