from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specter._frame_types import (
    Ack,
    ConnectionClose,
    Crypto,
    DataBlocked,
    Datagram,
    EcnCounts,
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
from specter._wire import VARINT_MAX, TransportError, TransportErrorCode

PROPERTY = settings(max_examples=100, deadline=None, derandomize=True)
ENCODING_ERROR = TransportErrorCode.FRAME_ENCODING_ERROR
PROTOCOL_VIOLATION = TransportErrorCode.PROTOCOL_VIOLATION

varints = st.one_of(
    st.integers(0, 63),
    st.integers(0, 1 << 14),
    st.integers(0, 1 << 30),
    st.integers(0, VARINT_MAX),
    st.sampled_from([0, 63, 64, 16383, 16384, (1 << 30) - 1, 1 << 30, VARINT_MAX]),
)
counts = st.integers(0, 1 << 60)
data = st.binary(max_size=40)
small = st.integers(0, VARINT_MAX - 40)


@st.composite
def ack_ranges(draw: st.DrawFn) -> tuple[tuple[int, int], ...]:
    numbers = sorted(draw(st.sets(st.integers(0, 400), min_size=1, max_size=60)), reverse=True)
    ranges: list[tuple[int, int]] = []
    for pn in numbers:
        if ranges and ranges[-1][0] == pn + 1:
            ranges[-1] = (pn, ranges[-1][1])
        else:
            ranges.append((pn, pn))
    base = draw(st.sampled_from([0, 1 << 20, VARINT_MAX - 400]))
    return tuple((low + base, high + base) for low, high in ranges)


@st.composite
def new_connection_ids(draw: st.DrawFn) -> NewConnectionId:
    sequence = draw(varints)
    retire = draw(st.integers(0, sequence))
    return NewConnectionId(
        sequence, retire, draw(st.binary(min_size=1, max_size=20)), draw(st.binary(min_size=16, max_size=16))
    )


frame_values = st.one_of(
    st.builds(Ping),
    st.builds(HandshakeDone),
    st.builds(Ack, ack_ranges(), varints, st.none() | st.builds(EcnCounts, varints, varints, varints)),
    st.builds(ResetStream, varints, varints, varints),
    st.builds(StopSending, varints, varints),
    st.builds(Crypto, small, data),
    st.builds(NewToken, st.binary(min_size=1, max_size=40)),
    st.builds(Stream, varints, small, data, st.booleans()),
    st.builds(MaxData, varints),
    st.builds(MaxStreamData, varints, varints),
    st.builds(MaxStreams, counts, st.booleans()),
    st.builds(DataBlocked, varints),
    st.builds(StreamDataBlocked, varints, varints),
    st.builds(StreamsBlocked, counts, st.booleans()),
    new_connection_ids(),
    st.builds(RetireConnectionId, varints),
    st.builds(PathChallenge, st.binary(min_size=8, max_size=8)),
    st.builds(PathResponse, st.binary(min_size=8, max_size=8)),
    st.builds(ConnectionClose, varints, varints, data, st.just(False)),
    st.builds(ConnectionClose, varints, st.just(0), data, st.just(True)),
    st.builds(Datagram, data),
)


def reject(frames, payload, code=ENCODING_ERROR, frame_type=None, reason=None):
    with pytest.raises(TransportError) as caught:
        frames.decode(payload)
    assert caught.value.code == code
    if frame_type is not None:
        assert caught.value.frame_type == frame_type
    if reason is not None:
        assert caught.value.reason == reason


def outcome(frames, payload):
    """Return the frames and 0, or no frames and the error code."""
    try:
        return frames.decode(payload), 0
    except TransportError as error:
        return [], error.code


# --- varints


@pytest.mark.parametrize(
    ("wire", "value"),
    [
        ("c2197c5eff14e88c", 151_288_809_941_952_652),
        ("9d7f3e7d", 494_878_333),
        ("7bbd", 15_293),
        ("25", 37),
        ("4025", 37),
    ],
)
def test_the_rfc_s_varints(frames, wire, value):
    encoded = bytes.fromhex(wire)
    assert frames.decode_varint(encoded, 0, len(encoded)) == (value, len(encoded))
    if wire != "4025":
        assert frames.encode_varint(value) == encoded


@PROPERTY
@given(value=varints, before=data)
def test_varint_round_trip(frames, value, before):
    encoded = frames.encode_varint(value)
    assert len(encoded) == frames.varint_size(value)
    buffer = before + encoded
    for kind in (bytes, bytearray, memoryview):
        assert frames.decode_varint(kind(buffer), len(before), len(buffer)) == (value, len(buffer))


@PROPERTY
@given(value=varints)
def test_truncated_varint(frames, value):
    encoded = frames.encode_varint(value)
    for end in range(len(encoded)):
        with pytest.raises(TransportError) as caught:
            frames.decode_varint(encoded, 0, end)
        assert caught.value.code == ENCODING_ERROR
        assert caught.value.reason == "frame is truncated"


@pytest.mark.parametrize("value", [-1, VARINT_MAX + 1, 1 << 70])
def test_varint_out_of_range(frames, value):
    with pytest.raises(ValueError, match="integer out of range for a varint"):
        frames.encode_varint(value)
    with pytest.raises(ValueError, match="integer out of range for a varint"):
        frames.varint_size(value)


@pytest.mark.parametrize(("start", "end"), [(0, 9), (-1, 4), (5, 4), (9, 9)])
def test_a_range_outside_the_buffer_is_the_caller_s_fault(frames, start, end):
    for call in (frames.decode, frames.decode_frame, frames.decode_varint):
        with pytest.raises(ValueError, match="range outside the buffer"):
            call(bytes(8), start, end)


# --- round trips


@PROPERTY
@given(frame=frame_values)
def test_frame_round_trip(frames, frame):
    encoded = frames.encode(frame)
    assert frames.decode(encoded) == [frame]
    assert frames.decode_frame(b"??" + encoded, 2, 2 + len(encoded)) == (frame, 2 + len(encoded))


@PROPERTY
@given(values=st.lists(frame_values, min_size=1, max_size=8), padding=st.integers(0, 100))
def test_payload_round_trip(frames, values, padding):
    payload = b"".join(map(frames.encode, values))
    if padding:
        payload += frames.encode(Padding(padding))
        values = [*values, Padding(padding)]
    wire = bytearray(b"<" + payload + b">")
    assert frames.decode(wire, 1, len(wire) - 1) == values


def test_data_is_a_slice_of_the_payload(frames):
    payload = bytearray(frames.encode(Stream(4, 0, b"abc", False)) + frames.encode(Crypto(0, b"xyz")))
    stream, crypto = frames.decode(memoryview(payload))
    payload[:] = bytes(reversed(payload))
    assert isinstance(stream.data, memoryview)
    assert isinstance(crypto.data, memoryview)
    assert stream.data != b"abc"


def test_stream_without_length_takes_the_rest(frames):
    header = frames.encode_stream_header(8, 70, None, True)
    assert frames.decode(header + b"tail") == [Stream(8, 70, b"tail", True)]
    assert frames.decode(header) == [Stream(8, 70, b"", True)]


@PROPERTY
@given(stream_id=varints, offset=small, payload=data, fin=st.booleans())
def test_headers_match_encode(frames, stream_id, offset, payload, fin):
    header = frames.encode_stream_header(stream_id, offset, len(payload), fin)
    assert header + payload == frames.encode(Stream(stream_id, offset, payload, fin))
    header = frames.encode_crypto_header(offset, len(payload))
    assert header + payload == frames.encode(Crypto(offset, payload))


def test_datagram_without_length(frames):
    assert frames.decode(b"\x01\x30rest") == [Ping(), Datagram(b"rest")]
    assert frames.decode(b"\x30") == [Datagram(b"")]


def test_wire_forms(frames):
    assert frames.encode(Ping()) == b"\x01"
    assert frames.encode(Padding(3)) == b"\0\0\0"
    assert frames.encode(Ack(((3, 7), (0, 1)), 5)) == bytes.fromhex("02 07 05 01 04 00 01")
    assert frames.encode(Ack(((3, 7),), 5, EcnCounts(1, 2, 3))) == bytes.fromhex("03 07 05 00 04 01 02 03")
    assert frames.encode(Stream(4, 0, b"hi", False)) == b"\x0a\x04\x02hi"
    assert frames.encode(Stream(4, 1, b"hi", True)) == b"\x0f\x04\x01\x02hi"
    assert frames.encode(MaxStreams(1, True)) == b"\x13\x01"
    assert frames.encode(StreamsBlocked(1, False)) == b"\x16\x01"
    assert frames.encode(ConnectionClose(10, 6, b"no", False)) == b"\x1c\x0a\x06\x02no"
    assert frames.encode(ConnectionClose(10, 0, b"no", True)) == b"\x1d\x0a\x02no"


# --- padding


@pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 79, 80, 81, 1000, 5000])
def test_a_run_of_padding_is_one_frame(frames, size):
    assert frames.decode(bytes(size)) == [Padding(size)]
    assert frames.decode(bytes(size) + b"\x01" + bytes(size)) == [Padding(size), Ping(), Padding(size)]
    assert frames.decode(bytes(100), 0, 50) == [Padding(50)]


