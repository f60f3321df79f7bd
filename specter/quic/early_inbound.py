"""0-RTT packets in, on the server (RFC 9001, section 5.6; RFC 9000, section 12.5)."""

from __future__ import annotations

from typing import Final

from specter._backend import batch as batches
from specter._backend import frames, protection
from specter._frame_types import (
    Ack,
    ConnectionClose,
    Crypto,
    Frame,
    HandshakeDone,
    NewToken,
    Padding,
    PathResponse,
    RetireConnectionId,
    Stream,
)
from specter._wire import TransportError, TransportErrorCode
from specter.quic.core import Core
from specter.quic.dispatch import Dispatcher
from specter.quic.packet import Header

LONG_RESERVED_BITS: Final = 0x0C
_FORBIDDEN: Final = (Ack, Crypto, HandshakeDone, NewToken, PathResponse, RetireConnectionId)


class EarlyInbound:
    """Opens 0-RTT packets and hands on what is in them, as the burst path does with those of 1-RTT."""

    def __init__(self, core: Core, dispatcher: Dispatcher) -> None:
        self._core = core
        self._dispatcher = dispatcher

    def receive(self, batch: batches.ReceiveBatch, index: int, header: Header, now: int) -> str:
        """Process a packet; return why that is not possible (qlog's word), an empty string when it was.

        Raises:
            TransportError: the client broke a rule.
        """
        core = self._core
        keys = core.early_data.keys
        if keys is None:
            return "key_unavailable"
        try:
            number, start, end, first = keys.open(
                batch.view, header.start, header.pn_offset, header.end, core.app.acks.largest
            )
        except protection.DecryptError:
            return "payload_decrypt_error"
        if core.trace is not None:
            core.trace.long_received(header, first, number, batch.view, start, end)
        if first & LONG_RESERVED_BITS:
            raise TransportError(TransportErrorCode.PROTOCOL_VIOLATION, "reserved header bits are set")
        if not core.app.acks.is_duplicate(number):
            core.handshake_packets += 1
            eliciting = self._digest(batch.view, start, end, now)
            if core.app.acks.record(number, now, eliciting, batch.ecn(index)):
                core.packer.ack(now)
        return ""

    def _digest(self, view: memoryview, pos: int, end: int, now: int) -> bool:
        """Handle each frame; return whether the packet asks for an acknowledgment."""
        if pos == end:
            raise TransportError(TransportErrorCode.PROTOCOL_VIOLATION, "a packet without frames")
        eliciting = False
        while pos < end and self._core.closer.open:
            frame, pos = frames.decode_frame(view, pos, end)
            if isinstance(frame, _FORBIDDEN):
                name = type(frame).__name__
                raise TransportError(TransportErrorCode.PROTOCOL_VIOLATION, f"{name} frame in a 0-RTT packet")
            eliciting = eliciting or not isinstance(frame, Padding | ConnectionClose)
            self._take(frame, now)
        return eliciting

    def _take(self, frame: Frame, now: int) -> None:
        if not isinstance(frame, Stream):
            self._dispatcher.on_frame(frame, now)
            return
        receiver = self._core.receiver
        buffer = receiver.streams.get(frame.stream_id)
        if buffer is None:
            buffer = self._dispatcher.on_new_stream(frame.stream_id)
        if buffer is None:
            return
        before = buffer.readable
        growth = buffer.receive(frame.offset, frame.data, frame.fin)
        receiver.count(growth)
        if buffer.readable != before or buffer.complete or (growth and buffer.discarded):
            receiver.touched[frame.stream_id] = None
