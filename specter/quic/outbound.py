"""Datagrams out: what is due, in which order, and how much of it (one flush of the engine)."""

from __future__ import annotations

from typing import Final

from specter._backend import batch as batches
from specter._backend import frames
from specter._frame_types import (
    DataBlocked,
    MaxData,
    MaxStreamData,
    MaxStreams,
    Ping,
    StreamDataBlocked,
    StreamsBlocked,
)
from specter._wire import NEVER, TransportErrorCode
from specter.quic.config import MINIMUM_DATAGRAM
from specter.quic.core import Core
from specter.quic.delivery import Delivery
from specter.quic.events import StreamWritable
from specter.quic.flight import Flight
from specter.quic.probing import probe_mtu
from specter.quic.space import SpaceId

KEY_UPDATE_MARGIN: Final = 1024
"""Packets before the confidentiality limit at which keys are updated."""
CONTROL_LIMIT: Final = 256
"""Control frames that wait before limits and connection ids stay where they are, each once."""
BULK: Final = 8
"""Full datagrams at once that make a transfer for which larger ones would pay."""
PING: Final = Ping()


class Outbound:
    """Turns the connection's state into sealed datagrams."""

    def __init__(self, core: Core, delivery: Delivery) -> None:
        self._core = core
        self._delivery = delivery
        self._flight = Flight(core)
        self._data_blocked_at = -1

    def send(self, now: int) -> batches.SendBatch:
        """Build what may leave now."""
        core = self._core
        if core.closer.open:
            self._send_open(now)
        else:
            self._send_close(now)
        batch = core.batch.deliver()
        if len(batch):
            self._account(batch)
        core.recovery.amplification_limited = core.amplification.allowance < MINIMUM_DATAGRAM
        return batch

    def _send_close(self, now: int) -> None:
        """Send CONNECTION_CLOSE when it is due, and nothing else any more: not even ACKs sealed before."""
        core = self._core
        core.batch.clear()
        if core.closer.send_due and core.closer.frame is not None:
            core.closer.send_due = False
            if core.amplification.allowance >= MINIMUM_DATAGRAM:
                self._flight.close(core.closer.frame, now, min(core.datagram_size, core.amplification.allowance))

    def _account(self, batch: batches.SendBatch) -> None:
        core = self._core
        size = batch.size
        core.stats.datagrams_sent += len(batch)
        core.stats.bytes_sent += size
        core.amplification.on_sent(size - core.paths.sent_elsewhere)
        core.paths.sent_elsewhere = 0

    def _send_open(self, now: int) -> None:
        core = self._core
        if core.packer.keys is not None:
            self._queue_due(now)
        if core.handshake_confirmed and not self._has_app_work(now):
            return
        budget = min(core.recovery.allowance(now), core.amplification.allowance)
        if not core.handshake_confirmed:
            budget -= self._send_handshake(now, budget)
        if core.packer.keys is not None:
            self._send_app(now, budget)

    def _has_app_work(self, now: int) -> bool:
        core = self._core
        packer = core.packer
        return bool(
            packer.has_work(now)
            or core.app.probes
            or core.paths.pending
            or core.waiting_writers
            or packer.blocked
            or packer.stalled
        )

    # -- handshake --------------------------------------------------------------------------------------

    def _send_handshake(self, now: int, budget: int) -> int:
        """Send Initial and Handshake packets; return the bytes used. Probes and ACKs need no budget."""
        core = self._core
        used = 0
        size = core.datagram_size
        while not core.batch.full and self._flight.has_work(now):
            if core.amplification.allowance - used < size:
                break
            if budget - used < size and not self._handshake_exempt(now):
                break
            sent = self._flight.datagram(now, size)
            if sent == 0:
                break
            used += sent
            core.idle.packet_sent(now, core.pto)
        return used

    def _handshake_exempt(self, now: int) -> bool:
        return any(
            space.can_send and (space.probes > 0 or space.acks.due(now))
            for space in self._core.spaces[: SpaceId.APPLICATION]
        )

    # -- application --------------------------------------------------------------------------------------

    def _send_app(self, now: int, budget: int) -> None:
        core, app = self._core, self._core.app
        size = core.datagram_size
        probes, app.probes = app.probes, 0
        if probes:
            size = MINIMUM_DATAGRAM  # where larger ones vanish, these arrive
        budget = min(max(budget, probes * size), core.amplification.allowance)
        self._plan_skip()
        if core.paths.pending:
            budget -= self._send_on_paths(now, budget, size)
        used = self._fill(now, budget, size)
        if probes and not used:
            core.queue(PING)
            used = self._fill(now, budget, size)
        bulk = used >= BULK * size
        if core.packer.blocked or core.packer.stalled:
            bulk = bulk or used >= size
            if self._tell_blocked():
                used += self._fill(now, budget - used, size)
        if budget - used < size and core.packer.has_work(0):
            bulk = True
            core.recovery.on_blocked(now)
        if bulk and now >= core.mtu.probe_at and not probes:
            probe_mtu(core, now)
        if app.acks.due(now) and core.amplification.allowance > 0:
            core.packer.ack(now)
        if core.waiting_writers:
            self._wake_writers()

    def _fill(self, now: int, budget: int, size: int) -> int:
        """Send 1-RTT packets within ``budget``; return what of it they used."""
        core = self._core
        used = core.packer.fill(now, budget, size) if budget >= size else 0
        if used:
            core.recovery.on_sent(SpaceId.APPLICATION, now, used, True, True)
            core.idle.packet_sent(now, core.pto)
        return used

    def _send_on_paths(self, now: int, budget: int, size: int) -> int:
        """Send path challenges and responses, each on its path; return what of ``budget`` they used."""
        core, used = self._core, 0
        core.paths.send_elsewhere(now)
        path = core.path
        if path.validator.has_pending and not path.amplification.validated:
            used = core.paths.send_on(path, now)
        elif path.validator.has_pending and budget >= size and not core.batch.full:
            used = self._answer_challenges(now, size)
        core.paths.look_for_pending()
        return used

    def _answer_challenges(self, now: int, size: int) -> int:
        """Send path challenges and responses in a datagram of full size (RFC 9000, section 8.2); return its size.

        What else is in it, or the PING, tells a peer that took us for moved that we are here (section 9.3.3).
        """
        core = self._core
        validator = core.path.validator
        core.packer.control.appendleft((frames.encode(PING), PING))
        while (response := validator.next_response()) is not None:
            core.packer.control.appendleft((frames.encode(response), response))
        if (challenge := validator.next_challenge(now)) is not None:
            core.packer.control.appendleft((frames.encode(challenge), challenge))
        start = core.batch.begin()
        end = core.packer.packet(now, start, start + size, start + size)
        core.batch.commit(end, core.address, core.packer.ecn)
        core.recovery.on_sent(SpaceId.APPLICATION, now, end - start, True, True)
        core.idle.packet_sent(now, core.pto)
        return end - start

    def _plan_skip(self) -> None:
        """Choose the next packet number to leave out, about one in two windows (RFC 9000, section 21.4)."""
        core = self._core
        if core.config.skip_packet_numbers and core.packer.skip_at < 0:
            period = max(64, 2 * core.recovery.window // core.datagram_size)
            offset = int.from_bytes(core.entropy.token(4), "big") % period
            core.packer.skip_at = core.app.sent.next_pn + 8 + offset

    def _wake_writers(self) -> None:
        core = self._core
        for stream in list(core.waiting_writers.values()):
            if stream.send is None or core.wake_writer(stream, stream.send):
                del core.waiting_writers[stream.id]
                core.emit(StreamWritable(stream.id))

    def _tell_blocked(self) -> bool:
        """Say once per limit that it holds us back (RFC 9000, section 4.1); return whether there was one to name."""
        core = self._core
        waiting = len(core.packer.control)
        for buffer in core.packer.blocked:
            stream = core.streams.by_id.get(buffer.stream_id)
            if stream is not None and buffer.blocked and stream.blocked_told != buffer.limit:
                stream.blocked_told = buffer.limit
                core.queue(StreamDataBlocked(buffer.stream_id, buffer.limit))
        core.packer.blocked.clear()
        if core.packer.stalled and core.packer.data_limit != self._data_blocked_at:
            self._data_blocked_at = core.packer.data_limit
            core.queue(DataBlocked(core.packer.data_limit))
        return len(core.packer.control) > waiting

    # -- control frames that are due ------------------------------------------------------------------------

    def _queue_due(self, now: int) -> None:
        """Queue the frames that are due, as long as those before them get away."""
        core = self._core
        if len(core.packer.control) < CONTROL_LIMIT:
            self._queue_limits(now)
            self._queue_ids()
        self._update_keys(now)

    def _queue_limits(self, now: int) -> None:
        core = self._core
        if core.window_due:
            core.window_due = False
            core.receiver.data_limit = core.window.limit_to_tell(now, core.recovery.rtt.smoothed)
            core.queue(MaxData(core.receiver.data_limit))
        if core.stream_windows:
            self._queue_stream_windows(now)
        if core.streams.limits_changed:
            core.streams.limits_changed = False
            self._queue_stream_limits()

    def _queue_stream_limits(self) -> None:
        core = self._core
        for unidirectional, limit in core.streams.theirs.items():
            if limit.due:
                core.queue(MaxStreams(limit.advance(), unidirectional))
        for unidirectional, ours in core.streams.ours.items():
            if ours.blocked and ours.blocked_told != ours.maximum:
                ours.blocked_told = ours.maximum
                core.queue(StreamsBlocked(ours.maximum, unidirectional))

    def _queue_stream_windows(self, now: int) -> None:
        core = self._core
        for stream in core.stream_windows.values():
            if stream.recv is not None and stream.window is not None:
                stream.recv.limit = stream.window.limit_to_tell(now, core.recovery.rtt.smoothed)
                core.queue(MaxStreamData(stream.id, stream.recv.limit))
        core.stream_windows.clear()

    def _queue_ids(self) -> None:
        core = self._core
        if core.handshake_complete and core.local_cids.has_pending:
            for issued in core.local_cids.frames_to_send():
                core.queue(issued)
        if core.remote_cids.has_pending:
            for retired in core.remote_cids.frames_to_send():
                core.queue(retired)

    # -- keys ---------------------------------------------------------------------------------------------

    def _update_keys(self, now: int) -> None:
        """Move to new keys when asked or near the AEAD's limit (RFC 9001, section 6)."""
        core, keys = self._core, self._core.packer.keys
        if keys is None:
            return
        near = keys.sealed >= keys.confidentiality_limit - KEY_UPDATE_MARGIN
        if not near and not core.key_update_wanted:
            return
        confirmed = core.app.sent.largest_acked >= core.phase_first_number
        settled = near or core.previous_keys_until == NEVER
        if core.handshake_confirmed and confirmed and settled:
            keys.update()
            core.phase_first_number = core.app.sent.next_pn
            core.key_update_wanted = False
        elif keys.sealed >= keys.confidentiality_limit:
            core.close(TransportErrorCode.AEAD_LIMIT_REACHED, "too many packets under one key")
        elif core.handshake_confirmed and not confirmed:
            if not core.app.sent.ack_eliciting_in_flight and not core.packer.has_work(0):
                core.queue(PING)
