"""Connection ids: those the peer sends to us, those we send to it, and stateless reset (RFC 9000, 5.1 and 10.3)."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Final, NoReturn

from specter._entropy import Entropy
from specter._frame_types import Buffer, NewConnectionId, RetireConnectionId
from specter._wire import TransportError, TransportErrorCode

MAX_CONNECTION_ID: Final = 20
MAX_LOCAL_IDS: Final = 8
"""Ids we keep out at the peer, however many it would take."""
RESET_TOKEN_SIZE: Final = 16
MIN_STATELESS_RESET: Final = 21
"""Bytes of the smallest datagram that can be a stateless reset (RFC 9000, section 10.3)."""
_MAX_STATELESS_RESET: Final = 43
_ATTEMPTS: Final = 16
"""Draws for an id that is not in use; only ids of a byte or two need more than one."""
_NEW_CONNECTION_ID: Final = 0x18
_RETIRE_CONNECTION_ID: Final = 0x19


def reset_token(key: bytes, connection_id: bytes) -> bytes:
    """Return the stateless reset token that ``key`` gives ``connection_id`` (RFC 9000, section 10.3.2)."""
    return hmac.digest(key, connection_id, "sha256")[:RESET_TOKEN_SIZE]


def encode_stateless_reset(token: bytes, trigger_size: int, entropy: Entropy) -> bytes | None:
    """Return a stateless reset for a datagram of ``trigger_size`` bytes, or ``None`` when that is too small.

    Always smaller than what triggered it, so that two endpoints cannot reset each other for ever.
    """
    size = min(trigger_size - 1, _MAX_STATELESS_RESET)
    if size < MIN_STATELESS_RESET:
        return None
    noise = bytearray(entropy.token(size - RESET_TOKEN_SIZE))
    noise[0] = 0x40 | noise[0] & 0x3F
    return bytes(noise) + token


class LocalConnectionIds:
    """The ids the peer may put on packets to us.

    ``first`` is the id of our first packet (sequence number 0); empty means that we use none. ``active`` is
    kept up to date in place: read it, do not change it.

    NEW_CONNECTION_ID frames are made when they are about to be sent, not when the peer retires an id, so
    the peer cannot make a queue grow: everything kept here is at most ``MAX_LOCAL_IDS`` items.
    """

    def __init__(self, entropy: Entropy, length: int = 8, *, first: bytes, reset_key: bytes) -> None:
        if not 1 <= length <= MAX_CONNECTION_ID:
            raise ValueError(f"connection ids have 1 to 20 bytes, not {length}")
        if first and len(first) != length:
            raise ValueError("all connection ids of one side have the same length")
        self.active: set[bytes] = {first}
        self.length = length
        self._entropy = entropy
        self._reset_key = reset_key
        self._ids: dict[int, bytes] = {0: first}
        self._next_sequence = 1
        self._limit = 1
        self._again: dict[int, None] = {}
        self._empty = not first

    @property
    def first_reset_token(self) -> bytes:
        """The token of ``first``, which a server puts into its transport parameters."""
        return reset_token(self._reset_key, self._ids[0])

    @property
    def has_pending(self) -> bool:
        """Whether :meth:`frames_to_send` has something to give."""
        return bool(self._again) or len(self._ids) < self._limit

    def set_peer_limit(self, active_connection_id_limit: int) -> None:
        """Take the peer's transport parameter; before this no further id is issued."""
        if not self._empty:
            self._limit = min(active_connection_id_limit, MAX_LOCAL_IDS)

    def issue_preferred(self) -> NewConnectionId:
        """Return the id for the preferred_address transport parameter, number 1; before any other is issued."""
        issued: list[NewConnectionId] = []
        self._issue(issued)
        self._limit = max(self._limit, 2)
        return issued[0]

    def frames_to_send(self, maximum: int = MAX_LOCAL_IDS) -> list[NewConnectionId]:
        """Issue ids and return at most ``maximum`` frames: lost ones first, then up to the peer's limit.

        Call it when the frames are about to be packed; give back what did not fit with :meth:`lost`.
        """
        result: list[NewConnectionId] = []
        while len(result) < maximum and self._again:
            sequence = next(iter(self._again))
            del self._again[sequence]
            result.append(self._frame(sequence))
        while len(result) < maximum and len(self._ids) < self._limit:
            self._issue(result)
        return result

    def lost(self, frame: NewConnectionId) -> None:
        """Send ``frame`` again later, unless the peer has retired its id meanwhile."""
        if frame.sequence in self._ids:
            self._again[frame.sequence] = None

    def retire(self, frame: RetireConnectionId, packet_dcid: bytes) -> None:
        """Handle RETIRE_CONNECTION_ID, found in a packet addressed to ``packet_dcid``.

        Raises ``TransportError(PROTOCOL_VIOLATION)`` for an id never issued or the very id of the packet.
        """
        sequence = frame.sequence
        if self._empty:
            _violation("RETIRE_CONNECTION_ID for an empty connection id", _RETIRE_CONNECTION_ID)
        if sequence >= self._next_sequence:
            _violation(f"connection id {sequence} was never issued", _RETIRE_CONNECTION_ID)
        connection_id = self._ids.get(sequence)
        if connection_id is None:
            return
        if connection_id == packet_dcid:
            _violation(f"connection id {sequence} retired in a packet sent to it", _RETIRE_CONNECTION_ID)
        del self._ids[sequence]
        self._again.pop(sequence, None)
        self.active.discard(connection_id)

    def _issue(self, result: list[NewConnectionId]) -> None:
        for _ in range(_ATTEMPTS):
            connection_id = self._entropy.token(self.length)
            if connection_id not in self.active:
                break
        else:
            self._limit = len(self._ids)
            return
        self._ids[self._next_sequence] = connection_id
        self.active.add(connection_id)
        result.append(self._frame(self._next_sequence))
        self._next_sequence += 1

    def _frame(self, sequence: int) -> NewConnectionId:
        connection_id = self._ids[sequence]
        return NewConnectionId(sequence, 0, connection_id, reset_token(self._reset_key, connection_id))


