"""Both roles of H3Connection, talking to each other and to bytes made by hand."""

from __future__ import annotations

import tracemalloc

import pylsqpack
import pytest

from specter.errors import LocalProtocolError
from specter.h3.config import H3Config
from specter.h3.connection import H3Connection
from specter.h3.errors import H3ErrorCode
from specter.h3.events import (
    BodyReadable,
    BodyWritable,
    ExchangeFailed,
    InformationalReceived,
    MessageComplete,
    PeerStoppedReading,
    RequestReceived,
    RequestsAvailable,
    ResponseReceived,
    SettingsReceived,
    TrailersReceived,
)
from specter.h3.frames import encode_frame
from specter.quic.errors import StreamLimitReached
from specter.quic.events import HandshakeCompleted
from tests.h3.support import (
    GET,
    OK,
    PLAIN,
    POST,
    FakeQuic,
    connect,
    data_frame,
    deliver,
    drain,
    established,
    headers_frame,
    peer_uni,
    read_all,
    settings_frame,
)


class Pair:
    """A client and a server over memory; ``run`` moves bytes until nothing changes, collecting events."""

    def __init__(self, chunk: int = 1 << 40, config: H3Config = H3Config()) -> None:  # noqa: B008
        self.client_quic, self.server_quic = FakeQuic(True), FakeQuic(False)
        self.client, self.server = H3Connection(self.client_quic, config), H3Connection(self.server_quic, config)
        self.chunk = chunk
        self.client_events: list[object] = []
        self.server_events: list[object] = []
        for quic in (self.client_quic, self.server_quic):
            quic.events.append(HandshakeCompleted(b"h3"))

    def run(self) -> None:
        quiet = 0
        while quiet < 2:
            before = self._progress()
            self.client_events += drain(self.client)
            self.server_events += drain(self.server)
            deliver(self.client_quic, self.server_quic, self.chunk)
            deliver(self.server_quic, self.client_quic, self.chunk)
            quiet = quiet + 1 if self._progress() == before else 0
        assert self.client_quic.close_code is None, self.client_quic.close_reason
        assert self.server_quic.close_code is None, self.server_quic.close_reason

    def _progress(self) -> tuple[int, ...]:
        return (
            len(self.client_events),
            len(self.server_events),
            *[stream.moved for quic in (self.client_quic, self.server_quic) for stream in quic.streams.values()],
        )

    def take(self) -> tuple[list[object], list[object]]:
        self.run()
        events = self.client_events, self.server_events
        self.client_events, self.server_events = [], []
        return events


def respond(connection: H3Connection, stream_id: int, body: bytes = b"") -> None:
    connection.send_headers(stream_id, OK, fin=not body)
    if body:
        assert connection.send_body(stream_id, body, fin=True) == len(body)


def test_settings_are_exchanged_first():
    pair = Pair()
    client, server = pair.take()
    for events in (client, server):
        assert isinstance(events[0], HandshakeCompleted)
        assert isinstance(events[1], SettingsReceived)
    assert pair.client.peer_settings.qpack_max_table_capacity == 4096
    assert pair.client.peer_settings.max_field_section_size == 65_536
    assert bytes(pair.client_quic.streams[2].outgoing[:2]) == b"\x00\x04"
    assert bytes(pair.client_quic.streams[6].outgoing[:1]) == b"\x02"
    assert bytes(pair.client_quic.streams[10].outgoing[:1]) == b"\x03"


@pytest.mark.parametrize("chunk", [1, 3, 1 << 40])
def test_whole_exchange(chunk):
    pair = Pair(chunk)
    pair.take()
    body = bytes(range(256)) * 8
    stream_id = pair.client.send_request([*POST, (b"content-length", b"2048"), (b"x-a", b"1")], fin=False)
    assert pair.client.send_body(stream_id, body) == len(body)
    pair.client.send_headers(stream_id, [(b"checksum", b"abc")])
    _, events = pair.take()
    assert events == [
        RequestReceived(
            0, b"POST", b"https", b"example.org", b"/", b"", ((b"content-length", b"2048"), (b"x-a", b"1"))
        ),
        BodyReadable(0),
    ]
    received = b""
    while pair.server.open_exchanges and len(received) < len(body):
        received += read_all(pair.server, stream_id)
    assert received == body
    assert pair.take()[1] == [TrailersReceived(0, ((b"checksum", b"abc"),)), MessageComplete(0)]

    pair.server.send_headers(0, [(b":status", b"103"), (b"link", b"</a>")])
    pair.server.send_headers(0, [*OK, (b"server", b"specter")])
    pair.server.send_body(0, b"hello ")
    pair.server.send_body(0, b"world", fin=True)
    events, _ = pair.take()
    assert events == [
        InformationalReceived(0, 103, ((b"link", b"</a>"),)),
        ResponseReceived(0, 200, ((b"server", b"specter"),)),
        BodyReadable(0),
    ]
    assert read_all(pair.client, 0) == b"hello world"
    assert pair.take()[0] == [MessageComplete(0)]
    assert pair.client.open_exchanges == pair.server.open_exchanges == 0


