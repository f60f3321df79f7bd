"""Requests in 0-RTT: remembered settings, rejection, and tickets that remember settings."""

from __future__ import annotations

import pytest

from specter.errors import LocalProtocolError
from specter.h3.connection import H3Connection
from specter.h3.early_data import recall
from specter.h3.errors import H3ErrorCode
from specter.h3.events import ExchangeFailed, RequestReceived, SettingsReceived
from specter.h3.settings import Setting, Settings, encode_settings
from specter.quic.early_data import EarlyDataStatus
from specter.quic.events import EarlyDataRejected, HandshakeCompleted, TicketReceived
from specter.tls.session import Session
from tests.h3.support import GET, PLAIN, FakeQuic, closed_with, connect, deliver, drain, peer_uni, settings_frame

S = Setting
REMEMBERED = (
    (S.QPACK_MAX_TABLE_CAPACITY, 4096),
    (S.MAX_FIELD_SECTION_SIZE, 1_000),
    (S.QPACK_BLOCKED_STREAMS, 16),
    (S.ENABLE_CONNECT_PROTOCOL, 1),
    (S.H3_DATAGRAM, 1),
)


def early(*pairs: tuple[int, int]) -> tuple[H3Connection, FakeQuic]:
    quic = FakeQuic()
    quic.early_data, quic.handshake_complete = EarlyDataStatus.OFFERED, False
    return H3Connection(quic, PLAIN, remembered=encode_settings(pairs)), quic


def accept(quic: FakeQuic) -> None:
    quic.early_data, quic.handshake_complete = EarlyDataStatus.ACCEPTED, True
    quic.events.append(HandshakeCompleted(b"h3"))


def reject(quic: FakeQuic) -> None:
    quic.early_data, quic.handshake_complete = EarlyDataStatus.REJECTED, True
    quic.streams.clear()
    quic.opened = {True: 0, False: 0}
    quic.events += [EarlyDataRejected(), HandshakeCompleted(b"h3")]


def session(ticket: bytes = b"ticket") -> Session:
    return Session(
        ticket=ticket,
        secret=bytes(32),
        age_add=0,
        cipher_suite=0x1301,
        lifetime=7200,
        early_data=True,
        server_name="example.org",
        alpn="h3",
        transport_parameters=b"",
        certificates=(b"certificate",),
    )


# -- remembered settings ------------------------------------------------------------------------------


def test_a_request_goes_out_before_the_servers_settings() -> None:
    client, quic = early(*REMEMBERED)
    assert client.can_send_request()
    assert client.send_request(GET, fin=True) == 0
    assert list(quic.streams) == [2, 6, 10, 0]  # SETTINGS first
    assert quic.streams[2].outgoing[:2] == b"\x00\x04"
    server, other = connect(is_client=False)
    other.events.clear()
    other.handshake_complete = False
    deliver(quic, other)
    events = drain(server)
    assert any(isinstance(event, RequestReceived) for event in events)
    assert any(isinstance(event, SettingsReceived) for event in events)
    assert other.streams[3].outgoing[:2] == b"\x00\x04", "its SETTINGS go ahead of its reply"


def test_early_requests_use_no_table_and_keep_to_remembered_limits() -> None:
    client, quic = early(*REMEMBERED)
    with pytest.raises(LocalProtocolError, match="the peer takes 1000"):
        client.send_request([*GET, (b"x", b"y" * 1_000)], fin=True)
    client.send_request([*GET, (b"x-custom", b"value")], fin=True)
    assert bytes(quic.streams[6].outgoing) == b"\x02", "nothing was inserted"
    assert client.peer_settings.max_field_section_size == 1_000
    assert not client.peer_settings.received


def test_without_early_data_the_defaults_count() -> None:
    quic = FakeQuic()
    client = H3Connection(quic, PLAIN, remembered=encode_settings(REMEMBERED))
    assert client.peer_settings == Settings()


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x02\x00", b"\xff" * 9, encode_settings([(1, 1), (1, 1)])])
def test_damaged_memories_are_none(data: bytes) -> None:
    assert recall(data) == Settings()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {S.MAX_FIELD_SECTION_SIZE: 2_000},
        {S.QPACK_BLOCKED_STREAMS: 100},
        {0x21: 5},
    ],
)
def test_a_server_may_raise_its_limits(changes: dict[int, int]) -> None:
    client, quic = early(*REMEMBERED)
    client.send_request(GET, fin=True)
    accept(quic)
    quic.inject(peer_uni(quic, 0), b"\x00" + settings_frame(*({**dict(REMEMBERED), **changes}).items()))
    assert any(isinstance(event, SettingsReceived) for event in drain(client))
    assert quic.close_code is None


