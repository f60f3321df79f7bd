"""Datagrams in: coalesced packets, Initial and Handshake packets, Retry, Version Negotiation, stateless reset.

Plain 1-RTT datagrams take the burst path of ``datapath.Receiver``; everything else comes through here.
"""

from __future__ import annotations

from typing import Final

from specter._backend import batch as batches
from specter._backend import datapath, frames, protection
from specter._frame_types import Ack, ConnectionClose, Crypto, Frame, Padding, Ping
from specter._wire import TransportError, TransportErrorCode
from specter.quic import packet
from specter.quic.config import MINIMUM_DATAGRAM
from specter.quic.core import Core
from specter.quic.dispatch import Dispatcher
from specter.quic.early_inbound import EarlyInbound
from specter.quic.elsewhere import Elsewhere
from specter.quic.events import CloseKind, ConnectionClosed
from specter.quic.handshake import Handshake
from specter.quic.packet import Header, PacketError, PacketType
from specter.quic.space import Space, SpaceId

LONG_RESERVED_BITS: Final = 0x0C
DEFERRED_LIMIT: Final = 10
"""Packets kept that arrived before their keys."""

_SPACES = {PacketType.INITIAL: SpaceId.INITIAL, PacketType.HANDSHAKE: SpaceId.HANDSHAKE}
_HANDSHAKE_FRAMES = (Padding, Ping, Ack, Crypto, ConnectionClose)