def test_padding_costs_the_same_however_it_is_cut(frames):
    payload = b"\x00\x01" * 32_000
    started = time.process_time()
    decoded = frames.decode(payload)
    assert time.process_time() - started < 2
    assert decoded == [Padding(1), Ping()] * 32_000


# --- the peer's faults


def test_empty_payload(frames):
    reject(frames, b"", PROTOCOL_VIOLATION)
    with pytest.raises(TransportError):
        frames.decode(b"\x01", 1, 1)
    with pytest.raises(TransportError):
        frames.decode_frame(b"\x01", 1, 1)


@pytest.mark.parametrize("frame_type", [0x1F, 0x20, 0x2F, 0x32, 0x3F])
def test_unknown_type(frames, frame_type):
    reject(frames, bytes((frame_type,)) + bytes(30), frame_type=frame_type, reason="unknown frame type")


@pytest.mark.parametrize("frame_type", [0x40, 0x1234, 0x12345, 0x123456789])
def test_unknown_long_type(frames, frame_type):
    reject(frames, frames.encode_varint(frame_type), frame_type=frame_type, reason="unknown frame type")


@pytest.mark.parametrize("wire", ["4001", "80000001", "c000000000000001", "4000", "401c", "80001234"])
def test_type_not_in_shortest_form(frames, wire):
    reject(frames, bytes.fromhex(wire), PROTOCOL_VIOLATION, reason="frame type is not minimally encoded")


