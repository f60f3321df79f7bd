"""How long one exchange may wait, and which exception says that it waited too long."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from specter._wire import NEVER
from specter.errors import ConnectTimeout, PoolTimeout, ReadTimeout, Timeout, TotalTimeout, WriteTimeout
from specter.net import clock

__all__ = ["Budget", "Wait", "nanoseconds"]


class Wait(IntEnum):
    """What a thread waits for."""

    CONNECT = 0
    READ = 1
    WRITE = 2
    POOL = 3


_EXPIRED: Final[tuple[tuple[type[Timeout], str], ...]] = (
    (ConnectTimeout, "the connection was not ready"),
    (ReadTimeout, "nothing arrived for this exchange"),
    (WriteTimeout, "the peer took none of the body"),
    (PoolTimeout, "no stream or connection became free"),
)


class Budget:
    """The time limits of one exchange and the moment it started, in nanoseconds; NEVER for no limit.

    ``limits`` are those of the waits in the order of :class:`Wait`, each from the start of the wait; ``total`` limits
    everything together.
    """

    __slots__ = ("_limits", "_total", "_total_at", "started")

    def __init__(self, limits: tuple[int, int, int, int], total: int, started: int) -> None:
        self.started = started
        self._limits = limits
        self._total = total
        self._total_at = NEVER if total >= NEVER else started + total

    @classmethod
    def of(
        cls,
        *,
        connect: float | None = None,
        read: float | None = None,
        write: float | None = None,
        pool: float | None = None,
        total: float | None = None,
        started: int | None = None,
    ) -> Budget:
        """Make a budget from seconds, None for no limit, that starts now."""
        first, second, third, fourth = (nanoseconds(limit) for limit in (connect, read, write, pool))
        moment = clock.now() if started is None else started
        return cls((first, second, third, fourth), nanoseconds(total), moment)

    @property
    def end(self) -> int:
        """When everything together is too long (ns)."""
        return self._total_at

    def deadline(self, wait: Wait, now: int) -> int:
        """Return when a wait that starts ``now`` is too long (ns)."""
        limit = self._limits[wait]
        if limit >= NEVER:
            return self._total_at
        return min(now + limit, self._total_at)

    def expired(self, wait: Wait, detail: str = "") -> Timeout:
        """Return the exception for a ``wait`` whose deadline has passed."""
        suffix = f": {detail}" if detail else ""
        if clock.now() >= self._total_at:
            return TotalTimeout(f"the exchange took longer than {self._total / clock.SECOND:g} s{suffix}")
        kind, what = _EXPIRED[wait]
        return kind(f"{what} in {self._limits[wait] / clock.SECOND:g} s{suffix}")


def nanoseconds(seconds: float | None) -> int:
    """Return a limit in nanoseconds, NEVER for None and for one that is not worth counting."""
    if seconds is None or seconds >= _FOREVER:
        return NEVER
    return int(seconds * clock.SECOND)


_FOREVER: Final = 1e9
