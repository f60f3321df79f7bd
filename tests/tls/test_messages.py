"""Every parser: what was encoded comes back, and other bytes give a value or a TlsError."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specter._entropy import SeededEntropy
from specter.tls import extensions as ext
from specter.tls.alerts import TlsError
from specter.tls.client import ClientHandshake
from specter.tls.engine import Handshake, Level, SendCrypto
from specter.tls.messages import (
    Certificate,
    CertificateEntry,
    CertificateRequest,
    CertificateVerify,
    ClientHello,
    CompressedCertificate,
    HandshakeType,
    NewSessionTicket,
    ServerHello,
    frame,
    parse_encrypted_extensions,
)
from specter.tls.reader import Reader
from specter.tls.server import ServerHandshake
from tests.tls import pki
from tests.tls.loopback import Loopback, client_config, server_config, split

EXAMPLES = [
    ClientHello(bytes(32), (0x1301, 0x1302), {43: b"\x02\x03\x04", 0: b"name"}, b"id"),
    ServerHello(bytes(32), 0x1301, {43: b"\x03\x04", 51: b"share"}, b"id", 0),
    CertificateRequest(b"context", {13: b"\0\x02\x04\x03"}),
    Certificate(b"", (CertificateEntry(b"one", {5: b"status"}), CertificateEntry(b"two"))),
    CompressedCertificate(1, 1000, b"packed"),
    CertificateVerify(0x0403, b"signature"),
    NewSessionTicket(7200, 5, b"nonce", b"ticket", {42: b"\xff\xff\xff\xff"}),
]

PARSERS: list[Callable[[bytes], object]] = [
    ClientHello.parse,
    ServerHello.parse,
    parse_encrypted_extensions,
    CertificateRequest.parse,
    Certificate.parse,
    CompressedCertificate.parse,
    CertificateVerify.parse,
    NewSessionTicket.parse,
    ext.decode_server_name,
    ext.decode_alpn,
    ext.decode_u16_vector,
    ext.decode_versions,
    ext.decode_u16,
    ext.decode_cookie,
    ext.decode_share,
    ext.decode_shares,
    ext.decode_compression,
    ext.decode_max_early_data,
]

FUZZ = settings(max_examples=150, deadline=None, derandomize=True)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_round_trip(message: object) -> None:
    raw = message.encode()  # type: ignore[attr-defined]
    assert int.from_bytes(raw[1:4], "big") == len(raw) - 4
    assert type(message).parse(raw[4:]) == message  # type: ignore[attr-defined]


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_every_truncation_and_any_trailing_byte(message: object) -> None:
    body = message.encode()[4:]  # type: ignore[attr-defined]
    for size in range(len(body)):
        # A hello may end before its extensions; nothing else may end early.
        if isinstance(message, ClientHello | ServerHello) and size == len(body) - _extension_size(message):
            continue
        with pytest.raises(TlsError, match="decode_error"):
            type(message).parse(body[:size])  # type: ignore[attr-defined]
    with pytest.raises(TlsError, match="decode_error"):
        type(message).parse(body + b"\0")  # type: ignore[attr-defined]


def _extension_size(message: ClientHello | ServerHello) -> int:
    return len(ext.encode_extensions(message.extensions.items()))


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: getattr(parse, "__qualname__", ""))
@FUZZ
@given(st.binary(max_size=120))
def test_any_bytes(parse: Callable[[bytes], object], data: bytes) -> None:
    with contextlib.suppress(TlsError):
        parse(data)


def test_reader() -> None:
    reader = Reader(b"\x01\x00\x02\x00\x00\x03\x00\x00\x00\x04\x02ab")
    assert (reader.u8(), reader.u16(), reader.u24(), reader.u32()) == (1, 2, 3, 4)
    assert reader.remaining == 3
    with pytest.raises(TlsError, match="left over"):
        reader.finish()
    assert reader.vector8() == b"ab"
    reader.finish()
    for bad in (lambda: Reader(b"\x02a").vector8(), lambda: Reader(b"\x01a").vector8(2), lambda: Reader(b"").u8()):
        with pytest.raises(TlsError, match="decode_error"):
            bad()


# Whole handshakes with damaged messages


def _flight() -> tuple[bytes, list[bytes], bytes]:
    client = ClientHandshake(client_config(certificate_compression=(1,)), SeededEntropy(1), b"c")
    server = ServerHandshake(server_config(request_client_certificate=True), SeededEntropy(2), b"s")
    client.start()
    server.start()
    hello = client.next_action()
    assert isinstance(hello, SendCrypto)
    server.receive(hello.level, hello.data)
    sent = []
    while (action := server.next_action()) is not None:
        if isinstance(action, SendCrypto):
            sent.append(action.data)
    return hello.data, split(sent[1]), sent[0]


CLIENT_HELLO, ENCRYPTED, SERVER_HELLO = _flight()


def _client() -> ClientHandshake:
    client = ClientHandshake(client_config(certificate_compression=(1,)), SeededEntropy(1), b"c")
    client.start()
    return client


def _damage(data: st.DataObject, message: bytes) -> bytes:
    """Change a few bytes of the body, or its length, and keep the framing right."""
    body = bytearray(message[4:])
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    return frame(message[0], bytes(body[: data.draw(st.integers(0, len(body)))] if data.draw(st.booleans()) else body))


def _play(handshake: Handshake, messages: list[tuple[Level, bytes]]) -> None:
    try:
        for level, message in messages:
            handshake.receive(level, message)
    except TlsError:
        pass


@FUZZ
@given(st.data())
def test_damaged_server_flight(data: st.DataObject) -> None:
    flight = [(Level.INITIAL, SERVER_HELLO)] + [(Level.HANDSHAKE, message) for message in ENCRYPTED]
    victim = data.draw(st.integers(0, len(flight) - 1))
    level, message = flight[victim]
    damaged = _damage(data, message)
    flight[victim] = (level, damaged)
    client = _client()
    _play(client, flight)
    assert client.complete == (damaged == message)


@FUZZ
@given(st.data())
def test_damaged_client_hello(data: st.DataObject) -> None:
    server = ServerHandshake(server_config(), SeededEntropy(2), b"s")
    server.start()
    _play(server, [(Level.INITIAL, _damage(data, CLIENT_HELLO))])
    assert not server.complete


@FUZZ
@given(st.lists(st.tuples(st.sampled_from(HandshakeType), st.binary(max_size=60)), max_size=4), st.booleans())
def test_any_messages(messages: list[tuple[HandshakeType, bytes]], connected: bool) -> None:
    if connected:
        client, level = _connected(), Level.APPLICATION
    else:
        client, level = _client(), Level.INITIAL
    _play(client, [(level, frame(kind, body)) for kind, body in messages])


def _connected() -> ClientHandshake:
    return Loopback().run().client


@FUZZ
@given(st.data())
def test_damaged_certificates(data: st.DataObject) -> None:
    """Certificates that still parse as DER meet the verifier, and only CertificateFailure comes of it."""
    der = bytearray(pki.credential().entries[0].data)
    for _ in range(data.draw(st.integers(1, 2))):
        der[data.draw(st.integers(4, len(der) - 1))] = data.draw(st.integers(0, 255))
    entries = (CertificateEntry(bytes(der)), pki.credential().entries[1])
    verify = data.draw(st.booleans())
    client = ClientHandshake(client_config(verify=verify), SeededEntropy(1), b"c")
    client.start()
    server_hello, extensions = _answer(client)
    client.receive(Level.INITIAL, server_hello)
    client.receive(Level.HANDSHAKE, extensions)
    proof = CertificateVerify(0x0403, b"signature").encode()
    _play(client, [(Level.HANDSHAKE, Certificate(b"", entries).encode()), (Level.HANDSHAKE, proof)])
    assert not client.complete


def _answer(client: ClientHandshake) -> tuple[bytes, bytes]:
    server = ServerHandshake(server_config(), SeededEntropy(2), b"s")
    server.start()
    hello = client.next_action()
    assert isinstance(hello, SendCrypto)
    server.receive(hello.level, hello.data)
    sent = []
    while (action := server.next_action()) is not None:
        if isinstance(action, SendCrypto):
            sent.append(action.data)
    return sent[0], split(sent[1])[0]
