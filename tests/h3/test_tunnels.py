"""Rules of a tunnel's stream (RFC 9114, section 4.4; RFC 9220): what either side may send, and how it ends."""

from __future__ import annotations

import pytest

from specter.errors import LocalProtocolError
from specter.h3.config import H3Config
from specter.h3.connection import H3Connection
from specter.h3.events import (
    BodyReadable,
    BodyWritable,
    ExchangeFailed,
    InformationalReceived,
    MessageComplete,
    PeerStoppedReading,
    RequestReceived,
    ResponseReceived,
)
from tests.h3.support import (
    CODES,
    GET,
    OK,
    PLAIN,
    FakeQuic,
    closed_with,
    data_frame,
    drain,
    established,
    headers_frame,
    read_all,
    varint,
)

ENABLED = ((8, 1),)
SERVER = H3Config(grease=False, enable_connect_protocol=True)
CONNECT = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:]]


def opened(is_client: bool = True) -> tuple[H3Connection, FakeQuic]:
    """Return a connection with one open tunnel on stream 0."""
    connection, quic = established(is_client, PLAIN if is_client else SERVER, ENABLED)
    if is_client:
        connection.send_request(CONNECT, fin=False)
        quic.inject(0, headers_frame(*OK))
    else:
        quic.inject(0, headers_frame(*CONNECT))
        drain(connection)
        connection.send_headers(0, OK)
    drain(connection)
    return connection, quic


both = pytest.mark.parametrize("is_client", [True, False])


@both
def test_data_needs_no_length_and_has_none(is_client: bool) -> None:
    connection, quic = opened(is_client)
    for size in (1, 5_000, 0, 3):
        quic.inject(0, data_frame(bytes(size)))
    assert drain(connection) == [BodyReadable(0)]
    assert read_all(connection, 0) == bytes(5_004)
    quic.inject(0, fin=True)
    assert drain(connection) == [MessageComplete(0)]


def test_content_length_means_nothing_when_a_tunnel_opens() -> None:
    connection, quic = established(settings=ENABLED)
    connection.send_request([*CONNECT, (b"content-length", b"5")], fin=False)
    quic.inject(0, headers_frame(*OK, (b"content-length", b"3")) + data_frame(bytes(10)), fin=True)
    assert drain(connection)[-1] == BodyReadable(0)
    assert read_all(connection, 0) == bytes(10)
    assert drain(connection) == [MessageComplete(0)]
    assert connection.send_body(0, bytes(100)) == 100


@both
def test_each_direction_ends_by_itself(is_client: bool) -> None:
    connection, quic = opened(is_client)
    connection.send_body(0, b"ours", fin=True)
    assert quic.streams[0].fin_out
    assert connection.open_exchanges == 1
    quic.inject(0, data_frame(b"theirs"), fin=True)
    drain(connection)
    assert read_all(connection, 0) == b"theirs"
    assert drain(connection) == [MessageComplete(0)]
    assert connection.open_exchanges == 0


@both
def test_the_peer_ends_first(is_client: bool) -> None:
    connection, quic = opened(is_client)
    quic.inject(0, fin=True)
    assert drain(connection) == [MessageComplete(0)]
    assert connection.open_exchanges == 1
    assert connection.send_body(0, b"still here") == 10
    assert bytes(quic.streams[0].outgoing).endswith(data_frame(b"still here"))
    connection.send_body(0, b"", fin=True)
    assert connection.open_exchanges == 0


@both
def test_a_reset_ends_both_directions(is_client: bool) -> None:
    connection, quic = opened(is_client)
    quic.inject(0, data_frame(b"lost"))
    quic.inject_reset(0, CODES.H3_CONNECT_ERROR)
    *_, failed = drain(connection)
    assert isinstance(failed, ExchangeFailed)
    assert (failed.error_code, failed.remote, failed.retry_safe) == (CODES.H3_CONNECT_ERROR, True, False)
    assert quic.streams[0].reset_out == CODES.H3_REQUEST_CANCELLED
    assert connection.open_exchanges == 0
    assert connection.send_body(0, b"into the void") == 13


