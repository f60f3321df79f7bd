"""What the parts of one connection share: configuration, spaces, streams, paths, events.

The parts (``handshake``, ``inbound``, ``dispatch``, ``delivery``, ``outbound``) each hold one ``Core`` and act on
it; none of them knows the others' insides.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from specter._backend import batch, datapath, frames, sendbuffer
from specter._entropy import Entropy
from specter._frame_types import ConnectionClose, Frame
from specter._wire import NEVER
from specter.quic.cids import LocalConnectionIds, RemoteConnectionIds
from specter.quic.close import CLOSE_REASON_LIMIT, Closer, IdleTimer
from specter.quic.config import SECOND, QuicConfig
from specter.quic.early_data import EarlyData
from specter.quic.ecn import EcnValidator
from specter.quic.events import CloseKind, ConnectionClosed, Event
from specter.quic.flow import ReceiveWindow
from specter.quic.lull import Lull
from specter.quic.mtu import MtuDiscovery
from specter.quic.packet import PacketType
from specter.quic.parameters import TransportParameters
from specter.quic.path import AmplificationLimit
from specter.quic.paths import Path, Paths
from specter.quic.recovery import Recovery
from specter.quic.space import Space, SpaceId
from specter.quic.streams import Stream, StreamTable

if TYPE_CHECKING:
    from specter.quic.qlog import Trace


CID_LENGTH: Final = 8
"""Bytes of the ids that we give to the peer."""


@dataclass(slots=True)
class ConnectionStats:
    """Counters of one connection; times in nanoseconds."""

    datagrams_sent: int = 0
    datagrams_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    packets_lost: int = 0
    packets_dropped: int = 0
    """Packets that did not parse, did not open, or were for nobody here."""
    smoothed_rtt: int = 0
    minimum_rtt: int = 0
    congestion_window: int = 0
    bytes_in_flight: int = 0
    path_changes: int = 0
    """How often the peer, or we, moved to another address."""
    datagram_size: int = 0
    """UDP payload of full packets we send now: what path MTU discovery found so far."""


class Core:
    """The shared state of one connection. Its parts change it; only they may."""

    receiver: datapath.Receiver
    """Set once, by the connection that puts the parts together."""

    def __init__(
        self,
        config: QuicConfig,
        entropy: Entropy,
        now: int,
        *,
        is_client: bool,
        address: batch.Address,
        first_cid: bytes,
        local_cids: LocalConnectionIds,
        remote_cids: RemoteConnectionIds,
        version: int,
    ) -> None:
        self.config = config
        self.entropy = entropy
        self.is_client = is_client
        self.address = address
        self.version = version
        self.now = now
        self.events: deque[Event] = deque()
        self.stats = ConnectionStats()
        self.first_cid = first_cid
        self.local_cids = local_cids
        self.remote_cids = remote_cids
        self.local_parameters = TransportParameters()
        self.peer_parameters: TransportParameters | None = None
        self._open_spaces(config, is_client)
        self._open_paths(config, now)
        self.early_data = EarlyData(self)
        self.token = b""
        self.original_dcid = b""
        """The id of the client's first Initial (server role)."""
        self.handshake_complete = False
        self.handshake_confirmed = False
        self.handshake_deadline = now + config.handshake_timeout
        self.terminated = False
        self.kept_open = False
        self.handshake_packets = 0
        """Initial and Handshake packets that opened and were no duplicates."""
        self.trace: Trace | None = None
        """Hears what happens, packet by packet, where that is asked for (``QuicConfig.qlog``)."""

    def _open_spaces(self, config: QuicConfig, is_client: bool) -> None:
        initial, handshake, app = (Space(space_id, config) for space_id in SpaceId)
        self.spaces = (initial, handshake, app)
        self.app = app
        self.recovery = Recovery(config, (initial.sent, handshake.sent, app.sent), is_client=is_client)
        self.batch = batch.SendBatch()
        self.packer = datapath.Packer(self.batch, app.acks, app.sent)
        self.packer.ack_delay_exponent = config.ack_delay_exponent
        self.packer.address = self.address
        self.packer.dcid = self.remote_cids.current
        self.streams = StreamTable(config, is_client=is_client)

    def _open_paths(self, config: QuicConfig, now: int) -> None:
        self.window = ReceiveWindow(config.connection_window, config.connection_window_max, now)
        self.window_due = False
        self.stream_windows: dict[int, Stream] = {}
        """Streams whose MAX_STREAM_DATA is due."""
        self.waiting_writers: dict[int, Stream] = {}
        self.datagram_size = self.stats.datagram_size = config.datagram_size
        self.mtu = MtuDiscovery(config.datagram_size, config.max_datagram_size)
        self.ecn = EcnValidator()
        self.probe_deadline = NEVER
        """When a path MTU probe that gave way to interactive traffic is due."""
        self.interactive_at = -SECOND
        """When somebody who waits for an answer last had traffic; ``NEVER`` is now."""
        self.closer = Closer()
        self.idle = IdleTimer(config.idle_timeout, now)
        self.lull = Lull(self)
        self.amplification = AmplificationLimit(validated=self.is_client)
        self.path = Path(self.address, self.mtu, self.amplification, validated=True)
        """The path in use; ``address``, ``mtu`` and ``amplification`` are its."""
        self.paths = Paths(self)
        self.key_update_wanted = False
        self.phase_first_number = 0
        """The first packet number sealed in the current key phase."""
        self.previous_keys_until = NEVER

    # -- shorthands -------------------------------------------------------------------------------

    @property
    def pto(self) -> int:
        """The probe timeout of the Application space, without backoff."""
        return self.recovery.rtt.pto_base() + self.recovery.peer_max_ack_delay

    @property
    def packets_processed(self) -> int:
        """Packets that opened and were no duplicates, in all spaces."""
        return self.receiver.packets + self.handshake_packets

    def emit(self, event: Event) -> None:
        """Tell the layer above, unless it knows already that the connection is over."""
        if not self.terminated:
            self.events.append(event)

    def queue(self, frame: Frame) -> None:
        """Send a frame in the next 1-RTT packet and again should it be lost."""
        self.packer.control.append((frames.encode(frame), frame))

    def drop(self, trigger: str, size: int, kind: PacketType | None = None) -> None:
        """Count a packet of ``size`` bytes that is not looked at any further; ``trigger`` is qlog's word for why."""
        self.stats.packets_dropped += 1
        if self.trace is not None:
            self.trace.dropped(trigger, size, kind)

    def test_path(self) -> None:
        """Find out what the path carries: marks and large datagrams."""
        self.path.tested = True
        self.mtu.start()
        if self.config.ecn:
            self.ecn.start()
            self.packer.ecn = self.ecn.codepoint

    def follow_mtu(self) -> None:
        """Send full datagrams of the size that path MTU discovery stands at."""
        if self.datagram_size != self.mtu.size:
            self.datagram_size = self.recovery.max_datagram = self.stats.datagram_size = self.mtu.size

    def discard(self, space_id: SpaceId) -> None:
        """Drop the keys of a space, and what was in flight in it (RFC 9001, section 4.9)."""
        space = self.spaces[space_id]
        if not space.discarded:
            space.discard()
            self.recovery.discard_space(space_id)

    # -- streams ----------------------------------------------------------------------------------

    def consume(self, stream: Stream, count: int) -> None:
        """Release flow control credit for bytes that left the receive buffer."""
        if count == 0:
            return
        if self.window.consume(count):
            self.window_due = True
        if stream.window is not None and stream.window.consume(count) and stream.recv is not None:
            if stream.recv.final_size < 0:
                self.stream_windows[stream.id] = stream

    def wake_writer(self, stream: Stream, send: sendbuffer.SendBuffer) -> bool:
        """Return whether a writer that was refused may go on."""
        return send.unsent <= self.config.send_buffer // 2

    # -- the end ----------------------------------------------------------------------------------

    def close(
        self,
        code: int,
        reason: str,
        *,
        application: bool = False,
        frame_type: int = 0,
        failure: Exception | None = None,
        event: ConnectionClosed | None = None,
    ) -> None:
        """Close from our side: CONNECTION_CLOSE leaves with the next send. ``event`` tells it in another way."""
        if not self.closer.open:
            return
        text = reason.encode("utf-8", "replace")[:CLOSE_REASON_LIMIT]
        self.closer.close(ConnectionClose(code, frame_type, text, application), self.now, self.pto)
        self._end(event or ConnectionClosed(CloseKind.LOCAL, code, reason, application, frame_type, failure))

    def drain(self, event: ConnectionClosed) -> None:
        """The peer is gone or going: send nothing more."""
        self.closer.drain(self.now, self.pto)
        self._end(event)

    def vanish(self, event: ConnectionClosed) -> None:
        """End at once and silently."""
        self.closer.finish()
        self._end(event)

    def _end(self, event: ConnectionClosed) -> None:
        if self.trace is not None and not self.terminated:
            self.trace.closed(event)
        self.emit(event)
        self.terminated = True
        self.receiver.keys = None


def make_core(
    config: QuicConfig,
    entropy: Entropy,
    now: int,
    first_cid: bytes,
    remote_cid: bytes,
    *,
    is_client: bool,
    address: batch.Address,
    reset_key: bytes | None = None,
    version: int,
) -> Core:
    """Return the core of a new connection: our first id is ``first_cid``, the peer's ``remote_cid``."""
    key = entropy.token(32) if reset_key is None else reset_key
    return Core(
        config,
        entropy,
        now,
        is_client=is_client,
        address=address,
        first_cid=first_cid,
        local_cids=LocalConnectionIds(entropy, CID_LENGTH, first=first_cid, reset_key=key),
        remote_cids=RemoteConnectionIds(remote_cid, config.active_connection_id_limit),
        version=version,
    )
