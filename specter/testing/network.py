"""A network in virtual time: it delays, loses, reorders, repeats and damages datagrams; the seed decides which."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from specter._wire import NEVER
from specter.testing.engine import Address
from specter.testing.link import BurstLoss, Channel, Link, LinkStats

__all__ = ["BurstLoss", "Filter", "Link", "LinkStats", "Network", "Transit"]


DEFAULT: Final = Link()


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


class Network:
    """Two directions between clients and one server address; randomness comes from ``seed`` alone.

    What would bring the datagrams under way above ``max_datagrams`` or ``max_bytes`` is dropped (0: no limit).
    """

    def __init__(
        self,
        seed: int,
        to_server: Link = DEFAULT,
        to_client: Link | None = None,
        *,
        server: Address = ("server", 443),
        max_datagrams: int = 0,
        max_bytes: int = 0,
    ) -> None:
        self.seed = seed
        self.server = server
        self.server_aliases: list[Address] = []
        """Other addresses of the server, such as a preferred one."""
        self.taps: list[Callable[[Transit], object]] = []
        """Called with every datagram that is sent, before the filters."""
        self.filters: list[Filter] = []
        self._up = Channel(to_server, random.Random(f"{seed} up"))
        back = to_server if to_client is None else to_client
        self._down = Channel(back, random.Random(f"{seed} down"))
        self._max_datagrams = max_datagrams
        self._max_bytes = max_bytes
        self._arrivals: list[_Arrival] = []
        self._bytes = 0
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

    @property
    def bytes_in_transit(self) -> int:
        """Bytes that have yet to arrive."""
        return self._bytes

    def set_links(self, to_server: Link | None = None, to_client: Link | None = None) -> None:
        """Change the path from now on; what is under way is not touched."""
        if to_server is not None:
            self._up.link = to_server
        if to_client is not None:
            self._down.link = to_client

    def blackhole(self, start: int, end: int) -> None:
        """Let nothing in from ``start`` until ``end``; what is under way then arrives."""
        self._up.dark = self._down.dark = (start, end)

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
            if self._is_full(len(arrived)):
                stats.overflowed += 1
                continue
            self.inject(Transit(source, destination, arrived, mark, time, to_server, transit.index), time)

    def inject(self, transit: Transit, time: int) -> None:
        """Let a datagram arrive at ``time`` whatever the link is like: for forged and replayed ones."""
        self._serial += 1
        self._bytes += len(transit.data)
        heapq.heappush(self._arrivals, _Arrival(time, self._serial, transit))

    def next_arrival(self) -> int:
        """Return when the next datagram arrives, ``NEVER`` if none is under way."""
        return self._arrivals[0].time if self._arrivals else NEVER

    def arrivals(self, now: int) -> dict[Address, list[Transit]]:
        """Take what has arrived until ``now``, by destination and in order."""
        arrived: dict[Address, list[Transit]] = {}
        while self._arrivals and self._arrivals[0].time <= now:
            transit = heapq.heappop(self._arrivals).transit
            self._bytes -= len(transit.data)
            channel = self._up if transit.to_server else self._down
            channel.stats.delivered += 1
            arrived.setdefault(transit.destination, []).append(transit)
        return arrived

    def _is_full(self, size: int) -> bool:
        if self._max_datagrams and len(self._arrivals) >= self._max_datagrams:
            return True
        return self._max_bytes > 0 and self._bytes + size > self._max_bytes
