"""What the engine reports about a failure, turned into the exceptions callers see. Nowhere else does that.

==========================================  =========================================================
what happened                               what the caller gets
==========================================  =========================================================
the server's certificate was refused        ``CertificateError``
a close before the handshake was complete   ``HandshakeError``, ``ConnectTimeout`` when time ran out
the server refused the client's certificate ``HandshakeError``
the server broke a rule of QUIC or HTTP/3   ``RemoteProtocolError``
any other end of a connection               ``NetworkError``
one exchange reset by the server            ``StreamReset``
one malformed response                      ``RemoteProtocolError``
==========================================  =========================================================

An exception object belongs to the thread that raises it, so what is kept is a recipe for one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from specter._wire import error_name as transport_name
from specter.errors import (
    CertificateError,
    ConnectTimeout,
    Error,
    HandshakeError,
    NetworkError,
    RemoteProtocolError,
    StreamReset,
)
from specter.h3.errors import error_name as h3_name
from specter.h3.events import ExchangeFailed
from specter.quic.events import CloseKind, ConnectionClosed
from specter.tls.alerts import AlertDescription, CertificateFailure, TlsError

__all__ = ["Failure", "again", "code_name", "connection_failure", "exchange_failure", "is_verdict"]

Failure: TypeAlias = Callable[[], Error]
"""Makes the exception, a new one for every thread that raises it."""

_CRYPTO_ERRORS = range(0x100, 0x200)
_ABOUT_THE_CLIENT = frozenset(
    _CRYPTO_ERRORS[alert]
    for alert in (
        AlertDescription.BAD_CERTIFICATE,
        AlertDescription.UNSUPPORTED_CERTIFICATE,
        AlertDescription.CERTIFICATE_REVOKED,
        AlertDescription.CERTIFICATE_EXPIRED,
        AlertDescription.CERTIFICATE_UNKNOWN,
        AlertDescription.UNKNOWN_CA,
        AlertDescription.ACCESS_DENIED,
        AlertDescription.CERTIFICATE_REQUIRED,
    )
)
"""What a server says of the client's certificate, which it sees when the handshake is complete for the client."""


def code_name(code: int, *, application: bool) -> str:
    """Return the RFC's name of a wire code, with the TLS alert where it carries one."""
    if application:
        return h3_name(code)
    if code not in _CRYPTO_ERRORS:
        return transport_name(code)
    try:
        return f"CRYPTO_ERROR ({AlertDescription(code & 0xFF).name.lower()})"
    except ValueError:
        return transport_name(code)


def connection_failure(event: ConnectionClosed, host: str, *, established: bool) -> Failure:
    """Return what ``event`` means to those who use the connection to ``host``."""
    refusal = _certificate_failure(event.failure)
    if refusal is not None:
        message = f"the certificate of {host} was not accepted ({refusal.check}): {refusal.reason}"
        return partial(CertificateError, message, check=refusal.check, name=refusal.name)
    if established:
        return _lost(event, host)
    return _not_made(event, host)


def _certificate_failure(failure: BaseException | None) -> CertificateFailure | None:
    while failure is not None and not isinstance(failure, CertificateFailure):
        failure = failure.__cause__
    return failure


def _said(event: ConnectionClosed) -> str:
    name = code_name(event.error_code, application=event.application)
    # The peer chose these bytes: keep what cannot be printed out of logs and terminals.
    reason = "".join(char if char.isprintable() else "?" for char in event.reason)
    return f"{name}: {reason}" if reason else name


def _not_made(event: ConnectionClosed, host: str) -> Failure:
    code, said = event.error_code, _said(event)
    if event.kind in (CloseKind.TIMEOUT, CloseKind.IDLE):
        return partial(ConnectTimeout, f"the handshake with {host} did not finish in time")
    if event.kind is CloseKind.VERSION:
        return partial(HandshakeError, f"{host}: {event.reason}", code=code, remote=True)
    if event.kind is CloseKind.RESET:
        return partial(HandshakeError, f"{host} reset the connection", code=code, remote=True)
    if event.kind is CloseKind.REMOTE:
        return partial(HandshakeError, f"{host} refused the connection: {said}", code=code, remote=True)
    if isinstance(event.failure, TlsError):
        said = f"{code_name(code, application=False)}: {event.failure.reason}"
    return partial(HandshakeError, f"the handshake with {host} failed: {said}", code=code, remote=False)


def _lost(event: ConnectionClosed, host: str) -> Failure:
    code, said = event.error_code, _said(event)
    if event.kind is CloseKind.REMOTE and code in _ABOUT_THE_CLIENT and not event.application:
        return partial(HandshakeError, f"{host} refused the connection: {said}", code=code, remote=True)
    if event.kind is CloseKind.REMOTE:
        return partial(NetworkError, f"{host} closed the connection: {said}")
    if event.kind in (CloseKind.IDLE, CloseKind.TIMEOUT):
        return partial(NetworkError, f"nothing arrived from {host} for the idle timeout")
    if event.kind is CloseKind.RESET:
        return partial(NetworkError, f"{host} forgot the connection (stateless reset)")
    if is_error(event):
        return partial(RemoteProtocolError, f"{host} broke the protocol: {said}", code=code)
    return partial(NetworkError, f"the connection to {host} was closed")


def is_error(event: ConnectionClosed) -> bool:
    """Whether a local close was our verdict on the peer, not the caller's wish."""
    no_error = code_name(event.error_code, application=event.application) in ("NO_ERROR", "H3_NO_ERROR")
    return event.failure is not None or not no_error


def is_verdict(error: Error) -> bool:
    """Whether another address of the same host is no use: the server was reached and is not the right one."""
    return isinstance(error, CertificateError)


def again(error: Error) -> Error:
    """Return an exception like ``error`` for another thread to raise."""
    copy: Error = type(error).__new__(type(error))
    copy.args = error.args
    copy.__dict__.update(error.__dict__)
    copy.__cause__ = error
    return copy


def exchange_failure(event: ExchangeFailed, host: str) -> Failure:
    """Return what the early end of one exchange means to its caller."""
    name = code_name(event.error_code, application=True)
    reason = f"{name}: {event.reason}" if event.reason else name
    if event.remote:
        message = f"{host} reset the exchange: {reason}"
        return partial(StreamReset, message, code=event.error_code, retry_safe=event.retry_safe)
    return partial(RemoteProtocolError, f"{host} sent a malformed response: {reason}", code=event.error_code)
