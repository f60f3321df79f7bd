"""Path MTU discovery by probing (DPLPMTUD: RFC 8899, and RFC 9000, section 14.3). One object a network path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from specter._wire import NEVER
from specter.quic.config import MILLISECOND, MINIMUM_DATAGRAM, SECOND

MAX_PROBES: Final = 3
"""Probes of one size that are lost before it counts as too large: a single loss may be congestion."""
GRAIN: Final = 8
"""Bytes; a search ends when no more than this is left to gain."""
RAISE_INTERVAL: Final = 600 * SECOND
"""How long the result of a search stands before larger sizes are tried again (PMTU_RAISE_TIMER)."""
SUSPICIONS: Final = 3
"""Losses of large packets, with none that large acknowledged in between, that make a black hole."""
QUIET: Final = 2 * MILLISECOND
"""How long interactive traffic must have been silent before a probe may be built (nanoseconds)."""


class MtuDiscovery:
    """Searches for the largest UDP payload that a path carries; sizes are bytes, times nanoseconds.

    The first probe is as large as both ends allow, since that is what most paths carry; after that the search
    is binary. Nothing here runs on a timer: a probe is asked for when there is more to send than may leave.
    """

    __slots__ = ("_candidate", "_ceiling", "_high", "_large_acked", "_losses", "_suspicions", "probe_at", "size")

    def __init__(self, size: int, ceiling: int) -> None:
        self.size = size
        """The datagrams that the path is known to carry."""
        self.probe_at = NEVER
        """From when on a probe is wanted; ``NEVER`` before ``start`` and while one is under way."""
        self._ceiling = self._high = max(size, ceiling)
        self._candidate = self._high
        self._losses = 0
        self._suspicions = 0
        self._large_acked = -1

    @property
    def ceiling(self) -> int:
        """The largest size that both ends allow."""
        return self._ceiling

    @property
    def searching(self) -> bool:
        """Whether there may be more to gain than was found so far."""
        return self._high - self.size > GRAIN

    def start(self) -> None:
        """Begin to search: the path is validated and its keys are there."""
        self.probe_at = 0 if self.searching else NEVER

    def next_size(self, now: int) -> int:
        """Return the size to probe now, 0 when there is none."""
        if now < self.probe_at:
            return 0
        if not self.searching:
            self._high = self._candidate = self._ceiling
        if not self.searching:
            self.probe_at = now + RAISE_INTERVAL
            return 0
        return self._candidate

    def sent(self) -> None:
        """A probe left: there is one at a time."""
        self.probe_at = NEVER

    def acked(self, size: int, now: int) -> None:
        """A probe of ``size`` bytes arrived: the path carries it."""
        if self.size < size <= self._ceiling:
            self.size = size
            self._large_acked = now
            self._suspicions = 0
        self._go_on(now)

    def lost(self, size: int, now: int) -> None:
        """A probe of ``size`` bytes was lost, which need not be for its size."""
        self._losses += 1
        if self._losses < MAX_PROBES and size <= self._high:
            self.probe_at = now
        else:
            self._high = min(self._high, size - 1)
            self._go_on(now)

    def _go_on(self, now: int) -> None:
        """Choose the next size, if there is still something to gain."""
        self._losses = 0
        self._high = max(self._high, self.size)
        self._candidate = (self.size + self._high + 1) // 2
        self.probe_at = now if self.searching else now + RAISE_INTERVAL

    def limit(self, size: int, now: int) -> None:
        """Never send more than ``size`` bytes: one end cannot. Below ``MINIMUM_DATAGRAM`` no QUIC path is."""
        size = max(size, MINIMUM_DATAGRAM)
        if size >= self._ceiling:
            return
        waits = self.probe_at == NEVER
        self._ceiling = size
        self._high = min(self._high, size)
        self.size = min(self.size, size)
        self._go_on(now)
        self._candidate = self._high
        if waits:
            self.probe_at = NEVER

    # -- black holes: the path no longer carries what it did (RFC 8899, section 4.3) ----------------------

    def large_acked(self, sent_time: int) -> None:
        """A packet above the minimum size was acknowledged; the newest of its ACK left at ``sent_time``."""
        self._large_acked = sent_time
        self._suspicions = 0

    def packets_lost(self, smallest_size: int, first_time: int, now: int) -> bool:
        """Hear of a loss; return whether it means that large packets vanish: ``size`` is the minimum then.

        ``smallest_size`` is that of the lost packets in flight, ``first_time`` when the oldest left.
        """
        if smallest_size <= MINIMUM_DATAGRAM or first_time <= self._large_acked:
            return False
        self._suspicions += 1
        if self._suspicions < SUSPICIONS or self.size <= MINIMUM_DATAGRAM:
            return False
        self._high = self.size - 1
        self.size = MINIMUM_DATAGRAM
        self._suspicions = 0
        self._go_on(now)
        return True


@dataclass(frozen=True, slots=True)
class MtuProbe:
    """What the sent-packet table remembers of a probe."""

    discovery: MtuDiscovery
    size: int