def test_empty_body_completes_at_once():
    pair = Pair()
    pair.take()
    pair.client.send_request(GET, fin=True)
    assert pair.take()[1][-1] == MessageComplete(0)
    respond(pair.server, 0)
    assert pair.take()[0] == [ResponseReceived(0, 200, ()), MessageComplete(0)]


def test_message_complete_waits_for_the_reader():
    connection, quic = established()
    connection.send_request(GET, fin=True)
    quic.inject(0, headers_frame(*OK) + data_frame(b"abc"), fin=True)
    assert drain(connection) == [ResponseReceived(0, 200, ()), BodyReadable(0)]
    assert connection.read_body(0, 2) == b"ab"
    assert drain(connection) == []
    assert connection.read_body(0) == b"c"
    assert drain(connection) == [MessageComplete(0)]
    assert connection.read_body(0) == b""


def test_body_is_announced_again_only_after_it_ran_dry():
    connection, quic = established()
    connection.send_request(GET, fin=True)
    quic.inject(0, headers_frame(*OK) + data_frame(b"abc"))
    assert drain(connection)[-1] == BodyReadable(0)
    quic.inject(0, data_frame(b"def"))
    assert drain(connection) == []
    assert read_all(connection, 0) == b"abcdef"
    quic.inject(0, data_frame(b"ghi"), fin=True)
    assert drain(connection) == [BodyReadable(0)]
    assert read_all(connection, 0) == b"ghi"
    assert drain(connection) == [MessageComplete(0)]


def test_body_header_alone_is_not_readable():
    connection, quic = established()
    connection.send_request(GET, fin=True)
    quic.inject(0, headers_frame(*OK) + b"\x00\x05")
    assert drain(connection) == [ResponseReceived(0, 200, ())]
    quic.inject(0, b"hello")
    assert drain(connection) == [BodyReadable(0)]


def test_unread_body_stays_in_quic():
    connection, quic = established()
    connection.send_request(GET, fin=True)
    quic.inject(0, headers_frame(*OK) + data_frame(bytes(1 << 20)))
    drain(connection)
    assert quic.readable(0) > (1 << 20) - 4096


def test_large_body_is_read_in_few_calls():
    connection, quic = established()
    connection.send_request(GET, fin=True)
    quic.inject(0, headers_frame(*OK) + data_frame(bytes(1 << 20)), fin=True)
    drain(connection)
    connection.read_body(0)
    reads = quic.reads
    total = 0
    while piece := connection.read_body(0):
        total += len(piece)
    assert total > 900_000
    assert quic.reads - reads <= 20
    assert drain(connection) == [MessageComplete(0)]


def test_small_get_reads_quic_once():
    connection, quic = established()
    connection.send_request(GET, fin=True)
    quic.inject(0, headers_frame(*OK) + data_frame(b"x"), fin=True)
    reads = quic.reads
    drain(connection)
    assert connection.read_body(0) == b"x"
    assert drain(connection) == [MessageComplete(0)]
    assert quic.reads - reads == 1


def test_a_chunk_of_many_frames_is_read_in_one_go():
    connection, quic = established()
    connection.send_request(GET, fin=True)
    quic.inject(0, headers_frame(*OK) + data_frame(bytes(5000)))
    assert BodyReadable(0) in drain(connection)
    assert read_all(connection, 0) == bytes(5000)
    body = bytes(range(256)) * 64
    quic.inject(0, b"".join(data_frame(body[at : at + 1000]) for at in range(0, len(body), 1000)))
    quic.inject(0, headers_frame((b"a", b"b")), fin=True)
    drain(connection)
    reads = quic.reads
    assert connection.read_body(0) == body
    assert quic.reads - reads == 2  # the body, then the trailers
    assert drain(connection) == [TrailersReceived(0, ((b"a", b"b"),)), MessageComplete(0)]


