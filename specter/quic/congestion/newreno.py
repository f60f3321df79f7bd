"""NewReno as RFC 9002, section 7.3 has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specter.quic.congestion.base import CongestionController

if TYPE_CHECKING:
    from specter.quic.rtt import RttEstimator


class NewReno(CongestionController):
    """One datagram more per window acknowledged, half the window at a congestion event."""

    __slots__ = ("_acked",)

    def __init__(self, datagram_size: int) -> None:
        super().__init__(datagram_size)
        self._acked = 0

    def _grow_avoidance(self, size: int, largest_sent_time: int, now: int, rtt: RttEstimator) -> None:
        del largest_sent_time, now, rtt
        self._acked += size
        while self._acked >= self.window:
            self._acked -= self.window
            self.window += self.datagram_size

    def _reduce(self) -> None:
        self._acked = 0
        self.window = self.ssthresh = max(self.window // 2, self.minimum_window)

    def on_persistent_congestion(self, now: int) -> None:
        """Fall to the minimum window and slow start."""
        super().on_persistent_congestion(now)
        self._acked = 0
