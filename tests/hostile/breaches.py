"""The rules of RFC 9000 and RFC 9001 that a server can break after the handshake, in single frames."""

from __future__ import annotations

from specter._frame_types import Crypto, MaxStreams, NewConnectionId, ResetStream, Stream, StreamsBlocked
from tests.hostile.table import Breach

_CID, _TOKEN = bytes(range(8)), bytes(range(16))
_ABOVE_2_60 = ((1 << 60) + 1 | 3 << 62).to_bytes(8, "big")
_LARGEST = b"\xff" * 8
_ENCODING, _VIOLATION = "FRAME_ENCODING_ERROR", "PROTOCOL_VIOLATION"
_UNEXPECTED = "CRYPTO_ERROR (unexpected_message)"


def _message(kind: int, body: bytes) -> Crypto:
    return Crypto(0, bytes([kind]) + len(body).to_bytes(3, "big") + body)


QUIC = [
    Breach(
        "RFC 9000 4.5",
        "data behind the end of a stream",
        (Stream(3, 2, b"a", True), Stream(3, 3, b"b", False)),
        "FINAL_SIZE_ERROR",
    ),
    Breach(
        "RFC 9000 4.5", "two ends of one stream", (Stream(3, 9, b"", True), Stream(3, 8, b"", True)), "FINAL_SIZE_ERROR"
    ),
    Breach(
        "RFC 9000 4.5",
        "a reset that moves the end",
        (Stream(3, 2, b"a", True), ResetStream(3, 0, 4)),
        "FINAL_SIZE_ERROR",
    ),
    Breach("RFC 9000 12.4", "a frame type in a long form", (b"\x40\x01",), _VIOLATION),
    Breach("RFC 9000 12.4", "a frame type of eight bytes that no one knows", (_LARGEST,), _ENCODING),
    Breach("RFC 9000 19.3.1", "a first range below packet 0", (b"\x02\x00\x00\x00\x01",), _ENCODING),
    Breach("RFC 9000 19.3.1", "a gap below packet 0", (b"\x02\x03\x00\x01\x00\x05\x00",), _ENCODING),
    Breach("RFC 9000 19.3.1", "more ranges than the packet holds", (b"\x02\x03\x00\x3f\x00",), _ENCODING),
    Breach("RFC 9000 19.4", "a reset that is cut short", (b"\x04\x03",), _ENCODING),
    Breach("RFC 9000 19.6", "CRYPTO data beyond the largest offset", (b"\x06" + _LARGEST + b"\x01x",), _ENCODING),
    Breach("RFC 9000 19.6", "CRYPTO data longer than the packet", (b"\x06\x00\x3fx",), _ENCODING),
    Breach("RFC 9000 19.7", "a token longer than the packet", (b"\x07\x3fx",), _ENCODING),
    Breach("RFC 9000 19.8", "stream data beyond the largest offset", (b"\x0e\x03" + _LARGEST + b"\x01x",), _ENCODING),
    Breach("RFC 9000 19.8", "stream data longer than the packet", (b"\x0a\x03\x3fx",), _ENCODING),
    Breach("RFC 9000 19.11", "more than 2^60 unidirectional streams", (b"\x13" + _ABOVE_2_60,), _ENCODING),
    Breach("RFC 9000 19.11", "more than 2^60 bidirectional streams", (b"\x12" + _ABOVE_2_60,), _ENCODING),
    Breach("RFC 9000 19.14", "blocked above 2^60 bidirectional streams", (b"\x16" + _ABOVE_2_60,), _ENCODING),
    Breach("RFC 9000 19.14", "blocked above 2^60 unidirectional streams", (b"\x17" + _ABOVE_2_60,), _ENCODING),
    Breach("RFC 9000 19.15", "a connection id of 21 bytes", (b"\x18\x09\x00\x15" + bytes(21) + _TOKEN,), _ENCODING),
    Breach("RFC 9000 19.15", "a reset token that is cut short", (b"\x18\x09\x00\x08" + _CID + bytes(9),), _ENCODING),
    Breach(
        "RFC 9000 19.15",
        "one sequence number for two ids",
        (NewConnectionId(3, 3, _CID, _TOKEN), NewConnectionId(3, 3, _CID[::-1], _TOKEN)),
        _VIOLATION,
    ),
    Breach(
        "RFC 9000 19.15",
        "one id under two sequence numbers",
        (NewConnectionId(3, 3, _CID, _TOKEN), NewConnectionId(4, 3, _CID, bytes(16))),
        _VIOLATION,
    ),
    Breach("RFC 9000 19.17", "a challenge that is cut short", (b"\x1a1234567",), _ENCODING),
    Breach("RFC 9000 19.19", "a reason longer than the packet", (b"\x1c\x00\x00\x3fx",), _ENCODING),
    Breach(
        "RFC 9001 4.4", "a request for a certificate after the handshake", (_message(13, b"\x00\x00\x00"),), _VIOLATION
    ),
    Breach("RFC 9001 6", "a KeyUpdate message", (_message(24, b"\x00"),), _UNEXPECTED),
    Breach("RFC 9001 4.1.3", "a Finished message after the handshake", (_message(20, bytes(32)),), _UNEXPECTED),
    Breach(
        "RFC 9001 4.6.1",
        "a ticket with a limit on early data",
        (_message(4, bytes(8) + b"\x01n\x00\x02id\x00\x08\x00\x2a\x00\x04\x00\x00\x10\x00"),),
        _VIOLATION,
    ),
]

PERMITTED = [(MaxStreams(1, False),), (StreamsBlocked(1 << 60, True),), (Stream(3, 0, b"\x21", False),) * 2]
"""What looks alike and breaks nothing."""
