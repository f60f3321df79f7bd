"""Frame encoding (RFC 9000, section 19; RFC 9221); :mod:`specter._reference.frames` shows the public names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final

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
from specter._reference.varint import ONE_BYTE, encode_varint, varint_size
from specter._wire import VARINT_MAX

MAX_STREAMS: Final = 1 << 60
MAX_CID: Final = 20
RESET_TOKEN: Final = 16
PATH_DATA: Final = 8
_UNLIMITED: Final = 1 << 62


def encode(frame: Frame) -> bytes:
    """Return the bytes of ``frame``: integers in shortest form, STREAM and DATAGRAM with an explicit length.

    ``ValueError`` for a value that no frame can carry, ``TypeError`` for what is not a frame.
    """
    encoder = _ENCODERS.get(type(frame))
    if encoder is None:
        raise TypeError("not a frame")
    return encoder(frame)


def encode_ack(ranges: Sequence[tuple[int, int]], delay: int, ecn: EcnCounts | None, capacity: int) -> bytes:
    """Return an ACK (or, with ``ecn``, ACK_ECN) frame of at most ``capacity`` bytes.

    ``ranges`` are inclusive ``(smallest, largest)``, highest first, not touching each other. The oldest are left out
    to fit; ``b""`` when not even the newest range fits.
    """
    smallest, largest = ranges[0]
    head = (b"\x02" if ecn is None else b"\x03") + encode_varint(largest) + encode_varint(delay)
    tail = b"" if ecn is None else b"".join(map(encode_varint, (ecn.ect0, ecn.ect1, ecn.ce)))
    body = [encode_varint(largest - smallest)]
    room = capacity - len(head) - len(tail) - len(body[0])
    if room < 1:
        return b""
    for index in range(1, len(ranges)):
        low, high = ranges[index]
        pair = encode_varint(smallest - high - 2) + encode_varint(high - low)
        room -= len(pair)
        if room < varint_size(index):
            break
        body.append(pair)
        smallest = low
    return b"".join((head, encode_varint(len(body) - 1), *body, tail))


def encode_crypto_header(offset: int, length: int) -> bytes:
    """Return what precedes ``length`` bytes of data in a CRYPTO frame."""
    return b"\x06" + encode_varint(offset) + encode_varint(length)


def encode_stream_header(stream_id: int, offset: int, length: int | None, fin: bool) -> bytes:
    """Return a STREAM frame up to its data; ``length`` None means that the data fills the packet."""
    header = encode_varint(stream_id)
    frame_type = 0x09 if fin else 0x08
    if offset:
        frame_type |= 0x04
        header += encode_varint(offset)
    if length is not None:
        frame_type |= 0x02
        header += encode_varint(length)
    return ONE_BYTE[frame_type] + header


def _encode_stream(frame: Stream) -> bytes:
    if frame.offset + len(frame.data) > VARINT_MAX:
        raise ValueError("data beyond the largest offset")
    return encode_stream_header(frame.stream_id, frame.offset, len(frame.data), frame.fin) + frame.data


def _encode_crypto(frame: Crypto) -> bytes:
    if frame.offset + len(frame.data) > VARINT_MAX:
        raise ValueError("data beyond the largest offset")
    return encode_crypto_header(frame.offset, len(frame.data)) + frame.data


def _prefixed(data: Buffer) -> bytes:
    return encode_varint(len(data)) + data


def _encode_new_token(frame: NewToken) -> bytes:
    if not frame.token:
        raise ValueError("empty token")
    return b"\x07" + _prefixed(frame.token)


def _stream_count_encoder(frame_type: int, field: str) -> Callable[[Any], bytes]:
    def encoder(frame: MaxStreams | StreamsBlocked) -> bytes:
        count: int = getattr(frame, field)
        if count > MAX_STREAMS:
            raise ValueError("more than 2**60 streams")
        return ONE_BYTE[frame_type + frame.unidirectional] + encode_varint(count)

    return encoder


def _encode_new_connection_id(frame: NewConnectionId) -> bytes:
    cid, token = frame.connection_id, frame.reset_token
    if frame.retire_prior_to > frame.sequence:
        raise ValueError("retire prior to is above the sequence number")
    if not 1 <= len(cid) <= MAX_CID or len(token) != RESET_TOKEN:
        raise ValueError("connection id must have 1 to 20 bytes and its reset token 16")
    numbers = encode_varint(frame.sequence) + encode_varint(frame.retire_prior_to)
    return b"\x18" + numbers + bytes((len(cid),)) + cid + token


def _encode_path(frame: PathChallenge | PathResponse) -> bytes:
    if len(frame.data) != PATH_DATA:
        raise ValueError("path data must have 8 bytes")
    return (b"\x1a" if type(frame) is PathChallenge else b"\x1b") + frame.data


def _encode_connection_close(frame: ConnectionClose) -> bytes:
    if frame.application:
        return b"\x1d" + encode_varint(frame.error_code) + _prefixed(frame.reason)
    return b"\x1c" + encode_varint(frame.error_code) + encode_varint(frame.frame_type) + _prefixed(frame.reason)


def _integer_encoder(frame_type: int, *fields: str) -> Callable[[Any], bytes]:
    head = ONE_BYTE[frame_type]
    if len(fields) == 1:
        field = attrgetter(fields[0])
        return lambda frame: head + encode_varint(field(frame))
    values = attrgetter(*fields)
    return lambda frame: head + b"".join(map(encode_varint, values(frame)))


_ENCODERS: Final[dict[type, Callable[[Any], bytes]]] = {
    Padding: lambda frame: bytes(frame.length),
    Ping: lambda frame: b"\x01",
    Ack: lambda frame: encode_ack(frame.ranges, frame.delay, frame.ecn, _UNLIMITED),
    ResetStream: _integer_encoder(0x04, "stream_id", "error_code", "final_size"),
    StopSending: _integer_encoder(0x05, "stream_id", "error_code"),
    Crypto: _encode_crypto,
    NewToken: _encode_new_token,
    Stream: _encode_stream,
    MaxData: _integer_encoder(0x10, "maximum"),
    MaxStreamData: _integer_encoder(0x11, "stream_id", "maximum"),
    MaxStreams: _stream_count_encoder(0x12, "maximum"),
    DataBlocked: _integer_encoder(0x14, "limit"),
    StreamDataBlocked: _integer_encoder(0x15, "stream_id", "limit"),
    StreamsBlocked: _stream_count_encoder(0x16, "limit"),
    NewConnectionId: _encode_new_connection_id,
    RetireConnectionId: _integer_encoder(0x19, "sequence"),
    PathChallenge: _encode_path,
    PathResponse: _encode_path,
    ConnectionClose: _encode_connection_close,
    HandshakeDone: lambda frame: b"\x1e",
    Datagram: lambda frame: b"\x31" + _prefixed(frame.data),
}
