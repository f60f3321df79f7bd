"""Notices silence while an answer is due: the peer may be speaking to where we are no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from specter._wire import NEVER
from specter.quic.recovery import APPLICATION
from specter.quic.stream_ids import is_unidirectional

if TYPE_CHECKING:
    from specter.quic.core import Core

FLOW: Final = 1024
"""Bytes of stream data after which silence is noticed once more."""
QUESTIONS: Final = 6
"""How often one silence is asked about, each time after twice as long."""


class Lull:
    """A client that only waits has nothing to repeat, and says nothing when a NAT gives it another address.

    The server then goes on sending to the old one until the connection is idle for too long. A PING, repeated like all
    that asks for an acknowledgment, shows it the new address; a few more follow in case it could not validate that.
    """

    __slots__ = ("_asked", "_core", "_known", "deadline", "threshold")

    def __init__(self, core: Core) -> None:
        self._core = core
        self._asked = 0
        self._known = 0
        self.threshold = FLOW if core.is_client and core.config.silence else NEVER
        """``arm`` is to be called when so much stream data came, and when a stream is opened."""
        self.deadline = NEVER

    def arm(self, now: int) -> None:
        """Something is expected from now on."""
        if self.threshold != NEVER:
            self._asked, self.threshold = 0, NEVER
            self.deadline = now + self._interval()

    def _interval(self) -> int:
        return max(3 * self._core.pto, self._core.config.silence) << self._asked

    def handle_deadline(self, now: int) -> bool:
        """Return whether to ask the peer for a sign of life: it was silent for long, and something is still to come."""
        core = self._core
        received = core.receiver.data_received
        if received != self._known:
            self._known, self._asked = received, 0
        silent_at = core.idle.alive_since + self._interval()
        if not self._expects():
            self.deadline, self.threshold = NEVER, received + FLOW
            return False
        if now < silent_at:
            self.deadline = silent_at
            return False
        if core.app.sent.ack_eliciting_in_flight:  # asks by itself
            self.deadline = now + max(self._interval(), core.recovery.pto(APPLICATION))
            return False
        self._asked += 1
        if self._asked < QUESTIONS:
            self.deadline = now + self._interval()
        else:
            self.deadline, self.threshold = NEVER, received + FLOW
        return True

    def _expects(self) -> bool:
        core = self._core
        if any(limit.blocked for limit in core.streams.ours.values()):
            return True
        return any(not stream.complete for key, stream in core.receiver.streams.items() if not is_unidirectional(key))
