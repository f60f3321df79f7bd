"""When the steps of an exchange happened."""

from __future__ import annotations

from dataclasses import dataclass

from specter.net import clock
from specter.net.steps import DialSteps

__all__ = ["Timing"]


@dataclass(slots=True)
class Timing:
    """When things happened, in seconds since the call; None while they have not.

    In their order: ``looked_up``, ``answered``, ``secured``, ``connected``, ``headers``, ``complete``. The first three
    are those of making the connection, and None for a request that found one (``reused``).
    """

    started: int
    """The call, on the monotonic clock (ns)."""
    reused: bool = False
    """Whether the connection existed already; then ``connected`` is only the time it took to find it."""
    connected: float | None = None
    """There was a connection to use."""
    headers: float | None = None
    """The final response's header section was here: time to first byte."""
    complete: float | None = None
    """The last byte of the body was read."""
    steps: DialSteps | None = None
    """The moments of making the connection (ns), of which the next three are made."""

    @property
    def looked_up(self) -> float | None:
        """The host name's addresses were known; almost at once where no lookup was needed."""
        return None if self.steps is None else self._since(self.steps.looked_up)

    @property
    def answered(self) -> float | None:
        """The first datagram came from the server: what "connected" means elsewhere."""
        return None if self.steps is None else self._since(self.steps.answered)

    @property
    def secured(self) -> float | None:
        """The TLS handshake was complete and the server's certificate accepted."""
        return None if self.steps is None else self._since(self.steps.secured)

    def _since(self, moment: int) -> float:
        return (moment - self.started) / clock.SECOND

    def elapsed(self) -> float:
        """Return the seconds from the call until now."""
        return self._since(clock.now())
