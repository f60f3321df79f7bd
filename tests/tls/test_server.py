"""The server against a client that breaks the rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from specter.tls.alerts import AlertDescription, TlsError
from specter.tls.extensions import ExtensionType
from specter.tls.key_exchange import NamedGroup
from specter.tls.messages import Certificate, CertificateEntry, CertificateVerify, ClientHello, HandshakeType, frame
from tests.tls import pki
from tests.tls.loopback import Loopback, Meddler, client_config, failure_of, server_config

A = AlertDescription
E = ExtensionType


def outcome(kind: int, change: Callable[[bytes], bytes], *, client: Any = None, server: Any = None) -> TlsError:
    return failure_of(Loopback(client, server, Meddler("client", kind, change)).run)


def hello_with(**changes: Any) -> Callable[[bytes], bytes]:
    return lambda message: replace(ClientHello.parse(message[4:]), **changes).encode()


def extension(kind: int, data: bytes | None) -> Callable[[bytes], bytes]:
    def change(message: bytes) -> bytes:
        hello = ClientHello.parse(message[4:])
        extensions = {k: v for k, v in hello.extensions.items() if k != kind}
        return replace(hello, extensions=extensions if data is None else {**extensions, kind: data}).encode()

    return change


def raw(position: int, data: bytes) -> Callable[[bytes], bytes]:
    return lambda message: message[:position] + data + message[position + len(data) :]


@pytest.mark.parametrize(
    ("change", "alert"),
    [
        (raw(4, b"\x03\x04"), A.PROTOCOL_VERSION),
        (hello_with(session_id=b"x" * 32), A.ILLEGAL_PARAMETER),
        (hello_with(extensions={}), A.PROTOCOL_VERSION),
        (extension(E.SUPPORTED_VERSIONS, None), A.PROTOCOL_VERSION),
        (extension(E.SUPPORTED_VERSIONS, b"\x02\x03\x03"), A.PROTOCOL_VERSION),
        (extension(E.SUPPORTED_VERSIONS, b"\x03\x03\x04\x03"), A.DECODE_ERROR),
        (extension(E.SIGNATURE_ALGORITHMS, None), A.MISSING_EXTENSION),
        (extension(E.SUPPORTED_GROUPS, None), A.MISSING_EXTENSION),
        (extension(E.KEY_SHARE, None), A.MISSING_EXTENSION),
        (extension(E.QUIC_TRANSPORT_PARAMETERS, None), A.MISSING_EXTENSION),
        (extension(E.ALPN, None), A.NO_APPLICATION_PROTOCOL),
        (extension(E.ALPN, b"\0\x03\x02h2"), A.NO_APPLICATION_PROTOCOL),
        (extension(E.KEY_SHARE, b"\0\x05\0\x19\0\x01a"), A.ILLEGAL_PARAMETER),
        (extension(E.KEY_SHARE, b"\0\x0a\0\x1d\0\x01a\0\x1d\0\x01a"), A.ILLEGAL_PARAMETER),
        (extension(E.KEY_SHARE, b"\0\x05\0\x1d\0\x01a"), A.ILLEGAL_PARAMETER),
        (extension(E.KEY_SHARE, b"\0\x04\0\x1d\0\0"), A.DECODE_ERROR),
        (extension(E.SERVER_NAME, b""), A.DECODE_ERROR),
        (extension(E.SERVER_NAME, b"\0\x03\0\0\0"), A.DECODE_ERROR),
        (extension(E.COMPRESS_CERTIFICATE, b"\x01\0"), A.DECODE_ERROR),
        (extension(E.COOKIE, b"\0\0"), A.DECODE_ERROR),
        (lambda message: frame(1, message[4:] + b"\0"), A.DECODE_ERROR),
        (lambda message: frame(1, message[4:30]), A.DECODE_ERROR),
    ],
)
def test_client_hello(change: Callable[[bytes], bytes], alert: AlertDescription) -> None:
    assert outcome(HandshakeType.CLIENT_HELLO, change).alert is alert


def test_compatibility_mode_is_a_protocol_violation() -> None:
    assert outcome(HandshakeType.CLIENT_HELLO, hello_with(session_id=b"x")).code == 0x0A


def test_compression_and_misplaced_pre_shared_key() -> None:
    position = 4 + 2 + 32 + 1 + 2 + 6 + 1
    assert outcome(HandshakeType.CLIENT_HELLO, raw(position, b"\x01")).alert is A.ILLEGAL_PARAMETER

    def first(message: bytes) -> bytes:
        hello = ClientHello.parse(message[4:])
        return replace(hello, extensions={E.PRE_SHARED_KEY: b"", **hello.extensions}).encode()

    assert outcome(HandshakeType.CLIENT_HELLO, first).alert is A.ILLEGAL_PARAMETER


def test_unknown_extensions_names_and_psks_are_ignored() -> None:
    pair = Loopback(client_config(extra_extensions=((0x1234, b"?"), (E.PRE_SHARED_KEY, b"whatever")))).run()
    pair.check_agreement()


# The second ClientHello


def second(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    seen: list[bytes] = []

    def apply(message: bytes) -> bytes:
        seen.append(message)
        return change(message) if len(seen) == 2 else message

    return apply


@pytest.mark.parametrize(
    "change",
    [
        hello_with(random=bytes(32)),
        hello_with(cipher_suites=(0x1303,)),
        extension(E.COOKIE, None),
        extension(E.COOKIE, b"\0\x01x"),
        extension(E.KEY_SHARE, b"\0\0"),
        extension(E.KEY_SHARE, b"\0\x24\0\x1d\0\x20" + bytes(32)),
    ],
)
def test_second_client_hello(change: Callable[[bytes], bytes]) -> None:
    server = server_config(groups=(NamedGroup.SECP256R1,), cookie=b"oven")
    assert outcome(HandshakeType.CLIENT_HELLO, second(change), server=server).alert is A.ILLEGAL_PARAMETER


# The client's certificate and Finished


def with_certificate(kind: int, change: Callable[[bytes], bytes]) -> TlsError:
    client = client_config(client_credential=pki.client_credential())
    server = server_config(require_client_certificate=True, client_trust=pki.trust())
    return outcome(kind, change, client=client, server=server)


@pytest.mark.parametrize(
    ("entries", "context", "alert"),
    [
        ((), b"", A.CERTIFICATE_REQUIRED),
        (pki.client_credential().entries, b"x", A.ILLEGAL_PARAMETER),
        ((CertificateEntry(b"junk"),), b"", A.BAD_CERTIFICATE),
        (pki.credential().entries, b"", A.UNSUPPORTED_CERTIFICATE),
        ((CertificateEntry(pki.client_credential().entries[0].data, {5: b""}),), b"", A.UNSUPPORTED_EXTENSION),
    ],
)
def test_client_certificate(entries: tuple[CertificateEntry, ...], context: bytes, alert: AlertDescription) -> None:
    message = Certificate(context, entries).encode()
    assert with_certificate(HandshakeType.CERTIFICATE, lambda _: message).alert is alert


def test_stolen_client_certificate() -> None:
    def change(message: bytes) -> bytes:
        return replace(CertificateVerify.parse(message[4:]), signature=b"junk").encode()

    assert with_certificate(HandshakeType.CERTIFICATE_VERIFY, change).alert is A.DECRYPT_ERROR


def test_a_server_proof_is_no_client_proof() -> None:
    def change(message: bytes) -> bytes:
        return replace(CertificateVerify.parse(message[4:]), algorithm=0x0804).encode()

    assert with_certificate(HandshakeType.CERTIFICATE_VERIFY, change).alert is A.ILLEGAL_PARAMETER


@pytest.mark.parametrize(
    ("change", "alert"),
    [
        (lambda message: frame(20, bytes(32)), A.DECRYPT_ERROR),
        (lambda message: frame(20, bytes(31)), A.DECODE_ERROR),
        (lambda message: frame(11, b"\0\0\0\0"), A.UNEXPECTED_MESSAGE),
    ],
)
def test_client_finished(change: Callable[[bytes], bytes], alert: AlertDescription) -> None:
    loopback = Loopback(meddle=Meddler("client", HandshakeType.FINISHED, change))
    assert failure_of(loopback.run).alert is alert
    assert not loopback.server.complete
