"""Extension blocks, and the values of the extensions both halves use (RFC 9846, section 4.2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Final

from specter.tls.alerts import AlertDescription, TlsError, illegal_parameter
from specter.tls.reader import Reader, encode_u16_list, u16_list, vector8, vector16

TLS13: Final = 0x0304
PSK_DHE_KE: Final = 1

Extension = tuple[int, bytes]
"""An extension's type and its undecoded value."""


class ExtensionType(IntEnum):
    """The extensions this implementation knows by name."""

    SERVER_NAME = 0
    STATUS_REQUEST = 5
    SUPPORTED_GROUPS = 10
    SIGNATURE_ALGORITHMS = 13
    ALPN = 16
    SIGNED_CERTIFICATE_TIMESTAMP = 18
    PADDING = 21
    COMPRESS_CERTIFICATE = 27
    RECORD_SIZE_LIMIT = 28
    PRE_SHARED_KEY = 41
    EARLY_DATA = 42
    SUPPORTED_VERSIONS = 43
    COOKIE = 44
    PSK_KEY_EXCHANGE_MODES = 45
    CERTIFICATE_AUTHORITIES = 47
    OID_FILTERS = 48
    POST_HANDSHAKE_AUTH = 49
    SIGNATURE_ALGORITHMS_CERT = 50
    KEY_SHARE = 51
    QUIC_TRANSPORT_PARAMETERS = 57


_T = ExtensionType

_KNOWN: Final = frozenset(ExtensionType)

SERVER_HELLO: Final = frozenset((_T.PRE_SHARED_KEY, _T.SUPPORTED_VERSIONS, _T.KEY_SHARE))
HELLO_RETRY_REQUEST: Final = frozenset((_T.SUPPORTED_VERSIONS, _T.COOKIE, _T.KEY_SHARE))
ENCRYPTED_EXTENSIONS: Final = frozenset(
    (_T.SERVER_NAME, _T.SUPPORTED_GROUPS, _T.ALPN, _T.RECORD_SIZE_LIMIT, _T.EARLY_DATA, _T.QUIC_TRANSPORT_PARAMETERS)
)
CERTIFICATE: Final = frozenset((_T.STATUS_REQUEST, _T.SIGNED_CERTIFICATE_TIMESTAMP))


def parse_extensions(reader: Reader) -> dict[int, bytes]:
    """Read an extension block; the order is kept, a repeated type is an illegal_parameter."""
    block = Reader(reader.vector16())
    found: dict[int, bytes] = {}
    while block.remaining:
        kind = block.u16()
        if kind in found:
            raise illegal_parameter(f"extension {kind} appears twice")
        found[kind] = block.vector16()
    return found


def encode_extensions(extensions: Iterable[Extension]) -> bytes:
    """Write an extension block."""
    return vector16(b"".join(kind.to_bytes(2, "big") + vector16(data) for kind, data in extensions))


def check_response(
    found: Iterable[int], offered: frozenset[int], allowed: frozenset[ExtensionType], where: str
) -> None:
    """Refuse answers nobody asked for and known extensions that have no place in this message."""
    for kind in found:
        if kind not in offered:
            raise TlsError(AlertDescription.UNSUPPORTED_EXTENSION, f"{where} has unsolicited extension {kind}")
        if kind not in allowed and kind in _KNOWN:
            raise illegal_parameter(f"{where} must not have extension {kind}")


def encode_server_name(name: str) -> bytes:
    """A server_name list with one host name."""
    return vector16(b"\0" + vector16(name.encode("ascii")))


def decode_server_name(data: bytes) -> str:
    """Return the host name of a client's server_name, ``""`` when the list has only other kinds."""
    reader = Reader(data)
    names = Reader(reader.vector16(1))
    reader.finish()
    host = ""
    while names.remaining:
        kind = names.u8()
        value = names.vector16(1)
        if kind == 0:
            host = value.decode("ascii", "replace")
    return host


def encode_alpn(protocols: Sequence[str]) -> bytes:
    return vector16(b"".join(vector8(protocol.encode("ascii")) for protocol in protocols))


def decode_alpn(data: bytes) -> tuple[bytes, ...]:
    """Return the protocol names; a server's answer has exactly one."""
    reader = Reader(data)
    names = Reader(reader.vector16(2))
    reader.finish()
    found: list[bytes] = []
    while names.remaining:
        found.append(names.vector8(1))
    return tuple(found)


def encode_groups(groups: Iterable[int]) -> bytes:
    return vector16(encode_u16_list(groups))


def decode_u16_vector(data: bytes) -> tuple[int, ...]:
    """Decode a non-empty list of 16-bit numbers with a two-byte length (groups, signature schemes)."""
    reader = Reader(data)
    values = u16_list(reader.vector16(2))
    reader.finish()
    return values


def decode_versions(data: bytes) -> tuple[int, ...]:
    """Decode a ClientHello's supported_versions."""
    reader = Reader(data)
    values = u16_list(reader.vector8(2))
    reader.finish()
    return values


def encode_versions(versions: Iterable[int]) -> bytes:
    return vector8(encode_u16_list(versions))


def decode_u16(data: bytes) -> int:
    """Decode an extension that is one 16-bit number (selected version, selected group)."""
    reader = Reader(data)
    value = reader.u16()
    reader.finish()
    return value


def decode_cookie(data: bytes) -> bytes:
    reader = Reader(data)
    cookie = reader.vector16(1)
    reader.finish()
    return cookie


def encode_cookie(cookie: bytes) -> bytes:
    return vector16(cookie)


def encode_share(group: int, share: bytes) -> bytes:
    return group.to_bytes(2, "big") + vector16(share)


def decode_share(data: bytes) -> tuple[int, bytes]:
    """Decode the one share of a ServerHello."""
    reader = Reader(data)
    entry = (reader.u16(), reader.vector16(1))
    reader.finish()
    return entry


def encode_shares(shares: Iterable[tuple[int, bytes]]) -> bytes:
    return vector16(b"".join(encode_share(group, share) for group, share in shares))


def decode_shares(data: bytes) -> dict[int, bytes]:
    """Decode a ClientHello's shares by group; a repeated group is an illegal_parameter."""
    reader = Reader(data)
    entries = Reader(reader.vector16())
    reader.finish()
    shares: dict[int, bytes] = {}
    while entries.remaining:
        group = entries.u16()
        if group in shares:
            raise illegal_parameter(f"two key shares for group {group}")
        shares[group] = entries.vector16(1)
    return shares


def encode_compression(algorithms: Iterable[int]) -> bytes:
    return vector8(encode_u16_list(algorithms))


def decode_compression(data: bytes) -> tuple[int, ...]:
    """Decode the algorithms of compress_certificate (RFC 8879, section 3)."""
    reader = Reader(data)
    algorithms = u16_list(reader.vector8(2, 254))
    reader.finish()
    return algorithms


def decode_modes(data: bytes | None) -> bytes:
    """Decode psk_key_exchange_modes to the modes' numbers; none for an absent extension."""
    if data is None:
        return b""
    reader = Reader(data)
    modes = reader.vector8(1)
    reader.finish()
    return modes


def decode_max_early_data(data: bytes) -> int:
    """Decode the early_data extension of a NewSessionTicket."""
    reader = Reader(data)
    size = reader.u32()
    reader.finish()
    return size
