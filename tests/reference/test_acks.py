from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specter._frame_types import Ack, EcnCounts
from specter._wire import NEVER

PROPERTY = settings(max_examples=200, deadline=None, derandomize=True)
MS = 1_000_000


@pytest.fixture(scope="session")
def tracker(acks):
    def make(immediate=False, threshold=2, bulk_threshold=10, bulk_after=100, max_delay=25 * MS, **more):
        return acks.AckTracker(immediate, threshold, bulk_threshold, bulk_after, max_delay, **more)

    return make


def to_ranges(numbers):
    ranges = []
    for pn in sorted(numbers, reverse=True):
        if ranges and ranges[-1][0] == pn + 1:
            ranges[-1] = (pn, ranges[-1][1])
        else:
            ranges.append((pn, pn))
    return ranges


# --- what was received


def test_nothing_received(tracker, frames):
    acks = tracker()
    assert (acks.largest, acks.deadline, acks.pending, list(acks.ranges)) == (-1, NEVER, 0, [])
    assert acks.encode(0, 3, 1000) == b""
    assert not acks.is_duplicate(0)
    assert not acks.due(NEVER - 1)
    acks.forget(5)
    assert not acks.is_duplicate(0)


def test_ranges_join(tracker):
    acks = tracker()
    for pn, expected in [
        (5, [(5, 5)]),
        (7, [(7, 7), (5, 5)]),
        (6, [(5, 7)]),
        (1, [(5, 7), (1, 1)]),
        (2, [(5, 7), (1, 2)]),
        (4, [(4, 7), (1, 2)]),
        (3, [(1, 7)]),
        (0, [(0, 7)]),
    ]:
        acks.record(pn, 0, False, 0)
        assert list(acks.ranges) == expected
    assert acks.largest == 7


@PROPERTY
@given(numbers=st.lists(st.integers(0, 80), max_size=80))
def test_against_a_set(tracker, frames, numbers):
    acks = tracker()
    model: set[int] = set()
    for pn in numbers:
        assert acks.is_duplicate(pn) == (pn in model)
        acks.record(pn, 0, True, 0)
        model.add(pn)
        assert acks.is_duplicate(pn)
        assert list(acks.ranges) == to_ranges(model)
        assert acks.largest == max(model)
        [ack] = frames.decode(acks.encode(0, 3, 1 << 20))
        assert ack == Ack(tuple(to_ranges(model)), 0)


@PROPERTY
@given(
    steps=st.lists(st.one_of(st.integers(0, 60), st.integers(0, 60).map(lambda pn: ("forget", pn))), max_size=80),
    max_ranges=st.integers(1, 5),
)
def test_floor_against_a_set(tracker, steps, max_ranges):
    acks = tracker(max_ranges=max_ranges)
    model: set[int] = set()
    floor, largest = 0, -1
    for step in steps:
        if isinstance(step, tuple):
            floor = max(floor, min(step[1], largest - 1) + 1)
            acks.forget(step[1])
        else:
            acks.record(step, 0, True, 0)
            if step >= floor:
                model.add(step)
                largest = max(largest, step)
            if len(to_ranges(model)) > max_ranges:
                floor = to_ranges(model)[-1][1] + 1
        model = {pn for pn in model if pn >= floor}
        assert list(acks.ranges) == to_ranges(model)
        assert acks.largest == largest
        for pn in range(62):
            assert acks.is_duplicate(pn) == (pn < floor or pn in model)


def test_a_duplicate_changes_nothing(tracker):
    acks = tracker(immediate=True)
    assert acks.record(3, 10, True, 0)
    acks.sent(10)
    assert not acks.record(3, 20, True, 3)
    assert (acks.pending, acks.deadline) == (0, NEVER)
    assert acks.encode(10, 3, 100)[0] == 0x02


def test_forget_keeps_the_largest(tracker, frames):
    acks = tracker()
    for pn in (0, 1, 2, 5, 6):
        acks.record(pn, 0, True, 0)
    acks.forget(1)
    assert list(acks.ranges) == [(5, 6), (2, 2)]
    acks.forget(0)
    assert list(acks.ranges) == [(5, 6), (2, 2)]
    acks.forget(1 << 61)
    assert list(acks.ranges) == [(6, 6)]
    assert acks.is_duplicate(4)
    assert acks.largest == 6
    acks.record(7, 0, True, 0)
    assert frames.decode(acks.encode(0, 3, 100)) == [Ack(((6, 7),), 0)]


