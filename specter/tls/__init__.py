"""TLS 1.3 as QUIC uses it, without input or output (RFC 8446, RFC 9001)."""
