"""A bounded cursor over the TLS presentation language, and its writing counterpart (RFC 9846, section 3)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from specter.tls.alerts import decode_error

U8_MAX: Final = 0xFF
U16_MAX: Final = 0xFFFF
U24_MAX: Final = 0xFFFFFF


class Reader:
    """Reads ``data`` from front to back; running out of bytes or limits is a decode_error."""

    __slots__ = ("_data", "_end", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0
        self._end = len(data)

    @property
    def remaining(self) -> int:
        return self._end - self._position

    def take(self, size: int) -> bytes:
        """Return the next ``size`` bytes."""
        start = self._position
        if size > self._end - start:
            raise decode_error("a field runs past the end of its message")
        self._position = start + size
        return self._data[start : start + size]

    def u8(self) -> int:
        return self.take(1)[0]

    def u16(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def u24(self) -> int:
        return int.from_bytes(self.take(3), "big")

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def vector8(self, minimum: int = 0, maximum: int = U8_MAX) -> bytes:
        """Return a vector with a one-byte length between ``minimum`` and ``maximum``."""
        return self._vector(self.u8(), minimum, maximum)

    def vector16(self, minimum: int = 0, maximum: int = U16_MAX) -> bytes:
        """Return a vector with a two-byte length between ``minimum`` and ``maximum``."""
        return self._vector(self.u16(), minimum, maximum)

    def vector24(self, minimum: int = 0, maximum: int = U24_MAX) -> bytes:
        """Return a vector with a three-byte length between ``minimum`` and ``maximum``."""
        return self._vector(self.u24(), minimum, maximum)

    def finish(self) -> None:
        """Refuse bytes behind the last field."""
        if self._position != self._end:
            raise decode_error("data left over at the end of a structure")

    def _vector(self, size: int, minimum: int, maximum: int) -> bytes:
        if not minimum <= size <= maximum:
            raise decode_error("a length is out of its range")
        return self.take(size)


def u16_list(data: bytes) -> tuple[int, ...]:
    """Decode consecutive 16-bit numbers."""
    if len(data) % 2:
        raise decode_error("a list of 16-bit numbers has an odd length")
    return tuple(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))


def encode_u16_list(values: Iterable[int]) -> bytes:
    """Encode consecutive 16-bit numbers, without a length."""
    return b"".join(value.to_bytes(2, "big") for value in values)


def vector8(data: bytes) -> bytes:
    """Prefix ``data`` with its length in one byte."""
    return len(data).to_bytes(1, "big") + data


def vector16(data: bytes) -> bytes:
    """Prefix ``data`` with its length in two bytes."""
    return len(data).to_bytes(2, "big") + data


def vector24(data: bytes) -> bytes:
    """Prefix ``data`` with its length in three bytes."""
    return len(data).to_bytes(3, "big") + data