def test_asking_for_nothing_loses_nothing():
    connection, quic = established()
    connection.send_request(GET, fin=True)
    quic.inject(0, headers_frame(*OK) + data_frame(b"abc"), fin=True)
    drain(connection)
    assert connection.read_body(0, 0) == b""
    assert connection.read_body_into(0, memoryview(b"")) == 0
    assert connection.read_body(0) == b"abc"
    assert drain(connection) == [MessageComplete(0)]


@pytest.mark.parametrize("dynamic", [False, True])
def test_same_head_again_is_judged_again(dynamic):
    """What was learned from one response holds for the next, but not for its length, method or place."""
    connection, quic = established(config=H3Config(grease=False, max_interim_responses=2))
    encoder = pylsqpack.Encoder()
    instructions = encoder.apply_settings(4096, 16) if dynamic else b""
    head = [*OK, (b"content-length", b"3"), (b"x", b"y")]
    events: list[object] = []
    for number, body in enumerate((b"abc", b"abc", b"abc", b"ab", b"abcd")):
        more, block = encoder.encode(4 * number, head)
        quic.inject(peer_uni(quic, 1), (b"" if number else b"\x02") + instructions + more)
        instructions = b""
        connection.send_request(GET, fin=True)
        quic.inject(4 * number, encode_frame(1, block) + data_frame(body), fin=True)
        events += drain(connection)
        read_all(connection, 4 * number)
        events += drain(connection)
    good = [ResponseReceived(4 * n, 200, ((b"content-length", b"3"), (b"x", b"y"))) for n in range(5)]
    assert [event for event in events if isinstance(event, ResponseReceived)] == good
    assert [event.stream_id for event in events if isinstance(event, MessageComplete)] == [0, 4, 8]
    assert [event.stream_id for event in events if isinstance(event, ExchangeFailed)] == [12, 16]
    connection.send_request([(b":method", b"HEAD"), *GET[1:]], fin=True)
    quic.inject(20, encode_frame(1, pylsqpack.Encoder().encode(0, head)[1]), fin=True)
    assert drain(connection)[-1] == MessageComplete(20)
    connection.send_request(GET, fin=True)
    quic.inject(24, headers_frame((b":status", b"103")) * 3)
    assert [type(event) for event in drain(connection)] == [InformationalReceived] * 2 + [ExchangeFailed]
    connection.send_request(GET, fin=True)
    quic.inject(28, headers_frame(*OK) * 2)
    assert [type(event) for event in drain(connection)] == [ResponseReceived, ExchangeFailed]


def test_changed_request_is_judged_anew():
    connection, quic = established()
    lines = [*GET, (b"a", b"b")]
    for _ in range(3):
        connection.send_request(lines, fin=True)
    wires = {bytes(quic.streams[stream_id].outgoing) for stream_id in (0, 4, 8)}
    assert len(wires) == 1
    lines[-1] = (b"a", b"c")
    connection.send_request(lines, fin=True)
    assert bytes(quic.streams[12].outgoing) not in wires
    lines[-1] = (b"A", b"c")
    with pytest.raises(LocalProtocolError):
        connection.send_request(lines, fin=True)


def test_settings_make_requests_be_judged_anew():
    connection, quic = connect()
    drain(connection)
    lines = [*GET, (b"x", b"y" * 200)]
    connection.send_request(lines, fin=True)
    quic.inject(peer_uni(quic, 0), b"\x00" + settings_frame((0x06, 200)))
    drain(connection)
    with pytest.raises(LocalProtocolError, match="200"):
        connection.send_request(lines, fin=True)


def test_small_data_frames_are_joined():
    connection, quic = established()
    connection.send_request(GET, fin=True)
    quic.inject(0, headers_frame(*OK) + b"".join(data_frame(bytes([n])) for n in range(200)), fin=True)
    drain(connection)
    assert connection.read_body(0, 1000) == bytes(range(200))
    assert drain(connection) == [MessageComplete(0)]


