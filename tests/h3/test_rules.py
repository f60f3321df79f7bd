"""Every rule whose breach has a code: what a peer does, and how the connection or the exchange ends."""

from __future__ import annotations

import pytest

from specter._wire import VARINT_MAX
from specter.errors import LocalProtocolError
from specter.h3.config import H3Config
from specter.h3.errors import H3ErrorCode, error_name
from specter.h3.events import (
    BodyReadable,
    ExchangeFailed,
    GoAwayReceived,
    InformationalReceived,
    MessageComplete,
    PriorityUpdated,
    RequestReceived,
    ResponseReceived,
    TrailersReceived,
)
from specter.h3.frames import encode_frame, encode_header, encode_priority_update
from specter.quic.events import StreamWritable, TokenReceived
from tests.h3.support import (
    GET,
    OK,
    PLAIN,
    POST,
    closed_with,
    connect,
    data_frame,
    drain,
    established,
    headers_frame,
    peer_uni,
    read_all,
    section,
    settings_frame,
    varint,
)

GREASE_FRAME = encode_frame(0x21, b"anything")
SETTINGS = settings_frame()
GOAWAY, CANCEL_PUSH, MAX_PUSH_ID = 0x07, 0x03, 0x0D


def identifier_frame(kind: int, value: int) -> bytes:
    return encode_frame(kind, varint(value))


CONTROL_CASES = [
    ("both", identifier_frame(GOAWAY, 0), "H3_MISSING_SETTINGS"),
    ("both", GREASE_FRAME, "H3_MISSING_SETTINGS"),
    ("both", data_frame(b"x"), "H3_MISSING_SETTINGS"),
    ("both", encode_header(0x21, 1 << 61), "H3_MISSING_SETTINGS"),
    ("both", SETTINGS + SETTINGS, "H3_FRAME_UNEXPECTED"),
    ("both", SETTINGS + data_frame(b"x"), "H3_FRAME_UNEXPECTED"),
    ("both", SETTINGS + headers_frame(*OK), "H3_FRAME_UNEXPECTED"),
    ("both", SETTINGS + encode_frame(0x05, b"\x00\x00\x00"), "H3_FRAME_UNEXPECTED"),
    *[("both", SETTINGS + encode_frame(kind, b""), "H3_FRAME_UNEXPECTED") for kind in (2, 6, 8, 9)],
    ("client", SETTINGS + identifier_frame(MAX_PUSH_ID, 1), "H3_FRAME_UNEXPECTED"),
    ("client", SETTINGS + encode_frame(0xF0700, b"\x00u=1"), "H3_FRAME_UNEXPECTED"),
    ("client", SETTINGS + encode_frame(0xF0701, b"\x00u=1"), "H3_FRAME_UNEXPECTED"),
    ("both", SETTINGS + identifier_frame(CANCEL_PUSH, 0), "H3_ID_ERROR"),
    ("server", SETTINGS + identifier_frame(MAX_PUSH_ID, 5) + identifier_frame(CANCEL_PUSH, 3), "H3_ID_ERROR"),
    ("server", SETTINGS + identifier_frame(MAX_PUSH_ID, 5) + identifier_frame(MAX_PUSH_ID, 4), "H3_ID_ERROR"),
    *[("client", SETTINGS + identifier_frame(GOAWAY, value), "H3_ID_ERROR") for value in (1, 2, 3, 7)],
    ("client", SETTINGS + identifier_frame(GOAWAY, 4) + identifier_frame(GOAWAY, 8), "H3_ID_ERROR"),
    ("server", SETTINGS + identifier_frame(GOAWAY, 4) + identifier_frame(GOAWAY, 5), "H3_ID_ERROR"),
    ("both", SETTINGS + encode_frame(GOAWAY, b""), "H3_FRAME_ERROR"),
    ("both", SETTINGS + encode_frame(GOAWAY, b"\x40"), "H3_FRAME_ERROR"),
    ("both", SETTINGS + encode_frame(GOAWAY, b"\x00\x00"), "H3_FRAME_ERROR"),
    ("both", SETTINGS + encode_header(GOAWAY, 9), "H3_FRAME_ERROR"),
    ("server", SETTINGS + encode_frame(MAX_PUSH_ID, b"\x00\x00"), "H3_FRAME_ERROR"),
    ("both", encode_frame(0x04, b"\x06"), "H3_FRAME_ERROR"),
    ("both", encode_frame(0x04, b"\x06\x40"), "H3_FRAME_ERROR"),
    *[("both", settings_frame((kind, 0)), "H3_SETTINGS_ERROR") for kind in (0, 2, 3, 4, 5)],
    ("both", settings_frame((0x06, 1), (0x06, 1)), "H3_SETTINGS_ERROR"),
    ("both", settings_frame((0x21, 1), (0x21, 2)), "H3_SETTINGS_ERROR"),
    ("both", settings_frame((0x33, 2)), "H3_SETTINGS_ERROR"),
    ("both", settings_frame((0x08, 2)), "H3_SETTINGS_ERROR"),
    ("both", encode_header(0x04, 1 << 40), "H3_EXCESSIVE_LOAD"),
    ("both", SETTINGS + identifier_frame(GOAWAY, 0) * 100, "H3_EXCESSIVE_LOAD"),
]


