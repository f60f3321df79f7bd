"""RTT estimation: RFC 9002, section 5, with exact numbers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specter._wire import NEVER
from specter.quic.rtt import GRANULARITY, RttEstimator

MS = 1_000_000
INITIAL_RTT = 333 * MS


def sampled(*samples: int) -> RttEstimator:
    rtt = RttEstimator(INITIAL_RTT)
    for sample in samples:
        rtt.update(sample, 0, 0, 25 * MS, True)
    return rtt


def test_before_a_sample_the_initial_rtt_counts() -> None:
    rtt = RttEstimator(INITIAL_RTT)
    assert (rtt.smoothed, rtt.variance, rtt.has_sample) == (333 * MS, 166_500_000, False)
    assert rtt.pto_base() == 999 * MS
    assert rtt.first_sample_time == NEVER


def test_first_sample_replaces_everything_and_ignores_ack_delay() -> None:
    rtt = RttEstimator(INITIAL_RTT)
    rtt.update(40 * MS, 15 * MS, 1234, 25 * MS, False)
    assert (rtt.latest, rtt.minimum, rtt.smoothed, rtt.variance) == (40 * MS, 40 * MS, 40 * MS, 20 * MS)
    assert rtt.has_sample
    assert rtt.first_sample_time == 1234


def test_second_sample_uses_the_old_average_for_the_variance() -> None:
    rtt = sampled(40 * MS, 80 * MS)
    assert rtt.variance == (3 * 20 * MS + 40 * MS) // 4
    assert rtt.smoothed == (7 * 40 * MS + 80 * MS) // 8
    assert (rtt.latest, rtt.minimum) == (80 * MS, 40 * MS)


@pytest.mark.parametrize(
    ("ack_delay", "confirmed", "adjusted"),
    [
        (20 * MS, True, 80 * MS),
        (60 * MS, True, 75 * MS),  # capped by max_ack_delay
        (60 * MS, False, 40 * MS),  # not capped before confirmation
        (61 * MS, False, 100 * MS),  # would fall below the minimum: not subtracted
        (1 << 80, False, 100 * MS),
    ],
)
def test_ack_delay(ack_delay: int, confirmed: bool, adjusted: int) -> None:
    rtt = sampled(40 * MS)
    rtt.update(100 * MS, ack_delay, 0, 25 * MS, confirmed)
    assert rtt.smoothed == (7 * 40 * MS + adjusted) // 8
    assert rtt.latest == 100 * MS


def test_minimum_ignores_ack_delay() -> None:
    rtt = sampled(40 * MS)
    rtt.update(30 * MS, 20 * MS, 0, 25 * MS, True)
    assert rtt.minimum == 30 * MS
    assert rtt.smoothed == (7 * 40 * MS + 30 * MS) // 8


def test_forget_minimum_takes_the_newest_sample() -> None:
    rtt = sampled(40 * MS, 90 * MS)
    rtt.forget_minimum()
    assert rtt.minimum == 90 * MS


def test_loss_delay_is_nine_eighths_of_the_larger() -> None:
    assert sampled(80 * MS).loss_delay() == 90 * MS
    risen = sampled(80 * MS, 160 * MS)
    assert risen.smoothed == 90 * MS
    assert risen.loss_delay() == 180 * MS
    fallen = sampled(80 * MS, 8 * MS)
    assert fallen.loss_delay() == 9 * 71 * MS // 8


def test_granularity_is_the_floor() -> None:
    rtt = sampled(*[100_000] * 200)
    assert rtt.loss_delay() == GRANULARITY
    assert rtt.pto_base() == rtt.smoothed + GRANULARITY


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(-5, 10**12), st.integers(0, 1 << 90), st.booleans()), min_size=1, max_size=50))
def test_estimates_stay_between_the_samples(samples: list[tuple[int, int, bool]]) -> None:
    rtt = RttEstimator(INITIAL_RTT)
    for latest, ack_delay, confirmed in samples:
        rtt.update(latest, ack_delay, 0, 25 * MS, confirmed)
    low, high = (max(f(sample[0] for sample in samples), 0) for f in (min, max))
    assert rtt.minimum == low
    assert max(low - 8, 0) <= rtt.smoothed <= high
    assert 0 <= rtt.variance <= high


@pytest.mark.parametrize(("sample", "delay"), [(80 * MS, 10 * MS), (2 * MS, GRANULARITY), (900 * MS, 25 * MS)])
def test_acknowledgments_of_bulk_wait_for_an_eighth_of_a_round_trip(sample: int, delay: int) -> None:
    assert sampled(sample).bulk_ack_delay(25 * MS) == delay