@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 17])
def test_read_body_into(size):
    connection, quic = established()
    connection.send_request(GET, fin=True)
    body = bytes(range(256)) * 400
    frames = b"".join(data_frame(body[at : at + 10_000]) for at in range(0, len(body), 10_000))
    quic.inject(0, headers_frame(*OK) + frames, fin=True)
    drain(connection)
    received = bytearray()
    view = memoryview(bytearray(size))
    while count := connection.read_body_into(0, view):
        received += view[:count]
    assert received == body
    assert drain(connection) == [MessageComplete(0)]


def test_upload_waits_for_room():
    connection, quic = established()
    quic.room = 500
    stream_id = connection.send_request([*POST, (b"content-length", b"5000")], fin=False)
    body = bytes(range(250)) * 20
    sent = connection.send_body(stream_id, body, fin=True)
    assert 0 < sent < 600
    assert connection.send_body(stream_id, body[sent:], fin=True) == 0
    for _ in range(100):
        if sent == len(body):
            break
        quic.grant(stream_id, 300)
        assert drain(connection) == [BodyWritable(stream_id)]
        sent += connection.send_body(stream_id, body[sent:], fin=True)
    quic.grant(stream_id, 300)
    drain(connection)
    assert quic.streams[stream_id].fin_out
    server, server_quic = connect(False)
    deliver(quic, server_quic)
    drain(server)
    assert read_all(server, stream_id) == body
    assert drain(server) == [MessageComplete(stream_id)]


def test_blocked_writer_takes_any_room():
    connection, quic = established()
    quic.room = 200
    stream_id = connection.send_request(POST, fin=False)
    body = bytes(300)
    sent = connection.send_body(stream_id, body, fin=True)
    for _ in range(2000):
        if quic.streams[stream_id].fin_out:
            break
        quic.grant(stream_id, 1)
        if BodyWritable(stream_id) in drain(connection):
            sent += connection.send_body(stream_id, body[sent:], fin=True)
    assert quic.streams[stream_id].fin_out


def test_headers_larger_than_the_room_are_sent_whole():
    connection, quic = established()
    quic.room = 10
    connection.send_request([*GET, (b"x", b"y" * 1000)], fin=True)
    assert not quic.streams[0].fin_out
    while not quic.streams[0].fin_out:
        quic.grant(0, 100)
        drain(connection)
    server, server_quic = connect(False)
    deliver(quic, server_quic)
    assert isinstance(drain(server)[-2], RequestReceived)


def test_empty_final_body_call_ends_the_message():
    connection, quic = established()
    stream_id = connection.send_request(POST, fin=False)
    assert connection.send_body(stream_id, b"") == 0
    assert not quic.streams[0].fin_out
    assert connection.send_body(stream_id, b"", fin=True) == 0
    assert quic.streams[0].fin_out
    assert bytes(quic.streams[0].outgoing[-2:]) != b"\x00\x00"


def test_early_response_and_stop_sending_do_not_fail_an_upload():
    connection, quic = established()
    stream_id = connection.send_request(POST, fin=False)
    connection.send_body(stream_id, b"abc")
    quic.inject(0, headers_frame((b":status", b"413")) + data_frame(b"no"))
    quic.inject_stop(0, H3ErrorCode.H3_NO_ERROR)
    events = drain(connection)
    assert PeerStoppedReading(0, H3ErrorCode.H3_NO_ERROR) in events
    assert connection.send_body(stream_id, b"more", fin=True) == 4
    assert connection.read_body(0) == b"no"
    quic.inject(0, fin=True)
    assert drain(connection) == [MessageComplete(0)]
    assert connection.open_exchanges == 0
    assert quic.streams[0].stopped is None


def test_stop_sending_unseen_by_us_is_no_error():
    connection, quic = established()
    stream_id = connection.send_request(POST, fin=False)
    quic.inject_stop(0, H3ErrorCode.H3_NO_ERROR)
    assert connection.send_body(stream_id, bytes(100_000)) == 100_000


def test_server_stops_reading_and_answers():
    pair = Pair()
    pair.take()
    pair.client.send_request(POST, fin=False)
    pair.client.send_body(0, bytes(1000))
    pair.take()
    pair.server.stop_reading(0)
    respond(pair.server, 0, b"enough")
    client, server = pair.take()
    assert PeerStoppedReading(0, H3ErrorCode.H3_NO_ERROR) in client
    assert not [event for event in server if isinstance(event, ExchangeFailed)]
    assert read_all(pair.client, 0) == b"enough"
    assert pair.take()[0] == [MessageComplete(0)]
    assert pair.client.open_exchanges == pair.server.open_exchanges == 0


