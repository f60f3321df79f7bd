"""Packet headers: long and short, coalescing, packet numbers, Retry, Version Negotiation (RFC 9000, section 17).

Everything here works on unprotected header fields; what header protection hides (reserved bits, packet
number and its length) is the business of ``protection``.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Final

from specter._backend import frames, protection
from specter._frame_types import Buffer
from specter._wire import TransportError

QUIC_V1: Final = 0x00000001
QUIC_V2: Final = 0x6B3343CF
"""RFC 9369."""

MAX_CONNECTION_ID: Final = 20
"""Bytes of the longest connection id in versions 1 and 2."""
MIN_INITIAL_DCID: Final = 8
"""Bytes of the shortest id a client may send its first Initial to (RFC 9000, section 7.2)."""
INTEGRITY_TAG_SIZE: Final = 16
MAX_LENGTH_FIELD: Final = (1 << 14) - 1
"""What the two-byte Length field of our own packets holds."""

_LONG_FORM: Final = 0x80
_FIXED_BIT: Final = 0x40
_SPIN_BIT: Final = 0x20
_KEY_PHASE_BIT: Final = 0x04
_RETRY_UNUSED_BITS: Final = 0x0F
_LENGTH_PLACEHOLDER: Final = b"\x40\x00"


class PacketError(Exception):
    """This packet, and with it the rest of its datagram, cannot be read and must be dropped.

    Never a fault of the connection: anyone can send such bytes. The datagram may still be a stateless
    reset (RFC 9000, section 10.3.1).
    """


class PacketType(IntEnum):
    """The first four are the type bits of version 1."""

    INITIAL = 0
    ZERO_RTT = 1
    HANDSHAKE = 2
    RETRY = 3
    VERSION_NEGOTIATION = 4
    ONE_RTT = 5
    UNKNOWN = 6
    """A long header of a version we do not speak; only its version and connection ids are known."""


_LONG_TYPES: Final[Mapping[int, tuple[PacketType, ...]]] = MappingProxyType(
    {
        QUIC_V1: (PacketType.INITIAL, PacketType.ZERO_RTT, PacketType.HANDSHAKE, PacketType.RETRY),
        QUIC_V2: (PacketType.RETRY, PacketType.INITIAL, PacketType.ZERO_RTT, PacketType.HANDSHAKE),
    }
)
SUPPORTED_VERSIONS: Final = tuple(_LONG_TYPES)
"""Versions whose headers this module reads and writes."""


@dataclass(frozen=True, slots=True)
class Header:
    """The unprotected part of one packet in ``buffer[start:end]``.

    ``pn_offset`` is where the protected packet number begins; in a Retry, Version Negotiation or unknown
    packet it is where the bytes behind the connection ids begin. ``version`` is 0 in a short header and in
    Version Negotiation. ``token`` is that of an Initial.
    """

    type: PacketType
    version: int
    dcid: bytes
    scid: bytes
    token: bytes
    pn_offset: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Retry:
    """A Retry packet; its tag is not checked yet, see :func:`check_retry`."""

    version: int
    dcid: bytes
    scid: bytes
    token: bytes


# Reading


def parse_header(buffer: Buffer, start: int, end: int, short_cid_length: int, *, greased: bool = False) -> Header:
    """Read the packet that begins at ``start``; the next one in the datagram begins at the result's ``end``.

    ``short_cid_length`` is the length of the connection ids we gave out. ``greased`` accepts a cleared fixed
    bit (RFC 9287). Whether a protected packet is long enough for a header protection sample is not looked at.
    Raises :class:`PacketError` when a field runs past ``end``, an id is too long or the fixed bit is missing.
    """
    if start >= end:
        raise PacketError("empty packet")
    if buffer[start] & _LONG_FORM:
        return _parse_long(buffer, start, end, greased)
    return _parse_short(buffer, start, end, short_cid_length, greased)


def _parse_short(buffer: Buffer, start: int, end: int, cid_length: int, greased: bool) -> Header:
    _require_fixed_bit(buffer[start], greased)
    pn_offset = start + 1 + cid_length
    if pn_offset >= end:
        raise PacketError("truncated short header")
    dcid = bytes(buffer[start + 1 : pn_offset])
    return Header(PacketType.ONE_RTT, 0, dcid, b"", b"", pn_offset, start, end)


def _parse_long(buffer: Buffer, start: int, end: int, greased: bool) -> Header:
    version, dcid, scid, pos = _parse_invariant(buffer, start, end)
    if version == 0:
        return Header(PacketType.VERSION_NEGOTIATION, 0, dcid, scid, b"", pos, start, end)
    types = _LONG_TYPES.get(version)
    if types is None:
        return Header(PacketType.UNKNOWN, version, dcid, scid, b"", pos, start, end)
    _require_fixed_bit(buffer[start], greased)
    if len(dcid) > MAX_CONNECTION_ID or len(scid) > MAX_CONNECTION_ID:
        raise PacketError("connection id longer than 20 bytes")
    kind = types[buffer[start] >> 4 & 0x03]
    if kind is PacketType.RETRY:
        return Header(kind, version, dcid, scid, b"", pos, start, end)
    token = b""
    if kind is PacketType.INITIAL:
        token, pos = _read_token(buffer, pos, end)
    length, pos = _read_varint(buffer, pos, end)
    if length > end - pos:
        raise PacketError("Length runs past the datagram")
    return Header(kind, version, dcid, scid, token, pos, start, pos + length)


def _parse_invariant(buffer: Buffer, start: int, end: int) -> tuple[int, bytes, bytes, int]:
    """Read what every version has in common (RFC 8999, section 5.1): version, both ids, and where they end."""
    if end - start < 7:
        raise PacketError("truncated long header")
    version = int.from_bytes(buffer[start + 1 : start + 5], "big")
    dcid, pos = _read_connection_id(buffer, start + 5, end)
    scid, pos = _read_connection_id(buffer, pos, end)
    return version, dcid, scid, pos


def _read_connection_id(buffer: Buffer, pos: int, end: int) -> tuple[bytes, int]:
    if pos >= end:
        raise PacketError("truncated long header")
    stop = pos + 1 + buffer[pos]
    if stop > end:
        raise PacketError("connection id runs past the datagram")
    return bytes(buffer[pos + 1 : stop]), stop


def _read_token(buffer: Buffer, pos: int, end: int) -> tuple[bytes, int]:
    length, pos = _read_varint(buffer, pos, end)
    if length > end - pos:
        raise PacketError("Token runs past the datagram")
    return bytes(buffer[pos : pos + length]), pos + length


def _read_varint(buffer: Buffer, pos: int, end: int) -> tuple[int, int]:
    try:
        return frames.decode_varint(buffer, pos, end)
    except TransportError:
        raise PacketError("truncated integer in a long header") from None


def _require_fixed_bit(first_byte: int, greased: bool) -> None:
    if not first_byte & _FIXED_BIT and not greased:
        raise PacketError("fixed bit is not set")


# Writing


def encode_long_header(
    packet_type: PacketType, version: int, dcid: bytes, scid: bytes, pn: int, pn_length: int, token: bytes = b""
) -> bytes:
    """Return the header of an Initial, 0-RTT or Handshake packet, up to and including the packet number.

    The Length field takes the two bytes before the packet number and is still to be filled in with
    :func:`patch_length`. Raises ``ValueError`` for a packet that cannot exist.
    """
    if packet_type not in (PacketType.INITIAL, PacketType.ZERO_RTT, PacketType.HANDSHAKE):
        raise ValueError(f"{packet_type.name} has no such header")
    if token and packet_type is not PacketType.INITIAL:
        raise ValueError("only an Initial packet carries a token")
    number = encode_packet_number(pn, pn_length)
    first = _long_first_byte(packet_type, version) | pn_length - 1
    parts = [_encode_invariant(first, version, dcid, scid)]
    if packet_type is PacketType.INITIAL:
        parts += [frames.encode_varint(len(token)), token]
    parts += [_LENGTH_PLACEHOLDER, number]
    return b"".join(parts)


def patch_length(buffer: bytearray | memoryview, length_offset: int, length: int) -> None:
    """Write the Length field at ``length_offset``, which is two bytes before the packet number.

    ``length`` counts packet number, payload and tag; ``ValueError`` above 16,383.
    """
    if not 0 <= length <= MAX_LENGTH_FIELD:
        raise ValueError(f"packet length {length} does not fit two bytes")
    buffer[length_offset : length_offset + 2] = (0x4000 | length).to_bytes(2, "big")


def encode_short_header_first_byte(spin: int, key_phase: int, pn_length: int) -> int:
    """Return the first byte of a 1-RTT packet before header protection (RFC 9000, section 17.3.1)."""
    return _FIXED_BIT | (_SPIN_BIT if spin else 0) | (_KEY_PHASE_BIT if key_phase else 0) | pn_length - 1


def _long_first_byte(packet_type: PacketType, version: int) -> int:
    types = _LONG_TYPES.get(version)
    if types is None:
        raise ValueError(f"unsupported QUIC version 0x{version:08x}")
    return _LONG_FORM | _FIXED_BIT | types.index(packet_type) << 4


def _encode_invariant(first_byte: int, version: int, dcid: bytes, scid: bytes) -> bytes:
    if len(dcid) > MAX_CONNECTION_ID or len(scid) > MAX_CONNECTION_ID:
        raise ValueError("connection id longer than 20 bytes")
    ids = bytes([len(dcid)]) + dcid + bytes([len(scid)]) + scid
    return bytes([first_byte]) + version.to_bytes(4, "big") + ids


# Packet numbers


def packet_number_length(pn: int, largest_acked: int = -1) -> int:
    """Return how many bytes (1 to 4) tell ``pn`` to a peer that acknowledged up to ``largest_acked``.

    -1 stands for nothing acknowledged (RFC 9000, appendix A.2). ``ValueError`` outside what four bytes can do.
    """
    unacknowledged = pn - largest_acked
    if not 0 < unacknowledged <= 1 << 31:
        raise ValueError(f"packet number {pn} cannot be told from acknowledged {largest_acked}")
    return ((2 * unacknowledged - 1).bit_length() + 7) // 8


def encode_packet_number(pn: int, length: int) -> bytes:
    """Return the low ``length`` bytes (1 to 4) of ``pn``."""
    if not 1 <= length <= 4:
        raise ValueError(f"a packet number takes 1 to 4 bytes, not {length}")
    return (pn & (1 << 8 * length) - 1).to_bytes(length, "big")


decode_packet_number = protection.decode_packet_number


# Retry (RFC 9000, section 17.2.5) and Version Negotiation (section 17.2.1)


def parse_retry(buffer: Buffer, start: int, end: int) -> Retry:
    """Read a Retry packet. :class:`PacketError` when it is not one, is truncated, or its token is empty."""
    header = parse_header(buffer, start, end, 0)
    if header.type is not PacketType.RETRY:
        raise PacketError("not a Retry packet")
    token_end = end - INTEGRITY_TAG_SIZE
    if token_end <= header.pn_offset:
        raise PacketError("Retry without a token")
    return Retry(header.version, header.dcid, header.scid, bytes(buffer[header.pn_offset : token_end]))


def check_retry(packet: Buffer, original_dcid: bytes) -> bool:
    """Tell whether ``packet`` is a Retry made for an Initial that was sent to ``original_dcid``."""
    try:
        retry = parse_retry(packet, 0, len(packet))
    except PacketError:
        return False
    tag = protection.retry_integrity_tag(retry.version, original_dcid, bytes(packet[:-INTEGRITY_TAG_SIZE]))
    return hmac.compare_digest(tag, bytes(packet[-INTEGRITY_TAG_SIZE:]))


def encode_retry(version: int, scid: bytes, dcid: bytes, original_dcid: bytes, token: bytes) -> bytes:
    """Return a Retry packet to the client's id ``dcid`` from ours, ``scid``.

    ``original_dcid`` is where the client sent its Initial. Raises ``ValueError`` for an empty token.
    """
    if not token:
        raise ValueError("a Retry packet needs a token")
    first = _long_first_byte(PacketType.RETRY, version) | _RETRY_UNUSED_BITS
    packet = _encode_invariant(first, version, dcid, scid) + token
    return packet + protection.retry_integrity_tag(version, original_dcid, packet)


def parse_version_negotiation(buffer: Buffer, start: int, end: int) -> tuple[int, ...]:
    """Return the versions a server offers. :class:`PacketError` when there is none or one is cut short."""
    version, _, _, pos = _parse_invariant(buffer, start, end)
    if not buffer[start] & _LONG_FORM or version != 0:
        raise PacketError("not a Version Negotiation packet")
    if pos == end or (end - pos) % 4:
        raise PacketError("malformed Version Negotiation packet")
    return tuple(int.from_bytes(buffer[at : at + 4], "big") for at in range(pos, end, 4))


def encode_version_negotiation(scid: bytes, dcid: bytes, versions: Sequence[int]) -> bytes:
    """Return a Version Negotiation packet. The ids are the client's, swapped, and may have up to 255 bytes."""
    ids = bytes([len(dcid)]) + dcid + bytes([len(scid)]) + scid
    offered = b"".join(version.to_bytes(4, "big") for version in versions)
    return bytes([_LONG_FORM | _FIXED_BIT]) + bytes(4) + ids + offered
