"""What every congestion controller has in common (RFC 9002, section 7)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from specter.quic.rtt import RttEstimator

INFINITE: Final = 1 << 62
"""The slow start threshold before the first congestion event."""

MINIMUM_DATAGRAMS: Final = 2


def initial_window(datagram_size: int) -> int:
    """Return the window a connection starts with, in bytes (RFC 9002, section 7.2)."""
    return min(10 * datagram_size, max(14_720, 2 * datagram_size))


class CongestionController(ABC):
    """A congestion window in bytes and the events that move it; times are nanoseconds.

    A recovery period starts with the instant in which loss was detected. What is sent in that same instant is sent
    after the detection, so it belongs to the period: its acknowledgment ends it and its loss starts another one.
    """

    __slots__ = ("datagram_size", "recovery_start", "ssthresh", "window")

    def __init__(self, datagram_size: int) -> None:
        self.datagram_size = datagram_size
        self.window = initial_window(datagram_size)
        self.ssthresh = INFINITE
        self.recovery_start = -1

    @property
    def minimum_window(self) -> int:
        """The smallest window, in bytes."""
        return MINIMUM_DATAGRAMS * self.datagram_size

    @property
    def in_slow_start(self) -> bool:
        """Whether the window grows by what is acknowledged."""
        return self.window < self.ssthresh

    def in_recovery(self, sent_time: int) -> bool:
        """Return whether a packet sent at ``sent_time`` predates the reaction to the last congestion event."""
        return sent_time < self.recovery_start

    def on_acked(self, size: int, largest_sent_time: int, now: int, rtt: RttEstimator, limited: bool) -> None:
        """Grow after ``size`` bytes in flight were acknowledged, the newest of them sent at ``largest_sent_time``.

        ``limited`` says that the window was in full use while they were on their way; otherwise nothing
        grows (RFC 9002, section 7.8).
        """
        if not limited:
            self._on_app_limited(now)
        elif self.in_recovery(largest_sent_time):
            return
        elif self.in_slow_start:
            self._grow_slow_start(size)
        else:
            self._grow_avoidance(size, largest_sent_time, now, rtt)

    def on_lost(self, largest_lost_time: int, now: int) -> bool:
        """React to lost packets, the newest of them sent at ``largest_lost_time``.

        Returns whether a new recovery period starts (RFC 9002, section 7.3.2).
        """
        if self.in_recovery(largest_lost_time):
            return False
        self.recovery_start = now
        self._reduce()
        return True

    def on_ecn_ce(self, sent_time: int, now: int) -> bool:
        """React to a CE mark as to a loss; see ``on_lost``."""
        return self.on_lost(sent_time, now)

    def on_persistent_congestion(self, now: int) -> None:
        """Fall to the minimum window and slow start (RFC 9002, section 7.6)."""
        del now
        self.window = self.minimum_window
        self.recovery_start = -1

    def set_datagram_size(self, size: int) -> None:
        """Follow a new datagram size; a window nothing happened to yet becomes the new initial window."""
        untouched = self.window == initial_window(self.datagram_size) and self.ssthresh == INFINITE
        self.datagram_size = size
        self.window = initial_window(size) if untouched else max(self.window, self.minimum_window)

    def _grow_slow_start(self, size: int) -> None:
        self.window += size

    def _on_app_limited(self, now: int) -> None:
        """Hear that an acknowledgment came while the sender did not use its window."""
        del now

    @abstractmethod
    def _grow_avoidance(self, size: int, largest_sent_time: int, now: int, rtt: RttEstimator) -> None:
        """Grow in congestion avoidance."""

    @abstractmethod
    def _reduce(self) -> None:
        """Set ``ssthresh`` and ``window`` for a new congestion event."""