def test_cancel_resets_and_stops_and_late_events_are_ignored():
    connection, quic = established()
    stream_id = connection.send_request(POST, fin=False)
    connection.cancel(stream_id)
    assert quic.streams[0].reset_out == quic.streams[0].stopped == H3ErrorCode.H3_REQUEST_CANCELLED
    quic.inject(0, headers_frame(*OK), fin=True)
    quic.inject_reset(0, 0x10C)
    quic.grant(0, 10)
    assert drain(connection) == []
    assert connection.read_body(0) == b""
    assert connection.send_body(0, b"late") == 4
    connection.cancel(stream_id)
    assert connection.open_exchanges == 0


def test_cancel_after_the_request_ended_only_stops():
    connection, quic = established()
    connection.send_request(GET, fin=True)
    connection.cancel(0)
    assert quic.streams[0].reset_out is None
    assert quic.streams[0].stopped == H3ErrorCode.H3_REQUEST_CANCELLED


@pytest.mark.parametrize(
    ("code", "head", "safe"), [(0x10B, False, True), (0x10B, True, False), (0x10C, False, False), (0x77, False, False)]
)
def test_reset_by_the_server(code, head, safe):
    connection, quic = established()
    connection.send_request(POST, fin=False)
    if head:
        quic.inject(0, headers_frame(*OK))
        drain(connection)
    quic.inject_reset(0, code)
    (event,) = drain(connection)
    assert isinstance(event, ExchangeFailed)
    assert (event.error_code, event.remote, event.retry_safe) == (code, True, safe)
    assert quic.streams[0].reset_out == H3ErrorCode.H3_REQUEST_CANCELLED
    assert quic.streams[0].stopped is None
    assert connection.open_exchanges == 0


def test_reset_is_not_mistaken_for_the_end():
    """QUIC says at_end for a reset stream while its event still waits."""
    connection, quic = established()
    connection.send_request(GET, fin=True)
    quic.inject(0, headers_frame(*OK) + data_frame(b"part"))
    drain(connection)
    quic.inject_reset(0, 0x102)
    assert connection.read_body(0) == b"part"
    assert connection.read_body(0) == b""
    events = drain(connection)
    assert [type(event) for event in events] == [ExchangeFailed]


def test_reset_inside_a_frame_is_not_a_frame_error():
    connection, quic = established()
    connection.send_request(GET, fin=True)
    quic.inject(0, headers_frame(*OK) + b"\x00\x44\x00" + b"part")
    drain(connection)
    quic.inject_reset(0, 0x102)
    while connection.read_body(0):
        pass
    assert [type(event) for event in drain(connection)] == [ExchangeFailed]
    assert quic.close_code is None


def test_client_reset_ends_the_exchange_at_the_server():
    connection, quic = established(False)
    quic.inject(0, headers_frame(*POST))
    drain(connection)
    quic.inject_reset(0, 0x10C)
    (event,) = drain(connection)
    assert isinstance(event, ExchangeFailed)
    assert not event.retry_safe
    assert quic.streams[0].reset_out == H3ErrorCode.H3_REQUEST_CANCELLED


def test_requests_wait_for_streams():
    connection, quic = established(bidi=1)
    assert connection.can_send_request()
    connection.send_request(GET, fin=True)
    assert not connection.can_send_request()
    with pytest.raises(StreamLimitReached):
        connection.send_request(GET, fin=True)
    quic.grant_streams(1, unidirectional=False)
    assert drain(connection) == [RequestsAvailable()]
    assert connection.send_request(GET, fin=True) == 4


def test_critical_streams_wait_for_credit():
    connection, quic = connect(uni=1)
    drain(connection)
    assert sorted(quic.streams) == [2]
    connection.send_request(GET, fin=True)
    assert quic.streams[0].fin_out
    quic.grant_streams(1, unidirectional=True)
    drain(connection)
    assert sorted(quic.streams) == [0, 2, 6]
    quic.grant_streams(5, unidirectional=True)
    drain(connection)
    assert sorted(quic.streams) == [0, 2, 6, 10]
    assert bytes(quic.streams[10].outgoing) == b"\x03"


