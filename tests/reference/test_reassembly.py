from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specter._wire import TransportError, TransportErrorCode

PROPERTY = settings(max_examples=200, deadline=None, derandomize=True)
BIG = 1 << 40


def content(start: int, end: int) -> bytes:
    return bytes(position * 7 % 251 for position in range(start, end))


def refuse(code, reason, call, *arguments):
    with pytest.raises(TransportError) as caught:
        call(*arguments)
    assert caught.value.code == code
    assert caught.value.reason == reason


# --- in order


def test_in_order(reassembly):
    buffer = reassembly.RecvBuffer(100)
    assert buffer.receive(0, b"abc", False) == 3
    assert buffer.receive(3, memoryview(b"def"), False) == 3
    assert buffer.receive(6, bytearray(b"g"), True) == 1
    assert (buffer.readable, buffer.highest, buffer.consumed, buffer.final_size) == (7, 7, 0, 7)
    assert buffer.complete
    assert not buffer.finished
    assert buffer.read(2) == b"ab"
    assert buffer.peek(3) == b"cde"
    assert buffer.peek(-1) == b"cdefg"
    assert buffer.consumed == 2
    assert buffer.read() == b"cdefg"
    assert buffer.complete
    assert buffer.finished
    assert buffer.read() == b""


def test_readinto(reassembly):
    buffer = reassembly.RecvBuffer(100)
    buffer.receive(0, b"abcdef", False)
    target = bytearray(4)
    assert buffer.readinto(target) == 4
    assert target == b"abcd"
    assert buffer.readinto(memoryview(target)[1:]) == 2
    assert target == b"aefd"
    assert buffer.readinto(target) == 0
    assert buffer.readinto(bytearray()) == 0
    assert buffer.consumed == 6


@pytest.mark.parametrize("size", [0, 1, 3, 6, 7, 1000])
def test_read_sizes(reassembly, size):
    buffer = reassembly.RecvBuffer(100)
    buffer.receive(0, b"abcdef", False)
    assert buffer.read(size) == b"abcdef"[:size]
    assert buffer.consumed == min(size, 6)
    assert buffer.read(-1) == b"abcdef"[size:]


def test_a_run_of_frames(reassembly):
    buffer = reassembly.RecvBuffer(100)
    buffer.receive(0, b"ab" + b"\0\3cde" + b"\0\0" + b"\0\1f" + b"\1\2hh" + b"\0\5i", False)
    assert buffer.read_frames(0, 2, 100) == (b"abcdef", 0, 4)
    assert buffer.peek(4) == b"\1\2hh"
    assert buffer.read_frames(0, 0, 100) == (b"", 0, 0)
    assert buffer.read_frames(1, 0, 1) == (b"h", 1, 2)
    assert buffer.read_frames(1, 1, 1) == (b"h", 0, 0)
    assert buffer.read_frames(0, 0, 100) == (b"i", 4, 5)
    assert buffer.readable == 0
    assert buffer.consumed == buffer.highest
    assert buffer.read_frames(0, 4, 100) == (b"", 4, 0)


def test_a_header_that_is_not_whole_stays(reassembly):
    buffer = reassembly.RecvBuffer(100)
    header = b"\0\x40\x05"
    for size in range(len(header)):
        buffer.receive(size, header[size : size + 1], False)
        assert buffer.read_frames(0, 0, 100) == ((b"", 0, 0) if size < 2 else (b"", 5, 5))


def test_data_does_not_alias_the_caller_s_memory(reassembly):
    slab = bytearray(b"abcdefghij")
    buffer = reassembly.RecvBuffer(100)
    buffer.receive(0, memoryview(slab)[:3], False)
    buffer.receive(5, memoryview(slab)[5:], False)
    slab[:] = b"?" * 10
    buffer.receive(3, b"de", False)
    assert buffer.read() == b"abcdefghij"


# --- out of order


def test_a_gap_is_filled(reassembly):
    budget = reassembly.SegmentBudget()
    buffer = reassembly.RecvBuffer(100, budget)
    assert buffer.receive(6, b"ghi", True) == 9
    assert buffer.receive(3, b"d", False) == 0
    assert (buffer.readable, buffer.pending_segments, budget.used) == (0, 2, 2)
    assert not buffer.complete
    assert buffer.receive(4, b"ef", False) == 0
    assert (buffer.pending_segments, budget.used) == (1, 1)
    assert buffer.receive(0, b"abc", False) == 0
    assert (buffer.pending_segments, budget.used) == (0, 0)
    assert buffer.read() == b"abcdefghi"
    assert buffer.finished


