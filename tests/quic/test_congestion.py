"""Congestion controllers: NewReno by RFC 9002, CUBIC by RFC 9438, HyStart++ by RFC 9406, and a lossy bottleneck."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable

import pytest

from specter._reference.sent import SentPackets
from specter._wire import NEVER
from specter.quic.config import QuicConfig
from specter.quic.congestion.base import INFINITE, CongestionController, initial_window
from specter.quic.congestion.controllers import make_controller
from specter.quic.congestion.cubic import Cubic, cube_root
from specter.quic.congestion.hystart import HyStart
from specter.quic.congestion.newreno import NewReno
from specter.quic.recovery import APPLICATION, Recovery
from specter.quic.rtt import RttEstimator

MS = 1_000_000
SECOND = 1_000_000_000
MSS = 1200
NAMES = ("newreno", "cubic")


def steady(rtt: int) -> RttEstimator:
    estimator = RttEstimator(rtt)
    estimator.update(rtt, 0, 0, 0, True)
    return estimator


def ack(cc: CongestionController, size: int, sent: int, now: int, rtt: int = 50 * MS, limited: bool = True) -> None:
    cc.on_acked(size, sent, now, steady(rtt), limited)


def ack_window(cc: CongestionController, now: int, rtt: int, limited: bool = True) -> int:
    """Acknowledge one whole window, spread over one round trip; returns when it ended."""
    remaining, step = cc.window, max(rtt * MSS // cc.window, 1)
    estimator = steady(rtt)
    while remaining >= MSS:
        now += step
        cc.on_acked(MSS, now - rtt, now, estimator, limited)
        remaining -= MSS
    return now


# What both have in common


@pytest.mark.parametrize(("size", "window"), [(1200, 12_000), (1452, 14_520), (1500, 14_720), (9000, 18_000)])
def test_initial_window(size: int, window: int) -> None:
    assert initial_window(size) == window
    assert all(make_controller(name, size).window == window for name in NAMES)


def test_make_controller_knows_two_names() -> None:
    assert isinstance(make_controller("newreno", MSS), NewReno)
    assert isinstance(make_controller("cubic", MSS), Cubic)
    with pytest.raises(ValueError, match="bbr"):
        make_controller("bbr", MSS)


@pytest.mark.parametrize("name", NAMES)
def test_slow_start_adds_what_is_acknowledged(name: str) -> None:
    cc = make_controller(name, MSS)
    assert cc.ssthresh == INFINITE
    ack(cc, 3 * MSS, 0, 50 * MS)
    assert cc.window == 13 * MSS
    assert cc.in_slow_start


@pytest.mark.parametrize(("name", "window"), [("newreno", 6000), ("cubic", 8400)])
def test_one_reduction_per_recovery_period(name: str, window: int) -> None:
    cc = make_controller(name, MSS)
    assert cc.on_lost(0, 100)
    assert cc.window == cc.ssthresh == window
    assert not cc.on_lost(99, 120)
    assert not cc.on_ecn_ce(50, 130)
    assert cc.window == window
    ack(cc, MSS, 99, 140)
    assert cc.window == window
    assert cc.in_recovery(99)
    assert not cc.in_recovery(100)
    assert cc.on_lost(100, 200)
    assert cc.window < window


@pytest.mark.parametrize("name", NAMES)
def test_ce_mark_counts_like_a_loss(name: str) -> None:
    marked, lossy = make_controller(name, MSS), make_controller(name, MSS)
    assert marked.on_ecn_ce(7, 9)
    assert lossy.on_lost(7, 9)
    assert (marked.window, marked.ssthresh) == (lossy.window, lossy.ssthresh)


@pytest.mark.parametrize("name", NAMES)
def test_window_never_falls_below_two_datagrams(name: str) -> None:
    cc = make_controller(name, MSS)
    for now in range(0, 100, 2):
        cc.on_lost(now, now + 1)
    assert cc.window == 2 * MSS
    assert not cc.in_slow_start


@pytest.mark.parametrize("name", NAMES)
def test_persistent_congestion_restarts_slow_start_at_the_minimum(name: str) -> None:
    cc = make_controller(name, MSS)
    cc.on_lost(5, 10)
    threshold = cc.ssthresh
    cc.on_persistent_congestion(10)
    assert (cc.window, cc.ssthresh) == (2 * MSS, threshold)
    assert cc.in_slow_start
    ack(cc, 2 * MSS, 5, 20)
    assert cc.window == 4 * MSS


@pytest.mark.parametrize("name", NAMES)
def test_no_growth_while_the_window_is_not_used(name: str) -> None:
    cc = make_controller(name, MSS)
    ack(cc, 5 * MSS, 0, 50, limited=False)
    assert cc.window == 10 * MSS
    cc.on_lost(60, 70)
    before, now = cc.window, 100
    for _ in range(100):
        now = ack_window(cc, now, 50 * MS, limited=False)
    assert cc.window == before


@pytest.mark.parametrize("name", NAMES)
def test_datagram_size_change(name: str) -> None:
    cc = make_controller(name, MSS)
    cc.set_datagram_size(1452)
    assert cc.window == 14_520
    for now in range(0, 100, 2):
        cc.on_lost(now, now + 1)
    cc.set_datagram_size(1400)
    assert cc.window == 2904
    cc.set_datagram_size(1500)
    assert cc.window == 3000


# NewReno


def test_newreno_adds_one_datagram_a_window() -> None:
    cc = NewReno(MSS)
    cc.on_lost(0, 1)
    assert cc.window == 5 * MSS
    for _ in range(4):
        ack(cc, MSS, 10, 20)
        assert cc.window == 5 * MSS
    ack(cc, MSS, 10, 20)
    assert cc.window == 6 * MSS
    ack(cc, 6 * MSS, 10, 20)
    assert cc.window == 7 * MSS


# CUBIC


@pytest.mark.parametrize("value", [0, 1, 7, 8, 9, 26, 27, 10**27, 10**27 - 1, 75 * 10**27, 3**90])
def test_cube_root_rounds_down(value: int) -> None:
    root = cube_root(value)
    assert root**3 <= value < (root + 1) ** 3


def grown_cubic(datagrams: int) -> Cubic:
    """Return a controller whose window is ``datagrams`` when its first loss comes at t=0."""
    cc = Cubic(MSS)
    cc.window = datagrams * MSS
    cc.on_lost(0, 0)
    return cc


def test_cubic_follows_the_formula() -> None:
    cc, rtt = grown_cubic(100), 200 * MS
    assert cc.window == 70 * MSS
    k = math.pow(30 / 0.4, 1 / 3)

    def formula(seconds: float) -> float:
        return MSS * (0.4 * math.pow(seconds - k, 3) + 100)

    start = now = rtt
    ack(cc, 0, now - rtt, now, rtt)
    assert cc.cubic_window(0) == pytest.approx(70 * MSS, abs=2)
    while now - start < 8 * SECOND:
        now = ack_window(cc, now, rtt)
        seconds = (now - start) / SECOND
        assert cc.cubic_window(now - start) == pytest.approx(formula(seconds), abs=2)
        assert formula(seconds) - 2 * MSS <= cc.window <= formula(seconds + rtt / SECOND) + MSS
    assert cc.window > 110 * MSS


def test_cubic_window_grows_at_most_by_half_a_round_trip() -> None:
    cc, rtt = grown_cubic(20), 2 * SECOND
    now = rtt
    for _ in range(20):
        before = cc.window
        now = ack_window(cc, now, rtt)
        assert cc.window <= before * 3 // 2 + MSS


def test_cubic_fast_convergence() -> None:
    first, second = grown_cubic(100), grown_cubic(100)
    second.on_lost(1, 2)
    assert second.window == 49 * MSS
    for cc, w_max in ((first, 100 * MSS), (second, 70 * MSS * 85 // 100)):
        ack(cc, 0, 10, 20)
        k = cube_root((w_max - cc.window) * 25 * 10**26 // MSS)
        assert cc.cubic_window(k) == pytest.approx(w_max, abs=2)


def test_cubic_is_fair_to_reno_on_short_paths() -> None:
    cc, rtt, now = grown_cubic(20), 5 * MS, 5 * MS
    assert cc.window == 14 * MSS
    windows = []
    for _ in range(24):
        now = ack_window(cc, now, rtt)
        windows.append(cc.window / MSS)
    # 9/17 of a datagram a round trip up to the window before the loss, then a whole one.
    assert windows[5] - windows[1] == pytest.approx(4 * 9 / 17, abs=0.4)
    assert windows[23] - windows[17] == pytest.approx(6, abs=0.6)


def test_cubic_does_not_count_time_without_data() -> None:
    rtt = 100 * MS

    def grow(pause: Callable[[Cubic, int], int]) -> int:
        cc, now = grown_cubic(100), rtt
        for _ in range(10):
            now = ack_window(cc, now, rtt)
        now = pause(cc, now)
        for _ in range(10):
            now = ack_window(cc, now, rtt)
        return cc.window

    def app_limited(cc: Cubic, now: int) -> int:
        for _ in range(100):
            now += rtt
            ack(cc, MSS, now - rtt, now, rtt, limited=False)
        return now

    busy = grow(lambda cc, now: now)
    silent = grow(lambda cc, now: now + 60 * SECOND)
    trickling = grow(app_limited)
    assert silent == pytest.approx(busy, rel=0.02)
    assert trickling == pytest.approx(busy, rel=0.02)


def test_cubic_after_persistent_congestion_starts_an_epoch_from_its_window() -> None:
    cc = grown_cubic(100)
    cc.on_persistent_congestion(0)
    now = rtt = 100 * MS
    while cc.in_slow_start:
        now = ack_window(cc, now, rtt)
    ack(cc, 0, now - rtt, now, rtt)
    assert cc.cubic_window(0) == pytest.approx(cc.window, abs=MSS)


# HyStart++


def feed_round(hystart: HyStart, now: int, rtt: int, samples: int = 10) -> int:
    """One round of acknowledgments for what was sent a round trip ago; returns the start of the next."""
    for index in range(samples):
        hystart.on_acked(now - rtt + index * 1000 if index else now - rtt, now + index * 1000, rtt)
    return now + rtt


def test_hystart_leaves_slow_start_when_the_rtt_rises() -> None:
    hystart, now = HyStart(), 100 * MS
    for _ in range(3):
        now = feed_round(hystart, now, 80 * MS)
    # The threshold is an eighth of 80 ms.
    now = feed_round(hystart, now, 89 * MS)
    assert hystart.growth(4 * MSS) == 4 * MSS
    now = feed_round(hystart, now + 10 * MS, 100 * MS)
    assert hystart.conservative
    assert hystart.growth(4 * MSS) == MSS
    for _ in range(4):
        assert not hystart.finished
        now = feed_round(hystart, now, 100 * MS)
    feed_round(hystart, now, 100 * MS)
    assert hystart.finished


@pytest.mark.parametrize(("base", "rise", "leaves"), [(10, 3, False), (10, 4, True), (400, 15, False), (400, 16, True)])
def test_hystart_threshold_is_clamped_to_4_and_16_ms(base: int, rise: int, leaves: bool) -> None:
    hystart, now = HyStart(), SECOND
    for _ in range(2):
        now = feed_round(hystart, now, base * MS)
    feed_round(hystart, now + rise * MS, (base + rise) * MS)
    assert hystart.conservative is leaves


def test_hystart_needs_eight_samples() -> None:
    hystart, now = HyStart(), SECOND
    for _ in range(2):
        now = feed_round(hystart, now, 50 * MS)
    now = feed_round(hystart, now + 50 * MS, 100 * MS, samples=7)
    assert not hystart.conservative


def test_hystart_resumes_when_the_rise_was_spurious() -> None:
    hystart, now = HyStart(), SECOND
    for _ in range(2):
        now = feed_round(hystart, now, 50 * MS)
    now = feed_round(hystart, now + 10 * MS, 60 * MS)
    assert hystart.growth(4 * MSS) == MSS
    feed_round(hystart, now, 50 * MS)
    assert hystart.growth(4 * MSS) == 4 * MSS


# A sender with endless data, a bottleneck with a queue, and a receiver that acknowledges every packet


class Bottleneck:
    """One direction with a rate, a drop-tail queue and random loss; time is virtual."""

    def __init__(self, name: str, *, rate: int, delay: int, queue: int, loss: Callable[[int], float]) -> None:
        self.rate, self.delay, self.queue, self.loss = rate, delay, queue, loss
        self.tables = (SentPackets(), SentPackets(), SentPackets())
        self.recovery = Recovery(QuicConfig(congestion=name), self.tables, is_client=True)
        self.recovery.handshake_confirmed = True
        self.random = random.Random(7)
        self.now = self.free_at = self.delivered = 0
        self.acks: list[tuple[int, int]] = []
        self.received: list[int] = []

    def _transmit(self) -> None:
        number = self.tables[APPLICATION].next_pn
        self.tables[APPLICATION].record(number, self.now, MSS, True, True)
        self.recovery.on_sent(APPLICATION, self.now, MSS, True, True)
        backlog = max(self.free_at - self.now, 0)
        if self.random.random() < self.loss(self.now) or backlog * self.rate > self.queue * SECOND:
            return
        self.free_at = max(self.free_at, self.now) + MSS * SECOND // self.rate
        heapq.heappush(self.acks, (self.free_at + self.delay, number))

    def _acknowledge(self) -> None:
        _, number = heapq.heappop(self.acks)
        self.received = sorted([*self.received[-200:], number])
        self.delivered += MSS
        ranges: list[tuple[int, int]] = []
        for value in reversed(self.received):
            if ranges and ranges[-1][0] == value + 1:
                ranges[-1] = (value, ranges[-1][1])
            else:
                ranges.append((value, value))
        acked = self.tables[APPLICATION].acknowledge(ranges, self.now)
        self.recovery.on_acked(APPLICATION, acked, 0, self.now)

    def _flush(self) -> None:
        while self.recovery.allowance(self.now) >= MSS:
            self._transmit()
        self.recovery.on_blocked(self.now)

    def run(self, until: int) -> None:
        while True:
            self._flush()
            arrival = self.acks[0][0] if self.acks else NEVER
            timer, paced = self.recovery.deadline(), self.recovery.pacing_deadline(self.now)
            self.now = max(min(arrival, timer, paced), self.now)
            if self.now >= until:
                self.now = until
                return
            if self.now == arrival:
                self._acknowledge()
            elif self.now >= timer:
                probe = self.recovery.on_deadline(self.now).probe
                for _ in range(probe[1] if probe else 0):
                    self._transmit()


@pytest.mark.parametrize("name", NAMES)
def test_bottleneck_is_filled(name: str) -> None:
    path = Bottleneck(name, rate=1_250_000, delay=40 * MS, queue=50_000, loss=lambda now: 0.0)
    path.run(3 * SECOND)
    start = path.delivered
    path.run(6 * SECOND)
    assert path.delivered - start > 0.9 * 3 * 1_250_000


@pytest.mark.security
@pytest.mark.parametrize("name", NAMES)
def test_window_recovers_after_heavy_loss(name: str) -> None:
    """quiche's CUBIC "death spiral", and NewReno."""
    rtt = 40 * MS
    path = Bottleneck(name, rate=12_500_000, delay=rtt, queue=400_000, loss=lambda now: 0.3 if now < 2 * SECOND else 0)
    path.run(2 * SECOND)
    floor = path.recovery.window
    assert floor <= 8 * MSS
    path.run(2 * SECOND + 6 * rtt)
    assert path.recovery.window >= floor + MSS
    path.run(2 * SECOND + 20 * rtt)
    assert path.recovery.window >= floor + 10 * MSS
    path.run(5 * SECOND)
    assert path.recovery.window >= floor + 40 * MSS


@pytest.mark.parametrize("name", NAMES)
def test_window_at_the_floor_grows_with_the_first_clean_round_trips(name: str) -> None:
    cc = make_controller(name, MSS)
    for now in range(0, 100, 2):
        cc.on_lost(now, now + 1)
    now = 100
    for _ in range(8):
        now = ack_window(cc, now + 40 * MS, 40 * MS)
    assert cc.window >= 6 * MSS


@pytest.mark.parametrize("name", NAMES)
def test_a_bare_ack_as_the_newest_packet_does_not_hide_a_full_window(name: str) -> None:
    tables = (SentPackets(), SentPackets(), SentPackets())
    recovery = Recovery(QuicConfig(congestion=name), tables, is_client=True)
    for number in range(11):
        full = number < 10
        tables[APPLICATION].record(number, number * MS, MSS, full, full)
        recovery.on_sent(APPLICATION, number * MS, MSS, full, full)
    recovery.on_acked(APPLICATION, tables[APPLICATION].acknowledge([(0, 10)], 50 * MS), 0, 50 * MS)
    assert recovery.rtt.latest == 40 * MS
    assert recovery.window == 20 * MSS
