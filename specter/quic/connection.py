"""A QUIC connection without input or output: five driver calls, and operations on streams.

The driver moves bytes and time: ``receive``, ``send``, ``next_deadline``, ``handle_deadline``, ``next_event``. Same
inputs, same entropy and same ``now`` give the same datagrams. ``now`` is integer nanoseconds of a monotonic clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from specter._backend import batch as batches
from specter._backend import datapath, reassembly
from specter._entropy import Entropy
from specter._frame_types import NewToken, StopSending
from specter._wire import NEVER, VARINT_MAX, TransportError
from specter.quic import parameters
from specter.quic.close import CloseState
from specter.quic.config import MAX_TOKEN, QuicConfig
from specter.quic.core import CID_LENGTH, ConnectionStats, Core, make_core
from specter.quic.delivery import Delivery, UserPing
from specter.quic.dispatch import Dispatcher
from specter.quic.early_data import EarlyDataStatus, usable
from specter.quic.ecn import EcnValidator
from specter.quic.errors import UnknownStream
from specter.quic.events import Event
from specter.quic.handshake import Handshake
from specter.quic.inbound import Inbound
from specter.quic.outbound import Outbound
from specter.quic.packet import QUIC_V1
from specter.quic.paths import Paths
from specter.quic.rtt import RttEstimator
from specter.quic.streams import Stream
from specter.quic.timers import Timers
from specter.tls.client import ClientHandshake
from specter.tls.config import ClientTlsConfig, ServerTlsConfig
from specter.tls.engine import Handshake as TlsHandshake
from specter.tls.server import ServerHandshake
from specter.tls.session import Resumption

if TYPE_CHECKING:
    from specter.quic.qlog import Trace

Endpoints: TypeAlias = tuple[batches.Address, batches.Address]


class Connection:
    """One QUIC connection, in either role. Make it with :meth:`client` or :meth:`server`."""

    def __init__(self, core: Core, handshake: Handshake) -> None:
        self._core = core
        self._handshake = handshake
        self._delivery = Delivery(core)
        self._dispatcher = Dispatcher(core, handshake, self._delivery)
        core.receiver = datapath.Receiver(self._dispatcher, core.app.acks, core.packer, core.local_cids.length)
        core.receiver.cids = core.local_cids.active
        core.receiver.address = core.address
        core.receiver.data_limit = core.config.connection_window
        self._inbound = Inbound(core, handshake, self._dispatcher, core.receiver)
        self._outbound = Outbound(core, self._delivery)
        self._timers = Timers(core, self._delivery)
        handshake.start()

    @classmethod
    def client(
        cls,
        config: QuicConfig,
        tls: ClientTlsConfig,
        entropy: Entropy,
        now: int,
        *,
        token: bytes = b"",
        address: batches.Address = None,
        endpoints: Endpoints = (None, None),
        resumption: Resumption | None = None,
    ) -> Connection:
        """Start a connection to a server; the first ``send`` gives its ClientHello.

        ``token`` is one from an earlier ``TokenReceived`` of the same server and QUIC version; above ``MAX_TOKEN``
        bytes it is not used. ``resumption`` has the session of an earlier ``TicketReceived``; with its ``early_data``,
        streams can be opened and written to at once, which leave in 0-RTT packets. What a client sends so may reach the
        server twice. ``EarlyDataRejected`` says that it was all for nothing.
        ``endpoints`` are the socket's own address and the server's, for the event log alone.
        """
        first_cid = entropy.token(CID_LENGTH)
        original = entropy.token(CID_LENGTH)
        version = config.first_version
        core = make_core(config, entropy, now, first_cid, original, is_client=True, address=address, version=version)
        core.token = token if len(token) <= MAX_TOKEN else b""
        offer, remembered = usable(resumption)

        def make_tls(params: bytes) -> ClientHandshake:
            fits = offer is not None and offer.session.quic_version == core.version
            return ClientHandshake(tls, entropy, params, offer if fits else None)

        handshake = Handshake(core, make_tls, original_dcid=original, remembered=remembered)
        return cls._assemble(core, handshake, original, endpoints)

    @classmethod
    def server(
        cls,
        config: QuicConfig,
        tls: ServerTlsConfig,
        entropy: Entropy,
        now: int,
        *,
        original_dcid: bytes,
        client_cid: bytes,
        retry_scid: bytes | None = None,
        address: batches.Address = None,
        validated: bool = False,
        reset_key: bytes | None = None,
        version: int = QUIC_V1,
    ) -> Connection:
        """Accept the connection of a client's first Initial.

        ``original_dcid`` is the id of the very first Initial, before any Retry; ``client_cid`` the client's own;
        ``retry_scid`` the id our Retry gave; ``validated`` says that a token proved the address;
        ``version`` is that Initial's.
        """
        initial_dcid = original_dcid if retry_scid is None else retry_scid
        first_cid = entropy.token(CID_LENGTH)
        core = make_core(
            config,
            entropy,
            now,
            first_cid,
            client_cid,
            is_client=False,
            address=address,
            reset_key=reset_key,
            version=version,
        )
        core.original_dcid = initial_dcid
        if validated or retry_scid is not None:
            core.amplification.validate()
        handshake = Handshake(
            core,
            lambda params: ServerHandshake(
                tls, entropy, params, version, parameters.encode_limits(core.local_parameters)
            ),
            original_dcid=original_dcid,
            retry_scid=retry_scid,
        )
        return cls._assemble(core, handshake, original_dcid, (None, address))

    @classmethod
    def _assemble(cls, core: Core, handshake: Handshake, original_dcid: bytes, endpoints: Endpoints) -> Connection:
        """Put the parts together, with an event log where the configuration opens one."""
        if core.config.qlog is None:
            return cls(core, handshake)
        from specter.quic.traced import TracedConnection

        return TracedConnection(core, handshake, core.config.qlog(original_dcid, core.is_client, core.now), endpoints)

    # -- the five calls -----------------------------------------------------------------------------------

    def receive(self, batch: batches.ReceiveBatch, now: int) -> None:
        """Take a burst of datagrams, which are decrypted in place; never raises for what a peer sent."""
        core = self._core
        core.now = now
        core.stats.datagrams_received += len(batch)
        core.stats.bytes_received += batch.total
        if not core.amplification.validated:
            self._count_for_amplification(batch)
        if not core.closer.open:
            core.closer.packet_arrived()
            return
        processed = core.packets_processed
        try:
            self._inbound.receive(batch, now)
        except TransportError as error:
            failure = error.__cause__ if isinstance(error.__cause__, Exception) else None
            self._dispatcher.tell_readable()
            core.close(error.code, error.reason, frame_type=error.frame_type, failure=failure)
        if core.packets_processed != processed:
            core.idle.packet_received(now, core.pto)
            if core.receiver.data_received >= core.lull.threshold:
                core.lull.arm(now)
        self._dispatcher.tell_readable()

    def _count_for_amplification(self, batch: batches.ReceiveBatch) -> None:
        """Count what came from the peer's address; what others send in its name is no reason to answer it."""
        core = self._core
        for index in range(len(batch)):
            if batch.address(index) == core.address:
                start, end = batch.span(index)
                core.amplification.on_received(end - start)

    def send(self, now: int) -> batches.SendBatch:
        """Return datagrams to send now; call again until it is empty. Valid until the next call of anything here."""
        self._core.now = now
        return self._outbound.send(now)

    def next_deadline(self) -> int:
        """Return when ``handle_deadline`` is due, ``NEVER`` when nothing is."""
        return self._timers.next_deadline()

    def handle_deadline(self, now: int) -> None:
        """Do what is due by ``now``; nothing when it is early. Then call ``send``."""
        self._core.now = now
        self._timers.handle(now)

    def next_event(self) -> Event | None:
        """Return the oldest event not returned yet."""
        events = self._core.events
        return events.popleft() if events else None

    # -- streams ------------------------------------------------------------------------------------------

    def open_stream(self, unidirectional: bool = False) -> int:
        """Open a stream of ours.

        Raises:
            StreamLimitReached: ``StreamsAvailable`` will say when to try again.
        """
        stream = self._core.streams.open(unidirectional, self._core.now)
        if self._core.lull.deadline == NEVER:
            self._core.lull.arm(self._core.now)
        self._dispatcher.watch(stream)
        return stream.id

    def can_open(self, unidirectional: bool = False) -> bool:
        """Whether ``open_stream`` would succeed; if not, ``StreamsAvailable`` will follow."""
        return self._core.closer.open and self._core.streams.can_open(unidirectional)

    @property
    def streams_left(self) -> int:
        """How many bidirectional streams may be opened now."""
        limit = self._core.streams.ours[False]
        return limit.maximum - limit.opened

    def write(self, stream_id: int, data: bytes | bytearray | memoryview, fin: bool = False) -> int:
        """Accept up to ``writable`` bytes of ``data``; return how many.

        ``fin`` ends the stream if all of ``data`` was accepted. A refusal is followed by ``StreamWritable``.

        Raises:
            UnknownStream: it cannot be written to (any more).
        """
        core = self._core
        stream = core.streams.by_id.get(stream_id)
        if stream is None or stream.send is None or stream.reset_code >= 0 or stream.send.finished_writing:
            raise UnknownStream(stream_id)
        send = stream.send
        room = max(0, core.config.send_buffer - send.unsent)
        size = len(data)
        accepted = size if size <= room else room
        if accepted:
            send.write(data if accepted == size else memoryview(data)[:accepted])
        if accepted < size:
            core.waiting_writers[stream_id] = stream
        elif fin:
            send.finish()
        if send.has_pending or (accepted and send.blocked):
            core.packer.enqueue(send)
        return accepted

    def writable(self, stream_id: int) -> int:
        """Return how many bytes ``write`` accepts now; 0 for a stream that takes none any more."""
        stream = self._core.streams.by_id.get(stream_id)
        if stream is None or stream.send is None or stream.reset_code >= 0 or stream.send.finished_writing:
            return 0
        room = max(0, self._core.config.send_buffer - stream.send.unsent)
        if room == 0:
            self._core.waiting_writers[stream_id] = stream
        return room

    def read(self, stream_id: int, max_bytes: int = -1) -> bytes:
        """Take data that arrived in order, releasing flow control credit; ``b""`` when there is none."""
        stream = self._core.streams.by_id.get(stream_id)
        if stream is None or stream.recv is None or stream.stop_code >= 0:
            return b""
        data = stream.recv.read(max_bytes)
        self._after_read(stream, stream.recv, len(data))
        return data

    def readinto(self, stream_id: int, buffer: bytearray | memoryview) -> int:
        """Like ``read``, into the caller's buffer; returns the count."""
        stream = self._core.streams.by_id.get(stream_id)
        if stream is None or stream.recv is None or stream.stop_code >= 0:
            return 0
        count = stream.recv.readinto(memoryview(buffer))
        self._after_read(stream, stream.recv, count)
        return count

    def read_frames(self, stream_id: int, kind: int, left: int, max_bytes: int) -> tuple[bytes, int, int]:
        """Read the payload of a run of frames, see ``RecvBuffer.read_frames``; releases credit for headers too."""
        stream = self._core.streams.by_id.get(stream_id)
        if stream is None or stream.recv is None or stream.stop_code >= 0:
            return b"", left, 0
        recv = stream.recv
        before = recv.consumed
        run = recv.read_frames(kind, left, max_bytes)
        self._after_read(stream, recv, recv.consumed - before)
        return run

    def _after_read(self, stream: Stream, recv: reassembly.RecvBuffer, count: int) -> None:
        if count:
            self._core.consume(stream, count)
        if recv.readable == 0:
            stream.readable_told = False
            if recv.finished:
                self._dispatcher.end_receiving(stream)

    def peek(self, stream_id: int, max_bytes: int) -> bytes:
        """Look at data without taking it."""
        stream = self._core.streams.by_id.get(stream_id)
        return b"" if stream is None or stream.recv is None else stream.recv.peek(max_bytes)

    def readable(self, stream_id: int) -> int:
        """Return how many bytes ``read`` would give."""
        stream = self._core.streams.by_id.get(stream_id)
        if stream is None or stream.recv is None or stream.stop_code >= 0:
            return 0
        return stream.recv.readable

    def at_end(self, stream_id: int) -> bool:
        """Whether everything up to the end of the stream was read (or the receiving side is over)."""
        stream = self._core.streams.by_id.get(stream_id)
        if stream is None or stream.recv is None:
            return True
        return stream.recv.finished

    def reset(self, stream_id: int, error_code: int) -> None:
        """Abandon our sending side: what was not acknowledged may be lost. No effect on one that ended.

        Raises:
            ValueError: ``error_code`` is negative or above 2^62 - 1.
        """
        _check_code(error_code)
        stream = self._core.streams.by_id.get(stream_id)
        if stream is not None:
            self._dispatcher.reset_sending(stream, error_code)

    def stop_sending(self, stream_id: int, error_code: int) -> None:
        """Ask the peer to stop: what arrived and still arrives is dropped. No effect on one that ended.

        Raises:
            ValueError: ``error_code`` is negative or above 2^62 - 1.
        """
        _check_code(error_code)
        stream = self._core.streams.by_id.get(stream_id)
        if stream is None or stream.recv is None or stream.stop_code >= 0:
            return
        stream.stop_code = error_code
        if stream.recv.final_size < 0:
            self._core.queue(StopSending(stream_id, error_code))
        self._dispatcher.drop_unwanted(stream)

    # -- the connection -----------------------------------------------------------------------------------

    def close(self, error_code: int = 0, reason: str = "", application: bool = True) -> None:
        """Close the connection; ``send`` gives the datagram that says so."""
        self._core.close(error_code, reason, application=application)

    def ping(self) -> None:
        """Ask the peer for a sign of life: ``PingAcknowledged``, also when the PING is lost at first."""
        self._core.packer.control.append((b"\x01", UserPing()))

    def mark_interactive(self) -> None:
        """Say that somebody waits for what is sent or received now: for 2 ms no path MTU probe gets in between."""
        self._core.interactive_at = NEVER

    def limit_datagrams(self, size: int) -> None:
        """Send no UDP payload above ``size`` bytes from now on: the interface here carries no more, or refused it.

        Nothing below 1,200 is believed: who forges "too big" messages must not shrink a connection.
        """
        self._core.mtu.limit(size, self._core.now)
        self._core.follow_mtu()

    def keep_open(self, wanted: bool) -> None:
        """Do not let the connection go idle, even where ``QuicConfig.keep_alive`` is not set: something depends on it.

        PINGs leave as long as somebody drives the connection.
        """
        self._core.kept_open = wanted

    def update_keys(self) -> None:
        """Move to the next key phase as soon as the rules allow (RFC 9001, section 6.1)."""
        self._core.key_update_wanted = True

    def issue_token(self, token: bytes) -> None:
        """Give the client a token for its next connection (server role; RFC 9000, section 8.1.3).

        Raises:
            ValueError: it is empty, or longer than the ``MAX_TOKEN`` bytes that fit in any packet of the client.
        """
        if not 0 < len(token) <= MAX_TOKEN:
            raise ValueError(f"a token has 1 to {MAX_TOKEN} bytes, not {len(token)}")
        self._core.queue(NewToken(token))

    @property
    def trace(self) -> Trace | None:
        """The event log, for the layer above to write to as well; None without ``QuicConfig.qlog``."""
        return self._core.trace

    @property
    def credit_due(self) -> bool:
        """Whether reading has freed so much that the peer should hear of it with a ``send`` soon."""
        return self._core.window_due or bool(self._core.stream_windows)

    @property
    def is_client(self) -> bool:
        return self._core.is_client

    @property
    def closed(self) -> bool:
        """Whether nothing will be sent or received any more."""
        return self._core.closer.state is CloseState.CLOSED

    @property
    def closing(self) -> bool:
        """Whether the connection is over for the layer above; it may still have to say so."""
        return not self._core.closer.open

    @property
    def handshake_complete(self) -> bool:
        return self._core.handshake_complete

    @property
    def confirmed(self) -> bool:
        return self._core.handshake_confirmed

    @property
    def stats(self) -> ConnectionStats:
        """Counters so far; the object is brought up to date by this call."""
        core = self._core
        stats = core.stats
        stats.smoothed_rtt = core.recovery.rtt.smoothed
        stats.minimum_rtt = core.recovery.rtt.minimum
        stats.congestion_window = core.recovery.window
        stats.bytes_in_flight = core.recovery.bytes_in_flight
        return stats

    @property
    def ecn(self) -> EcnValidator:
        """Whether datagrams are marked, now and as long as the connection lives."""
        return self._core.ecn

    @property
    def rtt(self) -> RttEstimator:
        """The round-trip time, now and as long as the connection lives."""
        return self._core.recovery.rtt

    @property
    def tls(self) -> TlsHandshake:
        """The TLS engine: ``alpn``, ``cipher_suite``, ``group``, ``peer_certificates``, ``resumed``."""
        return self._handshake.tls

    @property
    def early_data(self) -> EarlyDataStatus:
        """What became of the client's early data."""
        return self._core.early_data.status

    @property
    def version(self) -> int:
        """The QUIC version in use; settled once the handshake is complete (RFC 9368)."""
        return self._core.version

    @property
    def address(self) -> batches.Address:
        """Where the peer is; None on a connected socket."""
        return self._core.address

    @property
    def paths(self) -> Paths:
        """The network paths, and how a client moves to another one: ``paths.migrate``."""
        return self._core.paths

    @property
    def idle_deadline(self) -> int:
        """When the connection ends for want of packets, ``NEVER`` without an idle timeout; past it, it is over."""
        return self._core.idle.deadline

    @property
    def host_cids(self) -> set[bytes]:
        """The connection ids by which the peer may address us now."""
        ids = set(self._core.local_cids.active)
        if not self._core.is_client and not self._core.handshake_confirmed:
            ids.add(self._core.original_dcid)
        return ids


def _check_code(error_code: int) -> None:
    if not 0 <= error_code <= VARINT_MAX:
        raise ValueError(f"error code {error_code} does not fit a variable-length integer")
