"""The client against a server that breaks the rules: every fault has its alert."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from specter._entropy import SeededEntropy
from specter.tls import key_exchange
from specter.tls.alerts import AlertDescription, TlsError
from specter.tls.ciphers import CipherSuite
from specter.tls.client import ClientHandshake
from specter.tls.compression import CompressionAlgorithm, compress
from specter.tls.engine import Level, SendCrypto, TicketReceived
from specter.tls.extensions import ExtensionType, encode_extensions, encode_share
from specter.tls.key_exchange import NamedGroup
from specter.tls.messages import (
    HELLO_RETRY_REQUEST_RANDOM,
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
from specter.tls.signatures import SignatureScheme
from tests.tls import pki
from tests.tls.loopback import SERVER_PARAMETERS, Loopback, Meddler, client_config, failure_of, server_config

A = AlertDescription
E = ExtensionType
X25519_SHARE = encode_share(NamedGroup.X25519, key_exchange.generate(NamedGroup.X25519, SeededEntropy(9)).public)


def outcome(kind: int, change: Callable[[bytes], bytes], *, client: Any = None, server: Any = None) -> TlsError:
    """The error of a client whose server's message of ``kind`` was changed."""
    return failure_of(Loopback(client, server, Meddler("server", kind, change)).run)


# ServerHello


def hello_with(**changes: Any) -> Callable[[bytes], bytes]:
    return lambda message: replace(ServerHello.parse(message[4:]), **changes).encode()


def hello_extension(kind: int, data: bytes | None) -> Callable[[bytes], bytes]:
    def change(message: bytes) -> bytes:
        hello = ServerHello.parse(message[4:])
        return replace(hello, extensions=_with(hello.extensions, kind, data)).encode()

    return change


def _with(extensions: dict[int, bytes], kind: int, data: bytes | None) -> dict[int, bytes]:
    return {**extensions, kind: data} if data is not None else {k: v for k, v in extensions.items() if k != kind}


@pytest.mark.parametrize(
    ("change", "alert"),
    [
        (hello_with(version=0x0304), A.PROTOCOL_VERSION),
        (hello_with(session_id_echo=b"x" * 32), A.ILLEGAL_PARAMETER),
        (hello_with(compression=1), A.ILLEGAL_PARAMETER),
        (hello_with(cipher_suite=0x1304), A.ILLEGAL_PARAMETER),
        (hello_with(cipher_suite=0x1302), A.ILLEGAL_PARAMETER),
        (hello_with(cipher_suite=0xC02F), A.ILLEGAL_PARAMETER),
        (hello_with(extensions={}), A.PROTOCOL_VERSION),
        (hello_with(extensions={}, random=bytes(24) + b"DOWNGRD\x01"), A.ILLEGAL_PARAMETER),
        (hello_with(extensions={}, random=bytes(24) + b"DOWNGRD\x00"), A.ILLEGAL_PARAMETER),
        (hello_extension(E.SUPPORTED_VERSIONS, b"\x03\x03"), A.ILLEGAL_PARAMETER),
        (hello_extension(E.SUPPORTED_VERSIONS, b"\x7f\x1c"), A.ILLEGAL_PARAMETER),
        (hello_extension(E.SUPPORTED_VERSIONS, b"\x02\x03\x04"), A.DECODE_ERROR),
        (hello_extension(E.KEY_SHARE, None), A.MISSING_EXTENSION),
        (hello_extension(E.KEY_SHARE, b"\0\x17" + b"\0\x41\x04" + bytes(64)), A.ILLEGAL_PARAMETER),
        (hello_extension(E.KEY_SHARE, b"\0\x1e\0\x01a"), A.ILLEGAL_PARAMETER),
        (hello_extension(E.KEY_SHARE, b"\0\x1d\0\x20" + bytes(32)), A.ILLEGAL_PARAMETER),
        (hello_extension(E.KEY_SHARE, b"\0\x1d\0\x01a"), A.ILLEGAL_PARAMETER),
        (hello_extension(E.KEY_SHARE, b"\0\x1d\0\0"), A.DECODE_ERROR),
        (hello_extension(E.KEY_SHARE, b"\0\x1d"), A.DECODE_ERROR),
        (hello_extension(E.PRE_SHARED_KEY, b"\0\0"), A.UNSUPPORTED_EXTENSION),
        (hello_extension(E.COOKIE, b"\0\x01a"), A.UNSUPPORTED_EXTENSION),
        (hello_extension(0xABCD, b""), A.UNSUPPORTED_EXTENSION),
        (hello_extension(E.ALPN, b"\0\x03\x02h3"), A.ILLEGAL_PARAMETER),
        (hello_extension(E.QUIC_TRANSPORT_PARAMETERS, b""), A.ILLEGAL_PARAMETER),
        (lambda message: message[:-1], A.DECODE_ERROR),
        (lambda message: frame(2, message[4:] + b"\0"), A.DECODE_ERROR),
        (lambda message: frame(2, message[4:40]), A.DECODE_ERROR),
    ],
)
@pytest.mark.security
def test_server_hello(change: Callable[[bytes], bytes], alert: AlertDescription) -> None:
    """OpenSSL CVE-2025-15468 among them: unknown and unoffered suite, group and version."""

    def whole(message: bytes) -> bytes:
        changed = change(message)
        return frame(changed[0], changed[4:])

    client = client_config(cipher_suites=(CipherSuite.TLS_AES_128_GCM_SHA256,))
    assert outcome(HandshakeType.SERVER_HELLO, whole, client=client).alert is alert


