"""Bytes that anyone can make and check piece by piece, without holding the whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

__all__ = ["content", "content_chunks"]

_PERIOD: Final = 65_521
_BLOCK: Final = hashlib.shake_256(b"specter test content").digest(_PERIOD)
_TWICE: Final = _BLOCK * 2


def content(offset: int, length: int) -> bytes:
    """Return ``length`` bytes of the test content from ``offset`` on; it repeats every 65,521 bytes."""
    start = offset % _PERIOD
    if length <= _PERIOD:
        return _TWICE[start : start + length]
    whole, rest = divmod(length, _PERIOD)
    rotated = _TWICE[start : start + _PERIOD]
    return rotated * whole + rotated[:rest]


def content_chunks(length: int, chunk: int = 32_768, offset: int = 0) -> Iterator[bytes]:
    """Yield the test content from ``offset`` on, ``length`` bytes in pieces of up to ``chunk``."""
    end = offset + length
    while offset < end:
        piece = content(offset, min(chunk, end - offset))
        offset += len(piece)
        yield piece
