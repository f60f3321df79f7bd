"""A QUIC connection in memory that takes any bytes for any stream, and helpers to speak HTTP/3 by hand."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pylsqpack

from specter._backend import frames as wire
from specter._backend import reassembly
from specter.h3.config import H3Config
from specter.h3.connection import H3Connection
from specter.h3.errors import H3ErrorCode, error_name
from specter.h3.events import H3Event
from specter.h3.frames import FrameType, encode_frame
from specter.h3.settings import encode_settings
from specter.quic.early_data import EarlyDataStatus
from specter.quic.errors import StreamLimitReached, UnknownStream
from specter.quic.events import (
    CloseKind,
    ConnectionClosed,
    Event,
    HandshakeCompleted,
    StopSending,
    StreamOpened,
    StreamReadable,
    StreamReset,
    StreamsAvailable,
    StreamWritable,
)

PLAIN = H3Config(grease=False)
GET = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"example.org"), (b":path", b"/")]
POST = [(b":method", b"POST"), *GET[1:]]
OK = [(b":status", b"200")]


@dataclass
class FakeStream:
    incoming: bytearray = field(default_factory=bytearray)
    fin_in: bool = False
    reset_in: bool = False
    told: bool = False
    outgoing: bytearray = field(default_factory=bytearray)
    fin_out: bool = False
    reset_out: int | None = None
    stopped: int | None = None
    room: int = 1 << 40
    waits: bool = False
    moved: int = 0
    fin_moved: bool = False

    @property
    def ended(self) -> bool:
        return self.reset_in or self.stopped is not None or (self.fin_in and not self.incoming)


class FakeQuic:
    """The surface of ``specter.quic.connection.Connection`` that HTTP/3 uses; ``inject*`` is the network."""

    def __init__(self, is_client: bool = True, *, uni: int = 100, bidi: int = 1 << 40) -> None:
        self.is_client = is_client
        self.trace = None
        self.early_data = EarlyDataStatus.NONE
        self.handshake_complete = True
        self.streams: dict[int, FakeStream] = {}
        self.events: deque[Event] = deque()
        self.limits = {True: uni, False: bidi}
        self.opened = {True: 0, False: 0}
        self.accepted = {True: 0, False: 0}
        self.closed = False
        self.close_code: int | None = None
        self.close_reason = ""
        self.kept_open = False
        self.reads = 0
        self.marked = 0
        self.room = 1 << 40

    # What H3Connection calls.

    def receive(self, batch: Any, now: int) -> None: ...

    def send(self, now: int) -> Any:
        return []

    def next_deadline(self) -> int:
        return 1 << 62

    def handle_deadline(self, now: int) -> None: ...

    def next_event(self) -> Event | None:
        return self.events.popleft() if self.events else None

    def mark_interactive(self) -> None:
        self.marked += 1

    def can_open(self, unidirectional: bool = False) -> bool:
        return not self.closed and self.opened[unidirectional] < self.limits[unidirectional]

    def open_stream(self, unidirectional: bool = False) -> int:
        if not self.can_open(unidirectional):
            raise StreamLimitReached(self.limits[unidirectional], unidirectional=unidirectional)
        stream_id = self.opened[unidirectional] * 4 + 2 * unidirectional + (not self.is_client)
        self.opened[unidirectional] += 1
        self.streams[stream_id] = FakeStream(room=self.room)
        return stream_id

    def write(self, stream_id: int, data: bytes | bytearray | memoryview, fin: bool = False) -> int:
        stream = self.streams.get(stream_id)
        if stream is None or stream.reset_out is not None or stream.fin_out:
            raise UnknownStream(stream_id)
        accepted = min(len(data), stream.room)
        stream.outgoing += bytes(data[:accepted])
        stream.room -= accepted
        if accepted < len(data):
            stream.waits = True
        elif fin:
            stream.fin_out = True
        return accepted

    def writable(self, stream_id: int) -> int:
        stream = self.streams.get(stream_id)
        return 0 if stream is None or stream.reset_out is not None or stream.fin_out else stream.room

    def read(self, stream_id: int, max_bytes: int = -1) -> bytes:
        self.reads += 1
        stream = self.streams.get(stream_id)
        if stream is None or stream.stopped is not None:
            return b""
        data = bytes(stream.incoming if max_bytes < 0 else stream.incoming[:max_bytes])
        del stream.incoming[: len(data)]
        if not stream.incoming:
            stream.told = False
        return data

    def read_frames(self, stream_id: int, kind: int, left: int, max_bytes: int) -> tuple[bytes, int, int]:
        self.reads += 1
        stream = self.streams.get(stream_id)
        if stream is None or stream.stopped is not None:
            return b"", left, 0
        buffer = reassembly.RecvBuffer(1 << 40)
        buffer.receive(0, stream.incoming, False)
        run = buffer.read_frames(kind, left, max_bytes)
        del stream.incoming[: buffer.consumed]
        if not stream.incoming:
            stream.told = False
        return run

    def readinto(self, stream_id: int, view: memoryview) -> int:
        data = self.read(stream_id, len(view))
        view[: len(data)] = data
        return len(data)

    def readable(self, stream_id: int) -> int:
        stream = self.streams.get(stream_id)
        return 0 if stream is None else len(stream.incoming)

    def at_end(self, stream_id: int) -> bool:
        stream = self.streams.get(stream_id)
        return stream is None or stream.ended

    def reset(self, stream_id: int, error_code: int) -> None:
        stream = self.streams.get(stream_id)
        if stream is not None and stream.reset_out is None:
            stream.reset_out = int(error_code)

    def stop_sending(self, stream_id: int, error_code: int) -> None:
        stream = self.streams.get(stream_id)
        if stream is not None and stream.stopped is None:
            stream.stopped = int(error_code)
            stream.incoming.clear()

    def keep_open(self, wanted: bool) -> None:
        self.kept_open = wanted

    def close(self, error_code: int = 0, reason: str = "", application: bool = True) -> None:
        if not self.closed:
            self.closed = True
            self.close_code = error_code
            self.close_reason = reason
            self.events.append(ConnectionClosed(CloseKind.LOCAL, error_code, reason, application))

    # The network.

    def _touch(self, stream_id: int) -> FakeStream | None:
        ours = (stream_id & 1 == 0) == self.is_client
        unidirectional = bool(stream_id & 2)
        while not ours and self.accepted[unidirectional] <= stream_id >> 2:
            opened = self.accepted[unidirectional] * 4 + (stream_id & 3)
            self.accepted[unidirectional] += 1
            self.streams[opened] = FakeStream(room=self.room)
            self.events.append(StreamOpened(opened))
        return self.streams.get(stream_id)

    def inject(self, stream_id: int, data: bytes = b"", fin: bool = False) -> None:
        stream = self._touch(stream_id)
        if stream is None or stream.stopped is not None or stream.reset_in:
            return
        stream.incoming += data
        stream.fin_in = stream.fin_in or fin
        if not stream.told:
            stream.told = True
            self.events.append(StreamReadable(stream_id))

    def inject_reset(self, stream_id: int, code: int) -> None:
        stream = self._touch(stream_id)
        if stream is not None and not stream.reset_in:
            stream.reset_in = True
            stream.incoming.clear()
            if stream.stopped is None:
                self.events.append(StreamReset(stream_id, code))

    def inject_stop(self, stream_id: int, code: int) -> None:
        stream = self._touch(stream_id)
        if stream is not None and stream.reset_out is None:
            stream.reset_out = code
            self.events.append(StopSending(stream_id, code))

    def grant(self, stream_id: int, room: int) -> None:
        stream = self.streams[stream_id]
        stream.room += room
        if stream.waits:
            stream.waits = False
            self.events.append(StreamWritable(stream_id))

    def grant_streams(self, count: int, unidirectional: bool) -> None:
        self.limits[unidirectional] += count
        self.events.append(StreamsAvailable(unidirectional))

    def forget_finished(self) -> None:
        """Drop streams that are over on both sides, as QUIC does."""
        over = [key for key, stream in self.streams.items() if stream.ended and (stream.fin_out or stream.reset_out)]
        for key in over:
            del self.streams[key]


def deliver(source: FakeQuic, target: FakeQuic, chunk: int = 1 << 40) -> None:
    """Move what ``source`` wrote, reset and stopped to ``target``, ``chunk`` bytes at a time."""
    for stream_id, stream in list(source.streams.items()):
        while stream.moved < len(stream.outgoing):
            piece = bytes(stream.outgoing[stream.moved : stream.moved + chunk])
            stream.moved += len(piece)
            target.inject(stream_id, piece)
            if chunk < 1 << 40:
                return
        if stream.fin_out and not stream.fin_moved:
            stream.fin_moved = True
            target.inject(stream_id, b"", True)
        if stream.reset_out is not None:
            target.inject_reset(stream_id, stream.reset_out)
        if stream.stopped is not None:
            target.inject_stop(stream_id, stream.stopped)


def drain(connection: H3Connection) -> list[H3Event]:
    events = []
    while (event := connection.next_event()) is not None:
        events.append(event)
    return events


def connect(is_client: bool = True, config: H3Config = PLAIN, **limits: int) -> tuple[H3Connection, FakeQuic]:
    """Return a connection whose handshake is done, and the QUIC below it."""
    quic = FakeQuic(is_client, **limits)
    quic.events.append(HandshakeCompleted(b"h3"))
    return H3Connection(quic, config), quic


def established(
    is_client: bool = True, config: H3Config = PLAIN, settings: tuple[tuple[int, int], ...] = (), **limits: int
) -> tuple[H3Connection, FakeQuic]:
    """Like ``connect``, with the peer's SETTINGS received and the events so far dropped."""
    connection, quic = connect(is_client, config, **limits)
    quic.inject(peer_uni(quic, 0), b"\x00" + settings_frame(*settings))
    drain(connection)
    return connection, quic