@pytest.mark.parametrize(
    ("changed", "value", "code"),
    [
        (S.MAX_FIELD_SECTION_SIZE, 999, "H3_SETTINGS_ERROR"),
        (S.MAX_FIELD_SECTION_SIZE, None, "H3_SETTINGS_ERROR"),
        (S.QPACK_BLOCKED_STREAMS, 15, "H3_SETTINGS_ERROR"),
        (S.QPACK_BLOCKED_STREAMS, None, "H3_SETTINGS_ERROR"),
        (S.ENABLE_CONNECT_PROTOCOL, 0, "H3_SETTINGS_ERROR"),
        (S.H3_DATAGRAM, None, "H3_SETTINGS_ERROR"),
        (S.QPACK_MAX_TABLE_CAPACITY, 4095, "QPACK_DECODER_STREAM_ERROR"),
        (S.QPACK_MAX_TABLE_CAPACITY, 4097, "QPACK_DECODER_STREAM_ERROR"),
        (S.QPACK_MAX_TABLE_CAPACITY, None, "QPACK_DECODER_STREAM_ERROR"),
    ],
)
@pytest.mark.security
def test_a_server_that_accepts_may_not_lower_them(changed: int, value: int | None, code: str) -> None:
    """RFC 9114, section 7.2.4.2; RFC 9204, section 3.2.3."""
    pairs = dict(REMEMBERED)
    if value is None:
        del pairs[changed]
    else:
        pairs[changed] = value
    client, quic = early(*REMEMBERED)
    accept(quic)
    quic.inject(peer_uni(quic, 0), b"\x00" + settings_frame(*pairs.items()))
    assert closed_with(client, quic) == code


def test_a_limit_where_there_was_none_is_lower() -> None:
    client, quic = early((S.QPACK_BLOCKED_STREAMS, 1))
    accept(quic)
    quic.inject(peer_uni(quic, 0), b"\x00" + settings_frame((S.QPACK_BLOCKED_STREAMS, 1), (6, 100)))
    assert closed_with(client, quic) == "H3_SETTINGS_ERROR"


def test_a_server_that_rejects_may_do_as_it_likes() -> None:
    client, quic = early(*REMEMBERED)
    client.send_request(GET, fin=True)
    reject(quic)
    quic.inject(peer_uni(quic, 0), b"\x00" + settings_frame((S.MAX_FIELD_SECTION_SIZE, 500)))
    drain(client)
    assert quic.close_code is None
    assert client.peer_settings.max_field_section_size == 500


# -- rejection ----------------------------------------------------------------------------------------


def test_rejected_requests_fail_and_may_be_sent_again() -> None:
    client, quic = early(*REMEMBERED)
    streams = [client.send_request(GET, fin=True) for _ in range(3)]
    first = bytes(quic.streams[2].outgoing)
    reject(quic)
    events = drain(client)
    failed = [event for event in events if isinstance(event, ExchangeFailed)]
    assert [event.stream_id for event in failed] == streams
    assert all(event.retry_safe and event.error_code == H3ErrorCode.H3_REQUEST_REJECTED for event in failed)
    assert events[-1] == HandshakeCompleted(b"h3")
    assert client.open_exchanges == 0
    assert client.peer_settings == Settings()
    assert client.send_request(GET, fin=True) == 0
    assert list(quic.streams) == [2, 6, 10, 0]
    assert bytes(quic.streams[2].outgoing) == first
    assert quic.streams[0].fin_out


def test_after_a_rejection_everything_works_as_usual() -> None:
    client, quic = early(*REMEMBERED)
    client.send_request(GET, fin=True)
    reject(quic)
    drain(client)
    stream = client.send_request(GET, fin=True)
    server, other = connect(is_client=False)
    deliver(quic, other)
    assert any(isinstance(event, RequestReceived) for event in drain(server))
    server.send_headers(stream, [(b":status", b"204")], fin=True)
    deliver(other, quic)
    assert any(getattr(event, "status", None) == 204 for event in drain(client))


# -- tickets ------------------------------------------------------------------------------------------


def tickets(events: list[object]) -> list[Session]:
    return [event.session for event in events if isinstance(event, TicketReceived)]


def test_tickets_wait_for_the_settings_that_belong_to_them() -> None:
    client, quic = connect()
    quic.events += [TicketReceived(session(b"one")), TicketReceived(session(b"two"))]
    assert tickets(drain(client)) == []
    quic.inject(peer_uni(quic, 0), b"\x00" + settings_frame((S.MAX_FIELD_SECTION_SIZE, 77), (0x21, 99), (0x4242, 1)))
    found = tickets(drain(client))
    assert [each.ticket for each in found] == [b"one", b"two"]
    assert {each.application for each in found} == {encode_settings([(S.MAX_FIELD_SECTION_SIZE, 77)])}
    assert recall(found[0].application).max_field_section_size == 77
    quic.events.append(TicketReceived(session(b"three")))
    assert [each.application for each in tickets(drain(client))] == [found[0].application]
