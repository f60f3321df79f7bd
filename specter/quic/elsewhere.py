"""Datagrams from another address than the one in use: probes of new paths, and peers that moved (RFC 9000, 9)."""

from __future__ import annotations

from specter._backend import batch as batches
from specter._backend import protection
from specter.quic import packet
from specter.quic.core import Core
from specter.quic.dispatch import Dispatcher
from specter.quic.packet import PacketError, PacketType


class Elsewhere:
    """Takes 1-RTT packets that came by another path; nothing else may."""

    def __init__(self, core: Core, dispatcher: Dispatcher) -> None:
        self._core = core
        self._dispatcher = dispatcher

    def receive(self, batch: batches.ReceiveBatch, index: int, now: int) -> None:
        """Process one datagram, if it is the peer's.

        Raises:
            TransportError: the peer broke a rule.
        """
        core, receiver = self._core, self._core.receiver
        start, end = batch.span(index)
        dcid = self._destination(batch, start, end)
        usual_cid = receiver.last_cid
        shares_id = dcid == usual_cid
        path = core.paths.others.get(batch.address(index))
        if path is None and dcid is not None and self._may_come(shares_id=shares_id):
            path = core.paths.new(batch.address(index))
        if path is not None and dcid is None:
            self._dispatcher.on_undecryptable(batch, index, now)  # a stateless reset, if it is anything
            return
        if path is None or dcid is None:
            core.drop("unexpected_packet", end - start)
            return
        path.amplification.on_received(end - start)
        largest = core.app.acks.largest
        receiver.last_cid = dcid
        core.paths.arrival = path
        try:
            receiver.packet(batch, start, end, batch.ecn(index), now)
        except protection.DecryptError:
            self._dispatcher.on_undecryptable(batch, index, now)
        finally:
            core.paths.arrival = None
        moves = core.app.acks.largest > largest and not receiver.probing and not core.is_client
        if core.closer.open and (moves or path.validator.has_pending) and core.paths.keep(path, shares_id=shares_id):
            if moves:
                core.paths.follow_peer(path, now)
                return
            if not core.is_client and not path.validated:
                core.paths.validate(path, now)
        if path is not core.path:
            receiver.last_cid = usual_cid

    def _destination(self, batch: batches.ReceiveBatch, start: int, end: int) -> bytes | None:
        """Return the connection id of ours that a 1-RTT packet is sent to, ``None`` for anything else."""
        core = self._core
        try:
            header = packet.parse_header(batch.slab, start, end, core.local_cids.length)
        except PacketError:
            return None
        known = header.type is PacketType.ONE_RTT and header.dcid in core.local_cids.active
        return header.dcid if known and core.handshake_confirmed else None

    def _may_come(self, *, shares_id: bool) -> bool:
        """Whether a new path may appear: servers stay where they are, NATs do not ask, guests were invited."""
        core, config = self._core, self._core.config
        invited = config.preferred_ipv4 is not None or config.preferred_ipv6 is not None
        return not core.is_client and (shares_id or invited or not config.disable_active_migration)
