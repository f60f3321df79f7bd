"""How a connection ends: closing, draining, idle (RFC 9000, section 10)."""

from __future__ import annotations

from enum import Enum
from typing import Final

from specter._frame_types import ConnectionClose
from specter._wire import NEVER

CLOSE_REASON_LIMIT: Final = 512
"""Bytes of a close reason that are sent, and kept from the peer."""


class CloseState(Enum):
    OPEN = "open"
    CLOSING = "closing"
    DRAINING = "draining"
    CLOSED = "closed"


class Closer:
    """Which end the connection is in, and whether its CONNECTION_CLOSE should (again) be sent.

    In the closing state the packet is repeated for the 1st, 2nd, 4th, 8th ... packet that still arrives.
    """

    __slots__ = ("_heard", "_repeat_at", "deadline", "frame", "send_due", "state")

    def __init__(self) -> None:
        self.state = CloseState.OPEN
        self.deadline = NEVER
        self.frame: ConnectionClose | None = None
        self.send_due = False
        self._heard = 0
        self._repeat_at = 1

    def close(self, frame: ConnectionClose, now: int, pto: int) -> None:
        """Enter the closing state: the frame leaves with the next send."""
        self.state = CloseState.CLOSING
        self.frame = frame
        self.send_due = True
        self.deadline = now + 3 * pto

    def drain(self, now: int, pto: int) -> None:
        """Enter the draining state: nothing is sent any more."""
        self.state = CloseState.DRAINING
        self.send_due = False
        self.deadline = min(self.deadline, now + 3 * pto)

    def finish(self) -> None:
        """Be gone at once."""
        self.state = CloseState.CLOSED
        self.send_due = False
        self.deadline = NEVER

    def packet_arrived(self) -> None:
        """Note a packet for a connection that is closing."""
        if self.state is not CloseState.CLOSING:
            return
        self._heard += 1
        if self._heard >= self._repeat_at:
            self._repeat_at *= 2
            self.send_due = True

    @property
    def open(self) -> bool:
        return self.state is CloseState.OPEN


class IdleTimer:
    """Ends a connection on which nothing arrives (RFC 9000, section 10.1); 0 as timeout disables it."""

    __slots__ = ("_sent_since", "alive_since", "deadline", "timeout")

    def __init__(self, timeout: int, now: int) -> None:
        self.timeout = timeout
        self.alive_since = now
        self._sent_since = False
        self.deadline = now + timeout if timeout else NEVER

    def agree(self, peer_timeout: int) -> None:
        """Take the smaller of both sides' timeouts."""
        if peer_timeout:
            self.timeout = min(self.timeout, peer_timeout) if self.timeout else peer_timeout

    def packet_received(self, now: int, pto: int) -> None:
        self._sent_since = False
        self._restart(now, pto)

    def packet_sent(self, now: int, pto: int) -> None:
        """Note an ack-eliciting packet; only the first after a received one restarts the timer."""
        if not self._sent_since:
            self._sent_since = True
            self._restart(now, pto)

    def _restart(self, now: int, pto: int) -> None:
        self.alive_since = now
        self.deadline = now + max(self.timeout, 3 * pto) if self.timeout else NEVER

    def keep_alive_deadline(self, interval: int) -> int:
        """Return when a PING keeps the connection from going idle; NEVER without an interval."""
        return self.alive_since + interval if interval else NEVER

    def defer_keep_alive(self, now: int) -> None:
        """Count the interval anew: a PING leaves, or something that serves as one is under way."""
        self.alive_since = now
