from __future__ import annotations

from typing import Any

import pytest

from specter import errors
from specter.errors import (
    CertificateError,
    ConnectTimeout,
    Error,
    HandshakeError,
    NetworkError,
    RemoteProtocolError,
    StreamReset,
)
from specter.h3.events import ExchangeFailed
from specter.net.failures import again, code_name, connection_failure, exchange_failure, is_verdict
from specter.quic.errors import TransportError
from specter.quic.events import CloseKind, ConnectionClosed
from specter.tls.alerts import AlertDescription, CertificateFailure, TlsError

HOST = "a.example"


def closed(kind: CloseKind, code: int = 0, reason: str = "", **more: Any) -> ConnectionClosed:
    return ConnectionClosed(kind, code, reason, **more)


def failure(event: ConnectionClosed, *, established: bool) -> Error:
    return connection_failure(event, HOST, established=established)()


@pytest.mark.parametrize("kind", CloseKind)
@pytest.mark.parametrize("established", [False, True])
@pytest.mark.parametrize("code", [0, 0x0A, 0x100, 0x178, 0x1FF, 0x0105, 1 << 40])
@pytest.mark.parametrize("application", [False, True])
def test_every_end_has_an_exception(kind: CloseKind, established: bool, code: int, application: bool) -> None:
    error = failure(closed(kind, code, "why", application=application), established=established)
    assert isinstance(error, ConnectionError | RemoteProtocolError)
    assert str(error)


@pytest.mark.parametrize(
    ("event", "kind", "words"),
    [
        (closed(CloseKind.REMOTE, 0x178, "sorry"), HandshakeError, "CRYPTO_ERROR (no_application_protocol): sorry"),
        (closed(CloseKind.REMOTE, 0x02), HandshakeError, "refused the connection: CONNECTION_REFUSED"),
        (closed(CloseKind.LOCAL, 0x08, "bad"), HandshakeError, "TRANSPORT_PARAMETER_ERROR: bad"),
        (closed(CloseKind.TIMEOUT), ConnectTimeout, "did not finish in time"),
        (closed(CloseKind.IDLE), ConnectTimeout, "did not finish in time"),
        (closed(CloseKind.VERSION, 0, "the server speaks 0x1"), HandshakeError, "0x1"),
        (closed(CloseKind.RESET), HandshakeError, "reset"),
    ],
)
def test_before_the_handshake_is_complete(event: ConnectionClosed, kind: type[Error], words: str) -> None:
    error = failure(event, established=False)
    assert type(error) is kind
    assert words in str(error)
    assert HOST in str(error)


@pytest.mark.parametrize(
    ("event", "kind", "words"),
    [
        (closed(CloseKind.REMOTE, 0x100, application=True), NetworkError, "closed the connection: H3_NO_ERROR"),
        (closed(CloseKind.REMOTE, 0x107, "slow down", application=True), NetworkError, "H3_EXCESSIVE_LOAD: slow down"),
        (closed(CloseKind.LOCAL, 0x105, "frame", application=True), RemoteProtocolError, "H3_FRAME_UNEXPECTED: frame"),
        (closed(CloseKind.LOCAL, 0x03, "too much"), RemoteProtocolError, "FLOW_CONTROL_ERROR: too much"),
        (closed(CloseKind.LOCAL, 0x100, application=True), NetworkError, "was closed"),
        (closed(CloseKind.IDLE), NetworkError, "idle timeout"),
        (closed(CloseKind.RESET), NetworkError, "stateless reset"),
    ],
)
def test_afterwards(event: ConnectionClosed, kind: type[Error], words: str) -> None:
    error = failure(event, established=True)
    assert type(error) is kind
    assert words in str(error)


def test_codes_are_kept() -> None:
    error = failure(closed(CloseKind.LOCAL, 0x105, application=True), established=True)
    assert isinstance(error, RemoteProtocolError)
    assert error.code == 0x105
    error = failure(closed(CloseKind.REMOTE, 0x178), established=False)
    assert isinstance(error, HandshakeError)
    assert (error.code, error.remote) == (0x178, True)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_refused_certificate_says_which_check(wrapped: bool) -> None:
    cause: Exception = CertificateFailure(
        AlertDescription.BAD_CERTIFICATE, "the certificate is for 'b'", check="name", name=HOST
    )
    if wrapped:
        outer = TransportError(0x12A, "bad certificate")
        outer.__cause__ = cause
        cause = outer
    error = failure(closed(CloseKind.LOCAL, 0x12A, failure=cause), established=False)
    assert isinstance(error, CertificateError)
    assert (error.check, error.name) == ("name", HOST)
    assert "the certificate is for 'b'" in str(error)
    assert is_verdict(error)
    assert not is_verdict(ConnectTimeout("x"))


def test_our_own_verdict_in_tls() -> None:
    cause = TlsError(AlertDescription.HANDSHAKE_FAILURE, "no common group")
    error = failure(closed(CloseKind.LOCAL, 0x128, "x", failure=cause), established=False)
    assert isinstance(error, HandshakeError)
    assert not error.remote
    assert "handshake_failure" in str(error)
    assert "no common group" in str(error)


def test_reasons_of_the_peer_are_made_printable() -> None:
    error = failure(closed(CloseKind.REMOTE, 0, "\x1b[31mred\r\n"), established=True)
    assert "\x1b" not in str(error)
    assert "?[31mred??" in str(error)


@pytest.mark.parametrize(
    ("code", "application", "name"),
    [
        (0x0A, False, "PROTOCOL_VIOLATION"),
        (0x0A, True, "0xa"),
        (0x130, False, "CRYPTO_ERROR (unknown_ca)"),
        (0x1FE, False, "CRYPTO_ERROR(254)"),
        (0x10C, True, "H3_REQUEST_CANCELLED"),
        (0x200, True, "QPACK_DECOMPRESSION_FAILED"),
    ],
)
def test_code_names(code: int, application: bool, name: str) -> None:
    assert code_name(code, application=application) == name


def test_exchanges() -> None:
    reset = exchange_failure(ExchangeFailed(0, 0x10B, "", remote=True, retry_safe=True), HOST)()
    assert isinstance(reset, StreamReset)
    assert (reset.code, reset.retry_safe) == (0x10B, True)
    assert "H3_REQUEST_REJECTED" in str(reset)
    malformed = exchange_failure(ExchangeFailed(0, 0x10E, "no :status", remote=False, retry_safe=False), HOST)()
    assert type(malformed) is RemoteProtocolError
    assert "H3_MESSAGE_ERROR: no :status" in str(malformed)


def test_every_thread_gets_its_own() -> None:
    recipe = connection_failure(closed(CloseKind.IDLE), HOST, established=True)
    assert recipe() is not recipe()


SAMPLES: dict[type[Error], dict[str, Any]] = {
    CertificateError: {"check": "name", "name": HOST},
    HandshakeError: {"code": 1, "remote": True},
    errors.StatusError: {"response": None},
    errors.TunnelRefused: {"response": None},
    errors.WebSocketClosed: {"code": 1000, "remote": True},
}


@pytest.mark.parametrize("kind", [getattr(errors, name) for name in errors.__all__])
def test_again(kind: type[Error]) -> None:
    first = kind("message", **SAMPLES.get(kind, {}))
    second = again(first)
    assert type(second) is kind
    assert second is not first
    assert str(second) == "message"
    assert vars(second) == vars(first)
    assert second.__cause__ is first
