"""QUIC versions 1 and 2 without input or output: bytes and time in, bytes out (RFC 9000, 9001, 9002, 9368, 9369)."""

from specter import _native

_native.prefer(__name__, __path__)
