"""The congestion controllers by name."""

from __future__ import annotations

from specter.quic.congestion.base import CongestionController
from specter.quic.congestion.cubic import Cubic
from specter.quic.congestion.newreno import NewReno

__all__ = ["make_controller"]


def make_controller(name: str, datagram_size: int) -> CongestionController:
    """Return a fresh controller, ``"cubic"`` or ``"newreno"``; ``ValueError`` for another name."""
    if name == "cubic":
        return Cubic(datagram_size)
    if name == "newreno":
        return NewReno(datagram_size)
    raise ValueError(f"congestion must be 'cubic' or 'newreno', not {name!r}")