def roles(which: str) -> list[bool]:
    return {"both": [True, False], "client": [True], "server": [False]}[which]


@pytest.mark.parametrize("step", [1, 1 << 20])
@pytest.mark.parametrize(("who", "data", "code"), CONTROL_CASES)
def test_control_stream(who, data, code, step):
    for is_client in roles(who):
        connection, quic = connect(is_client)
        stream_id = peer_uni(quic, 0)
        sent = b"\x00" + data
        for at in range(0, len(sent), step):
            quic.inject(stream_id, sent[at : at + step])
            if quic.close_code is None:
                drain_until_closed(connection, quic)
        assert error_name(quic.close_code) == code


def drain_until_closed(connection, quic):
    while quic.close_code is None and connection.next_event() is not None:
        pass


@pytest.mark.parametrize("is_client", [True, False])
@pytest.mark.parametrize("kind", [0, 2, 3])
def test_critical_streams_are_single_and_stay_open(is_client, kind):
    start = varint(kind) + (SETTINGS if kind == 0 else b"")
    connection, quic = connect(is_client)
    quic.inject(peer_uni(quic, 0), start)
    quic.inject(peer_uni(quic, 1), start)
    assert closed_with(connection, quic) == "H3_STREAM_CREATION_ERROR"

    for end in ("fin", "late fin", "reset"):
        connection, quic = connect(is_client)
        quic.inject(peer_uni(quic, 0), start, fin=end == "fin")
        if end != "fin":
            drain(connection)
            assert quic.close_code is None
        if end == "late fin":
            quic.inject(peer_uni(quic, 0), fin=True)
        if end == "reset":
            quic.inject_reset(peer_uni(quic, 0), 0x100)
        assert closed_with(connection, quic) == "H3_CLOSED_CRITICAL_STREAM"


@pytest.mark.parametrize("index", [0, 1, 2])
def test_our_critical_streams_must_be_read(index):
    connection, quic = established()
    quic.inject_stop(4 * index + 2, 0x100)
    assert closed_with(connection, quic) == "H3_CLOSED_CRITICAL_STREAM"


@pytest.mark.parametrize(("is_client", "code"), [(True, "H3_ID_ERROR"), (False, "H3_STREAM_CREATION_ERROR")])
def test_push_streams_are_refused(is_client, code):
    connection, quic = established(is_client)
    quic.inject(peer_uni(quic, 1), b"\x01\x00")
    assert closed_with(connection, quic) == code


def test_bidirectional_stream_of_a_server():
    connection, quic = established()
    quic.inject(1, b"")
    assert closed_with(connection, quic) == "H3_STREAM_CREATION_ERROR"


@pytest.mark.parametrize("is_client", [True, False])
def test_unknown_streams_are_turned_away(is_client):
    connection, quic = established(is_client)
    for index in range(1, 200):
        stream_id = peer_uni(quic, index)
        quic.inject(stream_id, varint(0x1F * index + 0x21) + bytes(1000))
        quic.inject(stream_id, b"\x00\x04\x00")
        assert drain(connection) == []
        assert quic.streams[stream_id].stopped == H3ErrorCode.H3_STREAM_CREATION_ERROR
    assert quic.close_code is None


