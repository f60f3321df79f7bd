"""How long one exchange may wait, and which exception says that it waited too long."""

from __future__ import annotations

from enum import Enum
from typing import Final

from specter.errors import ConnectTimeout, PoolTimeout, ReadTimeout, Timeout, TotalTimeout, WriteTimeout
from specter.net import clock

__all__ = ["Budget", "Wait"]


class Wait(Enum):
    """What a thread waits for."""

    CONNECT = "connect"
    READ = "read"
    WRITE = "write"
    POOL = "pool"


_EXPIRED: Final[dict[Wait, tuple[type[Timeout], str]]] = {
    Wait.CONNECT: (ConnectTimeout, "the connection was not ready"),
    Wait.READ: (ReadTimeout, "nothing arrived for this exchange"),
    Wait.WRITE: (WriteTimeout, "the peer took none of the body"),
    Wait.POOL: (PoolTimeout, "no stream became free"),
}


class Budget:
    """The time limits of one exchange, in seconds or None, and the moment it started.

    Each wait has its own limit from its own start; ``total`` limits everything together.
    """

    __slots__ = ("_limits", "_total", "_total_at", "started")

    def __init__(
        self,
        *,
        connect: float | None = None,
        read: float | None = None,
        write: float | None = None,
        pool: float | None = None,
        total: float | None = None,
        started: int | None = None,
    ) -> None:
        self.started = clock.now() if started is None else started
        self._limits = {Wait.CONNECT: connect, Wait.READ: read, Wait.WRITE: write, Wait.POOL: pool}
        self._total = total
        self._total_at = clock.after(self.started, total)

    def deadline(self, wait: Wait, now: int) -> int:
        """Return when a wait that starts ``now`` is too long (ns)."""
        limit = self._limits[wait]
        if limit is None:
            return self._total_at
        return min(now + int(limit * clock.SECOND), self._total_at)

    def expired(self, wait: Wait, detail: str = "") -> Timeout:
        """Return the exception for a ``wait`` whose deadline has passed."""
        suffix = f": {detail}" if detail else ""
        if self._total is not None and clock.now() >= self._total_at:
            return TotalTimeout(f"the exchange took longer than {self._total:g} s{suffix}")
        kind, what = _EXPIRED[wait]
        limit = self._limits[wait]
        return kind(f"{what} in {'time' if limit is None else f'{limit:g} s'}{suffix}")