def test_the_first_copy_counts(reassembly):
    buffer = reassembly.RecvBuffer(100)
    buffer.receive(2, b"22", False)
    buffer.receive(6, b"66", False)
    buffer.receive(1, b"xxxxxxxx", False)
    buffer.receive(0, b"yyyyy", False)
    assert buffer.read() == b"yx22xx66x"


def test_in_order_data_spans_several_segments(reassembly):
    buffer = reassembly.RecvBuffer(100)
    for offset in (2, 5, 8):
        buffer.receive(offset, str(offset).encode(), False)
    buffer.receive(0, b"..........", False)
    assert buffer.read() == b"..2..5..8."
    assert buffer.pending_segments == 0


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    total = draw(st.integers(1, 60))
    pieces = draw(
        st.lists(
            st.tuples(st.integers(0, total), st.integers(0, total)).map(lambda pair: (min(pair), max(pair))),
            max_size=40,
        )
    )
    return total, pieces


@PROPERTY
@given(plan=arrivals(), reads=st.lists(st.integers(-1, 20), max_size=40), fin_first=st.booleans())
def test_against_a_bytes_model(reassembly, plan, reads, fin_first):
    total, pieces = plan
    budget = reassembly.SegmentBudget()
    buffer = reassembly.RecvBuffer(total, budget)
    everything = content(0, total)
    received: set[int] = set()
    highest = consumed = 0
    if fin_first:
        assert buffer.receive(total, b"", True) == total
        highest = total
    for index, (start, end) in enumerate([*pieces, (0, total)]):
        growth = buffer.receive(start, everything[start:end], end == total)
        assert growth == max(0, end - highest)
        highest = max(highest, end)
        received.update(range(start, end))
        edge = consumed
        while edge in received:
            edge += 1
        assert (buffer.highest, buffer.readable) == (highest, edge - consumed)
        gaps = sum(position - 1 not in received for position in received if position >= edge)
        assert buffer.pending_segments == gaps == budget.used
        assert buffer.complete == (edge == total and buffer.final_size == total)
        size = reads[index] if index < len(reads) else 0
        data = buffer.read(size)
        assert data == everything[consumed:edge][: None if size < 0 else size]
        consumed += len(data)
        assert buffer.consumed == consumed
    assert buffer.read() == everything[consumed:]
    assert buffer.finished


@PROPERTY
@given(
    pieces=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 5000)), max_size=20),
    fins=st.lists(st.booleans(), max_size=20),
)
def test_large_segments_in_any_order(reassembly, pieces, fins):
    buffer = reassembly.RecvBuffer(BIG)
    everything = bytes(range(256)) * 300
    for offset, size in pieces:
        buffer.receive(offset, everything[offset : offset + size], False)
    buffer.receive(0, everything, True)
    assert buffer.read() == everything


# --- limits


def test_flow_control(reassembly):
    buffer = reassembly.RecvBuffer(10)
    refuse(TransportErrorCode.FLOW_CONTROL_ERROR, "data beyond the limit", buffer.receive, 8, b"abc", False)
    refuse(TransportErrorCode.FLOW_CONTROL_ERROR, "data beyond the limit", buffer.receive, 11, b"", True)
    refuse(TransportErrorCode.FLOW_CONTROL_ERROR, "data beyond the limit", buffer.reset, 11)
    assert (buffer.highest, buffer.final_size) == (0, -1)
    assert buffer.receive(8, b"ab", False) == 10
    buffer.limit = 11
    assert buffer.receive(8, b"abc", False) == 1


def test_overflow_code(reassembly):
    code = TransportErrorCode.CRYPTO_BUFFER_EXCEEDED
    buffer = reassembly.RecvBuffer(10, overflow_code=code)
    refuse(code, "data beyond the limit", buffer.receive, 10, b"a", False)


def test_too_many_gaps_over_a_connection(reassembly):
    budget = reassembly.SegmentBudget(3)
    first, second = reassembly.RecvBuffer(BIG, budget), reassembly.RecvBuffer(BIG, budget)
    first.receive(10, b"a", False)
    first.receive(20, b"a", False)
    second.receive(10, b"a", False)
    refuse(TransportErrorCode.INTERNAL_ERROR, "too many gaps", second.receive, 20, b"a", True)
    assert (second.highest, second.final_size, budget.used) == (11, -1, 3)
    second.receive(11, b"b", False)
    first.receive(11, b"b" * 9, False)
    assert budget.used == 2
    first.discard()
    assert budget.used == 1
    second.reset(100)
    assert budget.used == 0