def test_tunnel():
    pair = Pair()
    pair.take()
    stream_id = pair.client.send_request([(b":method", b"CONNECT"), (b":authority", b"example.org:443")], fin=False)
    assert pair.take()[1] == [RequestReceived(0, b"CONNECT", b"", b"example.org:443", b"", b"", ())]
    pair.server.send_headers(stream_id, OK)
    pair.server.send_body(stream_id, b"from target")
    pair.client.send_body(stream_id, b"to target")
    pair.take()
    assert read_all(pair.client, 0) == b"from target"
    assert read_all(pair.server, 0) == b"to target"
    with pytest.raises(LocalProtocolError):
        pair.client.send_headers(0, [(b"a", b"b")])
    pair.client.send_body(0, b"", fin=True)
    assert pair.take()[1] == [MessageComplete(0)]
    pair.server.send_body(0, b"", fin=True)
    assert pair.take()[0] == [MessageComplete(0)]


@pytest.mark.parametrize("status", [b"204", b"304"])
def test_response_without_content_may_have_content_length(status):
    connection, quic = established()
    connection.send_request(GET, fin=True)
    quic.inject(0, headers_frame((b":status", status), (b"content-length", b"10")), fin=True)
    assert drain(connection)[-1] == MessageComplete(0)


def test_head_response_has_no_content():
    pair = Pair()
    pair.take()
    pair.client.send_request([(b":method", b"HEAD"), *GET[1:]], fin=True)
    pair.take()
    pair.server.send_headers(0, [*OK, (b"content-length", b"10")])
    with pytest.raises(LocalProtocolError):
        pair.server.send_body(0, b"0123456789")
    pair.server.send_body(0, b"", fin=True)
    assert pair.take()[0][-1] == MessageComplete(0)


def test_dynamic_table_is_used_in_both_directions():
    pair = Pair()
    pair.take()
    sizes = []
    for number in range(6):
        before = pair.client_quic.opened[False]
        stream_id = pair.client.send_request([*GET, (b"x-token", b"secret" * 20)], fin=True)
        sizes.append(len(pair.client_quic.streams[stream_id].outgoing))
        assert pair.client_quic.opened[False] == before + 1
        pair.take()
        pair.server.send_headers(stream_id, [*OK, (b"x-answer", b"value" * 20)], fin=True)
        client, _ = pair.take()
        assert client == [
            ResponseReceived(4 * number, 200, ((b"x-answer", b"value" * 20),)),
            MessageComplete(4 * number),
        ]
    assert sizes[-1] < sizes[0] / 3


def test_many_requests_leave_nothing_behind():
    pair = Pair(config=PLAIN)
    pair.take()

    def exchange(count: int) -> None:
        for _ in range(count):
            stream_id = pair.client.send_request([*GET, (b"x-a", b"b")], fin=True)
            deliver(pair.client_quic, pair.server_quic)
            drain(pair.server)
            respond(pair.server, stream_id, b"x")
            deliver(pair.server_quic, pair.client_quic)
            drain(pair.client)
            assert pair.client.read_body(stream_id) == b"x"
            assert drain(pair.client) == [MessageComplete(stream_id)]
            for quic in (pair.client_quic, pair.server_quic):
                quic.forget_finished()
                for stream in quic.streams.values():
                    del stream.outgoing[: stream.moved]
                    stream.moved = 0

    exchange(50)
    tracemalloc.start()
    try:
        exchange(100)
        before = tracemalloc.get_traced_memory()[0]
        exchange(1000)
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert after - before < 20_000
    assert pair.client.open_exchanges == pair.server.open_exchanges == 0


def test_close_is_told_once_and_last():
    connection, quic = established()
    connection.send_request(GET, fin=True)
    connection.close(reason="done")
    connection.close()
    assert quic.close_code == H3ErrorCode.H3_NO_ERROR
    quic.inject(0, headers_frame(*OK), fin=True)
    assert [type(event).__name__ for event in drain(connection)] == ["ConnectionClosed"]
    assert connection.next_event() is None
    assert connection.closed
    assert not connection.can_send_request()
    with pytest.raises(LocalProtocolError):
        connection.send_request(GET, fin=True)
    assert connection.read_body(0) == b""


def test_calls_for_no_exchange():
    connection, quic = established()
    for stream_id in (0, 4, 1, 2, -4):
        with pytest.raises(LocalProtocolError):
            connection.send_body(stream_id, b"x")
        assert connection.read_body(stream_id) == b""
        connection.cancel(stream_id)
        connection.stop_reading(stream_id)
    server, _ = established(False)
    with pytest.raises(LocalProtocolError):
        server.send_request(GET, fin=True)
    assert quic.close_code is None
    assert peer_uni(quic, 0) == 3


