"""The round-trip time of a path (RFC 9002, section 5), in integer nanoseconds."""

from __future__ import annotations

from typing import Final, TypeAlias

from specter._wire import NEVER
from specter.quic.config import MILLISECOND

GRANULARITY: Final = MILLISECOND
"""kGranularity: no loss or probe timer is shorter (RFC 9002, section 6.1.2)."""
BULK_ACKS_PER_ROUND: Final = 8
"""How often in a round trip a peer hears of us whose window is smaller than ``QuicConfig.ack_threshold_bulk``."""

RttSnapshot: TypeAlias = tuple[int, int, int, int, bool, int]


class RttEstimator:
    """Smoothed RTT, its variation and its minimum; all values are nanoseconds.

    ``minimum`` and ``latest`` mean nothing before ``has_sample``.
    """

    __slots__ = ("first_sample_time", "has_sample", "latest", "minimum", "smoothed", "variance")

    def __init__(self, initial: int) -> None:
        self.restart(initial)

    def restart(self, initial: int) -> None:
        """Begin again with the estimate ``initial``: nothing is known of this path."""
        self.latest = 0
        self.minimum = 0
        self.smoothed = initial
        self.variance = initial // 2
        self.has_sample = False
        self.first_sample_time = NEVER
        """When the first sample was taken."""

    def update(self, latest: int, ack_delay: int, now: int, max_ack_delay: int, handshake_confirmed: bool) -> None:
        """Take in one sample; ``ack_delay`` is what the peer reported (RFC 9002, section 5.3)."""
        self.latest = latest = max(latest, 0)
        if not self.has_sample:
            self._start(latest, now)
            return
        self.minimum = min(self.minimum, latest)
        if handshake_confirmed:
            ack_delay = min(ack_delay, max_ack_delay)
        adjusted = latest - ack_delay if latest >= self.minimum + ack_delay else latest
        self.variance = (3 * self.variance + abs(self.smoothed - adjusted)) // 4
        self.smoothed = (7 * self.smoothed + adjusted) // 8

    def _start(self, latest: int, now: int) -> None:
        self.has_sample = True
        self.first_sample_time = now
        self.minimum = self.smoothed = latest
        self.variance = latest // 2

    def snapshot(self) -> RttSnapshot:
        """Return what is known, to ``restore`` it when the connection comes back to this path."""
        return (self.latest, self.minimum, self.smoothed, self.variance, self.has_sample, self.first_sample_time)

    def restore(self, known: RttSnapshot) -> None:
        """Go on from a ``snapshot``."""
        self.latest, self.minimum, self.smoothed, self.variance, self.has_sample, self.first_sample_time = known

    def forget_minimum(self) -> None:
        """Start the minimum anew from the newest sample, after persistent congestion (RFC 9002, section 5.2)."""
        self.minimum = self.latest

    def pto_base(self) -> int:
        """Return the probe timeout without ``max_ack_delay`` and backoff (RFC 9002, section 6.2.1)."""
        return self.smoothed + max(4 * self.variance, GRANULARITY)

    def bulk_ack_delay(self, max_ack_delay: int) -> int:
        """Return how long an ACK of several packets waits for more, in a sender with a small window's interest."""
        return min(max(self.smoothed // BULK_ACKS_PER_ROUND, GRANULARITY), max_ack_delay)

    def loss_delay(self) -> int:
        """Return how long after its sending a packet counts as lost (RFC 9002, section 6.1.2)."""
        return max(9 * max(self.smoothed, self.latest) // 8, GRANULARITY)
