"""An HTTP/3 connection over a QUIC connection: the same five driver calls, and requests (RFC 9114)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from specter._backend import frames as _wire
from specter._entropy import Entropy, SeededEntropy
from specter.errors import LocalProtocolError
from specter.h3.config import H3Config
from specter.h3.early_data import Tickets, check_compatible, recall
from specter.h3.errors import H3Error, H3ErrorCode, H3Fault
from specter.h3.events import (
    BodyWritable,
    ExchangeFailed,
    GoAwayReceived,
    H3Event,
    PeerStoppedReading,
    PriorityUpdated,
    RequestsAvailable,
    SettingsReceived,
)
from specter.h3.exchanges import Exchanges
from specter.h3.frames import FrameType, encode_frame, encode_priority_update
from specter.h3.peer_streams import PeerStreams
from specter.h3.request_stream import RequestStream, check_request
from specter.h3.session import Session
from specter.h3.settings import Settings
from specter.h3.transport import Transport
from specter.quic.early_data import EarlyDataStatus
from specter.quic.events import (
    AddressPreferred,
    ConnectionClosed,
    EarlyDataRejected,
    Event,
    HandshakeCompleted,
    PathAbandoned,
    PathChanged,
    StopSending,
    StreamOpened,
    StreamReadable,
    StreamReset,
    StreamsAvailable,
    StreamWritable,
    TicketReceived,
    TokenReceived,
)

if TYPE_CHECKING:
    from specter._backend import batch as batches

__all__ = ["H3Connection"]

_DEFAULT_CONFIG: Final = H3Config()
_UNIDIRECTIONAL: Final = 0x02
_SERVER_INITIATED: Final = 0x01

Lines = Sequence[tuple[bytes, bytes]]


class H3Connection:
    """HTTP/3 over ``quic``, in the role ``quic`` has.

    Call ``next_event`` until it returns ``None`` after every ``receive`` and ``handle_deadline``, and after reading
    a body: that is where frames are understood. The peer's mistakes come as ``ExchangeFailed`` or
    ``ConnectionClosed``; methods raise ``LocalProtocolError`` for the caller's own. ``entropy`` only feeds GREASE.

    Where ``quic`` offers early data, requests can be sent at once, within the settings that ``remembered`` names (the
    ``application`` of the session that is resumed). If the server rejects it, each of them fails and may be repeated.
    """

    def __init__(
        self,
        quic: Transport,
        config: H3Config = _DEFAULT_CONFIG,
        *,
        entropy: Entropy | None = None,
        remembered: bytes = b"",
    ) -> None:
        self.quic = quic
        self.goaway: int | None = None
        self._entropy = entropy or SeededEntropy("specter h3")
        self._remembered = recall(remembered)
        self._tickets = Tickets()
        self._open(Session(quic, config, self._entropy))
        self._events = self._session.events
        self._inbox = self._session.inbox
        if quic.early_data is EarlyDataStatus.OFFERED:
            self._session.peer_settings = self._remembered
        self._closing = False
        self._over = False
        self._sent_goaway: int | None = None
        self._next_stream = 0
        self._handlers: dict[type, Callable[[Any], None]] = {
            StreamReadable: self._on_readable,
            StreamOpened: self._on_opened,
            StreamWritable: self._on_writable,
            StreamReset: self._on_reset,
            StopSending: self._on_stop_sending,
            StreamsAvailable: self._on_streams_available,
            HandshakeCompleted: self._on_handshake,
            TokenReceived: self._events.append,
            AddressPreferred: self._events.append,
            PathChanged: self._events.append,
            PathAbandoned: self._events.append,
            TicketReceived: self._on_ticket,
            EarlyDataRejected: self._on_early_data_rejected,
            ConnectionClosed: self._on_closed,
        }

    def _open(self, session: Session) -> None:
        """Begin with no stream in either direction."""
        self._session = session
        self._exchanges = Exchanges(session, self._abort)
        self._streams = self._exchanges.streams
        self._peer_streams = PeerStreams(
            session, self._on_settings, self._on_goaway, self._on_priority, self._on_unblocked
        )
        self._ready = False

    # The driver's five calls.

    def receive(self, batch: batches.ReceiveBatch, now: int) -> None:
        self.quic.receive(batch, now)

    def send(self, now: int) -> batches.SendBatch:
        return self.quic.send(now)

    def next_deadline(self) -> int:
        return self.quic.next_deadline()

    def handle_deadline(self, now: int) -> None:
        self.quic.handle_deadline(now)

    def next_event(self) -> H3Event | None:
        """Return the next event, ``None`` when there is none now. ``ConnectionClosed`` is the last."""
        events = self._events
        while not events:
            event = self._inbox.popleft() if self._inbox else self.quic.next_event()
            if event is None:
                return None
            self._take(event)
        return events.popleft()

    # State.

    @property
    def peer_settings(self) -> Settings:
        """What the peer announced; defaults until its SETTINGS arrive."""
        return self._session.peer_settings

    @property
    def closed(self) -> bool:
        return self._closing or self.quic.closed

    @property
    def open_exchanges(self) -> int:
        """Exchanges that are not finished in both directions."""
        return len(self._streams)

    # Requests and responses.

    def can_send_request(self) -> bool:
        return not self._refusing() and self.quic.can_open()

    def _refusing(self) -> bool:
        return self.goaway is not None or self._sent_goaway is not None or self._closing or self.quic.closed

    def send_request(self, headers: Lines, *, fin: bool) -> int:
        """Open a request stream and send the header section, pseudo-headers included; return the stream id.

        Raises ``LocalProtocolError`` for a malformed request and on a connection that takes no more, its subclass
        ``StreamLimitReached`` when the peer allows no stream now (``RequestsAvailable`` comes later).
        """
        if not self._session.is_client:
            raise LocalProtocolError("a server sends no requests")
        if self._refusing():
            raise LocalProtocolError("the connection takes no new requests")
        head = check_request(self._session, headers, fin)
        if not self._ready:
            self._start()
        stream_id = self.quic.open_stream()
        stream = self._exchanges.add(stream_id, head.method)
        self._next_stream = stream_id + 4
        try:
            stream.send_request(headers, head, fin)
        except H3Fault as fault:
            self._exchanges.punish(stream, fault)
        return stream_id

    def send_headers(self, stream_id: int, headers: Lines, *, fin: bool = False) -> None:
        """Send an interim or final response (server), or trailers, which end the message whatever ``fin`` says."""
        stream = self._sendable(stream_id)
        if stream is None:
            return
        try:
            stream.send_headers(headers, fin)
        except H3Fault as fault:
            self._exchanges.punish(stream, fault)
        self._exchanges.reap(stream)

    def send_body(self, stream_id: int, data: bytes | bytearray | memoryview, *, fin: bool = False) -> int:
        """Send body bytes; return how many were accepted.

        After fewer than all, ``BodyWritable`` says when to go on. ``fin`` takes effect when all were accepted.
        Bytes for an exchange that is over, or that the peer stopped reading, are accepted and dropped.
        """
        stream = self._sendable(stream_id)
        if stream is None:
            return len(data)
        try:
            accepted = stream.sending.body(data, fin)
        except H3Fault as fault:
            self._exchanges.punish(stream, fault)
            return len(data)
        self._exchanges.reap(stream)
        return accepted

    def _sendable(self, stream_id: int) -> RequestStream | None:
        stream = self._streams.get(stream_id)
        if stream is None and (stream_id & 3 or not 0 <= stream_id < self._next_stream):
            raise LocalProtocolError(f"stream {stream_id} carries no exchange")
        return stream

    def read_body(self, stream_id: int, max_bytes: int = 65_536) -> bytes:
        """Return body bytes, ``b""`` when none are here now. Reading gives the peer room to send more."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return b""
        try:
            data = stream.receiving.read(max_bytes)
        except H3Fault as fault:
            self._exchanges.punish(stream, fault)
            return b""
        if stream.receiving.finished:
            self._exchanges.reap(stream)
        return data

    def read_body_into(self, stream_id: int, view: memoryview) -> int:
        """Like ``read_body``, into ``view`` (bytes, writable); return the number of bytes."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return 0
        try:
            size = stream.receiving.read_into(view)
        except H3Fault as fault:
            self._exchanges.punish(stream, fault)
            return 0
        if stream.receiving.finished:
            self._exchanges.reap(stream)
        return size

    def stop_reading(self, stream_id: int, error_code: int = H3ErrorCode.H3_NO_ERROR) -> None:
        """Ask the peer to send no more of its message while ours goes on (a server's early response)."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._exchanges.stop_reading(stream, error_code)

    def cancel(self, stream_id: int, error_code: int = H3ErrorCode.H3_REQUEST_CANCELLED) -> None:
        """Give up an exchange in both directions (RFC 9114, section 4.1.1). No event follows for it."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._exchanges.abandon(stream, error_code)

    def reprioritize(self, stream_id: int, value: bytes) -> None:
        """Give a request another Priority field value (RFC 9218, section 7); nothing for one that is over.

        It is advice: a peer that leaves our control stream unread does not get it.
        """
        if not self._session.is_client:
            raise LocalProtocolError("a server sends no PRIORITY_UPDATE")
        control = self._session.control_stream
        if stream_id in self._streams and not control.pending and not self.closed:
            control.push(encode_priority_update(stream_id, value))

    def shutdown(self) -> None:
        """Send GOAWAY: requests in progress go on, no new ones (RFC 9114, section 5.2)."""
        if self._sent_goaway is not None or self.closed:
            return
        self._sent_goaway = 0 if self._session.is_client else self._next_stream
        frame = encode_frame(FrameType.GOAWAY, _wire.encode_varint(self._sent_goaway))
        trace = self._session.trace
        if trace is not None:
            from specter.h3 import qlog

            qlog.goaway_created(trace, self._session.control_stream.stream_id, self._sent_goaway)
        try:
            self._session.control_stream.push(frame)
        except H3Fault as fault:
            self._abort(fault)

    def close(self, error_code: int = H3ErrorCode.H3_NO_ERROR, reason: str = "") -> None:
        """Close the connection now; ``ConnectionClosed`` follows."""
        if not self.closed:
            self._closing = True
            self.quic.close(int(error_code), reason, application=True)

    # What QUIC reports.

    def _take(self, event: Event) -> None:
        handler = self._handlers.get(type(event))
        if handler is None or (self._closing and handler != self._on_closed):
            return
        try:
            handler(event)
        except H3Fault as fault:
            self._abort(fault)

    def _on_closed(self, event: ConnectionClosed) -> None:
        if not self._over:
            self._over = self._closing = True
            self._streams.clear()
            self._events.append(event)

    def _on_handshake(self, event: HandshakeCompleted) -> None:
        self._start()
        self._events.append(event)

    def _on_early_data_rejected(self, event: EarlyDataRejected) -> None:
        """No stream is left: begin anew, with what the caller has yet to hear."""
        gone = list(self._streams)
        session = Session(self.quic, self._session.config, self._entropy)
        session.events, session.inbox = self._events, self._inbox
        self._open(session)
        for stream_id in gone:
            reason = "the server rejected early data"
            self._events.append(ExchangeFailed(stream_id, H3ErrorCode.H3_REQUEST_REJECTED, reason, True, True))

    def _on_ticket(self, event: TicketReceived) -> None:
        self._events += map(TicketReceived, self._tickets.arrived(event.session))

    def _on_streams_available(self, event: StreamsAvailable) -> None:
        if event.unidirectional:
            self._start()
        elif self._session.is_client and not self._refusing():
            self._events.append(RequestsAvailable())

    def _start(self) -> None:
        self._ready = self._session.open_critical_streams()

    def _on_opened(self, event: StreamOpened) -> None:
        stream_id = event.stream_id
        if stream_id & _UNIDIRECTIONAL:
            self._peer_streams.opened(stream_id)
        elif stream_id & _SERVER_INITIATED or self._session.is_client:
            raise H3Error(H3ErrorCode.H3_STREAM_CREATION_ERROR, "a bidirectional stream from the server")
        elif self._sent_goaway is not None and stream_id >= self._sent_goaway:
            self.quic.stop_sending(stream_id, H3ErrorCode.H3_REQUEST_REJECTED)
            self.quic.reset(stream_id, H3ErrorCode.H3_REQUEST_REJECTED)
        else:
            if not self._ready:
                self._start()  # early data: the reply may overtake the end of the handshake, SETTINGS go first
            self._exchanges.add(stream_id)
            self._next_stream = max(self._next_stream, stream_id + 4)

    def _on_readable(self, event: StreamReadable) -> None:
        stream_id = event.stream_id
        stream = self._streams.get(stream_id)
        if stream is None:
            if stream_id & _UNIDIRECTIONAL:
                self._peer_streams.readable(stream_id)
            return
        receiving = stream.receiving
        try:
            receiving.readable()
        except H3Fault as fault:
            self._exchanges.punish(stream, fault)
        else:
            if receiving.finished:
                self._exchanges.reap(stream)

    def _on_unblocked(self, stream_id: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is None or self._closing:
            return
        try:
            stream.receiving.resume(self._session.decoder.resume(stream_id))
        except H3Fault as fault:
            self._exchanges.punish(stream, fault)
        else:
            self._exchanges.reap(stream)

    def _on_writable(self, event: StreamWritable) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is None:
            for writer in self._session.critical_streams:
                if writer.stream_id == event.stream_id:
                    writer.flush()
            return
        if stream.sending.writable():
            self._events.append(BodyWritable(event.stream_id))
        self._exchanges.reap(stream)

    def _on_reset(self, event: StreamReset) -> None:
        stream = self._streams.get(event.stream_id)
        if event.stream_id & _UNIDIRECTIONAL:
            self._peer_streams.reset(event.stream_id)
        elif stream is not None:
            self._exchanges.reset(stream, event.error_code)

    def _on_stop_sending(self, event: StopSending) -> None:
        stream_id = event.stream_id
        if stream_id in [writer.stream_id for writer in self._session.critical_streams]:
            raise H3Error(H3ErrorCode.H3_CLOSED_CRITICAL_STREAM, "the peer stopped reading a critical stream")
        stream = self._streams.get(stream_id)
        if stream is None or stream.sending.stopped:
            return
        stream.sending.stop()
        self._events.append(PeerStoppedReading(stream_id, event.error_code))
        self._exchanges.reap(stream)

    def _on_settings(self, settings: Settings) -> None:
        if self._session.is_client and self.quic.early_data is EarlyDataStatus.ACCEPTED:
            check_compatible(self._remembered, settings)
        self._session.apply_settings(settings)
        self._events.append(SettingsReceived(settings.pairs))
        self._events += map(TicketReceived, self._tickets.settle(settings))

    def _on_goaway(self, identifier: int) -> None:
        self.goaway = identifier
        self._events.append(GoAwayReceived(identifier))
        if self._session.is_client:
            self._exchanges.refuse_from(identifier)

    def _on_priority(self, stream_id: int, value: bytes) -> None:
        self._events.append(PriorityUpdated(stream_id, value))

    def _abort(self, fault: H3Fault) -> None:
        """Close the connection for what the peer did."""
        if not self.closed:
            self._closing = True
            self.quic.close(fault.code, fault.reason, application=True)
