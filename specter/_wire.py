"""What both backends agree on before any protocol logic: error codes, the wire error, and "no deadline".

This module sits below the twins, so it imports nothing of the package.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

NEVER: Final = (1 << 62) - 1
"""A deadline that does not come (nanoseconds)."""

VARINT_MAX: Final = (1 << 62) - 1
"""The largest value a variable-length integer can carry (RFC 9000, section 16)."""


class TransportErrorCode(IntEnum):
    """QUIC transport error codes (RFC 9000, section 20.1)."""

    NO_ERROR = 0x00
    INTERNAL_ERROR = 0x01
    CONNECTION_REFUSED = 0x02
    FLOW_CONTROL_ERROR = 0x03
    STREAM_LIMIT_ERROR = 0x04
    STREAM_STATE_ERROR = 0x05
    FINAL_SIZE_ERROR = 0x06
    FRAME_ENCODING_ERROR = 0x07
    TRANSPORT_PARAMETER_ERROR = 0x08
    CONNECTION_ID_LIMIT_ERROR = 0x09
    PROTOCOL_VIOLATION = 0x0A
    INVALID_TOKEN = 0x0B
    APPLICATION_ERROR = 0x0C
    CRYPTO_BUFFER_EXCEEDED = 0x0D
    KEY_UPDATE_ERROR = 0x0E
    AEAD_LIMIT_REACHED = 0x0F
    NO_VIABLE_PATH = 0x10
    VERSION_NEGOTIATION_ERROR = 0x11
    """RFC 9368, section 10.2."""
    CRYPTO_ERROR = 0x100


class TransportError(Exception):
    """The peer broke a rule of QUIC; the connection must close with ``code``.

    ``frame_type`` is the type of the frame at fault, 0 when unknown (RFC 9000, section 19.19).
    """

    def __init__(self, code: int, reason: str, frame_type: int = 0) -> None:
        super().__init__(code, reason, frame_type)
        self.code = int(code)
        self.reason = reason
        self.frame_type = frame_type

    def __str__(self) -> str:
        return f"{error_name(self.code)}: {self.reason}"


def error_name(code: int) -> str:
    """Return the RFC's name of a transport error code, ``CRYPTO_ERROR(n)`` for a TLS alert."""
    if 0x100 <= code <= 0x1FF:
        return f"CRYPTO_ERROR({code & 0xFF})"
    try:
        return TransportErrorCode(code).name
    except ValueError:
        return f"0x{code:x}"
