"""Transport parameters: values, checks and an order-keeping codec (RFC 9000, section 18)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final, NoReturn, TypeAlias

from specter._backend import frames
from specter._wire import NEVER, VARINT_MAX, TransportError, TransportErrorCode

MAX_UNKNOWN: Final = 32
"""Unknown parameters that :func:`decode` keeps; further ones are checked for duplicates and dropped."""
MAX_UNKNOWN_BYTES: Final = 4096
"""Bytes of values that :func:`decode` keeps of unknown parameters."""
MAX_STREAMS: Final = 1 << 60
"""The largest stream limit (RFC 9000, section 4.6)."""
MAX_CONNECTION_ID: Final = 20
RESET_TOKEN_SIZE: Final = 16
_MILLISECOND: Final = 1_000_000
_CRYPTO_FRAME: Final = 0x06
_ADDRESSES_SIZE: Final = 4 + 2 + 16 + 2


class ParameterId(IntEnum):
    """Identifiers of the parameters we understand; the member's lower-case name is the field's name."""

    ORIGINAL_DESTINATION_CONNECTION_ID = 0x00
    MAX_IDLE_TIMEOUT = 0x01
    STATELESS_RESET_TOKEN = 0x02
    MAX_UDP_PAYLOAD_SIZE = 0x03
    INITIAL_MAX_DATA = 0x04
    INITIAL_MAX_STREAM_DATA_BIDI_LOCAL = 0x05
    INITIAL_MAX_STREAM_DATA_BIDI_REMOTE = 0x06
    INITIAL_MAX_STREAM_DATA_UNI = 0x07
    INITIAL_MAX_STREAMS_BIDI = 0x08
    INITIAL_MAX_STREAMS_UNI = 0x09
    ACK_DELAY_EXPONENT = 0x0A
    MAX_ACK_DELAY = 0x0B
    DISABLE_ACTIVE_MIGRATION = 0x0C
    PREFERRED_ADDRESS = 0x0D
    ACTIVE_CONNECTION_ID_LIMIT = 0x0E
    INITIAL_SOURCE_CONNECTION_ID = 0x0F
    RETRY_SOURCE_CONNECTION_ID = 0x10
    VERSION_INFORMATION = 0x11
    MAX_DATAGRAM_FRAME_SIZE = 0x20
    GREASE_QUIC_BIT = 0x2AB2


HostPort: TypeAlias = tuple[str, int]


@dataclass(frozen=True, slots=True)
class PreferredAddress:
    """Where a server would rather be spoken to (RFC 9000, section 9.6).

    Addresses are 4 and 16 raw bytes; an all-zero one with port 0 means that family is not offered.
    """

    ipv4: bytes
    ipv4_port: int
    ipv6: bytes
    ipv6_port: int
    connection_id: bytes
    reset_token: bytes

    @staticmethod
    def at(ipv4: HostPort | None, ipv6: HostPort | None, connection_id: bytes, reset_token: bytes) -> PreferredAddress:
        """Return the parameter for addresses in text; ``ValueError`` for what is none of its family."""
        four, four_port = ipv4 or ("0.0.0.0", 0)  # noqa: S104  # nosec B104
        six, six_port = ipv6 or ("::", 0)
        packed = IPv4Address(four).packed, four_port, IPv6Address(six).packed, six_port
        return PreferredAddress(*packed, connection_id, reset_token)

    @property
    def addresses(self) -> list[HostPort]:
        """The addresses that are offered."""
        every = (str(IPv4Address(self.ipv4)), self.ipv4_port), (str(IPv6Address(self.ipv6)), self.ipv6_port)
        return [address for address in every if address[1]]


@dataclass(frozen=True, slots=True)
class VersionInformation:
    """RFC 9368, section 3."""

    chosen: int
    available: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportParameters:
    """What one side declares. Wire units (milliseconds, bytes, counts); defaults are those of an absent parameter.

    ``unknown`` holds identifiers we do not understand, with their raw values.
    """

    original_destination_connection_id: bytes | None = None
    max_idle_timeout: int = 0
    stateless_reset_token: bytes | None = None
    max_udp_payload_size: int = 65527
    initial_max_data: int = 0
    initial_max_stream_data_bidi_local: int = 0
    initial_max_stream_data_bidi_remote: int = 0
    initial_max_stream_data_uni: int = 0
    initial_max_streams_bidi: int = 0
    initial_max_streams_uni: int = 0
    ack_delay_exponent: int = 3
    max_ack_delay: int = 25
    disable_active_migration: bool = False
    preferred_address: PreferredAddress | None = None
    active_connection_id_limit: int = 2
    initial_source_connection_id: bytes | None = None
    retry_source_connection_id: bytes | None = None
    version_information: VersionInformation | None = None
    max_datagram_frame_size: int = 0
    grease_quic_bit: bool = False
    unknown: tuple[tuple[int, bytes], ...] = ()

    @property
    def max_idle_timeout_ns(self) -> int:
        """Nanoseconds, at most ``NEVER``; 0 means this side sets no idle timeout."""
        return min(self.max_idle_timeout * _MILLISECOND, NEVER)

    @property
    def max_ack_delay_ns(self) -> int:
        """Nanoseconds."""
        return self.max_ack_delay * _MILLISECOND


_RANGES: Final[dict[int, tuple[int, int]]] = {
    ParameterId.MAX_IDLE_TIMEOUT: (0, VARINT_MAX),
    ParameterId.MAX_UDP_PAYLOAD_SIZE: (1200, VARINT_MAX),
    ParameterId.INITIAL_MAX_DATA: (0, VARINT_MAX),
    ParameterId.INITIAL_MAX_STREAM_DATA_BIDI_LOCAL: (0, VARINT_MAX),
    ParameterId.INITIAL_MAX_STREAM_DATA_BIDI_REMOTE: (0, VARINT_MAX),
    ParameterId.INITIAL_MAX_STREAM_DATA_UNI: (0, VARINT_MAX),
    ParameterId.INITIAL_MAX_STREAMS_BIDI: (0, MAX_STREAMS),
    ParameterId.INITIAL_MAX_STREAMS_UNI: (0, MAX_STREAMS),
    ParameterId.ACK_DELAY_EXPONENT: (0, 20),
    ParameterId.MAX_ACK_DELAY: (0, (1 << 14) - 1),
    ParameterId.ACTIVE_CONNECTION_ID_LIMIT: (2, VARINT_MAX),
    ParameterId.MAX_DATAGRAM_FRAME_SIZE: (0, VARINT_MAX),
}
"""The integer parameters and what they may be."""

_FLAGS: Final = frozenset({ParameterId.DISABLE_ACTIVE_MIGRATION, ParameterId.GREASE_QUIC_BIT})

_SERVER_ONLY: Final = frozenset(
    {
        ParameterId.ORIGINAL_DESTINATION_CONNECTION_ID,
        ParameterId.STATELESS_RESET_TOKEN,
        ParameterId.PREFERRED_ADDRESS,
        ParameterId.RETRY_SOURCE_CONNECTION_ID,
    }
)

_NAMES: Final[dict[int, str]] = {int(known): known.name.lower() for known in sorted(ParameterId)}
"""The fields of the parameters we understand, in ascending order of the identifiers."""
_DEFAULTS: Final[dict[str, Any]] = {field.name: field.default for field in fields(TransportParameters)}

_REMEMBERED_LIMITS: Final = (
    "active_connection_id_limit",
    "initial_max_data",
    "initial_max_stream_data_bidi_local",
    "initial_max_stream_data_bidi_remote",
    "initial_max_stream_data_uni",
    "initial_max_streams_bidi",
    "initial_max_streams_uni",
)


# Encoding


def encode(params: TransportParameters, order: Sequence[int] | None = None) -> bytes:
    """Return the extension data for ``params``; see :func:`to_items` for ``order``."""
    return encode_raw(to_items(params, order))


def to_items(params: TransportParameters, order: Sequence[int] | None = None) -> list[tuple[int, bytes]]:
    """Return the encoded parameters as ``(identifier, value)``, ready to be edited and given to :func:`encode_raw`.

    Without ``order``: ascending, defaults left out, unknown ones last. With it: the identifiers in ``order`` come
    first and in that order, integers also when they are the default; the rest follows as without it.
    Raises ``ValueError`` for a value that no peer may accept.
    """
    unknown = dict(params.unknown)
    chosen = list(dict.fromkeys(order or ()))
    rest = [known for known, name in _NAMES.items() if known not in chosen and getattr(params, name) != _DEFAULTS[name]]
    rest += [identifier for identifier in unknown if identifier not in chosen and identifier not in _NAMES]
    items = []
    for identifier in chosen + rest:
        name = _NAMES.get(identifier)
        value = unknown.get(identifier) if name is None else _encode_value(identifier, getattr(params, name))
        if value is not None:
            items.append((int(identifier), value))
    return items


def encode_raw(items: Iterable[tuple[int, bytes]]) -> bytes:
    """Return the extension data for ``(identifier, value)`` pairs as they come, with nothing checked or reordered."""
    parts = []
    for identifier, value in items:
        parts += [frames.encode_varint(identifier), frames.encode_varint(len(value)), value]
    return b"".join(parts)


def encode_integer(value: int, width: int = 0) -> bytes:
    """Return ``value`` as a variable-length integer of ``width`` bytes: 1, 2, 4, 8, or 0 for the shortest.

    Raises ``ValueError`` when it does not fit.
    """
    if width == 0:
        return frames.encode_varint(value)
    if width not in (1, 2, 4, 8) or not 0 <= value < 1 << (8 * width - 2):
        raise ValueError(f"{value} does not fit a {width}-byte integer")
    prefix = width.bit_length() - 1
    return (prefix << (8 * width - 2) | value).to_bytes(width, "big")


def _encode_value(known: int, value: Any) -> bytes | None:
    if known in _FLAGS:
        return b"" if value else None
    if value is None:
        return None
    try:
        if known in _RANGES:
            return frames.encode_varint(_in_range(known, value))
        encoded = _encode_known(value)
        _decode_value(known, encoded, from_server=True)
    except TransportError as error:
        raise ValueError(error.reason) from None
    return encoded


def _encode_known(value: Any) -> bytes:
    if isinstance(value, PreferredAddress):
        return _encode_preferred_address(value)
    if isinstance(value, VersionInformation):
        return b"".join(version.to_bytes(4, "big") for version in (value.chosen, *value.available))
    return bytes(value)


def _encode_preferred_address(address: PreferredAddress) -> bytes:
    cid = address.connection_id
    if len(address.ipv4) != 4 or len(address.ipv6) != 16:
        raise ValueError("preferred_address needs 4 and 16 address bytes")
    ipv4 = address.ipv4 + address.ipv4_port.to_bytes(2, "big")
    ipv6 = address.ipv6 + address.ipv6_port.to_bytes(2, "big")
    return ipv4 + ipv6 + bytes([len(cid)]) + cid + address.reset_token


# Decoding


def decode(data: bytes | memoryview, *, from_server: bool) -> TransportParameters:
    """Read the peer's extension data; ``from_server`` tells which side the peer is.

    Raises ``TransportError(TRANSPORT_PARAMETER_ERROR)`` for anything the RFC calls invalid. Which parameters must
    be present, and that connection ids match the handshake (RFC 9000, section 7.3), is for the handshake to check.
    """
    values: dict[str, Any] = {}
    unknown: list[tuple[int, bytes]] = []
    room = MAX_UNKNOWN_BYTES
    for identifier, value in decode_raw(data):
        name = _NAMES.get(identifier)
        if name is not None:
            values[name] = _decode_value(identifier, value, from_server)
        elif len(unknown) < MAX_UNKNOWN and len(value) <= room:
            unknown.append((identifier, value))
            room -= len(value)
    return TransportParameters(**values, unknown=tuple(unknown))


def decode_raw(data: bytes | memoryview) -> list[tuple[int, bytes]]:
    """Split extension data into ``(identifier, value)`` in wire order.

    Raises ``TransportError(TRANSPORT_PARAMETER_ERROR)`` for truncated data and repeated identifiers.
    """
    items: dict[int, bytes] = {}
    pos, end = 0, len(data)
    while pos < end:
        identifier, pos = _read_varint(data, pos, end)
        length, pos = _read_varint(data, pos, end)
        if length > end - pos:
            _fail(f"parameter 0x{identifier:x} is truncated")
        if identifier in items:
            _fail(f"parameter 0x{identifier:x} is repeated")
        items[identifier] = bytes(data[pos : pos + length])
        pos += length
    return list(items.items())


def check_not_reduced(remembered: TransportParameters, current: TransportParameters) -> None:
    """Check that a server which accepted 0-RTT keeps the limits it was remembered with (RFC 9000, section 7.4.1).

    Raises ``TransportError(PROTOCOL_VIOLATION)``.
    """
    for name in _REMEMBERED_LIMITS:
        if getattr(current, name) < getattr(remembered, name):
            raise TransportError(TransportErrorCode.PROTOCOL_VIOLATION, f"0-RTT accepted with a smaller {name}")


def encode_limits(params: TransportParameters) -> bytes:
    """Return what a server may not lower when it accepts 0-RTT, in a form to compare."""
    return b"".join(frames.encode_varint(getattr(params, name)) for name in _REMEMBERED_LIMITS)


def _decode_value(known: int, value: bytes, from_server: bool) -> object:
    if not from_server and known in _SERVER_ONLY:
        _fail(f"{_NAMES[known]} from a client")
    if known in _RANGES:
        return _decode_integer(known, value)
    if known in _FLAGS:
        if value:
            _fail(f"{_NAMES[known]} is not empty")
        return True
    if known == ParameterId.VERSION_INFORMATION:
        return _decode_version_information(value, from_server)
    return _DECODERS.get(known, _decode_connection_id)(value)


def _decode_integer(known: int, value: bytes) -> int:
    number, pos = _read_varint(value, 0, len(value))
    if pos != len(value):
        _fail(f"{_NAMES[known]} has trailing bytes")
    return _in_range(known, number)


def _in_range(known: int, number: int) -> int:
    low, high = _RANGES[known]
    if not low <= number <= high:
        _fail(f"{_NAMES[known]} is {number}, outside {low} to {high}")
    return number


def _decode_connection_id(value: bytes) -> bytes:
    if len(value) > MAX_CONNECTION_ID:
        _fail("connection id longer than 20 bytes")
    return value


def _decode_reset_token(value: bytes) -> bytes:
    if len(value) != RESET_TOKEN_SIZE:
        _fail("stateless_reset_token is not 16 bytes")
    return value


def _decode_preferred_address(value: bytes) -> PreferredAddress:
    cid_length = value[_ADDRESSES_SIZE] if len(value) > _ADDRESSES_SIZE else 0
    if not 1 <= cid_length <= MAX_CONNECTION_ID:
        _fail("preferred_address needs a connection id of 1 to 20 bytes")
    cid_end = _ADDRESSES_SIZE + 1 + cid_length
    if len(value) != cid_end + RESET_TOKEN_SIZE:
        _fail("preferred_address has the wrong length")
    return PreferredAddress(
        ipv4=value[:4],
        ipv4_port=int.from_bytes(value[4:6], "big"),
        ipv6=value[6:22],
        ipv6_port=int.from_bytes(value[22:24], "big"),
        connection_id=value[_ADDRESSES_SIZE + 1 : cid_end],
        reset_token=value[cid_end:],
    )


def _decode_version_information(value: bytes, from_server: bool) -> VersionInformation:
    if not value or len(value) % 4:
        _fail("version_information has the wrong length")
    chosen, *available = (int.from_bytes(value[at : at + 4], "big") for at in range(0, len(value), 4))
    if chosen == 0 or 0 in available:
        _fail("version_information names version 0")
    if not from_server and chosen not in available:
        _fail("version_information does not offer the version in use")
    return VersionInformation(chosen, tuple(available))


_DECODERS: Final[dict[int, Callable[[bytes], object]]] = {
    ParameterId.STATELESS_RESET_TOKEN: _decode_reset_token,
    ParameterId.PREFERRED_ADDRESS: _decode_preferred_address,
}


def _read_varint(data: bytes | memoryview, pos: int, end: int) -> tuple[int, int]:
    try:
        return frames.decode_varint(data, pos, end)
    except TransportError:
        _fail("truncated integer")


def _fail(reason: str) -> NoReturn:
    raise TransportError(TransportErrorCode.TRANSPORT_PARAMETER_ERROR, reason, _CRYPTO_FRAME)
