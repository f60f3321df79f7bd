"""Which ways to a server did not work lately, and when they may be tried again."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from specter.net.clock import SECOND

__all__ = ["FIRST", "LIMIT", "MOST", "Backoff"]

FIRST: Final = 300 * SECOND
"""How long (ns) something is left alone after its first failure; each further one in a row doubles that, ..."""
MOST: Final = 48 * 3600 * SECOND
"""... up to this (ns)."""
LIMIT: Final = 1000
"""Failures that are remembered; those longest ago are forgotten first."""

K = TypeVar("K", bound=Hashable)


class Backoff(Generic[K]):
    """Remembers failures, with exponentially growing pauses; time is an argument (ns). For any number of threads."""

    def __init__(self, *, first: int = FIRST, most: int = MOST, limit: int = LIMIT) -> None:
        self._first = first
        self._most = most
        self._limit = limit
        self._failures: dict[K, tuple[int, int]] = {}
        """How often in a row, and until when that counts."""
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._failures)

    def failed(self, key: K, now: int) -> int:
        """Note a failure; return until when (ns) ``key`` is to be left alone.

        While it is left alone already this changes nothing: one outage that several requests met is one failure.
        """
        with self._lock:
            count, until = self._failures.pop(key, (0, 0))
            if now >= until:
                until = now + min(self._first << min(count, 32), self._most)
                count += 1
            self._failures[key] = count, until
            while len(self._failures) > self._limit:
                del self._failures[next(iter(self._failures))]
            return until

    def until(self, key: K, now: int) -> int:
        """Return until when (ns) ``key`` is to be left alone, 0 when it may be tried."""
        until = self._failures.get(key, (0, 0))[1]
        return until if now < until else 0

    def succeeded(self, key: K) -> None:
        """All is well again: the next failure is a first one."""
        if key in self._failures:
            with self._lock:
                self._failures.pop(key, None)

    def clear(self) -> None:
        """Forget all: the network is another one."""
        with self._lock:
            self._failures.clear()
