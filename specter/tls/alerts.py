"""TLS alerts and the errors that carry them (RFC 9846, section 6; RFC 9001, section 4.8)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Literal

from specter._wire import TransportErrorCode

CertificateCheck = Literal["name", "chain", "validity", "signature", "usage", "missing"]
"""Which check a certificate did not pass."""

_MAX_REASON: Final = 300


class AlertDescription(IntEnum):
    """Alert numbers as they go into a QUIC CRYPTO_ERROR."""

    CLOSE_NOTIFY = 0
    UNEXPECTED_MESSAGE = 10
    BAD_RECORD_MAC = 20
    RECORD_OVERFLOW = 22
    HANDSHAKE_FAILURE = 40
    BAD_CERTIFICATE = 42
    UNSUPPORTED_CERTIFICATE = 43
    CERTIFICATE_REVOKED = 44
    CERTIFICATE_EXPIRED = 45
    CERTIFICATE_UNKNOWN = 46
    ILLEGAL_PARAMETER = 47
    UNKNOWN_CA = 48
    ACCESS_DENIED = 49
    DECODE_ERROR = 50
    DECRYPT_ERROR = 51
    PROTOCOL_VERSION = 70
    INSUFFICIENT_SECURITY = 71
    INTERNAL_ERROR = 80
    INAPPROPRIATE_FALLBACK = 86
    USER_CANCELED = 90
    MISSING_EXTENSION = 109
    UNSUPPORTED_EXTENSION = 110
    UNRECOGNIZED_NAME = 112
    BAD_CERTIFICATE_STATUS_RESPONSE = 113
    UNKNOWN_PSK_IDENTITY = 115
    CERTIFICATE_REQUIRED = 116
    GENERAL_ERROR = 117
    NO_APPLICATION_PROTOCOL = 120


class TlsError(Exception):
    """The handshake cannot go on; the connection must close with ``code``.

    ``alert`` is the TLS verdict. Where QUIC asks for PROTOCOL_VIOLATION in place of the alert
    (RFC 9001, sections 4.1.3, 4.4, 4.6.1 and 8.4) ``protocol_violation`` is true and ``code`` says so.
    """

    def __init__(self, alert: AlertDescription, reason: str, *, protocol_violation: bool = False) -> None:
        super().__init__(alert, reason[:_MAX_REASON])
        self.alert = alert
        self.reason = reason[:_MAX_REASON]
        self.protocol_violation = protocol_violation

    @property
    def code(self) -> int:
        """The QUIC transport error code for CONNECTION_CLOSE."""
        if self.protocol_violation:
            return TransportErrorCode.PROTOCOL_VIOLATION
        return TransportErrorCode.CRYPTO_ERROR + self.alert

    def __str__(self) -> str:
        return f"{self.alert.name.lower()}: {self.reason}"


class CertificateFailure(TlsError):
    """The peer's certificate was not accepted: ``check`` did not pass for ``name``."""

    def __init__(self, alert: AlertDescription, reason: str, *, check: CertificateCheck, name: str) -> None:
        super().__init__(alert, reason)
        self.check: CertificateCheck = check
        self.name = name


def decode_error(reason: str) -> TlsError:
    """A message that does not follow the syntax."""
    return TlsError(AlertDescription.DECODE_ERROR, reason)


def illegal_parameter(reason: str) -> TlsError:
    """A well-formed message with a value that must not be there."""
    return TlsError(AlertDescription.ILLEGAL_PARAMETER, reason)


def unexpected_message(reason: str, *, protocol_violation: bool = False) -> TlsError:
    """A message at the wrong moment or encryption level."""
    return TlsError(AlertDescription.UNEXPECTED_MESSAGE, reason, protocol_violation=protocol_violation)


def missing_extension(reason: str) -> TlsError:
    """A message without an extension it must have."""
    return TlsError(AlertDescription.MISSING_EXTENSION, reason)


def handshake_failure(reason: str) -> TlsError:
    """No set of parameters suits both sides."""
    return TlsError(AlertDescription.HANDSHAKE_FAILURE, reason)
