"""Framing of messages, levels and limits: what holds before any message is understood."""

from __future__ import annotations

import pytest

from specter._entropy import SeededEntropy
from specter.tls.alerts import AlertDescription, TlsError
from specter.tls.client import ClientHandshake
from specter.tls.engine import (
    MAX_HANDSHAKE_BYTES,
    MESSAGE_LIMITS,
    Handshake,
    Level,
    Message,
    MessageBuffer,
    SendCrypto,
    TicketReceived,
)
from specter.tls.messages import HandshakeType, NewSessionTicket, frame
from specter.tls.server import ServerHandshake
from tests.tls.loopback import Loopback, client_config, failure_of, server_config, split

TICKET = NewSessionTicket(7200, 99, b"nonce", b"ticket", {})


def flights(handshake: Handshake) -> list[SendCrypto]:
    found = []
    while (action := handshake.next_action()) is not None:
        if isinstance(action, SendCrypto):
            found.append(action)
    return found


def pair() -> tuple[ClientHandshake, ServerHandshake]:
    client = ClientHandshake(client_config(), SeededEntropy(1), b"c")
    server = ServerHandshake(server_config(), SeededEntropy(2), b"s")
    client.start()
    server.start()
    return client, server


def connected() -> ClientHandshake:
    return Loopback().run().client


# MessageBuffer


def test_messages_are_cut_out_of_the_stream() -> None:
    buffer = MessageBuffer()
    stream = frame(1, b"one") + frame(20, b"") + frame(11, b"three" * 100)
    found: list[Message] = []
    for i in range(len(stream)):
        buffer.feed(stream[i : i + 1])
        while (message := buffer.next(lambda kind: None)) is not None:
            found.append(message)
    assert [(message.kind, message.body) for message in found] == [(1, b"one"), (20, b""), (11, b"three" * 100)]
    assert b"".join(message.raw for message in found) == stream
    assert not len(buffer)


def test_the_type_is_checked_at_the_first_byte() -> None:
    def refuse(kind: int) -> None:
        raise TlsError(AlertDescription.UNEXPECTED_MESSAGE, str(kind))

    buffer = MessageBuffer()
    buffer.feed(b"\x0b")
    with pytest.raises(TlsError, match="11"):
        buffer.next(refuse)


@pytest.mark.parametrize("kind", MESSAGE_LIMITS)
def test_the_length_is_checked_at_the_header(kind: int) -> None:
    buffer = MessageBuffer()
    buffer.feed(bytes((kind,)) + MESSAGE_LIMITS[kind].to_bytes(3, "big"))
    assert buffer.next(lambda kind: None) is None
    buffer.clear()
    buffer.feed(bytes((kind,)) + (MESSAGE_LIMITS[kind] + 1).to_bytes(3, "big"))
    with pytest.raises(TlsError, match="too long"):
        buffer.next(lambda kind: None)


# Levels


def test_byte_by_byte() -> None:
    client, server = pair()
    for _ in range(2):
        for sender, receiver in ((client, server), (server, client)):
            for flight in flights(sender):
                for i in range(len(flight.data)):
                    receiver.receive(flight.level, flight.data[i : i + 1])
    assert client.complete
    assert server.complete


def test_no_data_is_no_message() -> None:
    client, _ = pair()
    client.receive(Level.APPLICATION, b"")


@pytest.mark.parametrize("level", [Level.EARLY_DATA, Level.HANDSHAKE, Level.APPLICATION])
def test_data_of_a_level_to_come(level: Level) -> None:
    for handshake in pair():
        error = failure_of(lambda handshake=handshake: handshake.receive(level, b"x"))  # type: ignore[misc]
        assert error.alert is AlertDescription.UNEXPECTED_MESSAGE


def test_data_of_a_level_gone() -> None:
    loopback = Loopback().run()
    for handshake in (loopback.client, loopback.server):
        error = failure_of(lambda handshake=handshake: handshake.receive(Level.HANDSHAKE, b"x"))  # type: ignore[misc]
        assert error.alert is AlertDescription.UNEXPECTED_MESSAGE
        assert error.code == 0x0A


def test_data_left_over_when_the_keys_change() -> None:
    client, server = pair()
    hello = flights(client)[0].data
    error = failure_of(lambda: server.receive(Level.INITIAL, hello + b"\x01"))
    assert (error.alert, error.code) == (AlertDescription.UNEXPECTED_MESSAGE, 0x0A)

    client, server = pair()
    server.receive(Level.INITIAL, flights(client)[0].data)
    first, second = flights(server)
    error = failure_of(lambda: client.receive(Level.INITIAL, first.data + second.data[:10]))
    assert (error.alert, error.code) == (AlertDescription.UNEXPECTED_MESSAGE, 0x0A)


def test_data_behind_finished() -> None:
    client, server = pair()
    server.receive(Level.INITIAL, flights(client)[0].data)
    first, second = flights(server)
    client.receive(Level.INITIAL, first.data)
    error = failure_of(lambda: client.receive(Level.HANDSHAKE, second.data + TICKET.encode()))
    assert error.code == 0x0A
    assert not client.complete


