"""Both twins of ``sent`` give the same results in the same order, and count the same, whatever happens."""

from __future__ import annotations

import gc
import random
import sys

import pytest

from tests.twins.compare import outcome

ATTRIBUTES = (
    "ack_eliciting_in_flight",
    "bytes_in_flight",
    "largest_acked",
    "last_ack_eliciting_time",
    "loss_time",
    "marked",
    "marked_in_flight",
    "marking",
    "next_pn",
)


@pytest.fixture(scope="module")
def pair(twins):
    return twins("sent")


class Tables:
    """The two tables; every call goes to both and must do the same to both."""

    def __init__(self, pair):
        self.reference = pair.reference.SentPackets()
        self.compiled = pair.compiled.SentPackets()
        self.check()

    def __getattr__(self, name):
        def call(*arguments):
            expected = outcome(getattr(self.reference, name), *arguments)
            found = outcome(getattr(self.compiled, name), *arguments)
            assert found == expected
            assert repr(found) == repr(expected)  # True is not 1
            self.check()

        return call

    def check(self):
        for name in ATTRIBUTES:
            assert getattr(self.compiled, name) == getattr(self.reference, name), name
        assert len(self.compiled) == len(self.reference)


class Traffic:
    """Random packets of a few streams, with random answers to them."""

    def __init__(self, pair, seed):
        self.rng = random.Random(seed)
        self.tables = Tables(pair)
        self.offsets = [0] * 3
        self.now = 1000

    def step(self):
        self.now += self.rng.randrange(0, 50)
        kinds = (self.record,) * 60 + (self.acknowledge,) * 15 + (self.detect_lost,) * 10 + (self.oldest,) * 5
        self.rng.choice((*kinds, self.skip, self.skip, self.mark, self.break_rules, self.discard, self.disown))()

    def record(self):
        for _ in range(self.rng.randrange(1, 6)):
            pn = self.tables.reference.next_pn + self.rng.choice((0,) * 9 + (1, 5))
            eliciting, in_flight = self.rng.choice(((True, True),) * 6 + ((False, False), (False, True), (True, False)))
            tokens = tuple(f"token {pn} {index}" for index in range(self.rng.choice((0, 0, 0, 1, 3))))
            stream = self.stream() if self.rng.random() < 0.7 else None
            size = self.rng.choice((0, self.rng.randrange(30, 1500), 1200, 1200, 1472))
            self.tables.record(pn, self.now, size, eliciting, in_flight, tokens, stream)
            self.now += self.rng.randrange(0, 3)

    def mark(self):
        marking = self.rng.random() < 0.5
        self.tables.reference.marking = self.tables.compiled.marking = marking
        self.tables.check()

    def disown(self):
        self.tables.disown()

    def stream(self):
        stream_id = self.rng.randrange(3)
        length = self.rng.choice((0, 10, 1100))
        offset = self.offsets[stream_id] + self.rng.choice((0,) * 9 + (7,))
        self.offsets[stream_id] = offset + length
        return stream_id * 4, offset, length, self.rng.random() < 0.1

    def ranges(self, newest):
        """Descending ranges below and up to ``newest``."""
        found = []
        largest = newest
        while largest >= 0 and len(found) < self.rng.choice((1, 1, 3, 8, 40)):
            smallest = max(0, largest - self.rng.choice((0, 0, 1, 3, 20)))
            found.append((smallest, largest))
            largest = smallest - self.rng.randrange(2, 5)
        return found or [(0, newest)]

    def acknowledge(self):
        newest = self.tables.reference.next_pn - self.rng.choice((1, 1, 1, 2, 4, 30))
        if newest >= 0:
            ranges = self.ranges(newest)
            self.tables.acknowledge(self.rng.choice((ranges, tuple(ranges))), self.now)

    def detect_lost(self):
        self.tables.detect_lost(self.now, self.rng.choice((0, 20, 100, 1000)), self.rng.choice((3, 3, 1, 10)))

    def oldest(self):
        self.tables.oldest(self.rng.choice((0, 1, 2, 100)))

    def skip(self):
        self.tables.skip(self.tables.reference.next_pn + self.rng.choice((0, 0, 2)))

    def break_rules(self):
        following = self.tables.reference.next_pn
        self.tables.record(following - 1, self.now, 100, True, True)
        self.tables.skip(following - 1)
        for newest in (following, following + 9, 1 << 62, 1 << 70):
            self.tables.acknowledge([(0, newest)], self.now)
        self.tables.acknowledge([], self.now)

    def discard(self):
        if self.rng.random() < 0.2:
            self.tables.discard()