class Inbound:
    """Takes receive batches apart."""

    def __init__(self, core: Core, handshake: Handshake, dispatcher: Dispatcher, receiver: datapath.Receiver) -> None:
        self._core = core
        self._handshake = handshake
        self._dispatcher = dispatcher
        self._receiver = receiver
        self._early = EarlyInbound(core, dispatcher)
        self._elsewhere = Elsewhere(core, dispatcher)
        self._deferred: list[tuple[bytes, int, PacketType]] = []
        self._replay: batches.ReceiveBatch | None = None
        self._peer_scid = None if core.is_client else core.remote_cids.current
        """The id by which the peer calls itself in the handshake, once it is known (RFC 9000, section 7.2)."""

    def receive(self, batch: batches.ReceiveBatch, now: int) -> None:
        """Process a batch.

        Raises:
            TransportError: the peer broke a rule; the caller closes the connection.
        """
        core, receiver = self._core, self._receiver
        index, count = 0, len(batch)
        while index < count and core.closer.open:
            index = receiver.run(batch, index, now)
            if index < count and core.closer.open:
                start, end = batch.span(index)
                if batch.address(index) == core.address:
                    self._datagram(batch, index, start, end, now)
                else:
                    self._elsewhere.receive(batch, index, now)
                index += 1
                self._replay_deferred(now)

    def _datagram(self, batch: batches.ReceiveBatch, index: int, start: int, end: int, now: int) -> None:
        """Process each packet of a datagram; ids of all must be those of the first (RFC 9000, section 12.2)."""
        core = self._core
        first_dcid: bytes | None = None
        pos = start
        while pos < end:
            try:
                header = packet.parse_header(batch.slab, pos, end, core.local_cids.length)
            except PacketError:
                self._unreadable(batch, pos, end, whole=pos == start)
                return
            pos = header.end
            if first_dcid is None:
                first_dcid = header.dcid
            elif header.dcid != first_dcid:
                core.drop("unknown_connection_id", header.end - header.start, header.type)
                continue
            if header.type is PacketType.INITIAL and not core.is_client and end - start < MINIMUM_DATAGRAM:
                core.drop("invalid_initial", header.end - header.start, header.type)
                continue
            self._packet(batch, index, header, now)
            if not core.closer.open:
                return

    def _unreadable(self, batch: batches.ReceiveBatch, start: int, end: int, *, whole: bool) -> None:
        core = self._core
        if whole and core.remote_cids.is_stateless_reset(batch.slab, start, end):
            self._dispatcher.tell_readable()
            core.drain(ConnectionClosed(CloseKind.RESET, 0, "the peer no longer knows this connection"))
        else:
            core.drop("header_parse_error", end - start)

    def _packet(self, batch: batches.ReceiveBatch, index: int, header: Header, now: int) -> None:
        fault = self._open(batch, index, header, now)
        if fault:
            self._core.drop(fault, header.end - header.start, header.type)

    def _open(self, batch: batches.ReceiveBatch, index: int, header: Header, now: int) -> str:
        """Process a packet; return why it is not for us (qlog's word), an empty string when it is."""
        if header.type is PacketType.ONE_RTT:
            return self._one_rtt(batch, index, header, now)
        if header.type is PacketType.VERSION_NEGOTIATION:
            return self._version_negotiation(batch.slab, header)
        if header.type is PacketType.RETRY:
            return self._retry(batch.slab, header)
        if header.type is PacketType.ZERO_RTT:
            return self._zero_rtt(batch, index, header, now)
        return self._long(batch, index, header, now) if header.type in _SPACES else "unexpected_packet"

    def _retry(self, slab: bytearray, header: Header) -> str:
        core = self._core
        if header.dcid != core.first_cid or not self._handshake.on_retry(bytes(slab[header.start : header.end])):
            return "unexpected_packet"
        if core.trace is not None:
            core.trace.signal_received(header)
        return ""

    def _version_negotiation(self, slab: bytearray, header: Header) -> str:
        try:
            versions = packet.parse_version_negotiation(slab, header.start, header.end)
        except PacketError:
            return "header_parse_error"
        if not self._handshake.on_version_negotiation(header, versions):
            return "unexpected_packet"
        if self._core.trace is not None:
            self._core.trace.signal_received(header, versions)
        return ""

    def _one_rtt(self, batch: batches.ReceiveBatch, index: int, header: Header, now: int) -> str:
        if header.dcid not in self._core.local_cids.active:
            self._dispatcher.on_undecryptable(batch, index, now)
            return ""
        if self._receiver.keys is None:
            return self._defer(batch, index, header)
        self._receiver.last_cid = header.dcid
        try:
            self._receiver.packet(batch, header.start, header.end, batch.ecn(index), now)
        except protection.DecryptError:
            self._dispatcher.on_undecryptable(batch, index, now)
        return ""

    # -- Initial and Handshake ----------------------------------------------------------------------

    def _long(self, batch: batches.ReceiveBatch, index: int, header: Header, now: int) -> str:
        core = self._core
        space = core.spaces[_SPACES[header.type]]
        if space.discarded:
            return "key_unavailable"
        if not self._ids_match(header):
            return "unexpected_source_connection_id"
        opener = self._opener(header, space)
        if opener is None:
            return self._defer(batch, index, header) if self._may_open_later(header) else "unexpected_version"
        try:
            number, start, end, first = opener.open(
                batch.view, header.start, header.pn_offset, header.end, space.acks.largest
            )
        except protection.DecryptError:
            return "payload_decrypt_error"
        if core.trace is not None:
            core.trace.long_received(header, first, number, batch.view, start, end)
        if first & LONG_RESERVED_BITS:
            raise TransportError(TransportErrorCode.PROTOCOL_VIOLATION, "reserved header bits are set")
        self._handshake.processed_packet = True
        self._handshake.versions.follow(header.version)
        self._learn_peer(header, space)
        if not space.acks.is_duplicate(number):
            core.handshake_packets += 1
            eliciting = self._digest(space, batch.view, start, end, now)
            if not space.discarded:
                space.acks.record(number, now, eliciting, batch.ecn(index))
        return ""

    def _opener(self, header: Header, space: Space) -> protection.PacketProtection | None:
        if header.type is PacketType.INITIAL:
            return self._handshake.versions.initial_opener(header.version)
        return space.opener if header.version == self._core.version else None

    def _may_open_later(self, header: Header) -> bool:
        """Whether keys for a packet may come: not for one of a version the connection has moved away from."""
        if header.type is PacketType.INITIAL:
            return False
        return header.version == self._core.version or self._handshake.versions.may_come(header.version)

    def _ids_match(self, header: Header) -> bool:
        """Whether the packet is to us and from the peer we talk to (RFC 9000, section 7.2)."""
        core = self._core
        if core.is_client:
            if header.token or header.dcid != core.first_cid:
                return False
        elif header.dcid not in core.local_cids.active and header.dcid != core.original_dcid:
            return False
        return self._peer_scid is None or header.scid == self._peer_scid

    def _learn_peer(self, header: Header, space: Space) -> None:
        core = self._core
        if self._peer_scid is None:
            self._peer_scid = header.scid
            core.remote_cids.set_initial_scid(header.scid)
            core.packer.dcid = header.scid
        if not core.is_client and space.id is SpaceId.HANDSHAKE:
            core.amplification.validate()
            core.discard(SpaceId.INITIAL)

    def _digest(self, space: Space, view: memoryview, pos: int, end: int, now: int) -> bool:
        if pos == end:
            raise TransportError(TransportErrorCode.PROTOCOL_VIOLATION, "a packet without frames")
        eliciting = False
        while pos < end and self._core.closer.open:
            frame, pos = frames.decode_frame(view, pos, end)
            eliciting = self._check_allowed(frame) or eliciting
            self._dispatcher.handshake_frame(space, frame, now)
        return eliciting

    @staticmethod
    def _check_allowed(frame: Frame) -> bool:
        """Return whether a frame of a handshake packet asks for an acknowledgment (RFC 9000, section 12.4).

        Raises:
            TransportError: the frame does not belong there.
        """
        if not isinstance(frame, _HANDSHAKE_FRAMES) or (isinstance(frame, ConnectionClose) and frame.application):
            name = type(frame).__name__
            raise TransportError(TransportErrorCode.PROTOCOL_VIOLATION, f"{name} frame in a handshake packet")
        return isinstance(frame, Ping | Crypto)

    def _zero_rtt(self, batch: batches.ReceiveBatch, index: int, header: Header, now: int) -> str:
        core = self._core
        early = core.early_data
        if core.is_client or header.version != early.version:
            return "unexpected_packet"
        if not self._ids_match(header):
            return "unknown_connection_id"
        if early.keys is None and not self._early_data_decided:
            return self._defer(batch, index, header)
        return self._early.receive(batch, index, header, now)

    @property
    def _early_data_decided(self) -> bool:
        """Whether the server has read the whole ClientHello."""
        handshake = self._core.spaces[SpaceId.HANDSHAKE]
        return handshake.sealer is not None or handshake.discarded

    # -- packets ahead of their keys ------------------------------------------------------------------

    def _defer(self, batch: batches.ReceiveBatch, index: int, header: Header) -> str:
        """Keep a packet until its keys are there, if there is room."""
        if len(self._deferred) >= DEFERRED_LIMIT or header.end - header.start > packet.MAX_LENGTH_FIELD:
            return "dos_prevention"
        self._deferred.append((bytes(batch.slab[header.start : header.end]), batch.ecn(index), header.type))
        if self._core.trace is not None:
            self._core.trace.buffered(header)
        return ""

    def _replay_deferred(self, now: int) -> None:
        """Process deferred packets whose keys came; these may bring the keys of others."""
        core = self._core
        while self._deferred and core.closer.open and any(map(self._has_keys, self._deferred)):
            if self._replay is None:
                self._replay = batches.ReceiveBatch(DEFERRED_LIMIT)
            deferred, self._deferred = self._deferred, []
            self._replay.clear()
            for data, ecn, _ in deferred:
                self._replay.append(data, core.address, ecn)
            for index in range(len(deferred)):
                if core.closer.open:
                    start, end = self._replay.span(index)
                    self._datagram(self._replay, index, start, end, now)

    def _has_keys(self, deferred: tuple[bytes, int, PacketType]) -> bool:
        if deferred[2] is PacketType.ZERO_RTT:
            return self._early_data_decided
        space = self._core.spaces[_SPACES.get(deferred[2], SpaceId.APPLICATION)]
        return space.opener is not None or space.discarded