def test_a_failed_handshake_stays_failed() -> None:
    client, server = pair()
    first = failure_of(lambda: client.receive(Level.INITIAL, b"\x01"))
    again = failure_of(lambda: client.receive(Level.INITIAL, flights(server)[0].data if flights(server) else b"\x02"))
    assert again is first


def test_nothing_is_received_before_start() -> None:
    for handshake in (
        ClientHandshake(client_config(), SeededEntropy(1), b""),
        ServerHandshake(server_config(), SeededEntropy(1), b""),
    ):
        assert failure_of(lambda h=handshake: h.receive(Level.INITIAL, b"\x01")).alert is (  # type: ignore[misc]
            AlertDescription.UNEXPECTED_MESSAGE
        )


# Wrong messages


@pytest.mark.parametrize("kind", [0, 1, 3, 4, 5, 8, 11, 13, 15, 20, 24, 25, 254, 255])
def test_messages_that_a_client_does_not_wait_for(kind: int) -> None:
    client, _ = pair()
    error = failure_of(lambda: client.receive(Level.INITIAL, bytes((kind,))))
    assert (error.alert, error.code) == (AlertDescription.UNEXPECTED_MESSAGE, 0x10A)


def test_every_wrong_order_of_the_servers_flight() -> None:
    client, server = pair()
    server.receive(Level.INITIAL, flights(client)[0].data)
    hello, rest = (split(flight.data) for flight in flights(server))
    for skipped in range(len(rest)):
        client, _ = pair()
        client.receive(Level.INITIAL, hello[0])
        messages = rest[:skipped] + rest[skipped + 1 :]

        def play(client: ClientHandshake = client, messages: list[bytes] = messages) -> None:
            for message in messages:
                client.receive(Level.HANDSHAKE, message)
            client.receive(Level.HANDSHAKE, b"\xff")

        assert failure_of(play).alert is AlertDescription.UNEXPECTED_MESSAGE


def test_messages_that_come_twice() -> None:
    client, server = pair()
    server.receive(Level.INITIAL, flights(client)[0].data)
    hello, rest = flights(server)
    for message in split(rest.data)[:-1]:
        client, _ = pair()
        client.receive(Level.INITIAL, hello.data)
        for earlier in split(rest.data):
            client.receive(Level.HANDSHAKE, earlier)
            if earlier == message:
                break
        error = failure_of(lambda client=client, message=message: client.receive(Level.HANDSHAKE, message))  # type: ignore[misc]
        assert error.alert is AlertDescription.UNEXPECTED_MESSAGE


@pytest.mark.parametrize("kind", sorted({0, 255, *HandshakeType} - {HandshakeType.NEW_SESSION_TICKET}))
def test_after_the_handshake_a_client_takes_tickets_only(kind: int) -> None:
    client = connected()
    error = failure_of(lambda: client.receive(Level.APPLICATION, frame(kind, b"\0")))
    assert error.alert is AlertDescription.UNEXPECTED_MESSAGE
    assert error.code == (0x0A if kind == HandshakeType.CERTIFICATE_REQUEST else 0x10A)


@pytest.mark.parametrize("kind", [0, 255, *HandshakeType])
def test_after_the_handshake_a_server_takes_nothing(kind: int) -> None:
    server = Loopback().run().server
    error = failure_of(lambda: server.receive(Level.APPLICATION, frame(kind, b"\0")))
    assert error.alert is AlertDescription.UNEXPECTED_MESSAGE


# Limits


@pytest.mark.security
def test_the_whole_handshake_has_a_limit() -> None:
    """Go CVE-2023-39322, quiche CVE-2024-1765: no endless handshake."""
    client, server = pair()
    server.receive(Level.INITIAL, flights(client)[0].data)
    hello, rest = flights(server)
    client.receive(Level.INITIAL, hello.data)
    error = failure_of(lambda: client.receive(Level.HANDSHAKE, rest.data[:-1] + bytes(MAX_HANDSHAKE_BYTES)))
    assert error.alert is AlertDescription.DECODE_ERROR
    assert not len(client._buffer)


@pytest.mark.security
def test_ticket_byte_by_byte() -> None:
    """Go CVE-2023-39321."""
    client = connected()
    for byte in TICKET.encode():
        client.receive(Level.APPLICATION, bytes((byte,)))
    assert isinstance(client.next_action(), TicketReceived)


@pytest.mark.security
def test_ticket_that_claims_too_much() -> None:
    """Go CVE-2023-39322."""
    client = connected()
    error = failure_of(lambda: client.receive(Level.APPLICATION, b"\x04\xff\xff\xff"))
    assert error.alert is AlertDescription.DECODE_ERROR


@pytest.mark.security
def test_tickets_without_end() -> None:
    client = connected()
    for _ in range(10_000):
        client.receive(Level.APPLICATION, TICKET.encode())
    assert len(client._actions) == client_config().max_tickets
    assert not len(client._buffer)