def test_duplicate_extension() -> None:
    def change(message: bytes) -> bytes:
        hello = ServerHello.parse(message[4:])
        block = encode_extensions([*hello.extensions.items(), (E.SUPPORTED_VERSIONS, b"\x03\x04")])
        return frame(2, message[4 : 4 + 38] + block)

    error = outcome(HandshakeType.SERVER_HELLO, change)
    assert error.alert is A.ILLEGAL_PARAMETER
    assert "twice" in str(error)


# HelloRetryRequest


def retry(**changes: Any) -> bytes:
    extensions = {E.SUPPORTED_VERSIONS: b"\x03\x04", E.KEY_SHARE: NamedGroup.SECP384R1.to_bytes(2, "big")}
    values = {"random": HELLO_RETRY_REQUEST_RANDOM, "cipher_suite": 0x1301, "extensions": extensions}
    return ServerHello(**{**values, **changes}).encode()


def started() -> ClientHandshake:
    client = ClientHandshake(client_config(), SeededEntropy(1), b"c")
    client.start()
    return client


@pytest.mark.parametrize(
    ("extensions", "alert"),
    [
        ({E.SUPPORTED_VERSIONS: b"\x03\x04"}, A.ILLEGAL_PARAMETER),
        ({E.SUPPORTED_VERSIONS: b"\x03\x04", E.KEY_SHARE: b"\0\x1d"}, A.ILLEGAL_PARAMETER),
        ({E.SUPPORTED_VERSIONS: b"\x03\x04", E.KEY_SHARE: b"\0\x19"}, A.ILLEGAL_PARAMETER),
        ({E.SUPPORTED_VERSIONS: b"\x03\x04", E.KEY_SHARE: b"\x01\0"}, A.ILLEGAL_PARAMETER),
        ({E.SUPPORTED_VERSIONS: b"\x03\x04", E.KEY_SHARE: X25519_SHARE}, A.DECODE_ERROR),
        ({E.SUPPORTED_VERSIONS: b"\x03\x04", E.COOKIE: b"\0\0"}, A.DECODE_ERROR),
        ({E.SUPPORTED_VERSIONS: b"\x03\x04", E.COOKIE: b"\0\x05a"}, A.DECODE_ERROR),
        ({E.SUPPORTED_VERSIONS: b"\x03\x04", E.COOKIE: b"\0\x01a", E.ALPN: b""}, A.ILLEGAL_PARAMETER),
        ({E.SUPPORTED_VERSIONS: b"\x03\x04", E.COOKIE: b"\0\x01a", E.EARLY_DATA: b""}, A.UNSUPPORTED_EXTENSION),
        ({E.KEY_SHARE: b"\0\x18"}, A.PROTOCOL_VERSION),
    ],
)
def test_bad_hello_retry_request(extensions: dict[int, bytes], alert: AlertDescription) -> None:
    client = started()
    assert failure_of(lambda: client.receive(Level.INITIAL, retry(extensions=extensions))).alert is alert