def test_stream_type_may_come_byte_by_byte_or_never():
    connection, quic = established()
    for at, byte in enumerate(varint(VARINT_MAX)):
        assert quic.streams.get(7) is None or quic.streams[7].stopped is None
        quic.inject(7, bytes([byte]))
        drain(connection)
        assert (quic.streams[7].stopped is not None) == (at == 7)
    quic.inject(11, b"\x40", fin=True)
    quic.inject(15, fin=True)
    quic.inject(19)
    quic.inject_reset(19, 0x100)
    assert drain(connection) == []
    assert quic.close_code is None


def test_streams_without_a_type_are_limited():
    connection, quic = established()
    for index in range(1, 300):
        quic.inject(peer_uni(quic, index), b"\x40")
    assert closed_with(connection, quic) == "H3_EXCESSIVE_LOAD"


@pytest.mark.parametrize("is_client", [True, False])
def test_grease_everywhere_is_ignored(is_client):
    connection, quic = connect(is_client)
    control = peer_uni(quic, 0)
    quic.inject(control, b"\x00" + settings_frame((0x1F * 9 + 0x21, 12345), (0x33, 1), (0x2B603742, 1)))
    quic.inject(control, GREASE_FRAME + encode_frame(0x1F * (1 << 50) + 0x21, b"") + encode_frame(0xABCDEF, b"abc"))
    drain(connection)
    assert connection.peer_settings.h3_datagram
    first = OK if is_client else POST
    if is_client:
        connection.send_request(GET, fin=True)
    quic.inject(0, GREASE_FRAME + headers_frame(*first) + GREASE_FRAME + data_frame(b"ab") + GREASE_FRAME)
    quic.inject(0, data_frame(b"cd") + GREASE_FRAME + headers_frame((b"t", b"v")) + GREASE_FRAME, fin=True)
    events = drain(connection)
    assert isinstance(events[0], ResponseReceived if is_client else RequestReceived)
    assert events[1:] == [BodyReadable(0)]
    assert read_all(connection, 0) == b"abcd"
    assert drain(connection) == [TrailersReceived(0, ((b"t", b"v"),)), MessageComplete(0)]


def test_we_grease():
    connection, quic = connect(config=H3Config())
    drain(connection)
    plain, plain_quic = connect(config=PLAIN)
    drain(plain)
    assert len(quic.streams[2].outgoing) > len(plain_quic.streams[2].outgoing) + 10
    server, server_quic = connect(False)
    server_quic.inject(2, bytes(quic.streams[2].outgoing))
    drain(server)
    assert server_quic.close_code is None
    reserved = [pair for pair in server.peer_settings.pairs if pair[0] % 0x1F == 0x21 % 0x1F]
    assert len(reserved) == 1


@pytest.mark.security
def test_unknown_frame_of_any_length_is_skipped_not_stored():
    """Netty CVE-2026-56816."""
    for is_client, stream_id in ((True, 3), (True, 0), (False, 0)):
        connection, quic = established(is_client)
        if is_client:
            connection.send_request(GET, fin=True)
        quic.inject(stream_id, encode_header(0x21, 1 << 60))
        for _ in range(50):
            quic.inject(stream_id, bytes(1 << 16))
            assert drain(connection) == []
            assert not quic.streams[stream_id].incoming


REQUEST_STREAM_CASES = [
    ("both", [], data_frame(b"x"), "H3_FRAME_UNEXPECTED"),
    ("both", [], data_frame(b""), "H3_FRAME_UNEXPECTED"),
    ("both", [], SETTINGS, "H3_FRAME_UNEXPECTED"),
    *[("both", [], encode_frame(kind, b"\x00"), "H3_FRAME_UNEXPECTED") for kind in (2, 3, 6, 7, 8, 9, 13)],
    *[("both", [], encode_header(kind, 1 << 50), "H3_FRAME_UNEXPECTED") for kind in (0xF0700, 0xF0701, 4)],
    ("client", [], encode_frame(0x05, b"\x00\x00\x00"), "H3_ID_ERROR"),
    ("server", [], encode_frame(0x05, b"\x00\x00\x00"), "H3_FRAME_UNEXPECTED"),
    ("both", ["head"], SETTINGS, "H3_FRAME_UNEXPECTED"),
    ("client", ["head"], encode_frame(0x05, b"\x00\x00\x00"), "H3_ID_ERROR"),
    ("both", ["head", "trailers"], data_frame(b""), "H3_FRAME_UNEXPECTED"),
    ("both", ["head", "trailers"], headers_frame((b"a", b"b")), "H3_FRAME_UNEXPECTED"),
    ("client", ["interim"], data_frame(b"x"), "H3_FRAME_UNEXPECTED"),
    ("both", [], encode_frame(0x01, b""), "QPACK_DECOMPRESSION_FAILED"),
    ("both", [], encode_frame(0x01, b"\x00\x00\x51"), "QPACK_DECOMPRESSION_FAILED"),
    ("both", [], encode_frame(0x01, b"\x00\x00\x80"), "QPACK_DECOMPRESSION_FAILED"),
]


