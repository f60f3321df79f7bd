"""Variable-length integers (RFC 9000, section 16); :mod:`specter._reference.frames` shows the public names."""

from __future__ import annotations

from typing import Final

from specter._frame_types import Buffer
from specter._wire import VARINT_MAX, TransportError, TransportErrorCode

ONE_BYTE: Final = tuple(bytes((value,)) for value in range(0x40))


def varint_size(value: int) -> int:
    """Return how many bytes ``value`` takes: 1, 2, 4 or 8; ``ValueError`` outside 0 to 2**62-1."""
    if 0 <= value < 0x40:
        return 1
    if 0 <= value < 0x4000:
        return 2
    if 0 <= value < 0x4000_0000:
        return 4
    if 0 <= value <= VARINT_MAX:
        return 8
    raise ValueError("integer out of range for a varint")


def encode_varint(value: int) -> bytes:
    """Return ``value`` in its shortest form; ``ValueError`` outside 0 to 2**62-1."""
    if 0 <= value < 0x40:
        return ONE_BYTE[value]
    if 0 <= value < 0x4000:
        return (value | 0x4000).to_bytes(2, "big")
    if 0 <= value < 0x4000_0000:
        return (value | 0x8000_0000).to_bytes(4, "big")
    if 0 <= value <= VARINT_MAX:
        return (value | 0xC000_0000_0000_0000).to_bytes(8, "big")
    raise ValueError("integer out of range for a varint")


def decode_varint(buffer: Buffer, pos: int, end: int) -> tuple[int, int]:
    """Return the integer at ``pos`` and the position behind it; FRAME_ENCODING_ERROR when it passes ``end``."""
    check_bounds(buffer, pos, end)
    return read_varint(buffer, pos, end, 0)


def read_varint(buffer: Buffer, pos: int, end: int, frame_type: int) -> tuple[int, int]:
    """As :func:`decode_varint`, for a range known to lie in the buffer; ``frame_type`` goes into the error."""
    if pos >= end:
        raise truncated(frame_type)
    first = buffer[pos]
    if first < 0x40:
        return first, pos + 1
    stop = pos + (1 << (first >> 6))
    if stop > end:
        raise truncated(frame_type)
    if first < 0x80:
        return (first & 0x3F) << 8 | buffer[pos + 1], stop
    if first < 0xC0:
        return int.from_bytes(buffer[pos:stop], "big") & 0x3FFF_FFFF, stop
    return int.from_bytes(buffer[pos:stop], "big") & VARINT_MAX, stop


def check_bounds(buffer: Buffer, pos: int, end: int) -> None:
    if not 0 <= pos <= end <= len(buffer):
        raise ValueError("range outside the buffer")


def truncated(frame_type: int) -> TransportError:
    return fault("frame is truncated", frame_type)


def fault(reason: str, frame_type: int) -> TransportError:
    return TransportError(TransportErrorCode.FRAME_ENCODING_ERROR, reason, frame_type)
