"""Frames in: what each frame of the peer does to the connection (RFC 9000, section 19)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from specter._backend import batch as batches
from specter._backend import reassembly, sent
from specter._frame_types import (
    Ack,
    ConnectionClose,
    Crypto,
    DataBlocked,
    Datagram,
    Frame,
    HandshakeDone,
    MaxData,
    MaxStreamData,
    MaxStreams,
    NewConnectionId,
    NewToken,
    PathChallenge,
    PathResponse,
    ResetStream,
    RetireConnectionId,
    StopSending,
    StreamDataBlocked,
    StreamsBlocked,
)
from specter._wire import TransportError, TransportErrorCode
from specter.quic import stream_ids
from specter.quic.close import CLOSE_REASON_LIMIT
from specter.quic.config import MINIMUM_DATAGRAM
from specter.quic.core import Core
from specter.quic.delivery import Delivery
from specter.quic.events import (
    CloseKind,
    ConnectionClosed,
    StreamOpened,
    StreamReadable,
    StreamReset,
    StreamsAvailable,
    TokenReceived,
)
from specter.quic.events import (
    StopSending as StopSendingEvent,
)
from specter.quic.handshake import Handshake
from specter.quic.packet import PacketType
from specter.quic.space import Space, SpaceId
from specter.quic.streams import Stream

PROTOCOL_VIOLATION = TransportErrorCode.PROTOCOL_VIOLATION
ACK_DELAY_CEILING = 1 << 40
REPETITIONS = 3
"""How often a connection repeats handshake bytes before a probe timeout."""


class Dispatcher:
    """Routes frames; also what ``datapath.Receiver`` calls for the uncommon."""

    def __init__(self, core: Core, handshake: Handshake, delivery: Delivery) -> None:
        self._core = core
        self._handshake = handshake
        self._delivery = delivery
        self._hurried = False
        self._repetitions = 0
        self._handlers: dict[type[Any], Callable[[Any, int], None]] = {
            Ack: self._app_ack,
            ConnectionClose: self._connection_close,
            Crypto: self._app_crypto,
            DataBlocked: self._ignore,
            Datagram: self._datagram,
            HandshakeDone: self._handshake_done,
            MaxData: self._max_data,
            MaxStreamData: self._max_stream_data,
            MaxStreams: self._max_streams,
            NewConnectionId: self._new_connection_id,
            NewToken: self._new_token,
            PathChallenge: self._path_challenge,
            PathResponse: self._path_response,
            ResetStream: self._reset_stream,
            RetireConnectionId: self._retire_connection_id,
            StopSending: self._stop_sending,
            StreamDataBlocked: self._stream_data_blocked,
            StreamsBlocked: self._ignore,
        }

    # -- entry points ---------------------------------------------------------------------------------

    def on_frame(self, frame: Frame, now: int) -> None:
        """Handle a frame of a 1-RTT packet."""
        handler = self._handlers.get(type(frame))
        if handler is not None:
            handler(frame, now)

    def handshake_frame(self, space: Space, frame: Frame, now: int) -> None:
        """Handle a frame of an Initial or Handshake packet."""
        if isinstance(frame, Ack):
            self._ack(space, frame, now)
        elif isinstance(frame, Crypto):
            self._crypto(space, frame)
        elif isinstance(frame, ConnectionClose):
            self._connection_close(frame, now)

    def on_new_stream(self, stream_id: int) -> reassembly.RecvBuffer | None:
        stream = self._receiving_stream(stream_id, 0x08)
        return stream.recv if stream is not None else None

    def on_key_update(self, now: int) -> None:
        """Follow the peer into the next key phase (RFC 9001, section 6.1)."""
        core = self._core
        reader, writer = core.app.opener, core.app.sealer
        if reader is None or writer is None:
            return
        if not core.handshake_complete:
            raise TransportError(TransportErrorCode.KEY_UPDATE_ERROR, "key update during the handshake")
        if writer.updates < reader.updates:
            writer.update()
            core.phase_first_number = core.app.sent.next_pn
        core.previous_keys_until = now + 3 * core.pto

    def on_undecryptable(self, batch: batches.ReceiveBatch, index: int, now: int) -> None:
        core = self._core
        start, end = batch.span(index)
        if core.remote_cids.is_stateless_reset(batch.slab, start, end):
            self.tell_readable()
            core.drain(ConnectionClosed(CloseKind.RESET, 0, "the peer no longer knows this connection"))
            return
        core.drop("payload_decrypt_error", end - start, PacketType.ONE_RTT)
        reader = core.app.opener
        if reader is not None and reader.failed >= reader.integrity_limit:
            reason = f"{reader.failed} forged packets"
            raise TransportError(TransportErrorCode.AEAD_LIMIT_REACHED, reason)

    # -- acknowledgment and handshake -----------------------------------------------------------------

    def _app_ack(self, frame: Ack, now: int) -> None:
        if frame.ranges[-1][0] < self._core.early_data.rejected_below:
            raise TransportError(PROTOCOL_VIOLATION, "acknowledgment of early data that was rejected", 0x02)
        self._ack(self._core.app, frame, now)

    def _ack(self, space: Space, frame: Ack, now: int) -> None:
        core = self._core
        largest_before = space.sent.largest_acked
        acked = space.sent.acknowledge(frame.ranges, now)
        if (acked.marked or frame.ecn is not None) and frame.ranges[0][1] > largest_before:
            self._validate_ecn(space, frame, acked, now)
        peer = core.peer_parameters
        exponent = peer.ack_delay_exponent if peer is not None and space.id is SpaceId.APPLICATION else 3
        delay = min(frame.delay << exponent, ACK_DELAY_CEILING) * 1000
        lost = core.recovery.on_acked(space.id, acked, delay, now)
        if acked.largest_is_newest:
            core.app.acks.bulk_delay = core.recovery.rtt.bulk_ack_delay(core.config.max_ack_delay)
        if acked.largest_size > MINIMUM_DATAGRAM:
            core.mtu.large_acked(acked.largest_time)
        self._delivery.acknowledged(space, acked)
        if lost.count:
            self._delivery.lost(space, lost)
        if space.id is SpaceId.INITIAL and core.is_client and acked.count:
            self._hurry(space)

    def _validate_ecn(self, space: Space, frame: Ack, acked: sent.Acked, now: int) -> None:
        """Look at the ECN counts of an ACK whose largest number is new (RFC 9000, section 13.4.2)."""
        core = self._core
        if space is not core.app:
            return  # nothing is marked there
        before = core.ecn.state
        marks = core.ecn.acked(frame, acked, space.sent)
        if core.ecn.state is not before:
            core.packer.ecn = core.ecn.codepoint
        if marks:
            core.recovery.on_ecn_ce(space.id, marks, acked.largest_time, now)

    def _hurry(self, space: Space) -> None:
        """Repeat, once, the rest of a ClientHello of which the server has confirmed only a part.

        A server may drop what arrives while it sets the connection up; waiting for the probe timeout would cost
        several round trips (RFC 9002, section 6.2.3).
        """
        if (
            not self._hurried
            and space.sent.ack_eliciting_in_flight
            and self._core.spaces[SpaceId.HANDSHAKE].opener is None
        ):
            self._hurried = True
            space.probes = 1
            self._delivery.probe(space, 1)

    def _app_crypto(self, frame: Crypto, now: int) -> None:
        self._crypto(self._core.app, frame)

    def _repeat_handshake(self, space: Space) -> None:
        """Say ours again, some times, to a server that says its own again: it did not hear us (RFC 9002, 6.2.3).

        It may have given up by the time the probe timeouts have doubled a few times.
        """
        if (
            self._repetitions < REPETITIONS
            and self._core.is_client
            and space.id is SpaceId.HANDSHAKE
            and space.sent.ack_eliciting_in_flight
            and not space.crypto_out.has_pending
        ):
            self._repetitions += 1
            space.probes = max(space.probes, 1)
            self._delivery.probe(space, 1)

    def _crypto(self, space: Space, frame: Crypto) -> None:
        if frame.offset + len(frame.data) <= space.crypto_in.consumed:
            self._repeat_handshake(space)
        space.crypto_in.receive(frame.offset, frame.data, False)
        self._handshake.crypto_arrived(space)

    def _handshake_done(self, frame: HandshakeDone, now: int) -> None:
        if not self._core.is_client:
            raise TransportError(PROTOCOL_VIOLATION, "HANDSHAKE_DONE from a client", 0x1E)
        if not self._core.handshake_complete:
            raise TransportError(PROTOCOL_VIOLATION, "HANDSHAKE_DONE before the handshake ended", 0x1E)
        self._handshake.confirm()

    def _connection_close(self, frame: ConnectionClose, now: int) -> None:
        reason = bytes(frame.reason[:CLOSE_REASON_LIMIT]).decode("utf-8", "replace")
        self.tell_readable()
        self._core.drain(
            ConnectionClosed(CloseKind.REMOTE, frame.error_code, reason, frame.application, frame.frame_type)
        )

    def _new_token(self, frame: NewToken, now: int) -> None:
        if not self._core.is_client:
            raise TransportError(PROTOCOL_VIOLATION, "NEW_TOKEN from a client", 0x07)
        self._core.emit(TokenReceived(bytes(frame.token)))

    def _datagram(self, frame: Datagram, now: int) -> None:
        raise TransportError(PROTOCOL_VIOLATION, "DATAGRAM frame without its transport parameter", 0x30)

    def _ignore(self, frame: Frame, now: int) -> None:
        """The peer tells of being blocked: our limits move as our reader reads, not as it asks."""

    # -- streams --------------------------------------------------------------------------------------

    def _receiving_stream(self, stream_id: int, frame_type: int) -> Stream | None:
        """Return the stream whose receiving half a frame is for, None when that half is over.

        Raises:
            TransportError: there is no such half, or the peer may not open the stream.
        """
        core = self._core
        ours = core.streams.is_ours(stream_id)
        if ours and stream_ids.is_unidirectional(stream_id):
            reason = f"stream {stream_id} only sends"
            raise TransportError(TransportErrorCode.STREAM_STATE_ERROR, reason, frame_type)
        return self._find(stream_id, frame_type)

    def _sending_stream(self, stream_id: int, frame_type: int) -> Stream | None:
        ours = self._core.streams.is_ours(stream_id)
        if not ours and stream_ids.is_unidirectional(stream_id):
            reason = f"stream {stream_id} only receives"
            raise TransportError(TransportErrorCode.STREAM_STATE_ERROR, reason, frame_type)
        return self._find(stream_id, frame_type)

    def _find(self, stream_id: int, frame_type: int) -> Stream | None:
        core = self._core
        stream = core.streams.lookup(stream_id, frame_type)
        if stream is not None or core.streams.is_ours(stream_id):
            return stream
        for opened in core.streams.accept(stream_id, frame_type, core.now):
            self.watch(opened)
            core.emit(StreamOpened(opened.id))
        return core.streams.by_id.get(stream_id)

    def watch(self, stream: Stream) -> None:
        """Let the burst path deliver into a new stream."""
        if stream.recv is not None:
            self._core.receiver.streams[stream.id] = stream.recv

    def tell_readable(self) -> None:
        """Say which streams have news, once each until their reader has emptied them."""
        core = self._core
        touched = core.receiver.touched
        if not touched:
            return
        for stream_id in touched:
            stream = core.streams.by_id.get(stream_id)
            if stream is None or stream.recv is None:
                continue
            if stream.stop_code >= 0:
                self.drop_unwanted(stream)
            elif not stream.readable_told:
                stream.readable_told = True
                core.emit(StreamReadable(stream_id))
        touched.clear()

    def drop_unwanted(self, stream: Stream) -> None:
        """Drop what came for a reader that gave up."""
        recv = stream.recv
        if recv is not None:
            self._core.consume(stream, recv.discard())
            if recv.finished:
                self.end_receiving(stream)

    def end_receiving(self, stream: Stream) -> None:
        """The receiving half is over: forget its buffer."""
        core = self._core
        stream.recv = None
        core.stream_windows.pop(stream.id, None)
        core.receiver.streams.pop(stream.id, None)
        core.streams.finish(stream)

    def _reset_stream(self, frame: ResetStream, now: int) -> None:
        stream = self._receiving_stream(frame.stream_id, 0x04)
        if stream is None or stream.recv is None:
            return
        consumed = stream.recv.consumed
        self._core.receiver.count(stream.recv.reset(frame.final_size))
        if not stream.recv.is_reset:
            return  # everything had arrived before: the reader may have it
        self._core.consume(stream, frame.final_size - consumed)
        if stream.stop_code < 0:
            self._core.emit(StreamReset(stream.id, frame.error_code))
        self.end_receiving(stream)

    def _stop_sending(self, frame: StopSending, now: int) -> None:
        stream = self._sending_stream(frame.stream_id, 0x05)
        if stream is None or stream.send is None or stream.reset_code >= 0:
            return
        self.reset_sending(stream, frame.error_code)
        self._core.emit(StopSendingEvent(stream.id, frame.error_code))

    def reset_sending(self, stream: Stream, error_code: int) -> None:
        """Abandon our sending half: RESET_STREAM, once."""
        core = self._core
        if stream.send is None or stream.reset_code >= 0:
            return
        stream.reset_code = error_code
        core.packer.remove(stream.send)
        core.waiting_writers.pop(stream.id, None)
        core.queue(ResetStream(stream.id, error_code, stream.send.reset()))

    def _max_data(self, frame: MaxData, now: int) -> None:
        self._core.packer.raise_limit(frame.maximum)

    def _max_stream_data(self, frame: MaxStreamData, now: int) -> None:
        stream = self._sending_stream(frame.stream_id, 0x11)
        if stream is not None and stream.send is not None and stream.send.raise_limit(frame.maximum):
            if stream.send.has_pending:
                self._core.packer.enqueue(stream.send)

    def _max_streams(self, frame: MaxStreams, now: int) -> None:
        if self._core.streams.raise_open_limit(frame.unidirectional, frame.maximum):
            self._core.emit(StreamsAvailable(frame.unidirectional))

    def _stream_data_blocked(self, frame: StreamDataBlocked, now: int) -> None:
        self._receiving_stream(frame.stream_id, 0x15)

    # -- connection ids and paths -----------------------------------------------------------------------

    def _new_connection_id(self, frame: NewConnectionId, now: int) -> None:
        core = self._core
        core.remote_cids.receive(frame)
        core.paths.follow_ids()

    def _retire_connection_id(self, frame: RetireConnectionId, now: int) -> None:
        core = self._core
        core.local_cids.retire(frame, core.receiver.last_cid)

    def _path_challenge(self, frame: PathChallenge, now: int) -> None:
        self._core.paths.challenged(frame.data)

    def _path_response(self, frame: PathResponse, now: int) -> None:
        self._core.paths.answered(frame.data, now)