def test_default_budget_is_the_design_s(reassembly):
    assert reassembly.SegmentBudget().limit == 16_384
    buffer = reassembly.RecvBuffer(BIG)
    for index in range(16_384):
        buffer.receive(2 * index + 1, b"a", False)
    refuse(TransportErrorCode.INTERNAL_ERROR, "too many gaps", buffer.receive, 1 << 20, b"a", False)


# --- final size


def test_fin_alone(reassembly):
    buffer = reassembly.RecvBuffer(10)
    assert buffer.receive(0, b"", True) == 0
    assert buffer.complete
    assert buffer.finished
    assert buffer.receive(0, b"", True) == 0


def test_fin_before_the_data(reassembly):
    buffer = reassembly.RecvBuffer(10)
    assert buffer.receive(3, b"", True) == 3
    assert (buffer.final_size, buffer.pending_segments, buffer.complete) == (3, 0, False)
    assert buffer.receive(0, b"abc", False) == 0
    assert buffer.complete
    assert buffer.read() == b"abc"


def test_an_empty_frame_ahead_holds_no_segment(reassembly):
    buffer = reassembly.RecvBuffer(10)
    assert buffer.receive(5, b"", False) == 5
    assert (buffer.highest, buffer.pending_segments) == (5, 0)


@pytest.mark.parametrize(
    ("offset", "data", "fin", "reason"),
    [
        (5, b"a", False, "data beyond the final size"),
        (6, b"", False, "data beyond the final size"),
        (0, b"abcdef", True, "data beyond the final size"),
        (0, b"abcd", True, "final size changed"),
        (0, b"", True, "final size changed"),
        (1 << 50, b"a", False, "data beyond the final size"),
    ],
)
@pytest.mark.parametrize("end", ["fin", "reset", "read", "discard"])
def test_final_size_holds(reassembly, offset, data, fin, reason, end):
    buffer = reassembly.RecvBuffer(100)
    buffer.receive(0, b"abc", False)
    if end == "discard":
        buffer.discard()
    if end == "reset":
        buffer.reset(5)
    else:
        buffer.receive(3, b"de", True)
    if end == "read":
        buffer.read()
    refuse(TransportErrorCode.FINAL_SIZE_ERROR, reason, buffer.receive, offset, data, fin)
    assert (buffer.highest, buffer.final_size) == (5, 5)
    assert buffer.receive(0, b"abcde", True) == 0


def test_final_size_below_what_arrived(reassembly):
    buffer = reassembly.RecvBuffer(100)
    buffer.receive(5, b"abc", False)
    reason = "final size below data received"
    refuse(TransportErrorCode.FINAL_SIZE_ERROR, reason, buffer.receive, 0, b"abcde", True)
    refuse(TransportErrorCode.FINAL_SIZE_ERROR, reason, buffer.reset, 7)
    assert buffer.final_size == -1
    assert buffer.reset(8) == 0


# --- reset and discard


def test_reset_drops_the_data(reassembly):
    buffer = reassembly.RecvBuffer(100)
    buffer.receive(0, b"abc", False)
    buffer.receive(10, b"xyz", False)
    buffer.read(1)
    assert buffer.reset(20) == 7
    assert (buffer.consumed, buffer.highest, buffer.final_size, buffer.readable) == (20, 20, 20, 0)
    assert buffer.is_reset
    assert buffer.finished
    assert not buffer.complete
    assert buffer.pending_segments == 0
    assert buffer.read() == b""
    assert buffer.receive(3, b"def", False) == 0
    assert buffer.readable == 0
    assert buffer.reset(20) == 0


def test_reset_contradicts_the_end(reassembly):
    buffer = reassembly.RecvBuffer(100)
    buffer.receive(5, b"", True)
    refuse(TransportErrorCode.FINAL_SIZE_ERROR, "data beyond the final size", buffer.reset, 6)
    refuse(TransportErrorCode.FINAL_SIZE_ERROR, "final size changed", buffer.reset, 4)
    assert buffer.reset(5) == 0
    assert buffer.is_reset


def test_reset_of_a_complete_stream_keeps_the_data(reassembly):
    buffer = reassembly.RecvBuffer(100)
    buffer.receive(0, b"abc", True)
    assert buffer.reset(3) == 0
    assert not buffer.is_reset
    assert buffer.complete
    assert buffer.read() == b"abc"
    assert buffer.finished


def test_reset_where_the_data_ends_without_fin(reassembly):
    buffer = reassembly.RecvBuffer(100)
    buffer.receive(0, b"abc", False)
    assert buffer.reset(3) == 0
    assert buffer.is_reset
    assert buffer.readable == 0


