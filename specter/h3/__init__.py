"""HTTP/3 without input or output (RFC 9114, RFC 9204)."""