def begin(is_client: bool, parts: list[str], config: H3Config = PLAIN, method: bytes = b"POST"):
    connection, quic = established(is_client, config)
    head = [(b":method", method), *GET[1:]]
    if is_client:
        connection.send_request(head, fin=True)
    frames = {
        "head": headers_frame(*(OK if is_client else head)),
        "trailers": headers_frame((b"a", b"b")),
        "interim": headers_frame((b":status", b"100")),
    }
    for part in parts:
        quic.inject(0, frames[part])
        drain(connection)
    return connection, quic


@pytest.mark.parametrize(("who", "parts", "data", "code"), REQUEST_STREAM_CASES)
def test_request_stream(who, parts, data, code):
    for is_client in roles(who):
        connection, quic = begin(is_client, parts)
        quic.inject(0, data)
        assert closed_with(connection, quic) == code


def test_only_data_in_a_tunnel():
    connection, quic = established()
    connection.send_request([(b":method", b"CONNECT"), (b":authority", b"a:1")], fin=False)
    quic.inject(0, headers_frame(*OK) + headers_frame((b"a", b"b")))
    assert closed_with(connection, quic) == "H3_FRAME_UNEXPECTED"
    connection, quic = established(False)
    quic.inject(0, headers_frame((b":method", b"CONNECT"), (b":authority", b"a:1")) + headers_frame((b"a", b"b")))
    assert closed_with(connection, quic) == "H3_FRAME_UNEXPECTED"


@pytest.mark.parametrize("is_client", [True, False])
@pytest.mark.parametrize("cut", [b"\x40", b"\x01", b"\x01\x05\x00", b"\x40\x21", b"\x21\x05abc"])
def test_end_inside_a_frame(is_client, cut):
    connection, quic = begin(is_client, ["head"])
    quic.inject(0, cut, fin=True)
    assert closed_with(connection, quic) == "H3_FRAME_ERROR"


@pytest.mark.parametrize("is_client", [True, False])
@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize("have", [0, 3])
def test_end_inside_data(is_client, late, have):
    connection, quic = begin(is_client, ["head"])
    quic.inject(0, b"\x00\x05" + b"abc"[:have], fin=not late)
    drain(connection)
    read_all(connection, 0)
    if late:
        quic.inject(0, fin=True)
    drain(connection)
    assert quic.close_code == H3ErrorCode.H3_FRAME_ERROR


def failure(connection) -> str:
    """Return the code of the only exchange's failure."""
    events = drain(connection)
    failed = [event for event in events if isinstance(event, ExchangeFailed)]
    assert len(failed) == 1, events
    assert not failed[0].remote
    assert not failed[0].retry_safe
    assert not connection.closed
    assert connection.open_exchanges == 0
    return error_name(failed[0].error_code)


def test_empty_trailer_section():
    connection, quic = begin(True, ["head"])
    quic.inject(0, encode_frame(0x01, b"\x00\x00"), fin=True)
    assert drain(connection) == [TrailersReceived(0, ()), MessageComplete(0)]


def test_end_before_the_head():
    for parts in ([], ["interim"]):
        connection, quic = begin(True, parts)
        quic.inject(0, fin=True)
        assert failure(connection) == "H3_MESSAGE_ERROR"
    connection, quic = established(False)
    quic.inject(0, fin=True)
    assert failure(connection) == "H3_REQUEST_INCOMPLETE"
    assert quic.streams[0].reset_out == H3ErrorCode.H3_REQUEST_INCOMPLETE


