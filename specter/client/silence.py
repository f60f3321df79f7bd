"""A connection that does not answer any more."""

from __future__ import annotations

from specter.errors import NetworkError

__all__ = ["Silence"]


class Silence(NetworkError):
    """A connection used before says nothing to a request that it should at least acknowledge."""