def test_hello_retry_request_with_an_unoffered_suite() -> None:
    client = started()
    error = failure_of(lambda: client.receive(Level.INITIAL, retry(cipher_suite=0x1304)))
    assert error.alert is A.ILLEGAL_PARAMETER


def test_hello_retry_request_with_a_cookie_only() -> None:
    client = started()
    client.receive(Level.INITIAL, retry(extensions={E.SUPPORTED_VERSIONS: b"\x03\x04", E.COOKIE: b"\0\x04oven"}))
    first, second = client.next_action(), client.next_action()
    assert isinstance(first, SendCrypto)
    assert isinstance(second, SendCrypto)
    hellos = [ClientHello.parse(action.data[4:]) for action in (first, second)]
    assert hellos[1].extensions[E.COOKIE] == b"\0\x04oven"
    assert hellos[0].extensions[E.KEY_SHARE] == hellos[1].extensions[E.KEY_SHARE]


def test_second_hello_retry_request() -> None:
    client = started()
    client.receive(Level.INITIAL, retry())
    again = retry(extensions={E.SUPPORTED_VERSIONS: b"\x03\x04", E.COOKIE: b"\0\x01a"})
    error = failure_of(lambda: client.receive(Level.INITIAL, again))
    assert error.alert is A.UNEXPECTED_MESSAGE


def test_suite_must_not_change_after_the_retry() -> None:
    def change(message: bytes) -> bytes:
        hello = ServerHello.parse(message[4:])
        return message if hello.is_retry else replace(hello, cipher_suite=0x1303).encode()

    server = server_config(groups=(NamedGroup.SECP256R1,))
    assert outcome(HandshakeType.SERVER_HELLO, change, server=server).alert is A.ILLEGAL_PARAMETER


def test_group_must_be_the_one_of_the_retry() -> None:
    def change(message: bytes) -> bytes:
        hello = ServerHello.parse(message[4:])
        return message if hello.is_retry else hello_extension(E.KEY_SHARE, X25519_SHARE)(message)

    server = server_config(groups=(NamedGroup.SECP256R1,))
    assert outcome(HandshakeType.SERVER_HELLO, change, server=server).alert is A.ILLEGAL_PARAMETER


# EncryptedExtensions


def encrypted(kind: int, data: bytes | None) -> Callable[[bytes], bytes]:
    def change(message: bytes) -> bytes:
        extensions = _with(parse_encrypted_extensions(message[4:]), kind, data)
        return frame(HandshakeType.ENCRYPTED_EXTENSIONS, encode_extensions(extensions.items()))

    return change


