"""Initial, 0-RTT and Handshake packets: drafted, coalesced into datagrams, padded, sealed (RFC 9000, section 12.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from specter._backend import frames, protection
from specter._frame_types import ConnectionClose, Ping
from specter._wire import TransportErrorCode
from specter.quic.config import MINIMUM_DATAGRAM
from specter.quic.core import Core
from specter.quic.packet import PacketType, encode_long_header, packet_number_length, patch_length
from specter.quic.space import CRYPTO_STREAM, Space, SpaceId

PING: Final = b"\x01"
CRYPTO_OVERHEAD: Final = 1 + 4 + 2
"""Bytes a CRYPTO frame needs before its data, at most (offsets stay far below 2^30)."""
SHORT_OVERHEAD: Final = 1 + 20 + 4 + protection.TAG_SIZE
"""Bytes a 1-RTT packet needs around its frames, at most."""
HANDSHAKE_REASON_LIMIT: Final = 256
"""Bytes of a close reason in Initial and Handshake packets, which share one datagram."""

_TYPES = {SpaceId.INITIAL: PacketType.INITIAL, SpaceId.HANDSHAKE: PacketType.HANDSHAKE}


@dataclass(slots=True)
class Draft:
    """One packet with a long header before it is sealed."""

    space: Space
    sealer: protection.PacketProtection | None
    header: bytes
    number_length: int
    payload: bytearray = field(default_factory=bytearray)
    eliciting: bool = False
    padded: bool = False
    tokens: list[object] = field(default_factory=list)
    stream: tuple[int, int, int, bool] | None = None

    @property
    def size(self) -> int:
        return len(self.header) + len(self.payload) + protection.TAG_SIZE

    def pad(self, count: int) -> None:
        if count > 0:
            self.payload += bytes(count)
            self.padded = True


class Flight:
    """Builds the datagrams of the handshake."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def has_work(self, now: int) -> bool:
        core = self._core
        return core.early_data.has_pending or any(
            self._wants(space, now) for space in core.spaces[: SpaceId.APPLICATION]
        )

    @staticmethod
    def _wants(space: Space, now: int) -> bool:
        return space.can_send and (space.crypto_out.has_pending or space.probes > 0 or space.acks.due(now))

    def datagram(self, now: int, size: int) -> int:
        """Build one datagram of at most ``size`` bytes; return its size, 0 when there is nothing to send."""
        core = self._core
        drafts = self._drafts(now, size)
        if not drafts:
            return 0
        start = core.batch.begin()
        initial = drafts[0] if drafts[0].space.id is SpaceId.INITIAL else None
        total = sum(draft.size for draft in drafts)
        minimum = MINIMUM_DATAGRAM if initial is not None and (core.is_client or initial.eliciting) else 0
        room = size - total
        joins = core.packer.has_work(now) and room >= 128 and core.handshake_complete
        if initial is not None and not joins:
            initial.pad(minimum - total)
        end = self._seal_all(drafts, start, now)
        if joins:
            end = self._join(now, end, start + size, start + minimum if minimum else 0)
        core.batch.commit(end, core.address, 0)
        return end - start

    def _join(self, now: int, start: int, limit: int, pad_to: int) -> int:
        """Put a 1-RTT packet behind the handshake packets of a datagram, padded to ``pad_to``; return its end."""
        core = self._core
        before = core.app.sent.bytes_in_flight
        end = core.packer.packet(now, start, limit, pad_to)
        if end < pad_to:  # what waits cannot leave now, but an Initial packet needs its padding
            core.queue(Ping())
            end = core.packer.packet(now, start, limit, pad_to)
        added = core.app.sent.bytes_in_flight - before
        core.recovery.on_sent(SpaceId.APPLICATION, now, added, added > 0, added > 0)
        return end

    def _drafts(self, now: int, size: int) -> list[Draft]:
        drafts: list[Draft] = []
        for space in self._core.spaces[: SpaceId.APPLICATION]:
            if not self._wants(space, now):
                continue
            draft = self._start(space, _TYPES[space.id], self._core.version, space.sealer)
            room = size - sum(other.size for other in drafts) - draft.size
            if room < 32:
                break
            self._fill(draft, room, now)
            if draft.payload:
                drafts.append(draft)
        early = self._early_draft(size - sum(draft.size for draft in drafts))
        return drafts if early is None else [*drafts, early]

    def _early_draft(self, room: int) -> Draft | None:
        """Fill a 0-RTT packet, if there are keys for one and something to say."""
        early = self._core.early_data
        if early.keys is None or not early.has_pending:
            return None
        draft = self._start(self._core.app, PacketType.ZERO_RTT, early.version, early.keys)
        ranges = early.put_streams(draft.payload, room - draft.size)
        if not ranges:
            return None
        draft.stream = ranges[0]
        draft.tokens += ranges[1:]
        draft.eliciting = True
        draft.pad(4 - draft.number_length - len(draft.payload))
        return draft

    def _start(self, space: Space, kind: PacketType, version: int, sealer: protection.PacketProtection | None) -> Draft:
        core = self._core
        number = space.sent.next_pn
        length = packet_number_length(number, space.sent.largest_acked)
        token = core.token if kind is PacketType.INITIAL else b""
        header = encode_long_header(kind, version, core.remote_cids.current, core.first_cid, number, length, token)
        return Draft(space, sealer, header, length)

    def _fill(self, draft: Draft, room: int, now: int) -> None:
        space = draft.space
        if space.acks.pending or space.acks.due(now):
            ack = space.acks.encode(now, self._core.config.ack_delay_exponent, room)
            if ack:
                draft.payload += ack
                draft.tokens.append(space.acks.largest)
                space.acks.sent(now)
        piece = space.crypto_out.next_range(max(room - len(draft.payload) - CRYPTO_OVERHEAD, 0), 1 << 62)
        if piece is not None and piece[1] > 0:
            offset, length, fin = piece
            draft.payload += frames.encode_crypto_header(offset, length)
            draft.payload += space.crypto_out.take(offset, length, fin)
            draft.stream = (CRYPTO_STREAM, offset, length, fin)
            draft.eliciting = True
        elif space.probes > 0:
            draft.payload += PING
            draft.tokens.append(Ping())
            draft.eliciting = True
        if draft.eliciting and space.probes > 0:
            space.probes -= 1
        if draft.payload:
            draft.pad(4 - draft.number_length - len(draft.payload))

    def _seal_all(self, drafts: list[Draft], pos: int, now: int) -> int:
        core = self._core
        for draft in drafts:
            pos = self._seal(draft, pos, now)
        if core.is_client and any(draft.space.id is SpaceId.HANDSHAKE for draft in drafts):
            core.discard(SpaceId.INITIAL)
        return pos

    def _seal(self, draft: Draft, pos: int, now: int) -> int:
        """Write and seal one packet at ``pos``; return its end."""
        core, space = self._core, draft.space
        sealer = draft.sealer
        if sealer is None:
            return pos
        slab = core.batch.slab
        payload = pos + len(draft.header)
        end = payload + len(draft.payload)
        slab[pos:payload] = draft.header
        slab[payload:end] = draft.payload
        number_offset = payload - draft.number_length
        patch_length(slab, number_offset - 2, end + protection.TAG_SIZE - number_offset)
        number = space.sent.next_pn
        if core.trace is not None:
            core.trace.long_sent(core.batch.view[pos:end], number, len(draft.header), end - pos)
        end = sealer.seal(core.batch.view, pos, number_offset, draft.number_length, end, number)
        in_flight = draft.eliciting or draft.padded
        space.sent.record(number, now, end - pos, draft.eliciting, in_flight, tuple(draft.tokens), draft.stream)
        core.recovery.on_sent(space.id, now, end - pos, draft.eliciting, in_flight)
        return end

    # -- CONNECTION_CLOSE -------------------------------------------------------------------------------

    def close(self, frame: ConnectionClose, now: int, size: int) -> None:
        """Build the datagram that closes the connection, in every space the peer may be able to read."""
        core = self._core
        core.packer.clear()
        core.app.acks.sent(now)  # no ACK may take the room of the frame
        drafts = self._close_drafts(frame, size)
        encoded = frames.encode(frame)
        total = sum(draft.size for draft in drafts)
        joins = self._may_join_close() and size - total >= len(encoded) + SHORT_OVERHEAD
        minimum = MINIMUM_DATAGRAM if drafts and drafts[0].space.id is SpaceId.INITIAL else 0
        if minimum and not joins:
            drafts[0].pad(minimum - total)
        start = pos = core.batch.begin()
        for draft in drafts:
            pos = self._seal(draft, pos, now)
        if joins:
            core.packer.control.append((encoded, frame))
            pos = core.packer.packet(now, pos, start + size, start + minimum if minimum else 0)
        if pos > start:
            core.batch.commit(pos, core.address, 0)

    def _close_drafts(self, frame: ConnectionClose, size: int) -> list[Draft]:
        core = self._core
        drafts: list[Draft] = []
        if core.handshake_confirmed:
            return drafts
        payload = frames.encode(_handshake_form(frame))
        for space in core.spaces[: SpaceId.APPLICATION]:
            if not space.can_send:
                continue
            draft = self._start(space, _TYPES[space.id], core.version, space.sealer)
            draft.payload += payload
            draft.pad(4 - draft.number_length - len(draft.payload))
            size -= draft.size
            if size >= 0:
                drafts.append(draft)
        return drafts

    def _may_join_close(self) -> bool:
        """Whether the peer may have 1-RTT keys by now (RFC 9000, section 10.2.3)."""
        core = self._core
        return core.packer.keys is not None and (core.is_client or core.handshake_complete)


def _handshake_form(frame: ConnectionClose) -> ConnectionClose:
    """Shorten a close, and hide an application's, before the handshake is done (RFC 9000, section 10.2.3)."""
    if frame.application:
        return ConnectionClose(TransportErrorCode.APPLICATION_ERROR, 0, b"", False)
    reason = bytes(frame.reason[:HANDSHAKE_REASON_LIMIT])
    return ConnectionClose(frame.error_code, frame.frame_type, reason, False)