def test_send_order_is_checked():
    connection, _ = established()
    stream_id = connection.send_request([*POST, (b"content-length", b"3")], fin=False)
    for data, fin in ((b"four", False), (b"", True), (b"ab", True)):
        with pytest.raises(LocalProtocolError, match="content-length"):
            connection.send_body(stream_id, data, fin=fin)
    connection.send_body(stream_id, b"abc", fin=True)
    with pytest.raises(LocalProtocolError):
        connection.send_body(stream_id, b"d")
    with pytest.raises(LocalProtocolError):
        connection.send_headers(stream_id, [(b"a", b"b")])
    with pytest.raises(LocalProtocolError):
        connection.send_request([*POST, (b"content-length", b"3")], fin=True)

    server, quic = established(False)
    quic.inject(0)
    drain(server)
    with pytest.raises(LocalProtocolError, match="no request"):
        server.send_headers(0, OK)
    quic.inject(0, headers_frame(*GET), fin=True)
    drain(server)
    with pytest.raises(LocalProtocolError, match="interim"):
        server.send_headers(0, [(b":status", b"100")], fin=True)
    with pytest.raises(LocalProtocolError):
        server.send_body(0, b"x")
    server.send_headers(0, OK)
    server.send_headers(0, [(b"a", b"b")])
    assert quic.streams[0].fin_out


def test_peers_section_limit_is_kept():
    connection, quic = established(settings=((0x06, 200),))
    with pytest.raises(LocalProtocolError, match="200"):
        connection.send_request([*GET, (b"x", b"y" * 100)], fin=True)
    assert quic.opened[False] == 0
    connection.send_request(GET, fin=True)


def test_fields_too_long_for_qpack_open_no_stream():
    connection, quic = established()
    for lines in ([*GET, (b"x", b"y" * 65_536)], [*GET[:3], (b":path", b"/" + b"y" * 65_535)]):
        with pytest.raises(LocalProtocolError, match="65535"):
            connection.send_request(lines, fin=True)
    assert quic.opened[False] == 0
    connection.send_request([*GET, (b"x" * 60_000, b"y" * 65_535)], fin=True)
    assert quic.streams[0].fin_out


def test_faults_met_while_reading_into_a_buffer():
    connection, quic = established()
    connection.send_request(GET, fin=True)
    quic.inject(0, headers_frame(*OK, (b"content-length", b"5")) + data_frame(b"abc"), fin=True)
    drain(connection)
    assert connection.read_body_into(0, memoryview(bytearray(10))) == 0
    assert [type(event) for event in drain(connection)] == [ExchangeFailed]
    assert connection.read_body_into(0, memoryview(bytearray(10))) == 0

    connection.send_request(GET, fin=True)
    quic.inject(4, headers_frame(*OK) + b"\x00\x09abc", fin=True)
    drain(connection)
    connection.read_body_into(4, memoryview(bytearray(10)))
    connection.read_body_into(4, memoryview(bytearray(10)))
    drain(connection)
    assert quic.close_code == H3ErrorCode.H3_FRAME_ERROR


def test_critical_streams_go_on_when_they_have_room():
    quic = FakeQuic()
    quic.room = 1
    connection = H3Connection(quic, PLAIN)
    quic.events.append(HandshakeCompleted(b"h3"))
    drain(connection)
    assert bytes(quic.streams[2].outgoing) == b"\x00"
    quic.grant(2, 1000)
    drain(connection)
    assert bytes(quic.streams[2].outgoing[:2]) == b"\x00\x04"


def test_shutdown_before_the_handshake_is_sent_after_it():
    quic = FakeQuic()
    connection = H3Connection(quic, PLAIN)
    connection.shutdown()
    assert not connection.can_send_request()
    quic.events.append(HandshakeCompleted(b"h3"))
    drain(connection)
    assert bytes(quic.streams[2].outgoing).endswith(b"\x07\x01\x00")


def test_driver_calls_reach_quic():
    connection, quic = connect()
    assert connection.send(1) == []
    assert connection.next_deadline() == quic.next_deadline()
    connection.receive([], 1)
    connection.handle_deadline(1)
    assert connection.quic is quic
