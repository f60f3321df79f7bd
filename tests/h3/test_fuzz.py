"""Any bytes on any stream: events, or the connection closes with a code. Nothing else comes out."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from specter.errors import LocalProtocolError
from specter.h3.config import H3Config
from specter.h3.connection import H3Connection
from specter.h3.errors import H3ErrorCode, H3Fault
from specter.h3.fields import FieldError, KnownLines, parse_request, parse_response, parse_trailers
from specter.h3.frames import encode_frame, encode_header
from specter.h3.qpack import check_line_count
from specter.h3.settings import decode_settings
from specter.quic.events import ConnectionClosed
from tests.h3.support import (
    GET,
    OK,
    POST,
    FakeQuic,
    data_frame,
    deliver,
    drain,
    established,
    headers_frame,
    settings_frame,
)

QUICK = settings(max_examples=150, deadline=None, derandomize=True)
CONFIG = H3Config(grease=False, max_field_section_size=2000, max_field_lines=50, qpack_blocked_streams=2)

kinds = st.one_of(st.integers(0, 16), st.sampled_from([0x21, 0x40, 0xF0700, 1 << 61]))
frames = st.one_of(
    st.builds(encode_frame, kinds, st.binary(max_size=40)),
    st.builds(encode_header, kinds, st.integers(0, 1 << 60)),
    st.sampled_from(
        [
            headers_frame(*OK),
            headers_frame(*OK, (b"content-length", b"3")),
            headers_frame(*POST),
            headers_frame((b":status", b"100")),
            headers_frame((b"a", b"b")),
            headers_frame((b"A", b"b")),
            data_frame(b"abc"),
            data_frame(b""),
            settings_frame((1, 4096), (7, 16)),
            encode_frame(1, b"\x02\x00\x80"),
            encode_frame(1, b"\x02\x00\xd9\x80"),
        ]
    ),
)
instructions = st.sampled_from([b"\x3f\xe1\x1f", b"\xc5\x017", b"\x80", b"\x84", b"\x40", b"\x01", b"\x43abc\x01d"])
pieces = st.one_of(frames, instructions, st.binary(max_size=30))
actions = st.tuples(
    st.sampled_from(["data", "data", "data", "data", "fin", "reset", "stop", "read", "write", "grant"]),
    st.sampled_from([0, 0, 4, 8, 1, 2, 3, 6, 7, 10, 11, 14, 15]),
    pieces,
)


def act(connection: H3Connection, quic: FakeQuic, what: str, stream_id: int, data: bytes) -> None:
    theirs = (stream_id & 1 == 1) == quic.is_client
    if what in ("data", "fin") and (theirs or not stream_id & 2):
        quic.inject(stream_id, data, fin=what == "fin")
    elif what == "reset" and (theirs or not stream_id & 2):
        quic.inject_reset(stream_id, len(data) + 0x100)
    elif what == "stop" and (not theirs or not stream_id & 2):
        quic.inject_stop(stream_id, len(data) + 0x100)
    elif what == "read":
        connection.read_body(stream_id, len(data) + 1)
    elif what == "grant" and stream_id in quic.streams:
        quic.grant(stream_id, len(data))
    elif what == "write":
        with suppress(LocalProtocolError):
            connection.send_headers(stream_id, OK)
            connection.send_body(stream_id, data * 10)


@QUICK
@given(is_client=st.booleans(), script=st.lists(actions, max_size=40), room=st.sampled_from([5, 1 << 40]))
def test_any_script(is_client, script, room):
    connection, quic = established(is_client, CONFIG, settings=((1, 4096), (7, 16)))
    quic.room = room
    if is_client:
        for fin in (True, False, False):
            connection.send_request(GET if fin else POST, fin=fin)
    events = []
    for what, stream_id, data in script:
        act(connection, quic, what, stream_id, data)
        if len(data) % 3:
            events += drain(connection)
    events += drain(connection)
    if quic.close_code is not None:
        assert H3ErrorCode(quic.close_code)
        assert quic.close_reason
    closed = [event for event in events if isinstance(event, ConnectionClosed)]
    assert len(closed) == (quic.close_code is not None)
    assert not closed or events[-1] is closed[0]
    assert connection.next_event() is None


@QUICK
@given(st.sampled_from([0, 1, 2, 3, 0x21]), st.binary(max_size=200), st.integers(1, 50), st.booleans())
def test_random_bytes_on_each_stream_kind(kind, data, step, is_client):
    for stream_id, start in ((3 - (not is_client), bytes([kind])), (0, b"")):
        connection, quic = established(is_client, CONFIG)
        if is_client:
            connection.send_request(GET, fin=True)
        stream_id = stream_id if stream_id == 0 else stream_id + 4
        quic.inject(stream_id, start)
        for at in range(0, len(data), step):
            quic.inject(stream_id, data[at : at + step], fin=at + step >= len(data))
            drain(connection)
            connection.read_body(0)


@QUICK
@given(st.integers(1, 64), st.integers(0, 5000), st.booleans(), st.integers(0, 3))
def test_delivery_in_pieces_gives_the_same_message(step, size, trailers, interim):
    client, client_quic = established()
    server, server_quic = established(False)
    client.send_request(POST, fin=True)
    client_quic.streams.pop(2)
    deliver(client_quic, server_quic)
    drain(server)
    for _ in range(interim):
        server.send_headers(0, [(b":status", b"103")])
    server.send_headers(0, [*OK, (b"content-length", b"%d" % size)])
    body = bytes(range(256)) * 20
    for at in range(0, size, 777):
        server.send_body(0, body[at : min(at + 777, size)])
    if trailers:
        server.send_headers(0, [(b"a", b"b")])
    else:
        server.send_body(0, b"", fin=True)
    wire = bytes(server_quic.streams[0].outgoing)
    names, received = [], bytearray()
    for at in range(0, len(wire), step):
        client_quic.inject(0, wire[at : at + step], fin=at + step >= len(wire))
        names += [type(event).__name__ for event in drain(client)]
        if at % 3 or at + step >= len(wire):
            while piece := client.read_body(0):
                received += piece
    names += [type(event).__name__ for event in drain(client)]
    assert received == body[:size]
    expected = ["InformationalReceived"] * interim + ["ResponseReceived"]
    expected += ["TrailersReceived"] * trailers + ["MessageComplete"]
    assert [name for name in names if name != "BodyReadable"] == expected


lines = st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=8)), max_size=5)


@QUICK
@given(lines, st.booleans())
def test_field_rules_only_know_one_error(fields, outgoing):
    for parse in (
        lambda: parse_response(fields, KnownLines(), outgoing=outgoing),
        lambda: parse_response([*OK, *fields], KnownLines(), outgoing=outgoing),
        lambda: parse_trailers(fields, KnownLines(), outgoing=outgoing),
        lambda: parse_request([*GET, *fields], KnownLines(), extended_connect=True, outgoing=outgoing),
        lambda: parse_request([*fields, *GET], KnownLines(), extended_connect=False, outgoing=outgoing),
    ):
        with suppress(FieldError):
            parse()


@QUICK
@given(st.binary(max_size=60))
def test_parsers_only_know_protocol_errors(data):
    for parse in (decode_settings, lambda block: check_line_count(block, 10)):
        with suppress(H3Fault):
            parse(data)
