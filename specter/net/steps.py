"""When a connection came into being."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["DialSteps"]


class DialSteps(NamedTuple):
    """Moments on the drivers' clock (ns)."""

    looked_up: int
    """The host's addresses were known."""
    answered: int
    """The first datagram came from the address that won."""
    secured: int
    """The handshake was complete."""
