"""HTTP/3 without input or output (RFC 9114, RFC 9204)."""

from specter import _native

_native.prefer(__name__, __path__)
