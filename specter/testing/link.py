"""One direction of a path: what it does to datagrams and what it did, for the virtual network and the relay."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

__all__ = ["BurstLoss", "Channel", "Link", "LinkStats"]

MILLISECOND: Final = 1_000_000
ECT_1: Final = 1
ECT_0: Final = 2
CE: Final = 3


@dataclass(frozen=True, slots=True)
class BurstLoss:
    """Gilbert's model: chances per datagram to enter and leave the bad state, and of loss while in it.

    However few datagrams there are to leave it, the bad state is over after ``longest`` nanoseconds.
    """

    enter: float
    leave: float
    loss: float = 1.0
    longest: int = 1_000 * MILLISECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One direction of a path. Times are nanoseconds, sizes bytes, the rest chances per datagram (0 to 1)."""

    delay: int = 10 * MILLISECOND
    jitter: int = 0
    """Up to this much is added to the delay; the order stays."""
    loss: float = 0.0
    burst_loss: BurstLoss | None = None
    reorder: float = 0.0
    reorder_delay: int = 5 * MILLISECOND
    """A reordered datagram arrives this much later than its turn."""
    duplicate: float = 0.0
    corrupt: float = 0.0
    """One to three bytes are changed, or the end is cut off."""
    bandwidth: int = 0
    """Bits per second; 0 is unlimited."""
    queue: int = 0
    """Bytes that wait for the bandwidth, more are dropped; 0 is unlimited."""
    mtu: int = 65_527
    """Larger UDP payloads vanish."""
    ecn_ce: float = 0.0
    """ECN-capable datagrams that get marked Congestion Experienced."""
    ecn_bleach: bool = False
    """The path clears the ECN field."""
    ecn_mangle: bool = False
    """The path turns ECT(0) into ECT(1)."""
    ecn_drop: bool = False
    """The path drops what is marked."""


@dataclass(slots=True)
class LinkStats:
    """What one direction did so far, in datagrams (``size`` in bytes)."""

    sent: int = 0
    size: int = 0
    delivered: int = 0
    lost: int = 0
    overflowed: int = 0
    too_big: int = 0
    blackholed: int = 0
    filtered: int = 0
    duplicated: int = 0
    reordered: int = 0
    corrupted: int = 0
    marked: int = 0


class Channel:
    """One direction: the state behind a ``Link``."""

    def __init__(self, link: Link, chance: random.Random) -> None:
        self.link = link
        self.stats = LinkStats()
        self.dark = (0, 0)
        """From when until when nothing comes in."""
        self._chance = chance
        self._bad_until = 0
        self._free_at = 0
        self._last_arrival = 0

    def pass_through(self, data: bytes, ecn: int, now: int) -> list[tuple[int, bytes, int]]:
        """Return (arrival time, data, ECN) for what comes out; nothing, one or two datagrams."""
        start, end = self.dark
        if start <= now < end:
            self.stats.blackholed += 1
            return []
        departure = self._depart(len(data), now)
        if departure is None or self._is_lost(now, ecn):
            return []
        copies = 1 + self._happens(self.link.duplicate)
        self.stats.duplicated += copies - 1
        return [(self._arrive(departure), self._damage(data), self._mark(ecn)) for _ in range(copies)]

    def _depart(self, size: int, now: int) -> int | None:
        """Return when the last bit leaves the bottleneck, None when the datagram does not fit."""
        link = self.link
        if size > link.mtu:
            self.stats.too_big += 1
            return None
        if not link.bandwidth:
            return now
        start = max(now, self._free_at)
        waiting = (start - now) * link.bandwidth // 8_000_000_000
        if link.queue and waiting + size > link.queue:
            self.stats.overflowed += 1
            return None
        self._free_at = start + size * 8_000_000_000 // link.bandwidth
        return self._free_at

    def _is_lost(self, now: int, ecn: int) -> bool:
        burst = self.link.burst_loss
        lost = self._happens(self.link.loss) or (self.link.ecn_drop and ecn > 0)
        if burst is not None:
            if now < self._bad_until:
                self._bad_until = 0 if self._happens(burst.leave) else self._bad_until
            elif self._happens(burst.enter):
                self._bad_until = now + burst.longest
            lost = lost or (now < self._bad_until and self._happens(burst.loss))
        self.stats.lost += lost
        return lost

    def _arrive(self, departure: int) -> int:
        link = self.link
        arrival = departure + link.delay
        if link.jitter:
            arrival += self._chance.randrange(link.jitter + 1)
        if self._happens(link.reorder):
            self.stats.reordered += 1
            return arrival + link.reorder_delay
        self._last_arrival = max(self._last_arrival, arrival)
        return self._last_arrival

    def _damage(self, data: bytes) -> bytes:
        if not data or not self._happens(self.link.corrupt):
            return data
        self.stats.corrupted += 1
        chance = self._chance
        if chance.random() < 0.2:
            return data[: chance.randrange(len(data))]
        damaged = bytearray(data)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(len(data))] ^= chance.randint(1, 255)
        return bytes(damaged)

    def _mark(self, ecn: int) -> int:
        if self.link.ecn_bleach:
            return 0
        if self.link.ecn_mangle and ecn == ECT_0:
            ecn = ECT_1
        if ecn and ecn != CE and self._happens(self.link.ecn_ce):
            self.stats.marked += 1
            return CE
        return ecn

    def _happens(self, probability: float) -> bool:
        return probability > 0.0 and self._chance.random() < probability