def test_a_number_below_every_remembered_range(tracker):
    acks = tracker(max_ranges=2)
    for pn in (20, 10):
        acks.record(pn, 0, True, 0)
    acks.record(4, 0, True, 0)
    assert list(acks.ranges) == [(20, 20), (10, 10)]
    assert acks.is_duplicate(3)
    assert not acks.is_duplicate(5)


# --- when to acknowledge


def test_every_second_packet(tracker):
    acks = tracker()
    assert not acks.record(0, 100, True, 0)
    assert (acks.pending, acks.deadline) == (1, 100 + 25 * MS)
    assert not acks.due(200)
    assert acks.record(1, 200, True, 0)
    assert (acks.pending, acks.deadline) == (2, 200)
    assert acks.due(200)
    assert acks.record(2, 300, True, 0)
    assert acks.deadline == 200
    acks.sent(300)
    assert (acks.pending, acks.deadline) == (0, NEVER)
    assert not acks.record(3, 400, True, 0)
    assert acks.deadline == 400 + 25 * MS


def test_the_delay_counts_from_the_first_that_waits(tracker):
    acks = tracker(threshold=5)
    acks.record(0, 100, True, 0)
    acks.record(1, 200, True, 0)
    assert acks.deadline == 100 + 25 * MS
    assert not acks.due(acks.deadline - 1)
    assert acks.due(acks.deadline)
    assert acks.record(2, acks.deadline + 5, True, 0)


def test_fewer_acknowledgments_in_bulk(tracker):
    acks = tracker(threshold=2, bulk_threshold=4, bulk_after=4)
    due = []
    for pn in range(16):
        if acks.record(pn, pn, True, 0):
            due.append(pn)
            acks.sent(pn)
    assert due == [1, 3, 7, 11, 15]


def test_what_waits_for_more_in_bulk_waits_for_a_short_time(tracker):
    """A sender whose window is smaller than the threshold has nothing more to send until it hears."""
    acks = tracker(threshold=2, bulk_threshold=4, bulk_after=0)
    assert acks.bulk_delay == 25 * MS
    acks.bulk_delay = 3 * MS
    assert not acks.record(0, 100, True, 0)
    assert acks.deadline == 100 + 25 * MS
    assert not acks.record(1, 200, True, 0)
    assert acks.deadline == 200 + 3 * MS
    assert not acks.record(2, 300, True, 0)
    assert acks.deadline == 200 + 3 * MS
    assert acks.record(3, 400, True, 0)
    assert acks.deadline == 400
    acks.sent(400)
    acks.record(4, 500, True, 0)
    assert not acks.record(5, 500 + 24 * MS, True, 0)
    assert acks.deadline == 500 + 25 * MS, "the first that waits is never late"


def test_an_acknowledgment_that_may_be_lost_is_repeated_with_the_next_packet(tracker):
    acks = tracker()
    acks.repeat()
    assert acks.pending == 0, "nothing to acknowledge"
    acks.record(0, 100, True, 0)
    acks.sent(200)
    acks.repeat()
    assert (acks.pending, acks.deadline) == (1, NEVER)
    acks.sent(300)
    for pn in (1, 2):
        acks.record(pn, 400, True, 0)
    acks.repeat()
    assert (acks.pending, acks.deadline) == (2, 400)


def test_initial_and_handshake_spaces(tracker):
    acks = tracker(immediate=True)
    assert acks.record(0, 5, True, 0)
    assert acks.deadline == 5


def test_packets_that_do_not_elicit(tracker):
    acks = tracker(immediate=True, threshold=1)
    for pn, ecn in ((0, 0), (9, 0), (5, 3)):
        assert not acks.record(pn, 0, False, ecn)
    assert (acks.pending, acks.deadline) == (0, NEVER)
    assert acks.encode(0, 3, 100)[0] == 0x03