@both
def test_a_peer_that_stops_reading_may_go_on_sending(is_client: bool) -> None:
    connection, quic = opened(is_client)
    quic.inject_stop(0, CODES.H3_NO_ERROR)
    assert drain(connection) == [PeerStoppedReading(0, CODES.H3_NO_ERROR)]
    quic.inject(0, data_frame(b"more"), fin=True)
    drain(connection)
    assert read_all(connection, 0) == b"more"


def test_cancelling_says_so_in_both_directions() -> None:
    connection, quic = opened()
    connection.cancel(0)
    assert (quic.streams[0].reset_out, quic.streams[0].stopped) == (CODES.H3_REQUEST_CANCELLED,) * 2
    assert drain(connection) == []


@both
@pytest.mark.parametrize(
    "frame", [headers_frame((b"a", b"b")), b"\x04\x00", b"\x07\x01\x00", b"\x05\x00", b"\x03\x01\x00"]
)
def test_only_data_frames(is_client: bool, frame: bytes) -> None:
    connection, quic = opened(is_client)
    quic.inject(0, frame)
    expected = "H3_ID_ERROR" if is_client and frame[0] == 5 else "H3_FRAME_UNEXPECTED"
    assert closed_with(connection, quic) == expected


@both
def test_unknown_frames_and_capsules_inside_of_data_pass(is_client: bool) -> None:
    """Capsules (RFC 9297) are the business of the protocol in the tunnel: their bytes are data like any other."""
    connection, quic = opened(is_client)
    capsule = varint(0x17) + varint(1 << 30) + b"never complete"
    quic.inject(0, varint(0x21) + b"\x03abc" + data_frame(capsule) + varint(0x1F * 7 + 0x21) + b"\x00")
    drain(connection)
    assert read_all(connection, 0) == capsule
    assert connection.open_exchanges == 1


@both
@pytest.mark.parametrize("end", [b"\x00\x05abc", b"\x00", b"\x00\x80\x00", b"\x21\x05abc"])
def test_an_end_inside_of_a_frame(is_client: bool, end: bytes) -> None:
    connection, quic = opened(is_client)
    quic.inject(0, end, fin=True)
    drain(connection)
    read_all(connection, 0)
    drain(connection)
    assert quic.close_code == CODES.H3_FRAME_ERROR


def test_back_pressure() -> None:
    connection, quic = opened()
    quic.streams[0].room = 1_000
    sent = connection.send_body(0, bytes(5_000))
    assert 0 < sent < 5_000
    assert connection.send_body(0, bytes(5_000 - sent)) == 0
    quic.grant(0, 100_000)
    assert drain(connection) == [BodyWritable(0)]
    assert connection.send_body(0, bytes(5_000 - sent), fin=True) == 5_000 - sent


@pytest.mark.parametrize("status", [b"300", b"403", b"426", b"501"])
def test_a_refusal_is_an_ordinary_response(status: bytes) -> None:
    connection, quic = established(settings=ENABLED)
    connection.send_request(CONNECT, fin=False)
    lines = ((b":status", status), (b"content-length", b"2"))
    quic.inject(0, headers_frame(*lines) + data_frame(b"no"), fin=True)
    assert drain(connection)[0] == ResponseReceived(0, int(status), (lines[1],))
    assert read_all(connection, 0) == b"no"
    assert drain(connection) == [MessageComplete(0)]


def test_a_refusal_with_a_wrong_length_is_malformed() -> None:
    connection, quic = established(settings=ENABLED)
    connection.send_request(CONNECT, fin=False)
    quic.inject(0, headers_frame((b":status", b"403"), (b"content-length", b"2")) + data_frame(b"none"), fin=True)
    *_, failed = drain(connection)
    assert isinstance(failed, ExchangeFailed)
    assert failed.error_code == CODES.H3_MESSAGE_ERROR