def test_discard_releases_what_is_here_and_what_comes(reassembly):
    buffer = reassembly.RecvBuffer(100)
    buffer.receive(0, b"abc", False)
    buffer.receive(10, b"xyz", False)
    buffer.read(2)
    assert buffer.discard() == 11
    assert buffer.discarded
    assert (buffer.consumed, buffer.readable, buffer.pending_segments) == (13, 0, 0)
    assert buffer.discard() == 0
    assert buffer.receive(20, b"abc", False) == 10
    assert not buffer.complete
    assert buffer.discard() == 10
    assert buffer.receive(30, b"", True) == 7
    assert buffer.complete
    assert not buffer.finished
    assert buffer.discard() == 7
    assert buffer.finished
    refuse(TransportErrorCode.FINAL_SIZE_ERROR, "data beyond the final size", buffer.receive, 30, b"a", False)
    assert buffer.reset(30) == 0
    assert not buffer.is_reset


def test_discarded_stream_is_reset(reassembly):
    buffer = reassembly.RecvBuffer(100)
    buffer.receive(0, b"abc", False)
    buffer.discard()
    assert buffer.reset(10) == 7
    assert buffer.is_reset
    assert buffer.finished
    assert buffer.consumed == 10


@PROPERTY
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("receive"), st.integers(0, 40), st.integers(0, 20), st.booleans()),
            st.tuples(st.just("reset"), st.integers(0, 60)),
            st.tuples(st.just("discard")),
            st.tuples(st.just("read"), st.integers(-1, 20)),
        ),
        max_size=30,
    )
)
def test_any_sequence_keeps_the_books(reassembly, steps):
    budget = reassembly.SegmentBudget(5)
    buffer = reassembly.RecvBuffer(50, budget)
    grown = 0
    faults = set()
    for name, *arguments in steps:
        try:
            if name == "receive":
                offset, size, fin = arguments
                grown += buffer.receive(offset, content(offset, offset + size), fin)
            elif name == "reset":
                grown += buffer.reset(*arguments)
            elif name == "discard":
                before = buffer.consumed
                assert buffer.discard() == buffer.consumed - before
            else:
                position = buffer.consumed
                data = buffer.read(*arguments)
                assert data == content(position, position + len(data))
        except TransportError as error:
            faults.add(error.code)
        assert grown == buffer.highest <= buffer.limit
        assert buffer.consumed + buffer.readable <= buffer.highest
        assert budget.used == buffer.pending_segments <= 5
        assert buffer.final_size in (-1, buffer.highest)
    assert faults <= {
        TransportErrorCode.FLOW_CONTROL_ERROR,
        TransportErrorCode.FINAL_SIZE_ERROR,
        TransportErrorCode.INTERNAL_ERROR,
    }


# --- cost


def spent(reassembly, offsets, size):
    piece = bytes(size)
    buffer = reassembly.RecvBuffer(BIG, reassembly.SegmentBudget(1 << 20))
    started = time.process_time()
    for offset in offsets:
        buffer.receive(offset * size, piece, False)
    total = len(buffer.read())
    assert total == len(offsets) * size
    return time.process_time() - started


ORDERS = {
    "in order": lambda count: range(count),
    "reversed": lambda count: range(count - 1, -1, -1),
    "evens, then odds": lambda count: [*range(0, count, 2), *range(1, count, 2)],
    "odds backwards, then evens": lambda count: [*range(count - 1, 0, -2), *range(0, count, 2)],
    "shuffled": lambda count: random.Random(1).sample(range(count), count),
    "shuffled in blocks": lambda count: [
        block + offset for block in range(0, count, 100) for offset in random.Random(block).sample(range(100), 100)
    ],
}


@pytest.mark.security
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("size", [1, 60])
def test_time_is_linear_in_any_order(reassembly, order, size):
    """OpenSSL CVE-2026-42772."""
    few, many = ORDERS[order](5_000), ORDERS[order](50_000)
    assert spent(reassembly, many, size) < 40 * spent(reassembly, few, size) + 0.5


@pytest.mark.security
def test_a_hundred_thousand_segments_backwards(reassembly):
    """OpenSSL CVE-2026-42772."""
    assert spent(reassembly, range(99_999, -1, -1), 20) < 5


def test_memory_follows_the_bytes_not_the_offsets(reassembly):
    import tracemalloc

    tracemalloc.start()
    try:
        buffer = reassembly.RecvBuffer(1 << 62)
        buffer.receive((1 << 61), b"x", False)
        for offset in range(20_000, 0, -1):
            buffer.receive(offset, b"x", False)
        assert buffer.pending_segments == 2
        assert tracemalloc.get_traced_memory()[0] < 200_000
    finally:
        tracemalloc.stop()
