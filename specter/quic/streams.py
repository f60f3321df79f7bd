"""The stream table: who may open what, which halves a stream has, and when it is over (RFC 9000, sections 2 to 4).

A stream is in the table from its opening until both of its halves are finished. An id below the next
one to be opened that is not in the table belongs to a finished stream.
"""

from __future__ import annotations

from specter._backend import reassembly, sendbuffer
from specter._wire import TransportError, TransportErrorCode
from specter.quic.config import QuicConfig
from specter.quic.errors import StreamLimitReached
from specter.quic.flow import ReceiveWindow
from specter.quic.parameters import TransportParameters
from specter.quic.stream_ids import first_stream_id, is_client_initiated, is_unidirectional

MAX_STREAMS = 1 << 60


class Stream:
    """Both halves of one stream; a half that does not exist, or is finished, is None."""

    __slots__ = (
        "blocked_told",
        "id",
        "peer_opened",
        "readable_told",
        "recv",
        "reset_code",
        "send",
        "stop_code",
        "window",
    )

    def __init__(self, stream_id: int, *, peer_opened: bool) -> None:
        self.id = stream_id
        self.peer_opened = peer_opened
        self.recv: reassembly.RecvBuffer | None = None
        self.send: sendbuffer.SendBuffer | None = None
        self.window: ReceiveWindow | None = None
        self.blocked_told = -1
        """The limit that our last STREAM_DATA_BLOCKED named."""
        self.readable_told = False
        self.reset_code = -1
        """The code of our RESET_STREAM, -1 before one was sent."""
        self.stop_code = -1
        """The code of our STOP_SENDING, -1 before one was sent."""


class OpenLimit:
    """How many streams of one type we may open."""

    __slots__ = ("blocked", "blocked_told", "maximum", "opened")

    def __init__(self) -> None:
        self.opened = 0
        self.maximum = 0
        self.blocked = False
        self.blocked_told = -1


class AcceptLimit:
    """How many streams of one type the peer may open; finished ones make room for new ones."""

    __slots__ = ("advertised", "concurrent", "finished", "opened", "tell_again")

    def __init__(self, concurrent: int) -> None:
        self.concurrent = concurrent
        self.advertised = concurrent
        self.opened = 0
        self.finished = 0
        self.tell_again = False
        """Whether the frame with the limit was lost."""

    @property
    def due(self) -> bool:
        """Whether enough streams finished that the peer should hear of a new limit, or it has not heard of the last."""
        if self.tell_again:
            return True
        grown = self.finished + self.concurrent - self.advertised
        return grown > 0 and grown * 2 >= self.concurrent

    def advance(self) -> int:
        self.tell_again = False
        self.advertised = min(self.finished + self.concurrent, MAX_STREAMS)
        return self.advertised


