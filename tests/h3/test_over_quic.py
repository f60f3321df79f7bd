"""Both roles over two real QUIC connections."""

from __future__ import annotations

import pytest

from specter.h3.config import H3Config
from specter.h3.connection import H3Connection
from specter.h3.errors import H3ErrorCode
from specter.h3.events import (
    BodyReadable,
    BodyWritable,
    ExchangeFailed,
    GoAwayReceived,
    H3Event,
    MessageComplete,
    PeerStoppedReading,
    RequestReceived,
    ResponseReceived,
    SettingsReceived,
    TrailersReceived,
)
from specter.quic.config import QuicConfig
from specter.quic.connection import Connection
from specter.quic.events import CloseKind, ConnectionClosed, HandshakeCompleted
from tests.h3.support import GET, OK, POST, drain
from tests.quic.support import Pair


class Wire(Pair):
    """Leaves the events to HTTP/3."""

    def _collect(self, name: str, connection: Connection) -> None: ...


class Site:
    """A server that answers ``/N`` with N bytes, echoes other bodies, and a client that collects."""

    def __init__(self, drop: int = 0, **config: int) -> None:
        self.count = 0
        self.drop = drop
        self.pair = Wire(QuicConfig(**config), QuicConfig(**config), filter=self._filter)
        self.client = H3Connection(self.pair.client)
        self.server: H3Connection | None = None
        self.events: list[H3Event] = []
        self.bodies: dict[int, bytearray] = {}
        self.sending: dict[int, bytes] = {}
        self.requests: dict[int, RequestReceived] = {}
        self.received: dict[int, bytearray] = {}
        self.server_events: list[H3Event] = []
        self.run(lambda: any(isinstance(event, SettingsReceived) for event in self.events))

    def _filter(self, from_client: bool, data: bytes) -> bytes | None:
        self.count += 1
        return None if self.drop and self.count > 20 and self.count % self.drop == 0 else data

    def run(self, until) -> None:
        for _ in range(100_000):
            self._serve()
            self._collect()
            if until():
                return
            if not self.pair.step():
                break
        assert until(), self.events

    def _collect(self) -> None:
        for event in drain(self.client):
            self.events.append(event)
            if isinstance(event, BodyReadable):
                body = self.bodies.setdefault(event.stream_id, bytearray())
                while piece := self.client.read_body(event.stream_id):
                    body += piece
        self.events += drain(self.client)

    def _serve(self) -> None:
        if self.pair.server is None:
            return
        self.server = self.server or H3Connection(self.pair.server)
        while True:
            events = drain(self.server)
            if not events:
                return
            for event in events:
                self.server_events.append(event)
                self._answer(event)

    def _answer(self, event: H3Event) -> None:
        assert self.server is not None
        if isinstance(event, RequestReceived):
            self.requests[event.stream_id] = event
            self.received[event.stream_id] = bytearray()
        elif isinstance(event, BodyReadable):
            while piece := self.server.read_body(event.stream_id):
                self.received[event.stream_id] += piece
        elif isinstance(event, MessageComplete):
            path = self.requests[event.stream_id].path[1:]
            body = bytes(int(path)) if path.isdigit() else bytes(self.received[event.stream_id])
            self.server.send_headers(event.stream_id, [*OK, (b"content-length", b"%d" % len(body))])
            self.sending[event.stream_id] = body
            self._push(event.stream_id)
        elif isinstance(event, BodyWritable):
            self._push(event.stream_id)

    def _push(self, stream_id: int) -> None:
        assert self.server is not None
        body = self.sending[stream_id]
        self.sending[stream_id] = body[self.server.send_body(stream_id, body, fin=True) :]

    def completed(self, *stream_ids: int) -> bool:
        return all(MessageComplete(stream_id) in self.events for stream_id in stream_ids)


def get(path: bytes):
    return [*GET[:3], (b":path", path)]


def test_handshake_settings_and_a_small_get():
    site = Site()
    assert isinstance(site.events[0], HandshakeCompleted)
    stream_id = site.client.send_request(get(b"/10"), fin=True)
    site.run(lambda: site.completed(stream_id))
    assert ResponseReceived(0, 200, ((b"content-length", b"10"),)) in site.events
    assert site.bodies[stream_id] == bytes(10)
    assert site.client.peer_settings.qpack_max_table_capacity == 4096
    assert site.server is not None
    assert site.server.peer_settings.received
    site.run(lambda: site.server.open_exchanges == 0)
    assert site.client.open_exchanges == 0


@pytest.mark.parametrize("drop", [0, 13])
def test_parallel_downloads(drop):
    site = Site(drop)
    sizes = [0, 1, 1000, 100_000, 300_000]
    streams = [site.client.send_request(get(b"/%d" % size), fin=True) for size in sizes]
    site.run(lambda: site.completed(*streams))
    assert [len(site.bodies.get(stream_id, b"")) for stream_id in streams] == sizes