BAD_RESPONSES = [
    [],
    [(b"server", b"x")],
    [(b":status", b"200"), (b":status", b"200")],
    [(b"server", b"x"), (b":status", b"200")],
    [(b":status", b"200"), (b":path", b"/")],
    [(b":status", b"200"), (b":what", b"/")],
    [(b":status", b"101")],
    *[[(b":status", status)] for status in (b"", b"20", b"2000", b"abc", b"099", b"+20")],
    [*OK, (b"Server", b"x")],
    [*OK, (b"ser ver", b"x")],
    [*OK, (b"ser:ver", b"x")],
    [*OK, (b"serv\xe9r", b"x")],
    [*OK, (b"x", b"a\rb")],
    [*OK, (b"x", b"a\nb")],
    [*OK, (b"x", b"a\0b")],
    *[[*OK, (name, b"x")] for name in (b"connection", b"keep-alive", b"proxy-connection", b"upgrade")],
    [*OK, (b"transfer-encoding", b"chunked")],
    [*OK, (b"te", b"trailers")],
    *[[*OK, (b"content-length", value)] for value in (b"", b"-1", b"+1", b"1,1", b"a", b"1" * 30)],
    [*OK, (b"content-length", b"1"), (b"content-length", b"2")],
]


@pytest.mark.parametrize("lines", BAD_RESPONSES)
def test_malformed_response(lines):
    connection, quic = established()
    connection.send_request(POST, fin=False)
    quic.inject(0, headers_frame(*lines))
    assert failure(connection) == "H3_MESSAGE_ERROR"
    assert quic.streams[0].stopped == quic.streams[0].reset_out == H3ErrorCode.H3_MESSAGE_ERROR


BAD_REQUESTS = [
    [line for line in GET if line[0] != missing] for missing in (b":method", b":scheme", b":path", b":authority")
] + [
    [*GET, GET[0]],
    [*GET, (b":status", b"200")],
    [*GET, (b":protocol", b"websocket")],
    [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:]],
    [(b":method", b"CONNECT"), *GET[1:]],
    [(b":method", b"CONNECT")],
    [(b":method", b"CONNECT"), (b":authority", b"")],
    [(b":method", b"G T"), *GET[1:]],
    [(b":method", b""), *GET[1:]],
    [GET[0], (b":scheme", b"1"), *GET[2:]],
    [*GET[:2], (b":authority", b"user@example.org"), GET[3]],
    [*GET[:2], (b":authority", b""), GET[3]],
    [*GET[:2], (b":authority", b"a b"), GET[3]],
    [*GET, (b"host", b"other.org")],
    *[[*GET[:3], (b":path", path)] for path in (b"", b"x", b"*", b"/a b", b"/a#b", b"/\xc3", b"/\r\n")],
    [*GET, (b"te", b"gzip")],
    [*GET, (b"connection", b"close")],
    [(b"a", b"b"), *GET],
]


@pytest.mark.parametrize("lines", BAD_REQUESTS)
def test_malformed_request(lines):
    server, quic = established(False)
    quic.inject(0, headers_frame(*lines))
    assert failure(server) == "H3_MESSAGE_ERROR"
    client, client_quic = established()
    with pytest.raises(LocalProtocolError):
        client.send_request(lines, fin=True)
    assert client_quic.opened[False] == 0


def test_values_lose_outer_whitespace_when_received_and_may_not_have_it_when_sent():
    connection, quic = established()
    connection.send_request(GET, fin=True)
    quic.inject(0, headers_frame(*OK, (b"a", b" b\t"), (b"c", b"\x01 d\x7f"), (b"e", b"  "), (b"f", b"\xc3\xa9")))
    assert drain(connection)[0].headers == ((b"a", b"b"), (b"c", b"\x01 d\x7f"), (b"e", b""), (b"f", b"\xc3\xa9"))
    for value in (b" b", b"b\t", b"\x01", b"\x7f", b"a\nb"):
        with pytest.raises(LocalProtocolError):
            connection.send_request([*GET, (b"a", value)], fin=True)


@pytest.mark.parametrize("is_client", [True, False])
@pytest.mark.parametrize("lines", [[(b":status", b"200")], [(b":path", b"/")], [(b"A", b"b")], [(b"upgrade", b"b")]])
def test_malformed_trailers(is_client, lines):
    connection, quic = begin(is_client, ["head"])
    quic.inject(0, headers_frame(*lines))
    assert failure(connection) == "H3_MESSAGE_ERROR"


