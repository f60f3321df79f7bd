"""The time limits of a request, as the caller writes them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final, TypeAlias

from specter.net.budget import Budget

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

    @classmethod
    def of(cls, value: TimeoutTypes) -> Timeouts:
        """Return ``value`` if it is one already, else what it stands for."""
        return value if isinstance(value, Timeouts) else cls(value)

    def start(self) -> Budget:
        """Return a budget whose time runs from now on."""
        return Budget(connect=self.connect, read=self.read, write=self.write, pool=self.pool, total=self.total)


TimeoutTypes: TypeAlias = Timeouts | float | tuple[Seconds, Seconds, Seconds, Seconds] | None


def _spread(timeout: TimeoutTypes) -> dict[str, Seconds]:
    if isinstance(timeout, Timeouts):
        return {field.name: getattr(timeout, field.name) for field in fields(timeout)}
    if isinstance(timeout, tuple):
        if len(timeout) != 4:
            raise ValueError("a tuple of timeouts is (connect, read, write, pool)")
        return {**dict(zip(("connect", "read", "write", "pool"), timeout, strict=True)), "total": None}
    return {"connect": timeout, "read": timeout, "write": timeout, "pool": timeout, "total": None}


DEFAULT_TIMEOUTS: Final = Timeouts(5.0)
