"""Stream identifiers: their two low bits say who opened the stream and which way it goes (RFC 9000, section 2.1)."""

from __future__ import annotations

SERVER_INITIATED = 0x1
UNIDIRECTIONAL = 0x2


def is_unidirectional(stream_id: int) -> bool:
    return bool(stream_id & UNIDIRECTIONAL)


def is_client_initiated(stream_id: int) -> bool:
    return not stream_id & SERVER_INITIATED


def first_stream_id(*, by_client: bool, unidirectional: bool) -> int:
    return (0 if by_client else SERVER_INITIATED) | (UNIDIRECTIONAL if unidirectional else 0)
