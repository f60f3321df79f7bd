"""A client's first Initial before there is a connection: whether it is whole, and how to refuse it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from specter._backend import frames, protection
from specter._frame_types import ConnectionClose
from specter.quic.packet import PacketType, encode_long_header, patch_length

if TYPE_CHECKING:
    from specter.quic.packet import Header

__all__ = ["encode_refusal", "is_authentic"]

_NUMBER_LENGTH: Final = 1


def is_authentic(datagram: memoryview, header: Header) -> bool:
    """Tell whether the Initial at the start of ``datagram`` opens, which one damaged on its way does not."""
    secret, _ = protection.initial_secrets(header.version, header.dcid)
    keys = protection.PacketProtection(protection.AES_128_GCM_SHA256, secret, header.version)
    copy = memoryview(bytearray(datagram[: header.end]))
    try:
        keys.open(copy, 0, header.pn_offset, header.end, -1)
    except protection.DecryptError:
        return False
    return True


def encode_refusal(header: Header, code: int, reason: str) -> bytes:
    """Return an Initial with CONNECTION_CLOSE for the client whose Initial had ``header`` (RFC 9000, section 10.2.3).

    Nothing is remembered of it.
    """
    frame = frames.encode(ConnectionClose(code, 0, reason.encode()[:64], application=False))
    start = encode_long_header(PacketType.INITIAL, header.version, header.scid, header.dcid, 0, _NUMBER_LENGTH)
    number_offset = len(start) - _NUMBER_LENGTH
    buffer = bytearray(start + frame + bytes(protection.TAG_SIZE))
    patch_length(buffer, number_offset - 2, len(buffer) - number_offset)
    _, secret = protection.initial_secrets(header.version, header.dcid)
    keys = protection.PacketProtection(protection.AES_128_GCM_SHA256, secret, header.version)
    keys.seal(memoryview(buffer), 0, number_offset, _NUMBER_LENGTH, len(start) + len(frame), 0)
    return bytes(buffer)