@dataclass(slots=True)
class _RemoteId:
    connection_id: bytes
    reset_token: bytes | None
    used: bool = False


class RemoteConnectionIds:
    """The ids we put on packets to the peer, and the retirement of those no longer wanted.

    ``limit`` is the active_connection_id_limit we declared. Memory is O(``limit``) whatever the peer sends.
    Every sequence number is acted on once: of those below the highest seen only the missing ones are
    remembered (up to ``4 * limit``; a peer that leaves out more loses the oldest), the others are duplicates.
    """

    def __init__(self, initial: bytes, limit: int) -> None:
        self.limit = limit
        self.retirement_limit = max(16, 4 * limit)
        """RETIRE_CONNECTION_ID frames that may wait for their acknowledgment at once."""
        self._active: dict[int, _RemoteId] = {0: _RemoteId(initial, None, used=True)}
        self._current = 0
        self._highest = 0
        self._missing: dict[int, None] = {}
        self._retire_prior_to = 0
        self._queued: dict[int, None] = {}
        self._in_flight: set[int] = set()

    @property
    def current(self) -> bytes:
        """The id to put on packets now."""
        return self._active[self._current].connection_id

    @property
    def current_sequence(self) -> int:
        return self._current

    @property
    def available(self) -> int:
        """Ids at hand that were never used."""
        return sum(not remote.used for remote in self._active.values())

    @property
    def has_pending(self) -> bool:
        """Whether RETIRE_CONNECTION_ID frames wait to be sent."""
        return bool(self._queued)

    @property
    def reset_tokens(self) -> list[bytes]:
        """Tokens of ids that were used and are not retired: only these can reset the connection."""
        return [remote.reset_token for remote in self._active.values() if remote.used and remote.reset_token]

    # What the handshake tells

    def set_initial_scid(self, connection_id: bytes) -> None:
        """The server chose its own id (first Initial, or Retry): use it in place of ours. Handshake only."""
        if 0 in self._active:
            self._active[0].connection_id = connection_id

    def set_initial_reset_token(self, token: bytes) -> None:
        """Take the stateless_reset_token transport parameter."""
        if 0 in self._active:
            self._active[0].reset_token = token

    def add_preferred(self, connection_id: bytes, token: bytes) -> None:
        """Take the id of the preferred_address transport parameter, sequence number 1.

        Raises ``TransportError(TRANSPORT_PARAMETER_ERROR)`` when the server uses an empty id.
        """
        if not self.current:
            raise TransportError(TransportErrorCode.TRANSPORT_PARAMETER_ERROR, "preferred_address with an empty id")
        self.receive(NewConnectionId(1, 0, connection_id, token))

    # NEW_CONNECTION_ID

    def receive(self, frame: NewConnectionId) -> None:
        """Handle NEW_CONNECTION_ID. The current id may change.

        Raises ``TransportError`` and then changes nothing: ``PROTOCOL_VIOLATION`` when the peer uses an empty id,
        contradicts itself or leaves us none; ``CONNECTION_ID_LIMIT_ERROR`` when it gives more ids than we take or
        retires more than we can answer; ``FRAME_ENCODING_ERROR`` when Retire Prior To exceeds the sequence number.
        """
        self._check(frame)
        fresh = self._is_new(frame.sequence)
        floor = max(self._retire_prior_to, frame.retire_prior_to)
        known = [*self._active, frame.sequence] if fresh else list(self._active)
        stale = [sequence for sequence in known if sequence < floor]
        self._check_limits(len(known) - len(stale), len(stale))
        if fresh:
            self._note(frame.sequence)
            self._active[frame.sequence] = _RemoteId(bytes(frame.connection_id), bytes(frame.reset_token))
        self._retire_prior_to = floor
        for sequence in stale:
            self._retire(sequence)
        if self._current not in self._active:
            self._switch()

    # Several paths, each with an id of its own (RFC 9000, section 9.5)

    def take(self, preferred: int = -1) -> int | None:
        """Return the sequence number of an id never used, ``preferred`` if it is one; ``None`` when there is none."""
        unused = [sequence for sequence, remote in self._active.items() if not remote.used]
        if not unused:
            return None
        sequence = preferred if preferred in unused else min(unused)
        self._active[sequence].used = True
        return sequence

    def id_of(self, sequence: int) -> bytes | None:
        """Return an id by its number, ``None`` when it is retired."""
        remote = self._active.get(sequence)
        return None if remote is None else remote.connection_id

    def use(self, sequence: int) -> None:
        """Put this id on packets from now on; it was given out by ``take``, or was current before."""
        if sequence in self._active:
            self._current = sequence

    def release(self, sequence: int) -> None:
        """Retire an id whose path is given up, unless it is the current one."""
        if sequence != self._current and sequence in self._active:
            self._retire(sequence)

    def rotate(self) -> bool:
        """Move to an id never used and retire the current one; ``False`` when none is at hand.

        Also ``False`` while too many retirements wait for their acknowledgment.
        """
        if not self.available or self._outstanding() >= self.retirement_limit:
            return False
        self._retire(self._current)
        self._switch()
        return True

    # RETIRE_CONNECTION_ID

    def frames_to_send(self, maximum: int = 8) -> list[RetireConnectionId]:
        """Take at most ``maximum`` frames; each is outstanding until :meth:`acked` or :meth:`lost`."""
        sequences = list(self._queued)[:maximum]
        for sequence in sequences:
            del self._queued[sequence]
            self._in_flight.add(sequence)
        return [RetireConnectionId(sequence) for sequence in sequences]

    def acked(self, frame: RetireConnectionId) -> None:
        """The peer has ``frame``."""
        self._in_flight.discard(frame.sequence)
        self._queued.pop(frame.sequence, None)

    def lost(self, frame: RetireConnectionId) -> None:
        """Queue ``frame`` again, whether it was lost or did not fit; nothing if it was acknowledged meanwhile."""
        if frame.sequence in self._in_flight:
            self._in_flight.discard(frame.sequence)
            self._queued[frame.sequence] = None

    def is_stateless_reset(self, buffer: Buffer, start: int, end: int) -> bool:
        """Tell whether the datagram ``buffer[start:end]``, which could not be opened, is a stateless reset."""
        if end - start < MIN_STATELESS_RESET:
            return False
        tail = bytes(buffer[end - RESET_TOKEN_SIZE : end])
        found = False
        for token in self.reset_tokens:
            found |= hmac.compare_digest(tail, token)
        return found

    def _check(self, frame: NewConnectionId) -> None:
        if not self.current:
            _violation("NEW_CONNECTION_ID to a peer with an empty connection id", _NEW_CONNECTION_ID)
        if frame.retire_prior_to > frame.sequence:
            raise TransportError(
                TransportErrorCode.FRAME_ENCODING_ERROR, "Retire Prior To above its sequence", _NEW_CONNECTION_ID
            )
        for sequence, remote in self._active.items():
            same_id = remote.connection_id == frame.connection_id
            same_token = remote.reset_token is not None and hmac.compare_digest(remote.reset_token, frame.reset_token)
            if sequence == frame.sequence:
                if not same_id or not (same_token or remote.reset_token is None):
                    _violation(f"connection id {sequence} repeated with other contents", _NEW_CONNECTION_ID)
            elif same_id or same_token:
                _violation(f"connection id {frame.sequence} repeats number {sequence}", _NEW_CONNECTION_ID)

    def _check_limits(self, active: int, stale: int) -> None:
        if active == 0:
            _violation("the last connection id was retired", _NEW_CONNECTION_ID)
        if active > self.limit:
            _limit_error(f"more than {self.limit} connection ids")
        if self._outstanding() + stale > self.retirement_limit:
            _limit_error(f"more than {self.retirement_limit} connection ids to retire")

    def _is_new(self, sequence: int) -> bool:
        return sequence > self._highest or sequence in self._missing

    def _note(self, sequence: int) -> None:
        """Remember that ``sequence`` was seen, and which below it were not."""
        if sequence <= self._highest:
            del self._missing[sequence]
            return
        bound = 4 * self.limit
        for skipped in range(max(self._highest + 1, sequence - bound), sequence):
            self._missing[skipped] = None
        while len(self._missing) > bound:
            del self._missing[next(iter(self._missing))]
        self._highest = sequence

    def _retire(self, sequence: int) -> None:
        del self._active[sequence]
        self._queued[sequence] = None

    def _switch(self) -> None:
        unused = [sequence for sequence, remote in self._active.items() if not remote.used]
        self._current = min(unused or self._active)
        self._active[self._current].used = True

    def _outstanding(self) -> int:
        return len(self._queued) + len(self._in_flight)


def _violation(reason: str, frame_type: int) -> NoReturn:
    raise TransportError(TransportErrorCode.PROTOCOL_VIOLATION, reason, frame_type)


def _limit_error(reason: str) -> NoReturn:
    raise TransportError(TransportErrorCode.CONNECTION_ID_LIMIT_ERROR, reason, _NEW_CONNECTION_ID)