def peer_uni(quic: FakeQuic, index: int) -> int:
    return 4 * index + 2 + quic.is_client


def settings_frame(*pairs: tuple[int, int]) -> bytes:
    return encode_frame(FrameType.SETTINGS, encode_settings(pairs))


def section(*lines: tuple[bytes, bytes]) -> bytes:
    """Return an encoded field section without dynamic references."""
    return pylsqpack.Encoder().encode(0, list(lines))[1]


def headers_frame(*lines: tuple[bytes, bytes]) -> bytes:
    return encode_frame(FrameType.HEADERS, section(*lines))


def data_frame(data: bytes) -> bytes:
    return encode_frame(FrameType.DATA, data)


def varint(value: int) -> bytes:
    return wire.encode_varint(value)


def closed_with(connection: H3Connection, quic: FakeQuic) -> str:
    """Return the name of the code the connection was closed with, after taking all events."""
    events = drain(connection)
    assert quic.close_code is not None, events
    assert isinstance(events[-1], ConnectionClosed)
    assert connection.closed
    return error_name(quic.close_code)


def read_all(connection: H3Connection, stream_id: int) -> bytes:
    pieces = []
    while piece := connection.read_body(stream_id):
        pieces.append(piece)
    return b"".join(pieces)


CODES = H3ErrorCode
