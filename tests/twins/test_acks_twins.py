"""Both twins of ``acks`` keep the same ranges, make the same ACKs due, and encode the same bytes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specter._wire import NEVER
from tests.twins.compare import Pair, measures_memory, outcome, resident

ATTRIBUTES = ("bulk_delay", "largest", "deadline", "pending", "ranges")
MS = 1_000_000
POLICY = (False, 2, 10, 100, 25 * MS)


@pytest.fixture(scope="module")
def make(twins):
    pair = twins("acks")

    def build(*arguments, **named):
        trackers = [module.AckTracker(*arguments, **named) for module in (pair.reference, pair.compiled)]
        return Pair(*trackers, ATTRIBUTES)

    return build


def drive(pair, rng, steps, reach):
    """Packets around a moving edge: in order, skipped, late and twice."""
    now, edge = 0, rng.choice((0, 0, 5, 1 << 40))
    for step in range(steps):
        if step % 50 == 0:
            pair.reference.bulk_delay = pair.compiled.bulk_delay = rng.choice((0, MS, 40 * MS, NEVER))
        now += rng.choice((0, 1000, 70_000, 30 * MS))
        edge += rng.choice((1, 1, 1, 1, 2, 3, rng.randrange(1, reach)))
        pn = max(0, edge - rng.choice((0, 0, 0, 1, 2, rng.randrange(reach))))
        pair("record", pn, now, rng.random() < 0.8, rng.choice((0, 0, 0, 0, 1, 2, 3, 4)))
        pair("is_duplicate", rng.randrange(max(edge - reach, 0), edge + 3))
        pair("due", now + rng.choice((0, 25 * MS)))
        if rng.random() < 0.3:
            pair("encode", now + rng.choice((0, -50, 90_000)), rng.choice((0, 3, 20, 63)), rng.randrange(-1, 200))
        if rng.random() < 0.2:
            pair("sent", now)
        if rng.random() < 0.1:
            pair("repeat")
        if rng.random() < 0.05:
            pair("forget", rng.choice((edge, edge - rng.randrange(reach), -3, edge * 2)))
    return edge


@pytest.mark.parametrize("seed", range(30))
def test_random_traffic(make, seed):
    rng = random.Random(seed)
    policy = (rng.random() < 0.2, rng.choice((1, 2, 4)), rng.choice((2, 10)), rng.choice((0, 5, 100)), 25 * MS)
    pair = make(*policy, rng.choice((1, 2, 3, 7, 128)))
    drive(pair, rng, 150, rng.choice((3, 20, 1000)))


def test_more_ranges_than_are_kept(make):
    pair = make(*POLICY)
    for pn in range(0, 1000, 2):
        pair("record", pn, pn, True, 0)
    for pn in (999, 743, 744, 745, 100, 801, 803):
        pair("record", pn, 2000, True, 0)
    for capacity in (0, 5, 6, 7, 8, 60, 200, 255, 256, 257, 258, 259, 5000, 1 << 62):
        pair("encode", 5000, 3, capacity)


@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
def test_without_a_limit_worth_the_name(make, order):
    pair = make(*POLICY, max_ranges=1 << 40)
    numbers = list(range(0, 2000, 3))
    if order == "shuffled":
        random.Random(4).shuffle(numbers)
    for step, pn in enumerate(reversed(numbers) if order == "descending" else numbers):
        pair.reference.record(pn, step, True, 0)
        pair.compiled.record(pn, step, True, 0)
    pair.check(order)
    pair("encode", 9000, 0, 1 << 30)
    pair("encode", 9000, 0, 700)
    pair("forget", 1000)


@given(
    numbers=st.lists(st.integers(-2, 40), max_size=60),
    limit=st.integers(1, 5),
    forgotten=st.integers(-1, 50),
)
def test_few_numbers_in_any_order(make, numbers, limit, forgotten):
    pair = make(*POLICY, limit)
    for step, pn in enumerate(numbers):
        pair("record", pn, step, step % 3 != 0, 0)
        if step == len(numbers) // 2:
            pair("forget", forgotten)
        pair("encode", 100, 3, 30)
    for pn in range(-2, 42):
        pair("is_duplicate", pn)


def test_nothing_kept_at_all(make):
    pair = make(*POLICY, 0)
    assert pair("record", 5, 0, False, 0) == ("returned", bool, False)
    assert pair("record", 9, 0, True, 0)[0] is IndexError
    pair("encode", 0, 3, 100)


def test_arguments(make):
    pair = make(False, 2, 10, 100, 25 * MS)
    pair("encode", 0, 3, 100)
    pair("record", 3, 10, [], 0)
    pair("record", 4, 10, "yes", 0)
    pair("encode", 10_000_000, -1, 100)
    pair("encode", 10_000_000, 64, 100)
    pair("encode", 1 << 62, 0, 100)
    pair("record", 1 << 62, 10, True, 0)
    pair("encode", 20, 0, 100)
    for call in (pair.reference.record, pair.compiled.record):
        assert outcome(call, "x", 0, True, 0)[0] is TypeError
        assert outcome(call, 1)[0] is TypeError


def test_a_deadline_cannot_pass_never(make):
    tracker = make(False, 5, 5, 0, 10).compiled
    tracker.record(0, NEVER - 3, True, 0)
    assert tracker.deadline == NEVER


def test_numbers_have_64_bits(make):
    tracker = make(*POLICY).compiled
    with pytest.raises(OverflowError):
        tracker.record(1 << 63, 0, True, 0)


@measures_memory
def test_nothing_is_kept(twins):
    module = twins("acks").compiled
    rng = random.Random(1)
    numbers = [pn - rng.choice((0, 0, 0, 1, 3)) for pn in range(5, 1005)]

    def work(rounds):
        for _ in range(rounds):
            tracker = module.AckTracker(*POLICY)
            for pn in numbers:
                tracker.record(pn, pn, True, 0)
                tracker.encode(pn, 3, 1000)

    work(20)
    before = resident()
    work(300)
    assert resident() - before < 1 << 20
