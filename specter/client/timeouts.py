"""The time limits of a request, as the caller writes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from specter.net import clock
from specter.net.budget import Budget, nanoseconds

__all__ = ["DEFAULT_TIMEOUTS", "TimeoutTypes", "Timeouts"]

Seconds: TypeAlias = float | None


class _Unset:
    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = _Unset()


@dataclass(frozen=True, slots=True, init=False)
class Timeouts:
    """Limits in seconds; None means none.

    * ``connect``: until a new connection is ready, name lookup included
    * ``read``: each wait for more of the response
    * ``write``: each wait for the server to take more of the body
    * ``pool``: each wait for a stream, while the server allows no more at once
    * ``total``: everything together, from the call to the last byte read

    ``Timeouts(5)`` sets the first four, ``Timeouts(5, connect=30)`` all but one of them; ``total`` is only ever set by
    name. A tuple gives connect, read, write and pool.

    Raises:
        ValueError: a limit that is not above 0.
    """

    connect: Seconds
    read: Seconds
    write: Seconds
    pool: Seconds
    total: Seconds
    _limits: tuple[int, int, int, int] = field(repr=False, compare=False)
    _total: int = field(repr=False, compare=False)

    def __init__(
        self,
        timeout: TimeoutTypes = None,
        *,
        connect: Seconds | _Unset = UNSET,
        read: Seconds | _Unset = UNSET,
        write: Seconds | _Unset = UNSET,
        pool: Seconds | _Unset = UNSET,
        total: Seconds | _Unset = UNSET,
    ) -> None:
        values = _spread(timeout)
        given = {"connect": connect, "read": read, "write": write, "pool": pool, "total": total}
        for name, value in given.items():
            limit = values[name] if isinstance(value, _Unset) else value
            if limit is not None and not limit > 0:
                raise ValueError(f"the {name} timeout must be above 0 seconds, not {limit!r}")
            object.__setattr__(self, name, limit)
        limits = tuple(nanoseconds(limit) for limit in (self.connect, self.read, self.write, self.pool))
        object.__setattr__(self, "_limits", limits)
        object.__setattr__(self, "_total", nanoseconds(self.total))

    @classmethod
    def of(cls, value: TimeoutTypes) -> Timeouts:
        """Return ``value`` if it is one already, else what it stands for."""
        return value if isinstance(value, Timeouts) else cls(value)

    def start(self) -> Budget:
        """Return a budget whose time runs from now on."""
        return Budget(self._limits, self._total, clock.now())


TimeoutTypes: TypeAlias = Timeouts | float | tuple[Seconds, Seconds, Seconds, Seconds] | None


_NAMES: Final = ("connect", "read", "write", "pool", "total")


def _spread(timeout: TimeoutTypes) -> dict[str, Seconds]:
    if isinstance(timeout, Timeouts):
        return {name: getattr(timeout, name) for name in _NAMES}
    if isinstance(timeout, tuple):
        if len(timeout) != 4:
            raise ValueError("a tuple of timeouts is (connect, read, write, pool)")
        return {**dict(zip(_NAMES[:4], timeout, strict=True)), "total": None}
    return {"connect": timeout, "read": timeout, "write": timeout, "pool": timeout, "total": None}


DEFAULT_TIMEOUTS: Final = Timeouts(5.0)
