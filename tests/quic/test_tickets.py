"""Session tickets as they come over a connection: whole, in pieces, wrong, without end."""

from __future__ import annotations

from typing import Any

import pytest

from specter._frame_types import Crypto
from specter._wire import TransportErrorCode
from specter.quic.events import CloseKind, TicketReceived
from specter.tls.alerts import AlertDescription
from specter.tls.extensions import ExtensionType
from specter.tls.messages import NewSessionTicket
from specter.tls.session import Session
from tests.quic.scripted import Scripted, connected

CRYPTO_ERROR = TransportErrorCode.CRYPTO_ERROR
UNLIMITED = {ExtensionType.EARLY_DATA: b"\xff\xff\xff\xff"}
MAX_TICKETS = 8


def ticket(number: int = 0, **changes: Any) -> bytes:
    values: dict[str, Any] = {
        "lifetime": 7200,
        "age_add": 5,
        "nonce": number.to_bytes(4, "big"),
        "ticket": b"ticket %d" % number,
        "extensions": UNLIMITED,
    }
    return NewSessionTicket(**{**values, **changes}).encode()


def sessions(peer: Scripted) -> list[Session]:
    return [event.session for event in peer.events if isinstance(event, TicketReceived)]


def refusal(peer: Scripted) -> int:
    assert peer.closed is not None
    assert peer.closed.kind is CloseKind.LOCAL
    return peer.closed.error_code


def test_a_ticket_has_what_resuming_needs() -> None:
    peer = connected()
    peer.say(Crypto(0, ticket()))
    (session,) = sessions(peer)
    assert (session.ticket, session.lifetime, session.early_data) == (b"ticket 0", 7200, True)
    assert (session.server_name, session.alpn, session.quic_version) == ("localhost", "h3", 1)
    assert session.transport_parameters
    assert session.certificates
    assert session.not_after > 0


@pytest.mark.security
def test_a_ticket_byte_by_byte() -> None:
    """Go CVE-2023-39321."""
    peer = connected()
    for offset, byte in enumerate(ticket()):
        assert sessions(peer) == []
        peer.say(Crypto(offset, bytes([byte])))
    assert len(sessions(peer)) == 1
    assert peer.closed is None


@pytest.mark.security
def test_a_ticket_byte_by_byte_from_the_end() -> None:
    peer = connected()
    message = ticket()
    for offset in reversed(range(len(message))):
        peer.say(Crypto(offset, message[offset : offset + 1]))
    assert len(sessions(peer)) == 1


@pytest.mark.parametrize("size", [1 << 23, (1 << 24) - 1, (32 << 10) + 1])
@pytest.mark.security
def test_a_ticket_that_claims_to_be_endless(size: int) -> None:
    """Go CVE-2023-39322: refused by its header, before any of it is kept."""
    peer = connected()
    peer.say(Crypto(0, b"\x04" + size.to_bytes(3, "big")))
    assert refusal(peer) == CRYPTO_ERROR + AlertDescription.DECODE_ERROR


@pytest.mark.security
def test_tickets_without_end() -> None:
    """Those beyond what anybody can use are read and dropped."""
    peer = connected()
    offset = 0
    for number in range(2_000):
        message = ticket(number)
        peer.say(Crypto(offset, message))
        offset += len(message)
    assert peer.closed is None
    assert [session.ticket for session in sessions(peer)] == [b"ticket %d" % number for number in range(MAX_TICKETS)]
    assert peer.target._core.app.crypto_in.readable == 0


@pytest.mark.parametrize("limit", [b"\0\0\0\0", b"\0\0\x40\0", b"\xff\xff\xff\xfe"])
@pytest.mark.security
def test_a_limit_on_early_data_is_not_for_quic(limit: bytes) -> None:
    """RFC 9001, section 4.6.1."""
    peer = connected()
    peer.say(Crypto(0, ticket(extensions={ExtensionType.EARLY_DATA: limit})))
    assert refusal(peer) == TransportErrorCode.PROTOCOL_VIOLATION
    assert sessions(peer) == []


def test_a_ticket_without_early_data() -> None:
    peer = connected()
    peer.say(Crypto(0, ticket(extensions={})))
    assert [session.early_data for session in sessions(peer)] == [False]


def test_a_server_takes_no_tickets() -> None:
    peer = connected(as_server=False)
    peer.say(Crypto(0, ticket()))
    assert refusal(peer) == CRYPTO_ERROR + AlertDescription.UNEXPECTED_MESSAGE
