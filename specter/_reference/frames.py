"""Frame codec (RFC 9000, sections 16 and 19; RFC 9221): payload bytes to frame values and back.

Every fault of the peer raises ``TransportError`` with ``frame_type`` set: FRAME_ENCODING_ERROR, or PROTOCOL_VIOLATION
for an empty payload and for a frame type that is not in its shortest form. A range outside the buffer is the
caller's fault and raises ``ValueError``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from specter._frame_types import (
    Ack,
    Buffer,
    ConnectionClose,
    Crypto,
    DataBlocked,
    Datagram,
    EcnCounts,
    Frame,
    HandshakeDone,
    MaxData,
    MaxStreamData,
    MaxStreams,
    NewConnectionId,
    NewToken,
    Padding,
    PathChallenge,
    PathResponse,
    Ping,
    ResetStream,
    RetireConnectionId,
    StopSending,
    Stream,
    StreamDataBlocked,
    StreamsBlocked,
)
from specter._reference.frame_encoding import (
    MAX_CID,
    MAX_STREAMS,
    PATH_DATA,
    RESET_TOKEN,
    encode,
    encode_ack,
    encode_crypto_header,
    encode_stream_header,
)
from specter._reference.varint import (
    check_bounds,
    decode_varint,
    encode_varint,
    fault,
    read_varint,
    truncated,
    varint_size,
)
from specter._wire import VARINT_MAX, TransportError, TransportErrorCode

__all__ = [
    "decode",
    "decode_frame",
    "decode_varint",
    "encode",
    "encode_ack",
    "encode_crypto_header",
    "encode_stream_header",
    "encode_varint",
    "parse_ack",
    "parse_crypto",
    "parse_padding",
    "parse_stream",
    "varint_size",
]

_Parser: TypeAlias = Callable[[memoryview, int, int, int], tuple[Frame, int]]
"""Takes the payload, the position behind the type, the end and the type; returns the frame and where it ends."""

_PING: Final = Ping()
_HANDSHAKE_DONE: Final = HandshakeDone()


def decode(payload: Buffer, start: int = 0, end: int | None = None) -> list[Frame]:
    """Decode a whole packet payload; ``data`` and ``token`` fields are slices of ``payload``."""
    view = memoryview(payload)
    if end is None:
        end = len(view)
    check_bounds(view, start, end)
    if start == end:
        raise TransportError(TransportErrorCode.PROTOCOL_VIOLATION, "packet without frames")
    frames = []
    while start < end:
        frame, start = _decode_frame(view, start, end)
        frames.append(frame)
    return frames


def decode_frame(payload: Buffer, pos: int, end: int) -> tuple[Frame, int]:
    """Decode the frame at ``pos``; return it and the position behind it. ``pos == end`` is a truncated frame."""
    view = memoryview(payload)
    check_bounds(view, pos, end)
    return _decode_frame(view, pos, end)


def _decode_frame(view: memoryview, pos: int, end: int) -> tuple[Frame, int]:
    if pos >= end:
        raise truncated(0)
    frame_type = view[pos]
    parser = _PARSERS.get(frame_type)
    if parser is None:
        raise _unknown_type(view, pos, end)
    return parser(view, pos + 1, end, frame_type)


def _unknown_type(view: memoryview, pos: int, end: int) -> TransportError:
    frame_type, stop = read_varint(view, pos, end, 0)
    if stop - pos > varint_size(frame_type):
        return TransportError(TransportErrorCode.PROTOCOL_VIOLATION, "frame type is not minimally encoded", frame_type)
    return fault("unknown frame type", frame_type)


def _varints(buffer: Buffer, pos: int, end: int, frame_type: int, count: int) -> tuple[list[int], int]:
    values = []
    for _ in range(count):
        value, pos = read_varint(buffer, pos, end, frame_type)
        values.append(value)
    return values, pos


def parse_padding(view: memoryview, pos: int, end: int) -> int:
    """Return where the run of zero bytes at ``pos`` ends. Linear in the run: what follows is not copied."""
    step = 16
    while pos < end:
        chunk = bytes(view[pos : min(pos + step, end)])
        rest = len(chunk.lstrip(b"\0"))
        pos += len(chunk) - rest
        if rest:
            break
        step *= 4
    return pos


def _padding(view: memoryview, pos: int, end: int, frame_type: int) -> tuple[Frame, int]:
    stop = parse_padding(view, pos, end)
    return Padding(stop - pos + 1), stop


def _ping(view: memoryview, pos: int, end: int, frame_type: int) -> tuple[Frame, int]:
    return _PING, pos


def _handshake_done(view: memoryview, pos: int, end: int, frame_type: int) -> tuple[Frame, int]:
    return _HANDSHAKE_DONE, pos


def parse_ack(
    view: memoryview, pos: int, end: int, frame_type: int
) -> tuple[list[tuple[int, int]], int, EcnCounts | None, int]:
    """Return ``(ranges, delay, ecn, position behind)`` of the ACK whose fields start at ``pos`` (behind the type).

    ``ranges`` are inclusive ``(smallest, largest)``, highest first; ``delay`` is as on the wire.
    """
    largest, pos = read_varint(view, pos, end, frame_type)
    delay, pos = read_varint(view, pos, end, frame_type)
    count, pos = read_varint(view, pos, end, frame_type)
    length, pos = read_varint(view, pos, end, frame_type)
    if 2 * count > end - pos:
        raise truncated(frame_type)
    smallest = largest - length
    if smallest < 0:
        raise fault("negative packet number in ACK", frame_type)
    ranges = [(smallest, largest)]
    for _ in range(count):
        gap, pos = read_varint(view, pos, end, frame_type)
        length, pos = read_varint(view, pos, end, frame_type)
        largest = smallest - gap - 2
        smallest = largest - length
        if smallest < 0:
            raise fault("negative packet number in ACK", frame_type)
        ranges.append((smallest, largest))
    if frame_type == 0x02:
        return ranges, delay, None, pos
    counts, pos = _varints(view, pos, end, frame_type, 3)
    return ranges, delay, EcnCounts(*counts), pos


def _ack(view: memoryview, pos: int, end: int, frame_type: int) -> tuple[Frame, int]:
    ranges, delay, ecn, pos = parse_ack(view, pos, end, frame_type)
    return Ack(tuple(ranges), delay, ecn), pos


def parse_stream(view: memoryview, pos: int, end: int, frame_type: int) -> tuple[int, int, int, int]:
    """Return ``(stream_id, offset, data start, data end)`` of the STREAM whose fields start at ``pos``.

    The FIN bit is ``frame_type & 1``; the next frame starts at the data end.
    """
    stream_id, pos = read_varint(view, pos, end, frame_type)
    offset = 0
    if frame_type & 0x04:
        offset, pos = read_varint(view, pos, end, frame_type)
    stop = end
    if frame_type & 0x02:
        length, pos = read_varint(view, pos, end, frame_type)
        stop = pos + length
        if stop > end:
            raise truncated(frame_type)
    if offset + stop - pos > VARINT_MAX:
        raise fault("data beyond the largest offset", frame_type)
    return stream_id, offset, pos, stop


def _stream(view: memoryview, pos: int, end: int, frame_type: int) -> tuple[Frame, int]:
    stream_id, offset, pos, stop = parse_stream(view, pos, end, frame_type)
    return Stream(stream_id, offset, view[pos:stop], bool(frame_type & 0x01)), stop


def parse_crypto(view: memoryview, pos: int, end: int, frame_type: int) -> tuple[int, int, int]:
    """Return ``(offset, data start, data end)`` of the CRYPTO whose fields start at ``pos``."""
    offset, pos = read_varint(view, pos, end, frame_type)
    pos, stop = _length_prefixed(view, pos, end, frame_type)
    if offset + stop - pos > VARINT_MAX:
        raise fault("data beyond the largest offset", frame_type)
    return offset, pos, stop


def _crypto(view: memoryview, pos: int, end: int, frame_type: int) -> tuple[Frame, int]:
    offset, pos, stop = parse_crypto(view, pos, end, frame_type)
    return Crypto(offset, view[pos:stop]), stop


def _length_prefixed(view: memoryview, pos: int, end: int, frame_type: int) -> tuple[int, int]:
    length, pos = read_varint(view, pos, end, frame_type)
    if length > end - pos:
        raise truncated(frame_type)
    return pos, pos + length


def _new_token(view: memoryview, pos: int, end: int, frame_type: int) -> tuple[Frame, int]:
    pos, stop = _length_prefixed(view, pos, end, frame_type)
    if pos == stop:
        raise fault("empty token", frame_type)
    return NewToken(view[pos:stop]), stop


def _datagram(view: memoryview, pos: int, end: int, frame_type: int) -> tuple[Frame, int]:
    stop = end
    if frame_type & 0x01:
        pos, stop = _length_prefixed(view, pos, end, frame_type)
    return Datagram(view[pos:stop]), stop


def _stream_count(view: memoryview, pos: int, end: int, frame_type: int) -> tuple[Frame, int]:
    count, pos = read_varint(view, pos, end, frame_type)
    if count > MAX_STREAMS:
        raise fault("more than 2**60 streams", frame_type)
    unidirectional = bool(frame_type & 0x01)
    if frame_type < 0x16:
        return MaxStreams(count, unidirectional), pos
    return StreamsBlocked(count, unidirectional), pos


def _fixed(view: memoryview, pos: int, end: int, frame_type: int, size: int) -> tuple[bytes, int]:
    if size > end - pos:
        raise truncated(frame_type)
    return bytes(view[pos : pos + size]), pos + size


def _new_connection_id(view: memoryview, pos: int, end: int, frame_type: int) -> tuple[Frame, int]:
    sequence, pos = read_varint(view, pos, end, frame_type)
    retire_prior_to, pos = read_varint(view, pos, end, frame_type)
    if retire_prior_to > sequence:
        raise fault("retire prior to is above the sequence number", frame_type)
    length, pos = _fixed(view, pos, end, frame_type, 1)
    if not 1 <= length[0] <= MAX_CID:
        raise fault("connection id must have 1 to 20 bytes", frame_type)
    connection_id, pos = _fixed(view, pos, end, frame_type, length[0])
    reset_token, pos = _fixed(view, pos, end, frame_type, RESET_TOKEN)
    return NewConnectionId(sequence, retire_prior_to, connection_id, reset_token), pos


def _path(view: memoryview, pos: int, end: int, frame_type: int) -> tuple[Frame, int]:
    data, pos = _fixed(view, pos, end, frame_type, PATH_DATA)
    return PathChallenge(data) if frame_type == 0x1A else PathResponse(data), pos


def _connection_close(view: memoryview, pos: int, end: int, frame_type: int) -> tuple[Frame, int]:
    application = frame_type == 0x1D
    culprit = 0
    error_code, pos = read_varint(view, pos, end, frame_type)
    if not application:
        culprit, pos = read_varint(view, pos, end, frame_type)
    pos, stop = _length_prefixed(view, pos, end, frame_type)
    return ConnectionClose(error_code, culprit, bytes(view[pos:stop]), application), stop


_INTEGER_FRAMES: Final[dict[int, tuple[Callable[..., Frame], int]]] = {
    0x04: (ResetStream, 3),
    0x05: (StopSending, 2),
    0x10: (MaxData, 1),
    0x11: (MaxStreamData, 2),
    0x14: (DataBlocked, 1),
    0x15: (StreamDataBlocked, 2),
    0x19: (RetireConnectionId, 1),
}


def _integers(view: memoryview, pos: int, end: int, frame_type: int) -> tuple[Frame, int]:
    make, count = _INTEGER_FRAMES[frame_type]
    values, pos = _varints(view, pos, end, frame_type, count)
    return make(*values), pos


_PARSERS: Final[dict[int, _Parser]] = {
    0x00: _padding,
    0x01: _ping,
    0x02: _ack,
    0x03: _ack,
    0x06: _crypto,
    0x07: _new_token,
    **dict.fromkeys(range(0x08, 0x10), _stream),
    **dict.fromkeys(_INTEGER_FRAMES, _integers),
    **dict.fromkeys((0x12, 0x13, 0x16, 0x17), _stream_count),
    0x18: _new_connection_id,
    0x1A: _path,
    0x1B: _path,
    0x1C: _connection_close,
    0x1D: _connection_close,
    0x1E: _handshake_done,
    0x30: _datagram,
    0x31: _datagram,
}