@pytest.mark.parametrize("seed", range(30))
def test_random_traffic(pair, seed):
    traffic = Traffic(pair, seed)
    for _ in range(300):
        traffic.step()


def test_the_results_are_of_the_same_classes(pair):
    assert pair.compiled.Acked is pair.reference.Acked
    assert pair.compiled.Lost is pair.reference.Lost
    assert pair.compiled.__all__ == pair.reference.__all__


def test_a_large_flight_that_grows_and_shrinks(pair):
    tables = Tables(pair)
    for count in (5000, 10, 300, 1, 2000, 3):
        first = tables.reference.next_pn
        for pn in range(first, first + count):
            for table in (tables.reference, tables.compiled):
                table.record(pn, pn, 100, True, True, (pn,) if pn % 7 == 0 else (), (0, pn * 100, 100, False))
        tables.check()
        tables.acknowledge([(first + count // 2, first + count - 1), (first + 1, first + count // 4)], first + count)
        tables.detect_lost(first + count, 10**9, count // 3)
        tables.acknowledge([(first, first + count - 1)], first + count)
        assert len(tables.compiled) == 0


def test_many_ranges(pair):
    tables = Tables(pair)
    for pn in range(600):
        tables.record(pn, pn, 100, True, True, (), (4, pn, 1, False))
    tables.acknowledge([(pn, pn) for pn in range(599, 0, -2)], 600)
    tables.acknowledge([(pn, pn + 1) for pn in range(598, -1, -3)], 601)
    tables.detect_lost(10_000, 1)
    assert len(tables.compiled) == 0


def test_ranges_out_of_order_do_no_harm(pair):
    table = pair.compiled.SentPackets()
    for pn in range(100):
        table.record(pn, pn, 100, True, True)
    for ranges in (
        [(50, 60), (70, 80), (1, 2)],
        [(9, 3)],
        [(40, 45), (44, 46)],
        [(-5, 3), (-9, 99)],
        [(0, 0), (0, 99)],
    ):
        table.acknowledge(ranges, 100)
    assert table.bytes_in_flight == 100 * len(table)


@pytest.mark.parametrize("ranges", [5, None, [5], [(1,)], [(1, 2, 3)], [("a", "b")], "text", [(0, None)]])
def test_what_are_no_ranges(pair, ranges):
    table = pair.compiled.SentPackets()
    table.record(0, 1, 100, True, True)
    with pytest.raises((TypeError, ValueError)):
        table.acknowledge(ranges, 1)
    assert len(table) == 1


def test_numbers_beyond_64_bits(pair):
    table = pair.compiled.SentPackets()
    for arguments in ((1 << 63, 1, 1), (0, 1 << 63, 1), (0, 1, 1 << 63)):
        with pytest.raises(OverflowError):
            table.record(*arguments, True, True)
    with pytest.raises(OverflowError):
        table.record(0, 0, 1, True, True, (), (1 << 63, 0, 0, False))
    assert table.next_pn == len(table) == 0


class Token:
    pass


@pytest.mark.parametrize("end", ["acknowledge", "detect_lost", "discard", "dealloc"])
def test_tokens_are_let_go(pair, end):
    token = Token()
    count = sys.getrefcount(token)
    table = pair.compiled.SentPackets()
    for pn in range(50):
        table.record(pn, pn, 100, True, True, (token, pn))
    found = table.oldest(3)
    assert [tokens for tokens, _ in found] == [(token, 0), (token, 1), (token, 2)]
    if end == "acknowledge":
        found = table.acknowledge([(40, 49), (0, 30)], 50), table.acknowledge([(31, 39)], 51)
    elif end == "detect_lost":
        found = table.acknowledge([(49, 49)], 50), table.detect_lost(10**9, 1)
    elif end == "discard":
        found = table.discard()
    assert sys.getrefcount(token) > count or end == "discard"
    del table, found
    gc.collect()
    assert sys.getrefcount(token) == count
