"""The one clock of the drivers: monotonic, integer nanoseconds."""

from __future__ import annotations

from time import monotonic_ns as now
from typing import Final

from specter._wire import NEVER

__all__ = ["SECOND", "after", "now", "remaining"]

SECOND: Final = 1_000_000_000


def after(moment: int, seconds: float | None) -> int:
    """Return the deadline ``seconds`` after ``moment``; no limit (None) never comes."""
    return NEVER if seconds is None else moment + int(seconds * SECOND)


def remaining(deadline: int, moment: int) -> float | None:
    """Return the seconds from ``moment`` to ``deadline``, never negative; None when it never comes."""
    return None if deadline >= NEVER else max(deadline - moment, 0) / SECOND
