"""HTTP/3 frames: the layout, and an incremental reader that holds as little as possible (RFC 9114, section 7)."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Final, TypeAlias

from specter._backend import frames as _wire
from specter._wire import TransportError
from specter.h3.errors import H3Error, H3ErrorCode
from specter.h3.transport import Transport

__all__ = [
    "DATA",
    "HEADERS",
    "KNOWN_TYPES",
    "FrameReader",
    "FrameType",
    "decode_identifier",
    "decode_priority_update",
    "encode_frame",
    "encode_header",
    "encode_priority_update",
]


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
HEADERS: Final = int(FrameType.HEADERS)
_SMALL_FRAME: Final = 4096
_READ_AHEAD: Final = 8192
_OPENED: Final = (DATA, b"")

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
    value, rest = _split_identifier(payload)
    if rest:
        raise H3Error(H3ErrorCode.H3_FRAME_ERROR, "frame too long")
    return value


def _split_identifier(payload: bytes) -> tuple[int, bytes]:
    try:
        value, pos = _wire.decode_varint(payload, 0, len(payload))
    except TransportError:
        raise H3Error(H3ErrorCode.H3_FRAME_ERROR, "frame too short") from None
    return int(value), payload[pos:]


def encode_priority_update(stream_id: int, value: bytes) -> bytes:
    """Return the frame that gives a request another Priority field value (RFC 9218, section 7.2)."""
    return encode_frame(FrameType.PRIORITY_UPDATE, _wire.encode_varint(stream_id) + value)


def decode_priority_update(payload: bytes) -> tuple[int, bytes]:
    """Return the request's stream id and the Priority field value.

    Raises ``H3Error``: H3_FRAME_ERROR for a payload without an id, H3_ID_ERROR for an id that no request can have.
    """
    stream_id, value = _split_identifier(payload)
    if stream_id & 3:
        raise H3Error(H3ErrorCode.H3_ID_ERROR, "PRIORITY_UPDATE does not name a request stream")
    return stream_id, value


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

    What is taken from QUIC at a time, so that a chunk costs one call: before the first DATA frame and after a small
    one some kilobytes, after a large one a header of the same size, and what the body's reader asks for.
    ``dry``: QUIC gave less than that, so there is nothing until it says that the stream is readable; whoever hears
    that sets it to false.
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
        "dry",
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
        self._partial: bytearray | None = None
        self.data_left = 0
        self.dry = False

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
            if self._kind >= 0:
                kind = self._kind
                if self._gathering:
                    payload = self._gather()
                    return None if payload is None else (kind, payload)
                if not self._skip():
                    return None
            start = self._pos
            kind, length, pos = _parse_header(self._buffer, start)
            if kind < 0:
                if not self._fill(length):
                    return None
                continue
            wanted = admit(kind, length)
            self._pos = pos
            if kind == DATA:
                self.data_left = length
                self._window = pos - start if length >= _SMALL_FRAME else _READ_AHEAD
                return _OPENED
            self._kind, self._wanted, self._gathering = kind, length, wanted

    def _fill(self, missing: int) -> bool:
        """Get the rest of a frame header, at least ``missing`` bytes of it, and perhaps what follows."""
        more = self._pull(max(missing, self._window))
        if not more:
            return False
        held = self._buffer[self._pos :]
        self._buffer = held + more if held else more
        self._pos = 0
        return True

    def _pull(self, size: int) -> bytes:
        """Take up to ``size`` bytes from QUIC."""
        if self.dry:
            return b""
        piece = self._quic.read(self._stream_id, size)
        self.dry = len(piece) < size
        return piece

    def _take(self, size: int) -> bytes:
        """Return up to ``size`` bytes, those held first."""
        pos, buffer = self._pos, self._buffer
        end = pos + size
        if end < len(buffer):
            self._pos = end
            return buffer[pos:end]
        if pos < len(buffer):
            self._buffer, self._pos = b"", 0
            return buffer[pos:]
        return self._pull(size)

    def _gather(self) -> bytes | None:
        """Return the whole payload; ``None`` when its rest is not here, what is here is kept."""
        if self._partial is None:
            piece = self._take(self._wanted)
            if len(piece) == self._wanted:
                self._kind = -1
                return piece
            self._partial = bytearray(piece)
        while len(self._partial) < self._wanted:
            piece = self._take(self._wanted - len(self._partial))
            if not piece:
                return None
            self._partial += piece
        payload, self._partial = bytes(self._partial), None
        self._kind = -1
        return payload

    def _skip(self) -> bool:
        while self._wanted:
            piece = self._take(min(self._wanted, 65_536))
            if not piece:
                return False
            self._wanted -= len(piece)
        self._kind = -1
        return True

    def read_run(self, max_bytes: int) -> tuple[bytes, int]:
        """Return up to ``max_bytes`` of the open DATA frame and those right behind it, and the sizes of the latter.

        For when nothing is ``buffered``: the bytes come straight from QUIC.
        """
        if self.dry:
            return b"", 0
        data, self.data_left, opened = self._quic.read_frames(self._stream_id, DATA, self.data_left, max_bytes)
        self.dry = self.data_left > 0 and len(data) < max_bytes
        return data, opened

    def read_data(self, max_bytes: int) -> bytes:
        """Return up to ``max_bytes`` of the open DATA frame, ``b""`` when none are here.

        As many bytes are taken from QUIC; those that belong to later frames wait here.
        """
        if self._pos >= len(self._buffer):
            piece = self._pull(max_bytes)
            if len(piece) <= self.data_left:
                self.data_left -= len(piece)
                return piece
            self._buffer, self._pos = piece, 0
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
        elif self.dry:
            return 0
        else:
            wanted = size
            size = self._quic.readinto(self._stream_id, view if wanted == len(view) else view[:wanted])
            self.dry = size < wanted
        self.data_left -= size
        return size