def test_congestion_experienced(tracker):
    acks = tracker(threshold=10)
    assert not acks.record(0, 0, True, 2)
    assert not acks.record(1, 0, True, 1)
    assert acks.record(2, 0, True, 3)


@pytest.mark.parametrize(
    ("before", "pn", "due"),
    [
        ([], 0, False),
        ([], 3, True),
        ([0, 1], 2, False),
        ([0, 1], 3, True),
        ([0, 1, 3], 2, True),
        ([0, 1, 3], 4, False),
        ([0, 3, 4], 1, True),
        ([0, 1, -2], 3, False),
        ([0, -2, -3], 1, False),
        ([0, -2], 3, True),
        ([-0, -1], 2, False),
        ([0, -9], 1, False),
        ([0, -9], 5, True),
    ],
)
def test_order(tracker, before, pn, due):
    """Negative numbers stand for packets that do not elicit an ACK."""
    acks = tracker(threshold=100)
    for earlier in before:
        acks.record(abs(earlier), 0, earlier >= 0, 0)
    acks.sent(0)
    assert acks.record(pn, 0, True, 0) is due


def test_an_old_gap_is_not_new(tracker):
    acks = tracker(threshold=100)
    for pn in (0, 1, 3):
        acks.record(pn, 0, True, 0)
    acks.sent(0)
    assert not acks.record(4, 0, True, 0)
    acks.forget(3)
    assert not acks.record(5, 0, True, 0)
    for pn in range(6, 10):
        acks.record(pn, 0, False, 0)
    acks.forget(8)
    assert not acks.record(10, 0, True, 0)
    assert acks.record(12, 0, True, 0)


# --- the frame


@pytest.mark.parametrize(
    ("elapsed", "exponent", "field"), [(0, 3, 0), (8_000, 3, 1), (25 * MS, 3, 3125), (7_999, 0, 7)]
)
def test_delay(tracker, frames, elapsed, exponent, field):
    acks = tracker()
    acks.record(4, 1000, True, 0)
    acks.record(3, 1000 + elapsed, True, 0)
    [ack] = frames.decode(acks.encode(1000 + elapsed, exponent, 100))
    assert ack.delay == field


def test_a_clock_that_went_back_is_no_delay(tracker, frames):
    acks = tracker()
    acks.record(4, 1000, True, 0)
    [ack] = frames.decode(acks.encode(0, 3, 100))
    assert ack.delay == 0


def test_ecn_counts(tracker, frames):
    acks = tracker()
    for pn, ecn in enumerate((0, 1, 2, 2, 3, 3, 3)):
        acks.record(pn, 0, True, ecn)
    assert frames.decode(acks.encode(0, 3, 100)) == [Ack(((0, 6),), 0, EcnCounts(2, 1, 3))]


def test_encode_changes_nothing(tracker):
    acks = tracker()
    acks.record(0, 0, True, 0)
    assert acks.encode(5, 3, 100) == acks.encode(5, 3, 100)
    assert acks.pending == 1


@PROPERTY
@given(numbers=st.sets(st.integers(0, 5000), min_size=1, max_size=150), capacity=st.integers(0, 120))
def test_the_frame_fits(tracker, frames, numbers, capacity):
    acks = tracker(max_ranges=100)
    for pn in sorted(numbers):
        acks.record(pn, 0, True, 0)
    encoded = acks.encode(0, 3, capacity)
    assert len(encoded) <= capacity
    if encoded:
        [ack] = frames.decode(encoded)
        assert list(ack.ranges) == list(acks.ranges)[: len(ack.ranges)]
    else:
        assert capacity < 9


# --- cost


def spent(tracker, numbers):
    acks = tracker()
    started = time.process_time()
    for pn in numbers:
        acks.record(pn, 0, True, 0)
    return time.process_time() - started


@pytest.mark.parametrize(
    "order",
    [
        lambda count: range(count),
        lambda count: range(count, 0, -1),
        lambda count: range(0, 2 * count, 2),
        lambda count: random.Random(2).sample(range(count), count),
    ],
)
def test_time_is_linear(tracker, order):
    assert spent(tracker, order(50_000)) < 40 * spent(tracker, order(5_000)) + 0.5
