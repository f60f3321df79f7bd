"""The TLS 1.3 cipher suites QUIC can use (RFC 9846, appendix B.4)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class CipherSuite(IntEnum):
    """AEAD and hash of a connection."""

    TLS_AES_128_GCM_SHA256 = 0x1301
    TLS_AES_256_GCM_SHA384 = 0x1302
    TLS_CHACHA20_POLY1305_SHA256 = 0x1303


DEFAULT_CIPHER_SUITES: Final = (
    CipherSuite.TLS_AES_128_GCM_SHA256,
    CipherSuite.TLS_AES_256_GCM_SHA384,
    CipherSuite.TLS_CHACHA20_POLY1305_SHA256,
)

_HASH_NAMES: Final = {
    CipherSuite.TLS_AES_128_GCM_SHA256: "sha256",
    CipherSuite.TLS_AES_256_GCM_SHA384: "sha384",
    CipherSuite.TLS_CHACHA20_POLY1305_SHA256: "sha256",
}


def hash_name(suite: int) -> str:
    """Return the :mod:`hashlib` name of the hash of a known suite."""
    return _HASH_NAMES[CipherSuite(suite)]
