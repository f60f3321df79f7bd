"""Spreads a congestion window over a round trip with a token bucket (RFC 9002, section 7.7)."""

from __future__ import annotations

from typing import Final

from specter._wire import NEVER
from specter.quic.config import MILLISECOND, SECOND

BURST_DATAGRAMS: Final = 10
BURST_DATAGRAMS_MAX: Final = 64
QUANTUM: Final = 2 * MILLISECOND
"""What a scheduler may oversleep; this much of the rate may leave at once."""


class Pacer:
    """A token bucket; sizes are bytes, times nanoseconds.

    Credit is kept in billionths of a byte, so that adding ``elapsed * rate`` is exact and never drifts.
    """

    __slots__ = ("_credit", "_updated", "datagram_size")

    def __init__(self, datagram_size: int) -> None:
        self.datagram_size = datagram_size
        self._credit = BURST_DATAGRAMS * datagram_size * SECOND
        self._updated = 0

    @staticmethod
    def rate(window: int, srtt: int, slow_start: bool = False) -> int:
        """Return bytes per second: 5/4 of a window per round trip, twice a window in slow start."""
        srtt = max(srtt, 1)
        return max(2 * window * SECOND // srtt if slow_start else 5 * window * SECOND // (4 * srtt), 1)

    def burst(self, rate: int) -> int:
        """Return the depth of the bucket in bytes at ``rate``."""
        size = max(BURST_DATAGRAMS * self.datagram_size, rate * QUANTUM // SECOND)
        return min(size, BURST_DATAGRAMS_MAX * self.datagram_size)

    def allowance(self, now: int, window: int, srtt: int, slow_start: bool = False) -> int:
        """Return how many bytes may leave now, 0 or more."""
        self._refill(now, self.rate(window, srtt, slow_start))
        return max(self._credit // SECOND, 0)

    def sent(self, size: int) -> None:
        """Count bytes that left; packets that may overtake the pacer leave a debt of at most the smallest burst."""
        self._credit = max(self._credit - size * SECOND, -BURST_DATAGRAMS * self.datagram_size * SECOND)

    def next_time(self, now: int, window: int, srtt: int, slow_start: bool = False) -> int:
        """Return when a full datagram may leave, ``NEVER`` when one may leave now."""
        rate = self.rate(window, srtt, slow_start)
        self._refill(now, rate)
        missing = self.datagram_size * SECOND - self._credit
        return now - (-missing // rate) if missing > 0 else NEVER

    def _refill(self, now: int, rate: int) -> None:
        elapsed = max(now - self._updated, 0)
        self._credit = min(self._credit + elapsed * rate, self.burst(rate) * SECOND)
        self._updated += elapsed
