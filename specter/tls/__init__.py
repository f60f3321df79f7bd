"""TLS 1.3 as QUIC uses it, without input or output (RFC 8446, RFC 9001)."""

from specter import _native

_native.prefer(__name__, __path__)
