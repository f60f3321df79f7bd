"""Both twins of ``frames`` make the same of every payload, valid, truncated or corrupted, and of every value."""

from __future__ import annotations

import array
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specter import _frame_types as types
from specter._wire import VARINT_MAX
from tests.twins.compare import measures_memory, outcome, resident, same

EDGES = (0, 1, 63, 64, 16383, 16384, (1 << 30) - 1, 1 << 30, (1 << 60), VARINT_MAX)
ODD = (-1, VARINT_MAX + 1, 1 << 63, 1 << 64, 1 << 200, -(1 << 70), True, False, 1.5, None, "1", b"1", [])


@pytest.fixture(scope="module")
def pair(twins):
    return twins("frames")


def number(rng):
    return rng.choice((rng.randrange(64), rng.randrange(1 << 14), rng.randrange(1 << 30), rng.choice(EDGES)))


def ranges(rng, most=40):
    found, low = [], rng.choice((rng.randrange(100_000), VARINT_MAX + 1))
    for _ in range(rng.randrange(1, most)):
        high = low - rng.choice((1, 2, 3, 80, 20_000))
        low = high - rng.choice((0, 0, 1, 70, 17_000))
        if low < 0:
            break
        found.append((low, high))
        low -= 1
    return tuple(found) or ((3, 5),)


def integer_frame(rng):
    cls, count = rng.choice(
        (
            (types.ResetStream, 3),
            (types.StopSending, 2),
            (types.MaxData, 1),
            (types.MaxStreamData, 2),
            (types.DataBlocked, 1),
            (types.StreamDataBlocked, 2),
            (types.RetireConnectionId, 1),
        )
    )
    return cls(*(number(rng) for _ in range(count)))


def data_frame(rng):
    data = rng.randbytes(rng.choice((0, 1, 20, 70)))
    offset = rng.choice((0, rng.randrange(1 << 20), VARINT_MAX - len(data)))
    return rng.choice(
        (
            types.Stream(number(rng), offset, data, rng.random() < 0.5),
            types.Crypto(offset, data),
            types.NewToken(data + b"t"),
            types.Datagram(data),
            types.ConnectionClose(number(rng), number(rng), data, False),
            types.ConnectionClose(number(rng), 0, data, True),
        )
    )


def other_frame(rng):
    ecn = rng.choice((None, types.EcnCounts(number(rng), number(rng), number(rng))))
    sequence = number(rng)
    cid = rng.randbytes(rng.randrange(1, 21))
    count = rng.choice((0, 5, 1 << 60, rng.randrange(1 << 60)))
    return rng.choice(
        (
            types.Ack(ranges(rng), number(rng), ecn),
            types.Padding(rng.choice((1, 7, 8, 9, 100))),
            types.Ping(),
            types.HandshakeDone(),
            types.MaxStreams(count, rng.random() < 0.5),
            types.StreamsBlocked(count, rng.random() < 0.5),
            types.NewConnectionId(sequence, rng.randrange(sequence + 1), cid, rng.randbytes(16)),
            types.PathChallenge(rng.randbytes(8)),
            types.PathResponse(rng.randbytes(8)),
        )
    )


def frame(rng):
    return rng.choice((integer_frame, data_frame, other_frame))(rng)


def payload(pair, rng, most=5):
    wire = b"".join(pair.reference.encode(frame(rng)) for _ in range(rng.randrange(1, most)))
    if rng.random() < 0.2:
        wire += pair.reference.encode_stream_header(number(rng), rng.randrange(1 << 20), None, True) + b"to the end"
    return wire


def both(pair, name, *arguments):
    return same(getattr(pair.reference, name), getattr(pair.compiled, name), *arguments)


# --- decoding


def test_the_same_names(pair):
    assert pair.compiled.__all__ == pair.reference.__all__
    for name in ("parse_ack", "parse_crypto", "parse_padding", "parse_stream"):
        assert getattr(pair.compiled, name) is getattr(pair.reference, name)


