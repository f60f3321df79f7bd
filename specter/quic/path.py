"""Address and path validation (RFC 9000, sections 8.1 and 8.2). One object a network path."""

from __future__ import annotations

import hmac
from collections import deque
from enum import Enum
from typing import Final

from specter._entropy import Entropy
from specter._frame_types import PathChallenge, PathResponse
from specter._wire import NEVER

CHALLENGE_SIZE: Final = 8
MAX_RESPONSES: Final = 8
"""PATH_CHALLENGE frames that wait for their answer; an older one gives way to a newer."""
MAX_CHALLENGES: Final = 8
"""Challenges of ours whose answer still counts."""
AMPLIFICATION_FACTOR: Final = 3


class PathState(Enum):
    """How far the validation that we asked for has come."""

    UNKNOWN = "unknown"
    VALIDATING = "validating"
    VALIDATED = "validated"
    FAILED = "failed"


class PathValidator:
    """Both halves of path validation: answering the peer's challenges and making our own.

    Neither PATH_CHALLENGE nor PATH_RESPONSE is retransmitted when lost: the peer asks again, and
    :meth:`probe` makes a fresh challenge.
    """

    def __init__(self) -> None:
        self.state = PathState.UNKNOWN
        self.deadline = NEVER
        """When a running validation fails (nanoseconds)."""
        self._responses: deque[bytes] = deque(maxlen=MAX_RESPONSES)
        self._challenges: deque[bytes] = deque(maxlen=MAX_CHALLENGES)
        self._unsent: bytes | None = None
        self._entropy: Entropy | None = None
        self.pto = 0
        """How soon the second challenge of a validation follows the first (nanoseconds)."""
        self._interval = 0
        self._retry_at = NEVER
        self._asked_at = -1
        self.delay = 0
        """How long the answer took (nanoseconds); 0 unless it is certain which challenge was answered."""

    @property
    def next_time(self) -> int:
        """When ``handle_deadline`` is due (nanoseconds)."""
        return min(self.deadline, self._retry_at)

    @property
    def has_pending(self) -> bool:
        """Whether a frame waits to be sent."""
        return bool(self._responses) or self._unsent is not None

    def receive_challenge(self, data: bytes) -> None:
        """Queue the answer to a PATH_CHALLENGE; of more than ``MAX_RESPONSES`` the newest are kept."""
        self._responses.append(bytes(data))

    def next_response(self) -> PathResponse | None:
        """Take the oldest answer; it is not given out again. Its datagram is to be padded to 1,200 bytes."""
        if not self._responses:
            return None
        return PathResponse(self._responses.popleft())

    def drop_responses(self) -> None:
        """Forget the answers that wait: they cannot be sent on this path."""
        self._responses.clear()

    def start(self, now: int, pto: int, entropy: Entropy, *, initial_pto: int = 0) -> None:
        """Begin to validate the path, with further challenges after 1, 3, 7 ... probe timeouts (``pto``, nanoseconds).

        It fails three times ``pto`` from ``now``, or ``initial_pto``, that of a path not known yet, if that is longer.
        """
        self.state = PathState.VALIDATING
        self.deadline = now + 3 * max(pto, initial_pto)
        self._entropy = entropy
        self.pto = self._interval = pto
        self._retry_at = now + pto
        self._challenges.clear()
        self.probe(entropy)

    def probe(self, entropy: Entropy) -> None:
        """Queue one more challenge of the running validation, in place of one not sent yet; else do nothing."""
        if self.state is PathState.VALIDATING:
            self._unsent = entropy.token(CHALLENGE_SIZE)

    def next_challenge(self, now: int) -> PathChallenge | None:
        """Take the challenge to send, if there is one. Its datagram is to be padded to 1,200 bytes."""
        data, self._unsent = self._unsent, None
        if data is None:
            return None
        self._asked_at = -1 if self._challenges else now
        self._challenges.append(data)
        return PathChallenge(data)

    def receive_response(self, data: bytes, now: int) -> bool:
        """Tell whether this PATH_RESPONSE has validated the path just now; an unexpected one is ignored."""
        if self.state is not PathState.VALIDATING:
            return False
        answer = bytes(data)
        found = False
        for challenge in self._challenges:
            found |= hmac.compare_digest(answer, challenge)
        if found:
            self.delay = now - self._asked_at if self._asked_at >= 0 else 0
            self._end(PathState.VALIDATED)
        return found

    def handle_deadline(self, now: int) -> bool:
        """Tell whether the running validation has failed just now, its time being over; else maybe ask again."""
        if now >= self.deadline:
            self._end(PathState.FAILED)
            return True
        if now >= self._retry_at and self._entropy is not None:
            self._interval *= 2
            self._retry_at = now + self._interval
            self.probe(self._entropy)
        return False

    def abandon(self) -> None:
        """Give up the running validation without a verdict, as when moving to yet another path."""
        if self.state is PathState.VALIDATING:
            self._end(PathState.UNKNOWN)

    def _end(self, state: PathState) -> None:
        self.state = state
        self.deadline = self._retry_at = NEVER
        self._challenges.clear()
        self._unsent = None


class AmplificationLimit:
    """What a server may send to an address that has not shown it is the client's: 3 times what came from it."""

    __slots__ = ("received", "sent", "validated")

    def __init__(self, validated: bool = False) -> None:
        self.received = 0
        self.sent = 0
        self.validated = validated

    @property
    def allowance(self) -> int:
        """Bytes of UDP payload that may be sent now; ``NEVER`` (in effect no limit) once validated."""
        return NEVER if self.validated else self.earned

    @property
    def earned(self) -> int:
        """Bytes that may be sent in answer to what came, validated or not."""
        return max(0, AMPLIFICATION_FACTOR * self.received - self.sent)

    def on_received(self, size: int) -> None:
        """Count a whole datagram of ``size`` bytes, whether or not its packets could be read."""
        self.received += size

    def on_sent(self, size: int) -> None:
        self.sent += size

    def validate(self) -> None:
        """The address is the peer's: a Handshake packet, a token or a PATH_RESPONSE proved it."""
        self.validated = True
