"""HTTP/3 frames: the layout, and an incremental reader that holds as little as possible (RFC 9114, section 7)."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Final, TypeAlias

from specter._backend import frames as _wire
from specter._wire import TransportError
from specter.h3.errors import H3Error, H3ErrorCode
from specter.h3.transport import Transport

__all__ = ["KNOWN_TYPES", "FrameReader", "FrameType", "decode_identifier", "encode_frame", "encode_header"]


class FrameType(IntEnum):
    """RFC 9114, section 7.2, and RFC 9218, section 7.2."""

    DATA = 0x00
    HEADERS = 0x01
    CANCEL_PUSH = 0x03
    SETTINGS = 0x04
    PUSH_PROMISE = 0x05
    GOAWAY = 0x07
    MAX_PUSH_ID = 0x0D
    PRIORITY_UPDATE = 0xF0700
    PRIORITY_UPDATE_PUSH = 0xF0701


_HTTP2_TYPES: Final = frozenset({0x02, 0x06, 0x08, 0x09})
KNOWN_TYPES: Final = frozenset(FrameType) | _HTTP2_TYPES
"""Types that are an error where they are not expected; every other type is skipped."""

DATA: Final = int(FrameType.DATA)
Admit: TypeAlias = Callable[[int, int], bool]


def encode_header(kind: int, length: int) -> bytes:
    """Return type and length of a frame whose payload follows separately."""
    if kind < 0x40:
        if length < 0x40:
            return bytes((kind, length))
        if length < 0x4000:
            return bytes((kind, 0x40 | length >> 8, length & 0xFF))
    return _wire.encode_varint(kind) + _wire.encode_varint(length)


def encode_frame(kind: int, payload: bytes) -> bytes:
    return encode_header(kind, len(payload)) + payload


def decode_identifier(payload: bytes) -> int:
    """Return the one varint that fills a GOAWAY, MAX_PUSH_ID or CANCEL_PUSH frame.

    Raises ``H3Error`` H3_FRAME_ERROR when the payload is anything else.
    """
    try:
        value, pos = _wire.decode_varint(payload, 0, len(payload))
    except TransportError:
        raise H3Error(H3ErrorCode.H3_FRAME_ERROR, "frame too short") from None
    if pos != len(payload):
        raise H3Error(H3ErrorCode.H3_FRAME_ERROR, "frame too long")
    return int(value)


def _parse_header(buffer: bytes, pos: int) -> tuple[int, int, int]:
    """Return type, length and the position after a frame header.

    For a header that is not whole: -1, how many more bytes it needs at least, and ``pos``.
    """
    here = len(buffer) - pos
    if here >= 3 and buffer[pos] < 0x40 and buffer[pos + 1] < 0x80:
        length = buffer[pos + 1]
        if length < 0x40:
            return buffer[pos], length, pos + 2
        return buffer[pos], (length & 0x3F) << 8 | buffer[pos + 2], pos + 3
    if here < 2:
        return -1, 2 - here, pos
    size = 1 << (buffer[pos] >> 6)
    missing = size + 1 - here if here <= size else size + (1 << (buffer[pos + size] >> 6)) - here
    if missing > 0:
        return -1, missing, pos
    kind, after = _wire.decode_varint(buffer, pos, len(buffer))
    length, after = _wire.decode_varint(buffer, after, len(buffer))
    return kind, length, after


class FrameReader:
    """Takes frames from one stream of ``quic`` as their bytes come.

    DATA payload is never gathered: ``data_left`` bytes of it are to be read before ``next`` goes on.

    Until the first DATA frame up to ``window`` bytes are taken from QUIC at a time, so that a small message costs
    one call; after it, exactly what a header or the body's reader asks for.
    """

    __slots__ = (
        "_buffer",
        "_gathering",
        "_kind",
        "_partial",
        "_pos",
        "_quic",
        "_stream_id",
        "_wanted",
        "_window",
        "data_left",
    )

    def __init__(self, quic: Transport, stream_id: int, *, window: int = 2048) -> None:
        self._quic = quic
        self._stream_id = stream_id
        self._window = window
        self._buffer = b""
        self._pos = 0
        self._kind = -1
        self._wanted = 0
        self._gathering = False
        self._partial = bytearray()
        self.data_left = 0

    @property
    def buffered(self) -> int:
        """Bytes taken from QUIC and not used yet."""
        return len(self._buffer) - self._pos

    @property
    def inside_frame(self) -> bool:
        """True when a stream must not end here."""
        return self._kind >= 0 or self.data_left > 0 or self._pos < len(self._buffer)

    def next(self, admit: Admit) -> tuple[int, bytes] | None:
        """Return the next frame as type and payload (empty for DATA), ``None`` when more bytes are needed.

        ``admit(type, length)`` is asked at every frame header: true gathers the payload (or opens it for reading,
        for DATA), false skips it unseen; it raises what the frame deserves, so it also limits payloads.
        """
        while True:
            if self._kind < 0 and not self._begin(admit):
                return None
            kind = self._kind
            if kind == DATA:
                self.data_left, self._wanted, self._kind = self._wanted, 0, -1
                self._window = 0
                return DATA, b""
            if self._gathering:
                payload = self._gather()
                return None if payload is None else (kind, payload)
            if not self._skip():
                return None

    def _begin(self, admit: Admit) -> bool:
        """Read a frame header and ask what to do with the frame; false when the header is not whole."""
        kind, wanted, pos = _parse_header(self._buffer, self._pos)
        while kind < 0:
            more = self._quic.read(self._stream_id, max(wanted, self._window))
            if not more:
                return False
            self._buffer = self._buffer[pos:] + more if pos < len(self._buffer) else more
            self._pos = 0
            kind, wanted, pos = _parse_header(self._buffer, 0)
        self._kind, self._wanted, self._pos = kind, wanted, pos
        self._gathering = admit(kind, wanted)
        return True

    def _take(self, size: int) -> bytes:
        """Return up to ``size`` bytes, those held first."""
        pos = self._pos
        held = len(self._buffer) - pos
        if not held:
            return self._quic.read(self._stream_id, size)
        if held <= size:
            piece = self._buffer[pos:] if pos else self._buffer
            self._buffer, self._pos = b"", 0
        else:
            piece = self._buffer[pos : pos + size]
            self._pos = pos + size
        return piece

    def _gather(self) -> bytes | None:
        partial = self._partial
        piece = b""
        while self._wanted > len(partial):
            piece = self._take(self._wanted - len(partial))
            if not piece:
                return None
            if len(piece) == self._wanted:
                break
            partial += piece
        else:
            piece = bytes(partial)
            partial.clear()
        self._kind = -1
        return piece

    def _skip(self) -> bool:
        while self._wanted:
            piece = self._take(min(self._wanted, 65_536))
            if not piece:
                return False
            self._wanted -= len(piece)
        self._kind = -1
        return True

    def read_data(self, max_bytes: int) -> bytes:
        """Return up to ``max_bytes`` of the open DATA frame, ``b""`` when none are here."""
        piece = self._take(min(self.data_left, max_bytes))
        self.data_left -= len(piece)
        return piece

    def read_data_into(self, view: memoryview) -> int:
        """Fill ``view`` from the open DATA frame; return the number of bytes."""
        size = min(self.data_left, len(view))
        if self._pos < len(self._buffer):
            piece = self._take(size)
            size = len(piece)
            view[:size] = piece
        else:
            size = self._quic.readinto(self._stream_id, view[:size])
        self.data_left -= size
        return size