@pytest.mark.parametrize("seed", range(4))
def test_valid_truncated_and_corrupted_payloads(pair, seed):
    rng = random.Random(seed)
    for _ in range(150):
        wire = payload(pair, rng)
        assert both(pair, "decode", wire)[0] == "returned"
        for end in {rng.randrange(len(wire) + 1) for _ in range(10)}:
            both(pair, "decode", wire, 0, end)
            both(pair, "decode", wire[:end])
            both(pair, "decode_frame", wire, rng.randrange(end + 1), end)
        for _ in range(10):
            broken = bytearray(wire)
            for _ in range(rng.randrange(1, 3)):
                broken[rng.randrange(len(broken))] = rng.choice((rng.randrange(256), rng.randrange(0x40), 0xFF))
            both(pair, "decode", broken)
            both(pair, "decode", bytes(broken), rng.randrange(len(broken)))


@given(wire=st.binary(max_size=80), frame_type=st.integers(0, 0x42))
def test_any_bytes(pair, wire, frame_type):
    both(pair, "decode", wire)
    both(pair, "decode", bytes((frame_type,)) + wire)
    both(pair, "decode_frame", memoryview(wire), 0, len(wire))
    both(pair, "decode_varint", wire, 0, len(wire))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: memoryview(b"<" + data + b">")[1:-1]])
def test_data_are_slices_of_what_was_given(pair, kind):
    wire = pair.reference.encode(types.Stream(4, 1000, b"abc", True)) + pair.reference.encode(types.Crypto(9, b"xyz"))
    given_buffer = kind(wire + b"\x07\x02tt\x31\x01d")
    found = [twin.decode(given_buffer) for twin in (pair.reference, pair.compiled)]
    assert found[0] == found[1]
    owner = memoryview(given_buffer).obj
    for stream, crypto, token, datagram in found:
        assert all(type(view) is memoryview for view in (stream.data, crypto.data, token.token, datagram.data))
        assert all(view.obj is owner for view in (stream.data, crypto.data, token.token, datagram.data))


def test_decoded_frames_are_whole_frames(pair):
    stream, ack, limit = pair.compiled.decode(
        bytes.fromhex("0a 04 02 6869 02 07 05 01 04 00 01 10 05"),
    )
    assert hash(limit) == hash(types.MaxData(5))
    assert repr(stream).startswith("Stream(stream_id=4, offset=0, data=<memory")
    assert ack.largest == 7
    with pytest.raises(AttributeError):
        stream.offset = 1


@pytest.mark.parametrize("odd", [*ODD, -5, 3, 9, 10, 11], ids=repr)
def test_odd_positions(pair, odd):
    wire = bytes.fromhex("0a 04 02 6869 10 05 00 00 00")
    for name in ("decode", "decode_frame", "decode_varint"):
        both(pair, name, wire, 0, odd)
        both(pair, name, wire, odd, 3)
        both(pair, name, bytearray(wire), odd, len(wire))


@pytest.mark.parametrize(
    "buffer",
    [
        array.array("I", [1, 2, 3]),
        array.array("b", [1, 2, 3]),
        memoryview(b"\x01\x00\x01\x00\x00")[::2],
        memoryview(b"\x01\x01\x02")[::-1],
        memoryview(bytes(6)).cast("B", (2, 3)),
        memoryview(b"\x01\x01").cast("c"),
        "text",
        7,
        None,
    ],
    ids=repr,
)
def test_odd_buffers(pair, buffer):
    for name in ("decode", "decode_frame", "decode_varint"):
        expected = outcome(getattr(pair.reference, name), buffer, 0, 2)
        got = outcome(getattr(pair.compiled, name), buffer, 0, 2)
        assert got[0] == expected[0]
        assert got[0] != "returned" or got == expected


# --- encoding


