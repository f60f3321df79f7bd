"""Receive windows: how much the peer may send, and when it is told of more (RFC 9000, section 4).

Credit is released as the caller consumes, never as data arrives. A window doubles, up to its ceiling,
while the reader empties half of it in less than two round trips: then the window, not the network or
the reader, was the limit.
"""

from __future__ import annotations


class ReceiveWindow:
    """One window: a connection's, or a stream's."""

    __slots__ = ("_ceiling", "_last_update", "consumed", "limit", "window")

    def __init__(self, window: int, ceiling: int, now: int) -> None:
        self.window = window
        self.limit = window
        self.consumed = 0
        self._ceiling = max(window, ceiling)
        self._last_update = now

    def consume(self, count: int) -> bool:
        """Note that the caller took ``count`` bytes; return whether an update is worth a frame."""
        self.consumed += count
        return self.limit - self.consumed <= self.window // 2

    @property
    def due(self) -> bool:
        """Whether at least half of the window was consumed since the limit last moved."""
        return self.limit - self.consumed <= self.window // 2

    def limit_to_tell(self, now: int, round_trip: int) -> int:
        """Return the limit to send: a new one if that is due, else the present one again, its frame being lost."""
        return self.advance(now, round_trip) if self.due else self.limit

    def advance(self, now: int, round_trip: int) -> int:
        """Move the limit on, growing the window when it held the peer back; return the new limit."""
        if now - self._last_update < 2 * round_trip:
            self.window = min(self.window * 2, self._ceiling)
        self._last_update = now
        self.limit = max(self.limit, self.consumed + self.window)
        return self.limit
