"""QUIC version 1 without input or output: bytes and time in, bytes out (RFC 9000, 9001, 9002)."""
