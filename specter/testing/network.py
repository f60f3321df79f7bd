"""A network in virtual time: it delays, loses, reorders, repeats and damages datagrams; the seed decides which."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from specter._wire import NEVER
from specter.testing.engine import Address

__all__ = ["BurstLoss", "Filter", "Link", "LinkStats", "Network", "Transit"]

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
    filtered: int = 0
    duplicated: int = 0
    reordered: int = 0
    corrupted: int = 0
    marked: int = 0


@dataclass(frozen=True, slots=True)
class Transit:
    """A datagram under way, as filters see it; ``index`` counts from 0 in its direction."""

    source: Address
    destination: Address
    data: bytes
    ecn: int
    time: int
    to_server: bool
    index: int


Filter = Callable[[Transit], bool]
"""Returns False to drop the datagram; runs before the link's own mischief."""


@dataclass(order=True, slots=True)
class _Arrival:
    time: int
    serial: int
    transit: Transit = field(compare=False)


class _Channel:
    """One direction: the state behind a ``Link``."""

    def __init__(self, link: Link, chance: random.Random) -> None:
        self.link = link
        self.stats = LinkStats()
        self._chance = chance
        self._bad_until = 0
        self._free_at = 0
        self._last_arrival = 0

    def pass_through(self, data: bytes, ecn: int, now: int) -> list[tuple[int, bytes, int]]:
        """Return (arrival time, data, ECN) for what comes out; nothing, one or two datagrams."""
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


class Network:
    """Two directions between clients and one server address; randomness comes from ``seed`` alone."""

    def __init__(
        self,
        seed: int,
        to_server: Link = Link(),
        to_client: Link | None = None,
        *,
        server: Address = ("server", 443),
    ) -> None:
        self.seed = seed
        self.server = server
        self.server_aliases: list[Address] = []
        """Other addresses of the server, such as a preferred one."""
        self.taps: list[Callable[[Transit], object]] = []
        """Called with every datagram that is sent, before the filters."""
        self.filters: list[Filter] = []
        self._up = _Channel(to_server, random.Random(f"{seed} up"))
        back = to_server if to_client is None else to_client
        self._down = _Channel(back, random.Random(f"{seed} down"))
        self._arrivals: list[_Arrival] = []
        self._serial = 0

    @property
    def up(self) -> LinkStats:
        """Counters of the direction towards the server."""
        return self._up.stats

    @property
    def down(self) -> LinkStats:
        """Counters of the direction towards the clients."""
        return self._down.stats

    @property
    def in_transit(self) -> int:
        """Datagrams that have yet to arrive."""
        return len(self._arrivals)

    def set_links(self, to_server: Link | None = None, to_client: Link | None = None) -> None:
        """Change the path from now on; what is under way is not touched."""
        if to_server is not None:
            self._up.link = to_server
        if to_client is not None:
            self._down.link = to_client

    def send(self, source: Address, destination: Address, data: bytes, ecn: int, now: int) -> None:
        """Put a datagram on the wire."""
        to_server = destination == self.server or destination in self.server_aliases
        channel = self._up if to_server else self._down
        stats = channel.stats
        transit = Transit(source, destination, data, ecn, now, to_server, stats.sent)
        stats.sent += 1
        stats.size += len(data)
        for tap in self.taps:
            tap(transit)
        if not all(allow(transit) for allow in self.filters):
            stats.filtered += 1
            return
        for time, arrived, mark in channel.pass_through(data, ecn, now):
            self.inject(Transit(source, destination, arrived, mark, time, to_server, transit.index), time)

    def inject(self, transit: Transit, time: int) -> None:
        """Let a datagram arrive at ``time`` whatever the link is like: for forged and replayed ones."""
        self._serial += 1
        heapq.heappush(self._arrivals, _Arrival(time, self._serial, transit))

    def next_arrival(self) -> int:
        """Return when the next datagram arrives, ``NEVER`` if none is under way."""
        return self._arrivals[0].time if self._arrivals else NEVER

    def arrivals(self, now: int) -> dict[Address, list[Transit]]:
        """Take what has arrived until ``now``, by destination and in order."""
        arrived: dict[Address, list[Transit]] = {}
        while self._arrivals and self._arrivals[0].time <= now:
            transit = heapq.heappop(self._arrivals).transit
            channel = self._up if transit.to_server else self._down
            channel.stats.delivered += 1
            arrived.setdefault(transit.destination, []).append(transit)
        return arrived