@pytest.mark.parametrize(
    ("change", "alert"),
    [
        (encrypted(E.ALPN, None), A.NO_APPLICATION_PROTOCOL),
        (encrypted(E.ALPN, b"\0\x03\x02h2"), A.NO_APPLICATION_PROTOCOL),
        (encrypted(E.ALPN, b"\0\x06\x02h3\x02h2"), A.DECODE_ERROR),
        (encrypted(E.ALPN, b"\0\x03\x02h3x"), A.DECODE_ERROR),
        (encrypted(E.ALPN, b"\0\0"), A.DECODE_ERROR),
        (encrypted(E.ALPN, b"\0\x02\x00\x00"), A.DECODE_ERROR),
        (encrypted(E.QUIC_TRANSPORT_PARAMETERS, None), A.MISSING_EXTENSION),
        (encrypted(E.SERVER_NAME, b"x"), A.DECODE_ERROR),
        (encrypted(E.EARLY_DATA, b""), A.UNSUPPORTED_EXTENSION),
        (encrypted(E.COMPRESS_CERTIFICATE, b""), A.UNSUPPORTED_EXTENSION),
        (encrypted(0x1234, b""), A.UNSUPPORTED_EXTENSION),
        (encrypted(E.KEY_SHARE, X25519_SHARE), A.ILLEGAL_PARAMETER),
        (encrypted(E.SUPPORTED_VERSIONS, b"\x03\x04"), A.ILLEGAL_PARAMETER),
        (encrypted(E.SIGNATURE_ALGORITHMS, b""), A.ILLEGAL_PARAMETER),
        (lambda message: frame(8, message[4:] + b"\0"), A.DECODE_ERROR),
        (lambda message: frame(8, b""), A.DECODE_ERROR),
    ],
)
def test_encrypted_extensions(change: Callable[[bytes], bytes], alert: AlertDescription) -> None:
    error = outcome(HandshakeType.ENCRYPTED_EXTENSIONS, change)
    assert error.alert is alert
    assert error.code == 0x100 + alert


def test_supported_groups_in_encrypted_extensions_is_fine() -> None:
    change = encrypted(E.SUPPORTED_GROUPS, b"\0\x02\0\x1d")
    # The transcript is not the server's any more, but the message itself passed.
    assert outcome(HandshakeType.ENCRYPTED_EXTENSIONS, change).alert is A.DECRYPT_ERROR


def test_server_name_without_having_sent_one() -> None:
    client = client_config(server_name="192.0.2.1", verify=False)
    error = outcome(HandshakeType.ENCRYPTED_EXTENSIONS, encrypted(E.SERVER_NAME, b""), client=client)
    assert error.alert is A.UNSUPPORTED_EXTENSION


# CertificateRequest


def request(**changes: Any) -> Callable[[bytes], bytes]:
    return lambda message: replace(CertificateRequest.parse(message[4:]), **changes).encode()


@pytest.mark.parametrize(
    ("change", "alert"),
    [
        (request(context=b"x"), A.ILLEGAL_PARAMETER),
        (request(extensions={}), A.MISSING_EXTENSION),
        (request(extensions={E.SIGNATURE_ALGORITHMS: b"\0\x03abc"}), A.DECODE_ERROR),
        (request(extensions={E.SIGNATURE_ALGORITHMS: b"\0\0"}), A.DECODE_ERROR),
        (lambda message: frame(13, message[4:] + b"\0"), A.DECODE_ERROR),
        (request(extensions={E.SIGNATURE_ALGORITHMS: b"\0\x02\x04\x03", 0x1234: b"unknown"}), A.DECRYPT_ERROR),
    ],
)
def test_certificate_request(change: Callable[[bytes], bytes], alert: AlertDescription) -> None:
    server = server_config(request_client_certificate=True)
    assert outcome(HandshakeType.CERTIFICATE_REQUEST, change, server=server).alert is alert


# Certificate


def certificate(*entries: CertificateEntry, context: bytes = b"") -> Callable[[bytes], bytes]:
    return lambda message: Certificate(context, entries).encode()


GOOD = pki.credential().entries


@pytest.mark.parametrize(
    ("change", "alert"),
    [
        (certificate(*GOOD, context=b"x"), A.ILLEGAL_PARAMETER),
        (certificate(), A.DECODE_ERROR),
        (certificate(CertificateEntry(b"junk")), A.BAD_CERTIFICATE),
        (certificate(GOOD[0], CertificateEntry(b"junk")), A.BAD_CERTIFICATE),
        (certificate(CertificateEntry(GOOD[0].data[:-1])), A.BAD_CERTIFICATE),
        (certificate(CertificateEntry(GOOD[0].data + b"\0")), A.BAD_CERTIFICATE),
        (certificate(CertificateEntry(GOOD[0].data, {E.STATUS_REQUEST: b"\x01"})), A.UNSUPPORTED_EXTENSION),
        (certificate(CertificateEntry(GOOD[0].data, {E.ALPN: b""})), A.ILLEGAL_PARAMETER),
        (certificate(*[GOOD[0]] * 17), A.BAD_CERTIFICATE),
        (certificate(GOOD[1], GOOD[0]), A.BAD_CERTIFICATE),
        (certificate(GOOD[0]), A.UNKNOWN_CA),
        (lambda message: frame(11, message[4:] + b"\0"), A.DECODE_ERROR),
        (lambda message: frame(11, b"\0\0\0\x04\0\0\0\0"), A.DECODE_ERROR),
    ],
)
def test_certificate(change: Callable[[bytes], bytes], alert: AlertDescription) -> None:
    assert outcome(HandshakeType.CERTIFICATE, change).alert is alert