@pytest.mark.parametrize(("sent", "ends"), [(b"abcd", False), (b"ab", True), (b"", True)])
def test_content_length_mismatch(sent, ends):
    for is_client in (True, False):
        connection, quic = begin(is_client, [])
        head = OK if is_client else POST
        quic.inject(0, headers_frame(*head, (b"content-length", b"3")) + (data_frame(sent) if sent else b""), fin=ends)
        events = drain(connection)
        read_all(connection, 0)
        events += drain(connection)
        failed = [event for event in events if isinstance(event, ExchangeFailed)]
        assert [event.error_code for event in failed] == [H3ErrorCode.H3_MESSAGE_ERROR]
        assert MessageComplete(0) not in events


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", b"200"), (b"GET", b"204"), (b"GET", b"304")])
def test_content_where_there_is_none(method, status):
    connection, quic = begin(True, [], method=method)
    quic.inject(0, headers_frame((b":status", status)) + data_frame(b"x"))
    assert failure(connection) == "H3_MESSAGE_ERROR"


def test_interim_responses_are_limited():
    connection, quic = begin(True, [])
    quic.inject(0, headers_frame((b":status", b"103")) * 32)
    assert len(drain(connection)) == 32
    quic.inject(0, headers_frame((b":status", b"103")))
    assert failure(connection) == "H3_EXCESSIVE_LOAD"


SMALL = H3Config(grease=False, max_field_section_size=1000, max_field_lines=20)


@pytest.mark.security
@pytest.mark.parametrize("part", ["interim", "head", "trailers"])
@pytest.mark.parametrize("lines", [[(b"x", b"y" * 1000)], [(b"x", b"y")] * 21, [(b"x" * 500, b"y" * 500)]])
def test_decoded_size_is_limited(part, lines):
    """quic-go CVE-2025-64702 and CVE-2026-40898."""
    connection, quic = begin(True, ["head"] if part == "trailers" else [], SMALL)
    first = {"interim": [(b":status", b"103")], "head": OK, "trailers": []}[part]
    quic.inject(0, headers_frame(*first, *lines))
    assert failure(connection) == "H3_EXCESSIVE_LOAD"
    assert quic.streams[0].stopped == H3ErrorCode.H3_EXCESSIVE_LOAD


def test_encoded_size_is_limited_before_it_arrives():
    connection, quic = begin(True, [], SMALL)
    quic.inject(0, encode_header(0x01, 1001))
    assert failure(connection) == "H3_EXCESSIVE_LOAD"


def test_largest_section_is_taken():
    connection, quic = begin(True, [], SMALL)
    size = 1000 - (7 + 3 + 32) - (1 + 32)
    quic.inject(0, headers_frame(*OK, (b"x", b"y" * size)))
    assert isinstance(drain(connection)[0], ResponseReceived)


def test_goaway_fails_what_the_server_will_not_process():
    connection, quic = established()
    for _ in range(3):
        connection.send_request(POST, fin=False)
    quic.inject(3, identifier_frame(GOAWAY, 4))
    events = drain(connection)
    assert events[0] == GoAwayReceived(4)
    assert [(event.stream_id, event.remote, event.retry_safe) for event in events[1:]] == [
        (4, True, True),
        (8, True, True),
    ]
    assert quic.streams[8].reset_out == quic.streams[8].stopped == H3ErrorCode.H3_REQUEST_CANCELLED
    assert connection.goaway == 4
    assert not connection.can_send_request()
    with pytest.raises(LocalProtocolError):
        connection.send_request(GET, fin=True)
    connection.send_body(0, b"", fin=True)
    quic.inject(0, headers_frame(*OK), fin=True)
    assert MessageComplete(0) in drain(connection)
    quic.inject(3, identifier_frame(GOAWAY, 0))
    assert drain(connection) == [GoAwayReceived(0)]


def test_shutdown_of_a_server_refuses_later_requests():
    connection, quic = established(False)
    quic.inject(0, headers_frame(*GET), fin=True)
    drain(connection)
    connection.shutdown()
    connection.shutdown()
    assert bytes(quic.streams[3].outgoing).endswith(identifier_frame(GOAWAY, 4))
    quic.inject(4, headers_frame(*GET), fin=True)
    assert drain(connection) == []
    assert quic.streams[4].reset_out == quic.streams[4].stopped == H3ErrorCode.H3_REQUEST_REJECTED
    connection.send_headers(0, OK, fin=True)
    assert quic.streams[0].fin_out


