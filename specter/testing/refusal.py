"""One Initial packet with CONNECTION_CLOSE in it, for clients that get no connection (RFC 9000, section 10.2.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from specter._backend import frames, protection
from specter._frame_types import ConnectionClose
from specter.quic.packet import PacketType, encode_long_header, patch_length

if TYPE_CHECKING:
    from specter.quic.packet import Header

__all__ = ["encode_refusal"]

_NUMBER_LENGTH: Final = 1


def encode_refusal(header: Header, code: int, reason: str) -> bytes:
    """Return the datagram that refuses the client whose Initial had ``header``; nothing is remembered of it."""
    frame = frames.encode(ConnectionClose(code, 0, reason.encode()[:64], application=False))
    start = encode_long_header(PacketType.INITIAL, header.version, header.scid, header.dcid, 0, _NUMBER_LENGTH)
    number_offset = len(start) - _NUMBER_LENGTH
    buffer = bytearray(start + frame + bytes(protection.TAG_SIZE))
    patch_length(buffer, number_offset - 2, len(buffer) - number_offset)
    _, secret = protection.initial_secrets(header.version, header.dcid)
    keys = protection.PacketProtection(protection.AES_128_GCM_SHA256, secret, header.version)
    keys.seal(memoryview(buffer), 0, number_offset, _NUMBER_LENGTH, len(start) + len(frame), 0)
    return bytes(buffer)