def test_empty_certificate_says_what_is_missing() -> None:
    error = outcome(HandshakeType.CERTIFICATE, certificate())
    assert (getattr(error, "check", ""), getattr(error, "name", "")) == ("missing", pki.NAME)


@pytest.mark.security
def test_verify_false_still_checks_the_proof() -> None:
    """Nobody gets in with a certificate whose key they do not have."""
    for stolen, alert in ((GOOD[1], A.DECRYPT_ERROR), (pki.credential("p384").entries[0], A.ILLEGAL_PARAMETER)):
        error = outcome(HandshakeType.CERTIFICATE, certificate(stolen), client=client_config(verify=False))
        assert error.alert is alert


def test_compressed_certificate_without_offer() -> None:
    packed = CompressedCertificate(1, 10, b"x").encode()
    assert outcome(HandshakeType.CERTIFICATE, lambda message: packed).alert is A.UNEXPECTED_MESSAGE


@pytest.mark.parametrize(
    ("algorithm", "extra", "alert"),
    [
        (2, 0, A.ILLEGAL_PARAMETER),
        (1, 1, A.BAD_CERTIFICATE),
        (1, -1, A.BAD_CERTIFICATE),
        (1, 1 << 20, A.BAD_CERTIFICATE),
    ],
)
def test_bad_compressed_certificate(algorithm: int, extra: int, alert: AlertDescription) -> None:
    def change(message: bytes) -> bytes:
        body = message[4:]
        return CompressedCertificate(algorithm, len(body) + extra, compress(1, body)).encode()

    client = client_config(certificate_compression=(CompressionAlgorithm.ZLIB,))
    assert outcome(HandshakeType.CERTIFICATE, change, client=client).alert is alert


# CertificateVerify and Finished


def proof(**changes: Any) -> Callable[[bytes], bytes]:
    return lambda message: replace(CertificateVerify.parse(message[4:]), **changes).encode()


@pytest.mark.parametrize(
    ("change", "alert"),
    [
        (proof(signature=b"junk"), A.DECRYPT_ERROR),
        (proof(signature=b""), A.DECRYPT_ERROR),
        (proof(algorithm=SignatureScheme.ECDSA_SECP384R1_SHA384), A.ILLEGAL_PARAMETER),
        (proof(algorithm=SignatureScheme.RSA_PSS_RSAE_SHA256), A.ILLEGAL_PARAMETER),
        (proof(algorithm=SignatureScheme.RSA_PKCS1_SHA256), A.ILLEGAL_PARAMETER),
        (proof(algorithm=0x0203), A.ILLEGAL_PARAMETER),
        (proof(algorithm=0x0809), A.ILLEGAL_PARAMETER),
        (lambda message: frame(15, message[4:] + b"\0"), A.DECODE_ERROR),
        (lambda message: frame(15, message[4:6]), A.DECODE_ERROR),
        (lambda message: message[:-1] + bytes((message[-1] ^ 1,)), A.DECRYPT_ERROR),
    ],
)
def test_certificate_verify(change: Callable[[bytes], bytes], alert: AlertDescription) -> None:
    assert outcome(HandshakeType.CERTIFICATE_VERIFY, change).alert is alert


