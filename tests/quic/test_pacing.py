"""The pacer's bucket: its rate to the byte, its bursts, and that it never drifts."""

from __future__ import annotations

import pytest

from specter._wire import NEVER
from specter.quic.pacing import Pacer

MS = 1_000_000
SECOND = 1_000_000_000
DATAGRAM = 1200


def drain(pacer: Pacer, now: int, window: int, srtt: int, slow_start: bool = False) -> int:
    """Send full datagrams until the pacer says stop; returns the bytes."""
    total = 0
    while pacer.allowance(now, window, srtt, slow_start) >= DATAGRAM:
        pacer.sent(DATAGRAM)
        total += DATAGRAM
    return total


def run(pacer: Pacer, start: int, duration: int, window: int, srtt: int, slow_start: bool = False) -> int:
    """Send whenever the pacer's own deadline says so; returns the bytes let out."""
    total, now = 0, start
    while now < start + duration:
        total += drain(pacer, now, window, srtt, slow_start)
        following = pacer.next_time(now, window, srtt, slow_start)
        assert now < following < NEVER
        now = following
    return total


@pytest.mark.parametrize("slow_start", [False, True])
@pytest.mark.parametrize(("window", "srtt"), [(12_000, 50 * MS), (2400, 300 * MS), (1_000_003, 77 * MS + 13)])
def test_one_second_lets_out_the_rate(window: int, srtt: int, slow_start: bool) -> None:
    pacer = Pacer(DATAGRAM)
    rate = 2 * window * SECOND / srtt if slow_start else 1.25 * window * SECOND / srtt
    drain(pacer, 0, window, srtt, slow_start)
    sent = run(pacer, 0, SECOND, window, srtt, slow_start)
    assert abs(sent - rate) <= max(0.01 * rate, DATAGRAM)


def test_no_drift_however_often_it_is_asked() -> None:
    often, seldom = Pacer(DATAGRAM), Pacer(DATAGRAM)
    window, srtt = 120_000, 33_333_333
    for pacer in (often, seldom):
        drain(pacer, 0, window, srtt)
    for now in range(0, 2 * MS, 777):
        often.allowance(now, window, srtt)
    assert often.allowance(2 * MS, window, srtt) == seldom.allowance(2 * MS, window, srtt) > 0


def test_next_time_is_the_first_instant_a_datagram_fits() -> None:
    pacer = Pacer(DATAGRAM)
    drain(pacer, 0, 12_000, 50 * MS)
    due = pacer.next_time(0, 12_000, 50 * MS)
    # 5/4 * 12,000 bytes in 50 ms are 300,000 bytes a second: a datagram every 4 ms.
    assert due == 4 * MS
    assert pacer.allowance(due - 1, 12_000, 50 * MS) == DATAGRAM - 1
    assert pacer.next_time(due - 1, 12_000, 50 * MS) == due
    assert pacer.allowance(due, 12_000, 50 * MS) == DATAGRAM
    assert pacer.next_time(due, 12_000, 50 * MS) == NEVER


@pytest.mark.parametrize(
    ("window", "srtt", "datagrams"),
    [
        (12_000, 50 * MS, 10),  # slow path: ten datagrams
        (600_000, 50 * MS, 25),  # 15 MB/s: 2 ms are 30,000 bytes
        (10_000_000, 10 * MS, 64),  # capped
    ],
)
def test_burst_is_ten_datagrams_or_two_milliseconds_up_to_64(window: int, srtt: int, datagrams: int) -> None:
    assert drain(Pacer(DATAGRAM), 5 * SECOND, window, srtt) == datagrams * DATAGRAM


def test_idle_restart_gives_one_fresh_burst() -> None:
    pacer = Pacer(DATAGRAM)
    drain(pacer, 0, 12_000, 50 * MS)
    assert drain(pacer, 10 * SECOND, 12_000, 50 * MS) == 10 * DATAGRAM
    assert pacer.allowance(10 * SECOND, 12_000, 50 * MS) == 0


def test_loopback_is_not_throttled() -> None:
    pacer = Pacer(DATAGRAM)
    srtt, window = 80_000, 256_000
    assert drain(pacer, SECOND, window, srtt) == 64 * DATAGRAM
    # 4 GB/s: the next datagram is due within a microsecond, a full burst within 20.
    assert pacer.next_time(SECOND, window, srtt) <= SECOND + 1000
    assert drain(pacer, SECOND + 20_000, window, srtt) == 64 * DATAGRAM


def test_zero_rtt_estimate_does_not_fail() -> None:
    assert drain(Pacer(DATAGRAM), MS, 12_000, 0) == 64 * DATAGRAM


def test_debt_of_probes_is_paid_but_bounded() -> None:
    pacer = Pacer(DATAGRAM)
    drain(pacer, 0, 12_000, 50 * MS)
    pacer.sent(DATAGRAM)
    assert pacer.next_time(0, 12_000, 50 * MS) == 8 * MS
    for _ in range(1000):
        pacer.sent(DATAGRAM)
    assert pacer.next_time(0, 12_000, 50 * MS) == 44 * MS


def test_time_running_backwards_changes_nothing() -> None:
    pacer = Pacer(DATAGRAM)
    drain(pacer, SECOND, 12_000, 50 * MS)
    assert pacer.allowance(0, 12_000, 50 * MS) == 0
    assert pacer.allowance(SECOND + 4 * MS, 12_000, 50 * MS) == DATAGRAM