def test_upload_is_echoed():
    site = Site(17)
    body = bytes(range(256)) * 2000
    stream_id = site.client.send_request([*POST, (b"content-length", b"%d" % len(body))], fin=False)
    sent = site.client.send_body(stream_id, body, fin=True)
    seen = 0
    while sent < len(body):
        site.run(lambda seen=seen: BodyWritable(stream_id) in site.events[seen:])
        seen = len(site.events)
        sent += site.client.send_body(stream_id, body[sent:], fin=True)
    site.run(lambda: site.completed(stream_id))
    assert site.bodies[stream_id] == body


def test_unread_body_stops_the_sender():
    window = 64 << 10
    site = Site(stream_window=window, stream_window_max=window)
    site.bodies = {}
    client = site.client
    stream_id = client.send_request(get(b"/500000"), fin=True)
    for _ in range(60):
        site._serve()
        drain(client)
        site.pair.step()
    assert 0 < site.pair.client.readable(stream_id) <= window
    received = 0
    for _ in range(3000):
        site._serve()
        while piece := client.read_body(stream_id):
            received += len(piece)
        if MessageComplete(stream_id) in drain(client):
            break
        site.pair.step()
    assert received == 500_000


def test_trailers():
    site = Site()
    stream_id = site.client.send_request(POST, fin=False)
    site.client.send_body(stream_id, b"body")
    site.client.send_headers(stream_id, [(b"a", b"b")])
    site.run(lambda: TrailersReceived(stream_id, ((b"a", b"b"),)) in site.server_events)
    site.run(lambda: site.completed(stream_id))


def test_cancel_reaches_the_server():
    site = Site()
    stream_id = site.client.send_request(POST, fin=False)
    site.client.send_body(stream_id, b"body")
    site.run(lambda: stream_id in site.requests)
    site.client.cancel(stream_id)
    site.run(lambda: any(isinstance(event, ExchangeFailed) for event in site.server_events))
    event = next(event for event in site.server_events if isinstance(event, ExchangeFailed))
    assert (event.error_code, event.remote) == (H3ErrorCode.H3_REQUEST_CANCELLED, True)
    other = site.client.send_request(get(b"/5"), fin=True)
    site.run(lambda: site.completed(other))
    assert not [event for event in site.events if isinstance(event, ExchangeFailed)]


def test_early_response_while_uploading():
    site = Site()
    stream_id = site.client.send_request(POST, fin=False)
    site.client.send_body(stream_id, bytes(1000))
    site.run(lambda: stream_id in site.requests)
    assert site.server is not None
    site.server.stop_reading(stream_id)
    site.server.send_headers(stream_id, [(b":status", b"413")])
    site.server.send_body(stream_id, b"too much", fin=True)
    site.run(lambda: site.completed(stream_id))
    assert PeerStoppedReading(stream_id, H3ErrorCode.H3_NO_ERROR) in site.events
    assert site.bodies[stream_id] == b"too much"
    assert site.client.send_body(stream_id, b"more", fin=True) == 4
    site.run(lambda: site.server.open_exchanges == 0)


def test_goaway_and_close():
    site = Site()
    stream_id = site.client.send_request(get(b"/5"), fin=True)
    site.run(lambda: site.completed(stream_id))
    assert site.server is not None
    site.server.shutdown()
    site.run(lambda: GoAwayReceived(4) in site.events)
    assert not site.client.can_send_request()
    site.server.close()
    site.run(lambda: isinstance(site.events[-1], ConnectionClosed))
    event = site.events[-1]
    assert isinstance(event, ConnectionClosed)
    assert (event.kind, event.error_code, event.application) == (CloseKind.REMOTE, H3ErrorCode.H3_NO_ERROR, True)


def test_broken_rule_closes_with_the_code():
    site = Site()
    pair = site.pair
    assert pair.server is not None
    stream_id = pair.server.open_stream(unidirectional=True)
    pair.server.write(stream_id, b"\x00\x04\x00")
    site.run(lambda: isinstance(site.events[-1], ConnectionClosed))
    assert site.events[-1].error_code == H3ErrorCode.H3_STREAM_CREATION_ERROR
    site.run(lambda: isinstance(site.server_events[-1], ConnectionClosed))
    assert site.server_events[-1].error_code == H3ErrorCode.H3_STREAM_CREATION_ERROR


def test_hundreds_of_requests_on_one_connection():
    site = Site()
    for number in range(250):
        stream_id = site.client.send_request([*get(b"/%d" % number), (b"x-n", b"%d" % (number % 3))], fin=True)
        site.run(lambda stream_id=stream_id: site.completed(stream_id))
        site.events.clear()
    assert site.client.open_exchanges == 0
    assert site.server is not None
    site.run(lambda: site.server.open_exchanges == 0)


def test_settings_of_a_profile():
    pair = Wire()
    settings = ((1, 65_536), (6, 262_144), (7, 100), (0x33, 1))
    config = H3Config(
        qpack_max_table_capacity=65_536, max_field_section_size=262_144, qpack_blocked_streams=100, settings=settings
    )
    client = H3Connection(pair.client, config)
    server = None
    for _ in range(100):
        drain(client)
        if pair.server is not None:
            server = server or H3Connection(pair.server)
            drain(server)
            if server.peer_settings.received:
                break
        pair.step()
    assert server is not None
    assert server.peer_settings.pairs[:4] == settings
