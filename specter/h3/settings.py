"""The SETTINGS frame: codec, meaning, and what we send (RFC 9114, section 7.2.4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

from specter._backend import frames as _wire
from specter._entropy import Entropy
from specter._wire import TransportError
from specter.h3.config import H3Config
from specter.h3.errors import H3Error, H3ErrorCode

Pairs: TypeAlias = tuple[tuple[int, int], ...]

MAX_SETTINGS_PAYLOAD: Final = 4096
"""Bytes of a SETTINGS frame we are ready to hold."""
_RESERVED: Final = frozenset({0x00, 0x02, 0x03, 0x04, 0x05})


class Setting(IntEnum):
    """RFC 9114, 9204, 9220 and 9297."""

    QPACK_MAX_TABLE_CAPACITY = 0x01
    MAX_FIELD_SECTION_SIZE = 0x06
    QPACK_BLOCKED_STREAMS = 0x07
    ENABLE_CONNECT_PROTOCOL = 0x08
    H3_DATAGRAM = 0x33


_BOOLEAN: Final = frozenset({Setting.ENABLE_CONNECT_PROTOCOL, Setting.H3_DATAGRAM})


@dataclass(frozen=True, slots=True)
class Settings:
    """One side's settings with the defaults filled in; ``received`` is false while only defaults are known."""

    pairs: Pairs = ()
    received: bool = False
    max_field_section_size: int | None = None
    qpack_max_table_capacity: int = 0
    qpack_blocked_streams: int = 0
    enable_connect_protocol: bool = False
    h3_datagram: bool = False

    @classmethod
    def from_pairs(cls, pairs: Pairs) -> Settings:
        known = dict(pairs)
        return cls(
            pairs=pairs,
            received=True,
            max_field_section_size=known.get(Setting.MAX_FIELD_SECTION_SIZE),
            qpack_max_table_capacity=known.get(Setting.QPACK_MAX_TABLE_CAPACITY, 0),
            qpack_blocked_streams=known.get(Setting.QPACK_BLOCKED_STREAMS, 0),
            enable_connect_protocol=bool(known.get(Setting.ENABLE_CONNECT_PROTOCOL, 0)),
            h3_datagram=bool(known.get(Setting.H3_DATAGRAM, 0)),
        )


def encode_settings(pairs: Iterable[tuple[int, int]]) -> bytes:
    """Return the payload of a SETTINGS frame."""
    return b"".join(_wire.encode_varint(identifier) + _wire.encode_varint(value) for identifier, value in pairs)


def decode_settings(payload: bytes) -> Pairs:
    """Return identifiers and values in wire order.

    Raises ``H3Error``: H3_FRAME_ERROR for a payload that ends inside a setting, H3_SETTINGS_ERROR for
    identifiers that came twice or are reserved, and for values out of range.
    """
    found: dict[int, int] = {}
    pos, end = 0, len(payload)
    try:
        while pos < end:
            identifier, pos = _wire.decode_varint(payload, pos, end)
            value, pos = _wire.decode_varint(payload, pos, end)
            _check(identifier, value, found)
            found[identifier] = value
    except TransportError:
        raise H3Error(H3ErrorCode.H3_FRAME_ERROR, "SETTINGS ends inside a setting") from None
    return tuple(found.items())


def _check(identifier: int, value: int, found: dict[int, int]) -> None:
    if identifier in _RESERVED:
        raise H3Error(H3ErrorCode.H3_SETTINGS_ERROR, f"reserved setting 0x{identifier:x}")
    if identifier in found:
        raise H3Error(H3ErrorCode.H3_SETTINGS_ERROR, f"setting 0x{identifier:x} came twice")
    if identifier in _BOOLEAN and value > 1:
        raise H3Error(H3ErrorCode.H3_SETTINGS_ERROR, f"setting 0x{identifier:x} is {value}, not 0 or 1")


def local_settings(config: H3Config, entropy: Entropy) -> Pairs:
    """Return what we announce."""
    pairs = config.settings if config.settings is not None else _from_limits(config)
    if config.grease:
        pairs += ((grease_value(entropy), int.from_bytes(entropy.token(4), "big")),)
    return pairs


def _from_limits(config: H3Config) -> Pairs:
    pairs: Pairs = (
        (Setting.QPACK_MAX_TABLE_CAPACITY, config.qpack_max_table_capacity),
        (Setting.MAX_FIELD_SECTION_SIZE, config.max_field_section_size),
        (Setting.QPACK_BLOCKED_STREAMS, config.qpack_blocked_streams),
    )
    if config.enable_connect_protocol:
        pairs += ((Setting.ENABLE_CONNECT_PROTOCOL, 1),)
    return pairs


def grease_value(entropy: Entropy) -> int:
    """Return a reserved identifier for a setting, frame or stream type (``0x1f * N + 0x21``)."""
    return 0x1F * int.from_bytes(entropy.token(4), "big") + 0x21
