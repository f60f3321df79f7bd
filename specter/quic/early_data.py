"""0-RTT: what may leave before the handshake ends, and what becomes of it (RFC 9001, section 4.6; RFC 9000, 7.4.1).

Only STREAM frames travel in 0-RTT packets of ours; other frames wait for 1-RTT keys.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from specter._backend import frames, protection
from specter._frame_types import ResetStream, StopSending
from specter._wire import TransportError
from specter.quic import parameters
from specter.quic.events import EarlyDataRejected
from specter.quic.parameters import TransportParameters, check_not_reduced

if TYPE_CHECKING:
    from specter.quic.core import Core
    from specter.tls.session import Resumption

StreamRange = tuple[int, int, int, bool]

STREAM_OVERHEAD: Final = 1 + 8 + 8 + 4
"""Bytes that a STREAM frame needs around its data, at most."""
NO_PARAMETERS: Final = TransportParameters()


class EarlyDataStatus(Enum):
    """What became of the early data of a connection."""

    NONE = "none"
    """None was tried."""
    OFFERED = "offered"
    """The server has not decided."""
    ACCEPTED = "accepted"
    REJECTED = "rejected"


class EarlyData:
    """The state of 0-RTT on one connection: its keys, which either seal (client) or open (server)."""

    __slots__ = ("_core", "keys", "rejected_below", "remembered", "status", "version")

    def __init__(self, core: Core) -> None:
        self._core = core
        self.remembered = NO_PARAMETERS
        """What the server declared when it gave the ticket (client)."""
        self.keys: protection.PacketProtection | None = None
        self.status = EarlyDataStatus.NONE
        self.version = core.version
        """The QUIC version of 0-RTT packets: the one the connection began with."""
        self.rejected_below = 0
        """Packets with numbers below this were 0-RTT packets that the server may not acknowledge."""

    # -- the client's side -------------------------------------------------------------------------

    def offer(self, keys: protection.PacketProtection, remembered: TransportParameters) -> None:
        """Let streams be opened and written to within the limits of an earlier connection."""
        core = self._core
        self.keys, self.version, self.status = keys, core.version, EarlyDataStatus.OFFERED
        self.remembered = remembered
        core.streams.apply_peer_parameters(remembered)
        core.packer.raise_limit(remembered.initial_max_data)
        core.mtu.limit(remembered.max_udp_payload_size, core.now)
        core.follow_mtu()

    def decide(self, *, accepted: bool) -> None:
        """Hear the server's verdict; from now on, no more is sent in 0-RTT packets."""
        if self._core.is_client:
            self.keys = None
        self.status = EarlyDataStatus.ACCEPTED if accepted else EarlyDataStatus.REJECTED
        if self._core.is_client and not accepted:
            self._roll_back()

    def give_up(self) -> None:
        """The handshake begins anew in a way that allows no early data."""
        if self.status is EarlyDataStatus.OFFERED:
            self.decide(accepted=False)

    def check(self, peer: TransportParameters) -> None:
        """Check the limits of a server that accepted.

        Raises:
            TransportError: PROTOCOL_VIOLATION, a limit is lower than the one remembered.
        """
        if self._core.is_client and self.status is EarlyDataStatus.ACCEPTED:
            check_not_reduced(self.remembered, peer)

    def _roll_back(self) -> None:
        """Forget all streams, as if none had been opened, and everything that is under way (RFC 9001, 4.6.2)."""
        core = self._core
        self.rejected_below = core.app.sent.next_pn
        core.recovery.discard_space(core.app.id)
        for stream in core.streams.forget_ours():
            if stream.send is not None:
                core.packer.remove(stream.send)
            core.receiver.streams.pop(stream.id, None)
            core.receiver.touched.pop(stream.id, None)
            core.stream_windows.pop(stream.id, None)
            core.waiting_writers.pop(stream.id, None)
        control = core.packer.control
        kept = [waiting for waiting in control if not isinstance(waiting[1], ResetStream | StopSending)]
        control.clear()
        control.extend(kept)
        core.packer.blocked.clear()
        core.packer.data_sent = core.packer.data_limit = 0
        core.emit(EarlyDataRejected())

    # -- packets out -------------------------------------------------------------------------------

    @property
    def has_pending(self) -> bool:
        """Whether there is something that a 0-RTT packet could carry now."""
        if self.keys is None or not self._core.is_client:
            return False
        return any(
            stream.send is not None and stream.send.next_range(1, self._credit) is not None
            for stream in self._core.streams.by_id.values()
        )

    @property
    def _credit(self) -> int:
        return self._core.packer.data_limit - self._core.packer.data_sent

    def put_streams(self, payload: bytearray, room: int) -> list[StreamRange]:
        """Append at most ``room`` bytes of STREAM frames to a packet's ``payload``; return what they carry."""
        core = self._core
        ranges: list[StreamRange] = []
        for stream in core.streams.by_id.values():
            send = stream.send
            if send is None or room < STREAM_OVERHEAD:
                continue
            piece = send.next_range(room - STREAM_OVERHEAD, self._credit)
            if piece is None:
                continue
            offset, length, fin = piece
            before = len(payload)
            core.packer.data_sent += max(0, offset + length - send.sent_offset)
            payload += frames.encode_stream_header(stream.id, offset, length, fin)
            payload += send.take(offset, length, fin)
            room -= len(payload) - before
            ranges.append((stream.id, offset, length, fin))
        return ranges

    def repeat(self) -> None:
        """Send again, in new packets, whatever was sent: what was before a Retry, or got no answer, may be lost."""
        if self.keys is None or not self._core.is_client:
            return
        for stream in self._core.streams.by_id.values():
            send = stream.send
            if send is not None and not send.is_reset:
                send.lost(0, send.sent_offset, send.finished_writing and send.sent_offset == send.offset_end)

    # -- the server's side -------------------------------------------------------------------------

    def accept(self, keys: protection.PacketProtection) -> None:
        """Open the client's 0-RTT packets with ``keys``."""
        self.keys = keys

    def retire(self) -> None:
        """Drop the keys: whatever still comes is late (RFC 9001, section 4.9.3)."""
        self.keys = None


def usable(resumption: Resumption | None) -> tuple[Resumption | None, TransportParameters | None]:
    """Return what can be used of a resumption, and the server's transport parameters of that time."""
    if resumption is None:
        return None, None
    try:
        return resumption, parameters.decode(resumption.session.transport_parameters, from_server=True)
    except TransportError:  # kept by somebody who damaged them
        return None, None
