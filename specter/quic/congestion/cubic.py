"""CUBIC (RFC 9438) in integers, with HyStart++ for the first slow start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from specter.quic.congestion.base import INFINITE, CongestionController
from specter.quic.congestion.hystart import HyStart

if TYPE_CHECKING:
    from specter.quic.rtt import RttEstimator

# beta = 7/10 and C = 4/10 datagrams per cubic second; a cubic second is 10**27 cubic nanoseconds.
_C_DIVISOR: Final = 10 * 10**27 // 4
# Additive increase that is fair to Reno with this beta: 3 (1 - beta) / (1 + beta) = 9/17.
_ALPHA: Final = (9, 17)


def cube_root(value: int) -> int:
    """Return the integer cube root, rounded down, of a value of 0 or more."""
    root = 1 << -(-value.bit_length() // 3)
    while root**3 > value:
        root = (2 * root + value // (root * root)) // 3
    return root


class Cubic(CongestionController):
    """A window that is a cubic function of the time since the last congestion event.

    Time in which the sender did not use its window does not count (RFC 9438, section 5.8).
    """

    __slots__ = (
        "_app_limited_since",
        "_credit",
        "_epoch",
        "_estimate",
        "_estimate_credit",
        "_hystart",
        "_k",
        "_last_acked",
        "_prior",
        "_w_max",
    )

    def __init__(self, datagram_size: int) -> None:
        super().__init__(datagram_size)
        self._hystart = HyStart()
        self._w_max = 0
        self._prior = 0
        self._last_acked = -1
        self._forget_epoch()

    def _forget_epoch(self) -> None:
        self._epoch = -1
        self._k = 0
        self._credit = 0
        self._estimate = 0
        self._estimate_credit = 0
        self._app_limited_since = -1

    def on_acked(self, size: int, largest_sent_time: int, now: int, rtt: RttEstimator, limited: bool) -> None:
        """Grow after an acknowledgment; see the base class."""
        if self.ssthresh == INFINITE and rtt.has_sample:
            self._hystart.on_acked(largest_sent_time, now, rtt.latest)
            if self._hystart.finished:
                self.ssthresh = self.window
        super().on_acked(size, largest_sent_time, now, rtt, limited)
        self._last_acked = now

    def _grow_slow_start(self, size: int) -> None:
        self.window += self._hystart.growth(size) if self.ssthresh == INFINITE else size

    def _on_app_limited(self, now: int) -> None:
        if self._epoch >= 0 and self._app_limited_since < 0:
            self._app_limited_since = now

    def _grow_avoidance(self, size: int, largest_sent_time: int, now: int, rtt: RttEstimator) -> None:
        if self._epoch < 0:
            self._start_epoch(now)
        self._skip_unused_time(largest_sent_time, now, rtt.smoothed)
        self._grow_estimate(size)
        elapsed = now - self._epoch
        if self.cubic_window(elapsed) < self._estimate:
            self.window = max(self.window, self._estimate)
            return
        target = min(self.cubic_window(elapsed + rtt.smoothed), self.window * 3 // 2)
        if target > self.window:
            self._credit += (target - self.window) * size
            growth, self._credit = divmod(self._credit, self.window)
            self.window = min(self.window + growth, target)

    def _start_epoch(self, now: int) -> None:
        self._epoch = now
        self._estimate = self.window
        if self._w_max <= self.window:
            self._w_max = self.window
            self._prior = max(self._prior, self.window)
        self._k = cube_root((self._w_max - self.window) * _C_DIVISOR // self.datagram_size)

    def _skip_unused_time(self, largest_sent_time: int, now: int, srtt: int) -> None:
        """Move the epoch past a time of too little data or, silent for more than a round trip, none at all."""
        idle = largest_sent_time - self._last_acked
        if self._app_limited_since >= 0:
            self._epoch += now - self._app_limited_since
            self._app_limited_since = -1
        elif idle > srtt and self._last_acked >= self._epoch:
            self._epoch += idle

    def _grow_estimate(self, size: int) -> None:
        """Follow what Reno would have; from the window before the event on, grow by its full datagram."""
        numerator, denominator = _ALPHA if self._estimate < self._prior else (1, 1)
        self._estimate_credit += numerator * self.datagram_size * size
        growth = self._estimate_credit // (denominator * self.window)
        self._estimate_credit -= growth * denominator * self.window
        self._estimate += growth

    def cubic_window(self, elapsed: int) -> int:
        """Return W_cubic in bytes, ``elapsed`` nanoseconds into the epoch (RFC 9438, section 4.2)."""
        return self._w_max + self.datagram_size * (elapsed - self._k) ** 3 // _C_DIVISOR

    def _reduce(self) -> None:
        self._forget_epoch()
        self._prior = self.window
        self._w_max = self.window * 85 // 100 if self.window < self._w_max else self.window
        self.window = self.ssthresh = max(self.window * 7 // 10, self.minimum_window)

    def on_persistent_congestion(self, now: int) -> None:
        """Fall to the minimum window and slow start; the next epoch starts from the window found then."""
        super().on_persistent_congestion(now)
        self._forget_epoch()
        self._w_max = 0
        self._prior = 0