def test_interim_responses_before_a_tunnel_opens() -> None:
    connection, quic = established(settings=ENABLED)
    connection.send_request(CONNECT, fin=False)
    quic.inject(0, headers_frame((b":status", b"103")) + headers_frame((b":status", b"204")) + data_frame(b"open"))
    assert drain(connection) == [InformationalReceived(0, 103, ()), ResponseReceived(0, 204, ()), BodyReadable(0)]


def test_101_is_malformed() -> None:
    connection, quic = established(settings=ENABLED)
    connection.send_request(CONNECT, fin=False)
    quic.inject(0, headers_frame((b":status", b"101")))
    (failed,) = drain(connection)
    assert isinstance(failed, ExchangeFailed)
    assert failed.error_code == CODES.H3_MESSAGE_ERROR


def test_the_client_keeps_the_connection_open_for_its_tunnels() -> None:
    connection, quic = established(settings=ENABLED)
    for _ in range(3):
        connection.send_request(CONNECT, fin=False)
    connection.send_request(GET, fin=True)
    assert quic.kept_open
    connection.cancel(0)
    quic.inject_reset(4, CODES.H3_CONNECT_ERROR)
    drain(connection)
    assert quic.kept_open
    quic.inject(8, headers_frame(*OK), fin=True)
    drain(connection)
    assert quic.kept_open
    connection.send_body(8, b"", fin=True)
    assert not quic.kept_open
    assert not opened(is_client=False)[1].kept_open


# -- extended CONNECT has to be allowed ------------------------------------------------------------


@pytest.mark.parametrize("settings", [(), ((8, 0),)])
def test_not_before_the_server_allows_it(settings: tuple[tuple[int, int], ...]) -> None:
    connection, _ = established(settings=settings)
    assert connection.peer_settings.received
    with pytest.raises(LocalProtocolError, match=":protocol"):
        connection.send_request(CONNECT, fin=False)
    assert connection.open_exchanges == 0


@pytest.mark.parametrize("value", [2, 1 << 30])
def test_a_setting_that_is_neither_0_nor_1(value: int) -> None:
    _, quic = established(settings=((8, value),))
    assert quic.close_code == CODES.H3_SETTINGS_ERROR


def test_a_server_that_did_not_offer_it_takes_it_for_malformed() -> None:
    connection, quic = established(False)
    quic.inject(0, headers_frame(*CONNECT))
    (failed,) = drain(connection)
    assert isinstance(failed, ExchangeFailed)
    assert failed.error_code == CODES.H3_MESSAGE_ERROR


@pytest.mark.parametrize(
    "lines",
    [
        [(b":method", b"GET"), *CONNECT[1:]],
        [line for line in CONNECT if line[0] != b":scheme"],
        [line for line in CONNECT if line[0] != b":path"],
        [line for line in CONNECT if line[0] != b":authority"],
        [*CONNECT[:2], (b":protocol", b"websocket"), *CONNECT[2:]],
        [CONNECT[0], (b":protocol", b""), *CONNECT[2:]],
        [CONNECT[0], (b":protocol", b"web socket"), *CONNECT[2:]],
        [*CONNECT, (b"connection", b"upgrade")],
        [*CONNECT, (b"upgrade", b"websocket")],
    ],
)
def test_malformed_extended_connect(lines: list[tuple[bytes, bytes]]) -> None:
    client, _ = established(settings=ENABLED)
    with pytest.raises(LocalProtocolError, match="malformed"):
        client.send_request(lines, fin=False)
    server, quic = established(False, SERVER)
    quic.inject(0, headers_frame(*lines))
    (failed,) = drain(server)
    assert isinstance(failed, ExchangeFailed)
    assert failed.error_code == CODES.H3_MESSAGE_ERROR


def test_the_server_is_told_everything() -> None:
    connection, quic = established(False, SERVER)
    quic.inject(0, headers_frame(*CONNECT, (b"sec-websocket-version", b"13")))
    assert drain(connection) == [
        RequestReceived(
            0, b"CONNECT", b"https", b"example.org", b"/", b"websocket", ((b"sec-websocket-version", b"13"),)
        )
    ]
