"""Moves datagrams between a client stack and the feed, and times the client's part of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from perf.bench.pump.client import PumpClient
from perf.bench.pump.feed import Feed

__all__ = ["BURST", "BurstTime", "Pump", "Stalled"]

BURST: Final = 64
STEP: Final = 200_000
"""Nanoseconds of the virtual clock between two looks at the server."""
PATIENCE: Final = 20_000
"""Looks without anything happening before it is a fault."""


class Stalled(RuntimeError):
    """Nothing moves any more."""


@dataclass(frozen=True, slots=True)
class BurstTime:
    """What one burst cost the client."""

    nanoseconds: int
    packets: int
    size: int
    """Bytes of the datagrams."""

    @property
    def per_packet(self) -> float:
        return self.nanoseconds / self.packets


class Pump:
    """One client on one connection with ``streams`` requests under way."""

    def __init__(self, client: PumpClient, feed: Feed, *, streams: int = 1) -> None:
        self.client = client
        self.feed = feed
        self._streams = streams
        self.now = 1_000_000_000
        self._queue: deque[bytes] = deque()

    def connect(self) -> None:
        """Shake hands, make the requests, and get to where bursts are full."""
        self._to_server(self.client.start(self.now))
        self._until(self.client.ready)
        for wanted in range(1, self._streams + 1):
            self._to_server(self.client.request(self.now))
            self._until(partial(self._answered, wanted))

    def _answered(self, wanted: int) -> bool:
        return self.feed.answered >= wanted

    def _until(self, condition: Callable[[], bool]) -> None:
        for _ in range(PATIENCE):
            if condition():
                return
            self._look()
            if self._queue:
                self._deliver(min(BURST, len(self._queue)))
        raise Stalled("the client and the server do not get along")

    def _to_server(self, datagrams: list[bytes]) -> None:
        self.feed.take(datagrams, self.now)

    def _look(self) -> bool:
        self.now += STEP
        leaving = self.feed.give(self.now)
        self._queue.extend(leaving)
        return bool(leaving)

    def _deliver(self, count: int) -> BurstTime:
        datagrams = [self._queue.popleft() for _ in range(count)]
        spent, leaving = self.client.burst(datagrams, self.now)
        self._to_server(leaving)
        return BurstTime(spent, count, sum(map(len, datagrams)))

    def ramp(self, size: int) -> None:
        """Let ``size`` body bytes through, in bursts as full as the server's window allows."""
        end = self.client.received + size
        while self.client.received < end:
            self._gather(BURST)
            self._deliver(min(BURST, len(self._queue)))

    def _gather(self, count: int) -> None:
        """Wait for ``count`` datagrams, or for as many as come without an acknowledgment."""
        for _ in range(PATIENCE):
            if len(self._queue) >= count or (not self._look() and self._queue):
                return
        raise Stalled("the server sends nothing")

    def burst(self, count: int = BURST) -> BurstTime:
        """Deliver exactly ``count`` datagrams at once."""
        for _ in range(PATIENCE):
            if len(self._queue) >= count:
                return self._deliver(count)
            if not self._look() and self._queue:
                self._deliver(len(self._queue))
        raise Stalled(f"the server never has {count} datagrams under way")