@pytest.mark.parametrize("wire", ["40", "800000", "c0000000000000"])
def test_truncated_type(frames, wire):
    reject(frames, bytes.fromhex(wire), frame_type=0, reason="frame is truncated")


def test_empty_token(frames):
    reject(frames, b"\x07\x00", frame_type=0x07, reason="empty token")


@pytest.mark.parametrize("length", [0, 21, 255])
def test_connection_id_length(frames, length):
    reject(frames, bytes((0x18, 1, 0, length)) + bytes(length + 16), frame_type=0x18)


def test_retire_prior_to_above_sequence(frames):
    reject(frames, bytes((0x18, 1, 2, 4)) + bytes(20), frame_type=0x18)


@pytest.mark.parametrize("frame_type", [0x12, 0x13, 0x16, 0x17])
def test_too_many_streams(frames, frame_type):
    limit = frames.encode_varint(1 << 60)
    assert len(frames.decode(bytes((frame_type,)) + limit)) == 1
    reject(frames, bytes((frame_type,)) + frames.encode_varint((1 << 60) + 1), frame_type=frame_type)


def test_data_beyond_the_largest_offset(frames):
    last = frames.encode_varint(VARINT_MAX)
    assert frames.decode(b"\x0e\x00" + last + b"\x00") == [Stream(0, VARINT_MAX, b"", False)]
    reject(frames, b"\x0e\x00" + last + b"\x01x", frame_type=0x0E)
    reject(frames, b"\x0c\x00" + last + b"x", frame_type=0x0C)
    reject(frames, b"\x06" + last + b"\x01x", frame_type=0x06)


@pytest.mark.parametrize(
    "wire",
    [
        "02 03 00 00 04",  # first range below zero
        "02 09 00 01 02 06 00",  # gap below zero
        "02 09 00 01 02 00 06",  # second range below zero
    ],
)
def test_ack_below_zero(frames, wire):
    reject(frames, bytes.fromhex(wire), frame_type=0x02, reason="negative packet number in ACK")


def test_ack_count_larger_than_the_payload(frames):
    head = b"\x02" + frames.encode_varint(1 << 40) + b"\x00"
    reject(frames, head + frames.encode_varint(1 << 30) + bytes(100), frame_type=0x02, reason="frame is truncated")


def test_length_beyond_the_payload(frames):
    for head in (b"\x06\x00", b"\x0a\x00", b"\x0e\x00\x01", b"\x07", b"\x31", b"\x1c\x00\x00", b"\x1d\x00"):
        for length in (4, 63, 64, 1 << 20, VARINT_MAX):
            reject(frames, head + frames.encode_varint(length) + b"abc", frame_type=head[0])


