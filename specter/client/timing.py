"""When the steps of an exchange happened."""

from __future__ import annotations

from dataclasses import dataclass

from specter.net import clock

__all__ = ["Timing"]


@dataclass(slots=True)
class Timing:
    """When things happened, in seconds since the call; None while they have not."""

    started: int
    """The call, on the monotonic clock (ns)."""
    reused: bool = False
    """Whether the connection existed already; then ``connected`` is only the time it took to find it."""
    connected: float | None = None
    headers: float | None = None
    """The final response's header section was here: time to first byte."""
    complete: float | None = None
    """The last byte of the body was read."""

    def elapsed(self) -> float:
        """Return the seconds from the call until now."""
        return (clock.now() - self.started) / clock.SECOND