def test_shutdown_of_a_client_sends_no_more_requests():
    connection, quic = established()
    connection.send_request(GET, fin=True)
    connection.shutdown()
    assert bytes(quic.streams[2].outgoing).endswith(identifier_frame(GOAWAY, 0))
    assert not connection.can_send_request()
    quic.inject(0, headers_frame(*OK), fin=True)
    assert MessageComplete(0) in drain(connection)


def test_a_server_hears_of_priorities():
    connection, quic = established(False)
    quic.inject(2, encode_frame(0xF0700, b"\x00u=1") + encode_frame(0xF0700, b"\x44\x00"))
    quic.inject(2, encode_priority_update(8, b"i"))
    assert drain(connection) == [PriorityUpdated(0, b"u=1"), PriorityUpdated(0x400, b""), PriorityUpdated(8, b"i")]
    assert quic.close_code is None


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (encode_frame(0xF0700, b""), "H3_FRAME_ERROR"),
        (encode_frame(0xF0700, b"\x44"), "H3_FRAME_ERROR"),
        (encode_frame(0xF0700, b"\x01u=1"), "H3_ID_ERROR"),
        (encode_frame(0xF0700, b"\x02u=1"), "H3_ID_ERROR"),
        (encode_frame(0xF0701, b"\x00u=1"), "H3_ID_ERROR"),
        (encode_header(0xF0701, 1 << 40), "H3_ID_ERROR"),
        (encode_header(0xF0700, 1025), "H3_EXCESSIVE_LOAD"),
        (encode_header(0xF0700, 1 << 60), "H3_EXCESSIVE_LOAD"),
    ],
)
def test_priority_updates_that_are_none(frame, code):
    connection, quic = established(False)
    quic.inject(2, frame)
    drain(connection)
    assert error_name(quic.close_code) == code


def test_a_client_changes_a_priority():
    connection, quic = established()
    stream_id = connection.send_request(GET, fin=True)
    connection.reprioritize(stream_id, b"u=0")
    update = encode_frame(0xF0700, b"\x00u=0")
    assert bytes(quic.streams[2].outgoing).endswith(update)
    connection.cancel(stream_id)
    connection.reprioritize(stream_id, b"u=1")
    connection.reprioritize(400, b"u=1")
    assert bytes(quic.streams[2].outgoing).endswith(update)


def test_a_peer_that_leaves_the_control_stream_unread_gets_no_priorities():
    connection, quic = established()
    stream_id = connection.send_request(GET, fin=True)
    quic.streams[2].room = 3
    for urgency in range(8):
        connection.reprioritize(stream_id, b"u=%d" % urgency)
    quic.streams[2].room = 1 << 20
    quic.events.append(StreamWritable(2))
    drain(connection)
    assert bytes(quic.streams[2].outgoing).endswith(encode_frame(0xF0700, b"\x00u=0"))


def test_a_server_sends_no_priorities():
    connection, _ = established(False)
    with pytest.raises(LocalProtocolError):
        connection.reprioritize(0, b"u=1")


def test_client_goaway_at_a_server():
    connection, quic = established(False)
    quic.inject(2, identifier_frame(GOAWAY, 7))
    assert drain(connection) == [GoAwayReceived(7)]


def test_one_bad_exchange_leaves_the_others_alone():
    connection, quic = established()
    connection.send_request(GET, fin=True)
    connection.send_request(GET, fin=True)
    quic.inject(0, headers_frame((b"no", b"status")))
    quic.inject(4, headers_frame((b":status", b"100")) + headers_frame(*OK), fin=True)
    events = drain(connection)
    assert isinstance(events[0], ExchangeFailed)
    assert events[1:] == [InformationalReceived(4, 100, ()), ResponseReceived(4, 200, ()), MessageComplete(4)]


def test_tokens_are_passed_on():
    connection, quic = established()
    quic.events.append(TokenReceived(b"token"))
    assert drain(connection) == [TokenReceived(b"token")]


def test_sections_of_one_line_each_make_no_difference_to_order():
    connection, quic = begin(True, [])
    quic.inject(0, encode_frame(0x01, section(*OK, (b"b", b"1"), (b"a", b"2"), (b"b", b"3"))))
    assert drain(connection)[0].headers == ((b"b", b"1"), (b"a", b"2"), (b"b", b"3"))