@PROPERTY
@given(frame=frame_values)
def test_every_truncation_is_an_error_or_a_shorter_frame(frames, frame):
    encoded = frames.encode(frame)
    for end in range(1, len(encoded)):
        reject(frames, encoded[:end], frame_type=encoded[0], reason="frame is truncated")


@PROPERTY
@given(payload=st.binary(max_size=200))
def test_random_bytes(frames, payload):
    values, code = outcome(frames, payload)
    assert values or code in (ENCODING_ERROR, PROTOCOL_VIOLATION)
    assert sum(isinstance(value, Padding) for value in values) <= len(values) // 2 + 1


@PROPERTY
@given(
    values=st.lists(frame_values, min_size=1, max_size=4), position=st.integers(0, 1 << 20), flip=st.integers(1, 255)
)
def test_corrupted_payload(frames, values, position, flip):
    payload = bytearray(b"".join(map(frames.encode, values)))
    payload[position % len(payload)] ^= flip
    values, code = outcome(frames, payload)
    assert values or code in (ENCODING_ERROR, PROTOCOL_VIOLATION)


# --- encoding


@PROPERTY
@given(ranges=ack_ranges(), delay=varints, with_ecn=st.booleans(), capacity=st.integers(0, 150))
def test_ack_fits_its_capacity(frames, ranges, delay, with_ecn, capacity):
    ecn = EcnCounts(1, 70, 3) if with_ecn else None
    encoded = frames.encode_ack(ranges, delay, ecn, capacity)
    newest_alone = frames.encode(Ack(ranges[:1], delay, ecn))
    if not encoded:
        assert len(newest_alone) > capacity
        return
    assert len(encoded) <= capacity
    [ack] = frames.decode(encoded)
    assert ack == Ack(ranges[: len(ack.ranges)], delay, ecn)
    if len(ack.ranges) < len(ranges):
        assert len(frames.encode(Ack(ranges[: len(ack.ranges) + 1], delay, ecn))) > capacity


VARINT_RANGE = "integer out of range for a varint"
CID_SIZE = "connection id must have 1 to 20 bytes and its reset token 16"


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (MaxData(1 << 62), VARINT_RANGE),
        (ResetStream(0, -1, 0), VARINT_RANGE),
        (MaxStreams((1 << 60) + 1, False), "more than 2**60 streams"),
        (StreamsBlocked((1 << 60) + 1, True), "more than 2**60 streams"),
        (Stream(0, VARINT_MAX, b"x", False), "data beyond the largest offset"),
        (Crypto(VARINT_MAX, b"x"), "data beyond the largest offset"),
        (NewToken(b""), "empty token"),
        (NewConnectionId(0, 1, b"12345678", bytes(16)), "retire prior to is above the sequence number"),
        (NewConnectionId(0, 0, b"", bytes(16)), CID_SIZE),
        (NewConnectionId(0, 0, bytes(21), bytes(16)), CID_SIZE),
        (NewConnectionId(0, 0, bytes(8), bytes(15)), CID_SIZE),
        (PathChallenge(b"1234567"), "path data must have 8 bytes"),
        (Ack(((5, 4),), 0), VARINT_RANGE),
        (Ack(((5, 9), (3, 4)), 0), VARINT_RANGE),
    ],
)
def test_values_that_no_frame_carries(frames, frame, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        frames.encode(frame)


def test_what_is_not_a_frame(frames):
    with pytest.raises(TypeError, match="not a frame"):
        frames.encode("PING")


# --- the parsers beneath


def test_parse_stream(frames):
    payload = memoryview(frames.encode(Stream(4, 1000, b"abc", True)))
    assert frames.parse_stream(payload, 1, len(payload), payload[0]) == (4, 1000, len(payload) - 3, len(payload))


def test_parse_crypto(frames):
    payload = memoryview(frames.encode(Crypto(1000, b"abc")) + b"\x01")
    assert frames.parse_crypto(payload, 1, len(payload), 0x06) == (1000, len(payload) - 4, len(payload) - 1)


def test_parse_ack(frames):
    payload = memoryview(frames.encode(Ack(((8, 9), (1, 2)), 77, EcnCounts(1, 2, 3))))
    assert frames.parse_ack(payload, 1, len(payload), 0x03) == (
        [(8, 9), (1, 2)],
        77,
        EcnCounts(1, 2, 3),
        len(payload),
    )


def test_parse_padding(frames):
    payload = memoryview(b"\x01" + bytes(40) + b"\x01")
    assert frames.parse_padding(payload, 1, len(payload)) == 41
    assert frames.parse_padding(payload, 1, 20) == 20
    assert frames.parse_padding(payload, 0, 20) == 0
