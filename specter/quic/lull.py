"""Notices that a flow of data stops in the middle: the peer may be sending to where we are no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from specter._wire import NEVER
from specter.quic.config import MILLISECOND
from specter.quic.stream_ids import is_unidirectional

if TYPE_CHECKING:
    from specter.quic.core import Core

FLOW: Final = 16 << 10
"""Bytes of stream data that make a flow."""
PATIENCE: Final = 100 * MILLISECOND
"""The shortest silence (nanoseconds) that is one."""


class Lull:
    """A client that only receives has nothing to repeat, and says nothing when a NAT gives it another address.

    The server then goes on sending to the old one until the connection is idle for too long. One PING, repeated
    like all that asks for an acknowledgment, shows it the new address. Small answers do not make a flow.
    """

    __slots__ = ("_core", "deadline", "threshold")

    def __init__(self, core: Core) -> None:
        self._core = core
        self.threshold = FLOW if core.is_client else NEVER
        """``arm`` is to be called for what arrives once so much stream data came."""
        self.deadline = NEVER

    def arm(self, now: int) -> None:
        """Data flows: expect more of it."""
        self.deadline = now + max(3 * self._core.pto, PATIENCE)

    def handle_deadline(self) -> bool:
        """Silence: return whether to ask the peer for a sign of life, because something is still to come."""
        self.deadline = NEVER
        self.threshold = self._core.receiver.data_received + FLOW
        flows = [stream for key, stream in self._core.receiver.streams.items() if not is_unidirectional(key)]
        return any(stream.final_size < 0 and stream.consumed + stream.readable > 0 for stream in flows)