def test_a_scheme_that_fits_but_was_not_offered() -> None:
    client = client_config(signature_schemes=(SignatureScheme.RSA_PSS_RSAE_SHA384, SignatureScheme.RSA_PKCS1_SHA256))
    server = server_config(credentials=(pki.credential("rsa"),))
    change = proof(algorithm=SignatureScheme.RSA_PSS_RSAE_SHA256)
    error = outcome(HandshakeType.CERTIFICATE_VERIFY, change, client=client, server=server)
    assert error.alert is A.ILLEGAL_PARAMETER
    assert "not offered" in str(error)


@pytest.mark.parametrize(
    ("change", "alert"),
    [
        (lambda message: message[:-1] + bytes((message[-1] ^ 1,)), A.DECRYPT_ERROR),
        (lambda message: frame(20, bytes(32)), A.DECRYPT_ERROR),
        (lambda message: frame(20, message[4:-1]), A.DECODE_ERROR),
        (lambda message: frame(20, message[4:] + b"\0"), A.DECODE_ERROR),
        (lambda message: frame(20, b""), A.DECODE_ERROR),
    ],
)
def test_finished(change: Callable[[bytes], bytes], alert: AlertDescription) -> None:
    loopback = Loopback(meddle=Meddler("server", HandshakeType.FINISHED, change))
    assert failure_of(loopback.run).alert is alert
    assert not loopback.client.complete


# Tickets


def ticket(**changes: Any) -> bytes:
    values = {"lifetime": 7200, "age_add": 0xFFFFFFFF, "nonce": b"\0", "ticket": b"ticket", "extensions": {}}
    return NewSessionTicket(**{**values, **changes}).encode()


def test_ticket() -> None:
    client = Loopback().run().client
    early = {E.EARLY_DATA: b"\xff\xff\xff\xff", 0x1234: b"unknown"}
    client.receive(Level.APPLICATION, ticket() + ticket(nonce=b"\x01", lifetime=1 << 31, extensions=early))
    one, two = client.next_action(), client.next_action()
    assert isinstance(one, TicketReceived)
    assert isinstance(two, TicketReceived)
    first, second = one.session, two.session
    assert (first.ticket, first.lifetime, first.age_add, first.early_data) == (b"ticket", 7200, 0xFFFFFFFF, False)
    assert (first.server_name, first.alpn, first.cipher_suite) == (pki.NAME, "h3", client.cipher_suite)
    assert (second.lifetime, second.early_data) == (604800, True)
    assert len(first.secret) == 32
    assert first.secret != second.secret
    assert repr(first.secret) not in repr(one)
    assert (first.transport_parameters, first.certificates) == (SERVER_PARAMETERS, encoded(client.peer_certificates))
    assert first.not_after == int((pki.NOW + pki.YEAR).timestamp())


def encoded(chain: list[x509.Certificate]) -> tuple[bytes, ...]:
    return tuple(certificate.public_bytes(Encoding.DER) for certificate in chain)


def test_ticket_of_no_lifetime_is_dropped() -> None:
    client = Loopback().run().client
    client.receive(Level.APPLICATION, ticket(lifetime=0))
    assert client.next_action() is None


@pytest.mark.parametrize(
    ("message", "alert", "code"),
    [
        (ticket(ticket=b""), A.DECODE_ERROR, 0x132),
        (frame(4, ticket()[4:-1]), A.DECODE_ERROR, 0x132),
        (frame(4, ticket()[4:] + b"\0"), A.DECODE_ERROR, 0x132),
        (frame(4, b""), A.DECODE_ERROR, 0x132),
        (ticket(extensions={E.EARLY_DATA: b"\0\0\0\x01"}), A.ILLEGAL_PARAMETER, 0x0A),
        (ticket(extensions={E.EARLY_DATA: b"\0"}), A.DECODE_ERROR, 0x132),
    ],
)
def test_bad_tickets(message: bytes, alert: AlertDescription, code: int) -> None:
    client = Loopback().run().client
    error = failure_of(lambda: client.receive(Level.APPLICATION, message))
    assert (error.alert, error.code) == (alert, code)
