"""HyStart++: leaves the first slow start when the RTT rises, before the queue overflows (RFC 9406)."""

from __future__ import annotations

from typing import Final

from specter._wire import NEVER
from specter.quic.config import MILLISECOND

MIN_RTT_THRESH: Final = 4 * MILLISECOND
MAX_RTT_THRESH: Final = 16 * MILLISECOND
MIN_RTT_DIVISOR: Final = 8
N_RTT_SAMPLE: Final = 8
CSS_GROWTH_DIVISOR: Final = 4
CSS_ROUNDS: Final = 5


class HyStart:
    """Watches the RTT of each round; a round ends when something sent in it is acknowledged.

    ``conservative``: slow start goes on at a quarter of its growth (CSS). ``finished``: time for congestion avoidance.
    """

    __slots__ = ("_baseline", "_current", "_last", "_round_start", "_rounds", "_samples", "conservative", "finished")

    def __init__(self) -> None:
        self.conservative = False
        self.finished = False
        self._round_start = -1
        self._last = NEVER
        self._current = NEVER
        self._baseline = NEVER
        self._samples = 0
        self._rounds = 0

    def growth(self, size: int) -> int:
        """Return by how much ``size`` acknowledged bytes make the window grow."""
        return size // CSS_GROWTH_DIVISOR if self.conservative else size

    def on_acked(self, largest_sent_time: int, now: int, rtt: int) -> None:
        """Take in the RTT sample of one acknowledgment."""
        if largest_sent_time >= self._round_start:
            self._end_round(now)
        self._current = min(self._current, rtt)
        self._samples += 1
        if self._samples < N_RTT_SAMPLE or self.finished:
            return
        if self.conservative:
            self._resume_if_spurious()
        elif self._last != NEVER and self._current >= self._last + self._threshold():
            self.conservative = True
            self._baseline = self._current
            self._rounds = 0

    def _end_round(self, now: int) -> None:
        self._round_start = now
        self._last, self._current = self._current, NEVER
        self._samples = 0
        if self.conservative:
            self._rounds += 1
            self.finished = self._rounds >= CSS_ROUNDS

    def _threshold(self) -> int:
        return max(MIN_RTT_THRESH, min(self._last // MIN_RTT_DIVISOR, MAX_RTT_THRESH))

    def _resume_if_spurious(self) -> None:
        if self._current < self._baseline:
            self.conservative = False
            self._baseline = NEVER
