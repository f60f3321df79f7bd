"""HTTP/3 and QPACK wire codes, and the two ways a peer's mistake ends (RFC 9114, section 8)."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["H3Error", "H3ErrorCode", "H3Fault", "H3StreamError", "error_name"]


class H3ErrorCode(IntEnum):
    """RFC 9114, section 8.1, and RFC 9204, section 6."""

    H3_NO_ERROR = 0x100
    H3_GENERAL_PROTOCOL_ERROR = 0x101
    H3_INTERNAL_ERROR = 0x102
    H3_STREAM_CREATION_ERROR = 0x103
    H3_CLOSED_CRITICAL_STREAM = 0x104
    H3_FRAME_UNEXPECTED = 0x105
    H3_FRAME_ERROR = 0x106
    H3_EXCESSIVE_LOAD = 0x107
    H3_ID_ERROR = 0x108
    H3_SETTINGS_ERROR = 0x109
    H3_MISSING_SETTINGS = 0x10A
    H3_REQUEST_REJECTED = 0x10B
    H3_REQUEST_CANCELLED = 0x10C
    H3_REQUEST_INCOMPLETE = 0x10D
    H3_MESSAGE_ERROR = 0x10E
    H3_CONNECT_ERROR = 0x10F
    H3_VERSION_FALLBACK = 0x110
    QPACK_DECOMPRESSION_FAILED = 0x200
    QPACK_ENCODER_STREAM_ERROR = 0x201
    QPACK_DECODER_STREAM_ERROR = 0x202


class H3Fault(Exception):
    """What the peer did wrong, with the ``code`` to say so and a ``reason`` for people."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = int(code)
        self.reason = reason

    def __str__(self) -> str:
        return f"{error_name(self.code)}: {self.reason}"


class H3Error(H3Fault):
    """The peer broke a rule that ends the connection with ``code``."""


class H3StreamError(H3Fault):
    """The peer broke a rule that ends one exchange with ``code``; the connection goes on."""


def error_name(code: int) -> str:
    """Return the RFC's name of an application error code, hexadecimal for one without a name.

    Unknown and reserved codes mean the same as ``H3_NO_ERROR`` (RFC 9114, section 8.1).
    """
    try:
        return H3ErrorCode(code).name
    except ValueError:
        return f"0x{code:x}"