class StreamTable:
    """Every open stream of a connection, and the limits on opening more."""

    def __init__(self, config: QuicConfig, *, is_client: bool) -> None:
        self._config = config
        self._is_client = is_client
        self._budget = reassembly.SegmentBudget()
        self._peer = TransportParameters()
        self.by_id: dict[int, Stream] = {}
        self.ours = {False: OpenLimit(), True: OpenLimit()}
        self.theirs = {False: AcceptLimit(config.max_streams_bidi), True: AcceptLimit(config.max_streams_uni)}
        self.limits_changed = False
        """Whether a limit of either side may have to be told to the peer."""

    # -- ours -------------------------------------------------------------------------------------

    def apply_peer_parameters(self, peer: TransportParameters) -> None:
        """Take the peer's initial limits; they may be higher than those that streams were opened with before."""
        self._peer = peer
        for stream in self.by_id.values():
            if stream.send is not None:
                stream.send.raise_limit(self._send_window(stream.id))
        self.raise_open_limit(False, peer.initial_max_streams_bidi)
        self.raise_open_limit(True, peer.initial_max_streams_uni)

    def can_open(self, unidirectional: bool) -> bool:
        limit = self.ours[unidirectional]
        if limit.opened < limit.maximum:
            return True
        limit.blocked = self.limits_changed = True
        return False

    def open(self, unidirectional: bool, now: int) -> Stream:
        """Open a stream of ours.

        Raises:
            StreamLimitReached: the peer allows no more now.
        """
        if not self.can_open(unidirectional):
            raise StreamLimitReached(self.ours[unidirectional].maximum, unidirectional=unidirectional)
        limit = self.ours[unidirectional]
        stream_id = first_stream_id(by_client=self._is_client, unidirectional=unidirectional) + 4 * limit.opened
        limit.opened += 1
        stream = Stream(stream_id, peer_opened=False)
        stream.send = sendbuffer.SendBuffer(stream_id, self._send_window(stream_id))
        if not unidirectional:
            self._add_recv(stream, now)
        self.by_id[stream_id] = stream
        return stream

    def _send_window(self, stream_id: int) -> int:
        """Return how much the peer takes on a stream until it says otherwise."""
        if is_unidirectional(stream_id):
            return self._peer.initial_max_stream_data_uni
        if self.is_ours(stream_id):
            return self._peer.initial_max_stream_data_bidi_remote
        return self._peer.initial_max_stream_data_bidi_local

    def forget_ours(self) -> list[Stream]:
        """Be as if none had been opened, and none allowed; return those that are gone."""
        gone = [stream for stream in self.by_id.values() if not stream.peer_opened]
        for stream in gone:
            del self.by_id[stream.id]
        self.ours = {False: OpenLimit(), True: OpenLimit()}
        return gone

    def raise_open_limit(self, unidirectional: bool, maximum: int) -> bool:
        """Apply MAX_STREAMS; return whether it lets a caller go on who was refused before."""
        limit = self.ours[unidirectional]
        if maximum <= limit.maximum:
            return False
        limit.maximum = maximum
        freed, limit.blocked = limit.blocked, False
        return freed

    # -- theirs -----------------------------------------------------------------------------------

    def is_ours(self, stream_id: int) -> bool:
        return is_client_initiated(stream_id) == self._is_client

    def lookup(self, stream_id: int, frame_type: int) -> Stream | None:
        """Return an open stream that a frame names, None for one that is over or was never opened by us.

        Raises:
            TransportError: STREAM_STATE_ERROR for a stream of ours that we have not opened.
        """
        stream = self.by_id.get(stream_id)
        if stream is None and self.is_ours(stream_id):
            if stream_id >> 2 >= self.ours[is_unidirectional(stream_id)].opened:
                reason = f"stream {stream_id} was never opened"
                raise TransportError(TransportErrorCode.STREAM_STATE_ERROR, reason, frame_type)
        return stream

    def accept(self, stream_id: int, frame_type: int, now: int) -> list[Stream]:
        """Open the peer's stream ``stream_id`` and those of its type below it; return the new ones.

        Raises:
            TransportError: STREAM_LIMIT_ERROR.
        """
        unidirectional = is_unidirectional(stream_id)
        limit = self.theirs[unidirectional]
        index = stream_id >> 2
        if index >= limit.advertised:
            reason = f"stream {stream_id} opened, {limit.advertised} of its type allowed"
            raise TransportError(TransportErrorCode.STREAM_LIMIT_ERROR, reason, frame_type)
        base = stream_id & 3
        opened = []
        while limit.opened <= index:
            opened.append(self._accept_one(base + 4 * limit.opened, unidirectional, now))
            limit.opened += 1
        return opened

    def _accept_one(self, stream_id: int, unidirectional: bool, now: int) -> Stream:
        stream = Stream(stream_id, peer_opened=True)
        self._add_recv(stream, now)
        if not unidirectional:
            stream.send = sendbuffer.SendBuffer(stream_id, self._send_window(stream_id))
        self.by_id[stream_id] = stream
        return stream

    def _add_recv(self, stream: Stream, now: int) -> None:
        config = self._config
        stream.window = ReceiveWindow(config.stream_window, config.stream_window_max, now)
        stream.recv = reassembly.RecvBuffer(config.stream_window, self._budget)

    def finish(self, stream: Stream) -> bool:
        """Drop a stream when both halves are over; return whether it was dropped."""
        if stream.recv is not None or stream.send is not None:
            return False
        if self.by_id.pop(stream.id, None) is not None and stream.peer_opened:
            self.theirs[is_unidirectional(stream.id)].finished += 1
            self.limits_changed = True
        return True