@pytest.mark.parametrize("seed", range(3))
def test_frames_and_headers(pair, seed):
    rng = random.Random(seed)
    for _ in range(500):
        both(pair, "encode", frame(rng))
        size = rng.choice((None, number(rng)))
        both(pair, "encode_stream_header", number(rng), rng.choice((0, number(rng))), size, rng.random() < 0.5)
        both(pair, "encode_crypto_header", number(rng), number(rng))


@pytest.mark.parametrize("value", [*EDGES, *ODD], ids=repr)
def test_values_at_the_edges(pair, value):
    both(pair, "varint_size", value)
    both(pair, "encode_varint", value)
    both(pair, "encode_crypto_header", value, 1)
    both(pair, "encode_crypto_header", 1, value)
    both(pair, "encode_stream_header", value, 1, 1, True)
    both(pair, "encode_stream_header", 1, value, 1, 0)
    both(pair, "encode_stream_header", 1, 1, value, [1])
    both(pair, "encode", value)
    for cls in (types.MaxData, types.RetireConnectionId, types.Padding, types.PathResponse, types.NewToken):
        if cls is not types.Padding or not isinstance(value, int) or value < 1 << 20:
            both(pair, "encode", cls(value))
    both(pair, "encode", types.ResetStream(1, 2, value))
    both(pair, "encode", types.Stream(value, value, b"x", True))
    both(pair, "encode_ack", ((1, 5),), value, None, 100)
    both(pair, "encode_ack", ((1, 5),), 1, None, value)
    both(pair, "encode_ack", ((1, value),), 1, None, 100)
    both(pair, "encode_ack", ((9, 9), (value, 5)), 1, None, 100)
    both(pair, "encode_ack", ((9, 9),), 1, types.EcnCounts(1, value, 3), 100)


@pytest.mark.parametrize("seed", range(3))
def test_acks_of_any_capacity(pair, seed):
    rng = random.Random(seed)
    for _ in range(150):
        chosen = ranges(rng, rng.choice((2, 10, 300)))
        ecn = rng.choice((None, types.EcnCounts(1, number(rng), 3)))
        delay = number(rng)
        for capacity in (*(rng.randrange(60) for _ in range(6)), rng.randrange(4000), 1 << 62):
            both(pair, "encode_ack", rng.choice((tuple, list))(chosen), delay, ecn, capacity)


@pytest.mark.parametrize(
    "odd",
    [
        (),
        [],
        None,
        7,
        ((5, 4),),
        ((5, 9), (3, 4)),
        ((5, 9), (7, 8)),
        ((1, 2), (5, 9)),
        ((5, 9), (3, 3, 3)),
        ([5, 9], [1, 2]),
        ((5, 9), 3),
        iter(((5, 9),)),
        ((VARINT_MAX + 1, VARINT_MAX + 2),),
        ((5, 9), (-4, -3)),
        ((9, 9), *(((3, 2),) * 3)),
    ],
    ids=repr,
)
def test_odd_ranges(pair, odd):
    for capacity in (3, 5, 7, 100):
        both(pair, "encode_ack", odd, 0, None, capacity)


# --- cost


def best(call, *arguments):
    found = []
    for _ in range(7):
        started = time.perf_counter_ns()
        for _ in range(2000):
            call(*arguments)
        found.append(time.perf_counter_ns() - started)
    return min(found)


def test_a_long_run_of_padding_costs_no_more_than_a_short_one(pair):
    assert best(pair.compiled.decode, bytes(1000)) <= 2 * best(pair.compiled.decode, bytes(10))


@measures_memory
def test_nothing_is_kept(pair):
    rng = random.Random(1)
    wires = [payload(pair, rng) for _ in range(50)] + [b"\x1f", b"\x40", b"\x02\x01", b""]
    values = [frame(rng) for _ in range(50)]

    def work(rounds):
        for _ in range(rounds):
            for wire in wires:
                outcome(pair.compiled.decode, wire)
            for value in values:
                pair.compiled.encode(value)

    work(50)
    before = resident()
    work(1000)
    assert resident() - before < 2 << 20
