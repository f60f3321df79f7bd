"""Frames, headers, parameters and errors in qlog's words: dictionaries of what JSON has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

from specter import _frame_types as wire
from specter._wire import TransportErrorCode
from specter.quic import packet
from specter.quic.events import CloseKind
from specter.quic.packet import PacketType
from specter.quic.parameters import PreferredAddress, TransportParameters, VersionInformation

if TYPE_CHECKING:
    from specter._backend import batch
    from specter.quic.events import ConnectionClosed

__all__ = [
    "PACKET_THRESHOLD",
    "close",
    "endpoints",
    "frame",
    "long_header",
    "packet_type",
    "parameters",
    "parse_long",
    "short_header",
    "version",
]

PACKET_THRESHOLD: Final = 3
"""Packets of reordering after which one counts as lost (RFC 9002, section 6.1.1)."""
MILLION: Final = 1_000_000

_PACKET_TYPES: Final = {
    PacketType.INITIAL: "initial",
    PacketType.ZERO_RTT: "0RTT",
    PacketType.HANDSHAKE: "handshake",
    PacketType.RETRY: "retry",
    PacketType.VERSION_NEGOTIATION: "version_negotiation",
    PacketType.ONE_RTT: "1RTT",
}
_TRIGGERS: Final = {
    CloseKind.IDLE: "idle_timeout",
    CloseKind.RESET: "stateless_reset",
    CloseKind.VERSION: "version_mismatch",
    CloseKind.TIMEOUT: "handshake_timeout",
}


def version(number: int) -> str:
    return f"{number:08x}"


def packet_type(kind: PacketType | None) -> str:
    return _PACKET_TYPES.get(kind, "unknown") if kind is not None else "unknown"


# -- headers --------------------------------------------------------------------------------------


def short_header(first: int, number: int, dcid: bytes) -> dict[str, Any]:
    return {"packet_type": "1RTT", "packet_number": number, "flags": first, "dcid": dcid.hex()}


def long_header(header: packet.Header, first: int | None = None, number: int | None = None) -> dict[str, Any]:
    """Return a header; ``first`` and ``number`` are known once its protection is removed."""
    data: dict[str, Any] = {"packet_type": packet_type(header.type)}
    if number is not None:
        data["packet_number"] = number
    if first is not None:
        data["flags"] = first
    if header.type is PacketType.ONE_RTT:
        return data | {"dcid": header.dcid.hex()}
    if header.token:
        data["token"] = {"length": len(header.token)}
    if header.type in (PacketType.INITIAL, PacketType.ZERO_RTT, PacketType.HANDSHAKE):
        data["length"] = header.end - header.pn_offset
    data |= {"version": version(header.version), "scil": len(header.scid), "dcil": len(header.dcid)}
    return data | {"scid": header.scid.hex(), "dcid": header.dcid.hex()}


def parse_long(data: bytes | memoryview, number: int) -> dict[str, Any]:
    """Return the header of a packet of ours before protection, which still lacks its tag."""
    room = bytes(data) + bytes(packet.INTEGRITY_TAG_SIZE)
    return long_header(packet.parse_header(room, 0, len(room), 0), data[0], number)


def endpoints(local: batch.Address, remote: batch.Address) -> dict[str, Any]:
    """Return the addresses of ``connection_started``; one that only the socket knows is ``"unknown"``."""
    known = local or remote
    data: dict[str, Any] = {"ip_version": "v6" if known is not None and ":" in known[0] else "v4", "protocol": "QUIC"}
    for prefix, address in (("src", local), ("dst", remote)):
        data[f"{prefix}_ip"] = "unknown" if address is None else address[0]
        if address is not None:
            data[f"{prefix}_port"] = address[1]
    return data


_RESTORED: Final = (
    "active_connection_id_limit",
    "disable_active_migration",
    "max_idle_timeout",
    "max_udp_payload_size",
)


# -- transport parameters -------------------------------------------------------------------------


def parameters(owner: str, declared: TransportParameters) -> dict[str, Any]:
    """Return what one side declared. The stateless reset tokens stay out: who has one can end the connection."""
    data: dict[str, Any] = {"owner": owner}
    for field in fields(TransportParameters):
        value = getattr(declared, field.name)
        if value is not None and field.name not in ("stateless_reset_token", "unknown"):
            data[field.name] = _parameter(value)
    if declared.unknown:
        data["unknown_parameters"] = [{"id": f"0x{key:x}", "value": value.hex()} for key, value in declared.unknown]
    return data


def restored(remembered: TransportParameters) -> dict[str, Any]:
    """Return what early data may rely on."""
    return {
        field.name: getattr(remembered, field.name)
        for field in fields(TransportParameters)
        if field.name.startswith("initial_max_") or field.name in _RESTORED
    }


def _parameter(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, PreferredAddress):
        return {
            "ip_v4": ".".join(map(str, value.ipv4)),
            "ip_v6": value.ipv6.hex(":", 2),
            "port_v4": value.ipv4_port,
            "port_v6": value.ipv6_port,
            "connection_id": value.connection_id.hex(),
        }
    if isinstance(value, VersionInformation):
        return {"chosen_version": version(value.chosen), "available_versions": [version(v) for v in value.available]}
    return value


# -- frames ---------------------------------------------------------------------------------------


def frame(value: wire.Frame, exponent: int) -> dict[str, Any]:
    """Return a frame; ``exponent`` scales the delay of an ACK."""
    if isinstance(value, wire.Ack):
        return _ack(value, exponent)
    kind, describe = _FRAMES[type(value)]
    return {"frame_type": kind, **describe(value)}


def _ack(value: wire.Ack, exponent: int) -> dict[str, Any]:
    ranges = [[low] if low == high else [low, high] for low, high in value.ranges]
    delay = (value.delay << exponent) / 1000
    data: dict[str, Any] = {"frame_type": "ack", "ack_delay": delay, "acked_ranges": ranges}
    if value.ecn is not None:
        data |= {"ect0": value.ecn.ect0, "ect1": value.ecn.ect1, "ce": value.ecn.ce}
    return data


def _stream(value: wire.Stream) -> dict[str, Any]:
    data: dict[str, Any] = {"stream_id": value.stream_id, "offset": value.offset, "length": len(value.data)}
    if value.fin:
        data["fin"] = True
    return data


def _new_connection_id(value: wire.NewConnectionId) -> dict[str, Any]:
    return {
        "sequence_number": value.sequence,
        "retire_prior_to": value.retire_prior_to,
        "connection_id_length": len(value.connection_id),
        "connection_id": value.connection_id.hex(),
    }


def _connection_close(value: wire.ConnectionClose) -> dict[str, Any]:
    data: dict[str, Any] = {
        "error_space": "application" if value.application else "transport",
        "error_code": value.error_code if value.application else transport_error(value.error_code),
        "raw_error_code": value.error_code,
        "reason": bytes(value.reason).decode("utf-8", "replace"),
    }
    if not value.application:
        data["trigger_frame_type"] = value.frame_type
    return data


def _reset(value: wire.ResetStream) -> dict[str, Any]:
    return {"stream_id": value.stream_id, "error_code": value.error_code, "final_size": value.final_size}


def _direction(unidirectional: bool) -> str:
    return "unidirectional" if unidirectional else "bidirectional"


_FRAMES: Final[dict[type, tuple[str, Callable[[Any], dict[str, Any]]]]] = {
    wire.Padding: ("padding", lambda f: {"length": f.length, "payload_length": f.length}),
    wire.Ping: ("ping", lambda f: {}),
    wire.ResetStream: ("reset_stream", _reset),
    wire.StopSending: ("stop_sending", lambda f: {"stream_id": f.stream_id, "error_code": f.error_code}),
    wire.Crypto: ("crypto", lambda f: {"offset": f.offset, "length": len(f.data)}),
    wire.NewToken: ("new_token", lambda f: {"token": {"type": "resumption", "length": len(f.token)}}),
    wire.Stream: ("stream", _stream),
    wire.MaxData: ("max_data", lambda f: {"maximum": f.maximum}),
    wire.MaxStreamData: ("max_stream_data", lambda f: {"stream_id": f.stream_id, "maximum": f.maximum}),
    wire.MaxStreams: (
        "max_streams",
        lambda f: {"stream_type": _direction(f.unidirectional), "maximum": f.maximum},
    ),
    wire.DataBlocked: ("data_blocked", lambda f: {"limit": f.limit}),
    wire.StreamDataBlocked: ("stream_data_blocked", lambda f: {"stream_id": f.stream_id, "limit": f.limit}),
    wire.StreamsBlocked: (
        "streams_blocked",
        lambda f: {"stream_type": _direction(f.unidirectional), "limit": f.limit},
    ),
    wire.NewConnectionId: ("new_connection_id", _new_connection_id),
    wire.RetireConnectionId: ("retire_connection_id", lambda f: {"sequence_number": f.sequence}),
    wire.PathChallenge: ("path_challenge", lambda f: {"data": f.data.hex()}),
    wire.PathResponse: ("path_response", lambda f: {"data": f.data.hex()}),
    wire.ConnectionClose: ("connection_close", _connection_close),
    wire.HandshakeDone: ("handshake_done", lambda f: {}),
    wire.Datagram: ("datagram", lambda f: {"length": len(f.data)}),
}


# -- errors ---------------------------------------------------------------------------------------


def transport_error(code: int) -> str | int:
    """Return the qlog name of a transport error code, the number of one without a name."""
    if 0x100 <= code <= 0x1FF:
        return f"crypto_error_0x{code:x}"
    try:
        return TransportErrorCode(code).name.lower()
    except ValueError:
        return code


def close(event: ConnectionClosed) -> dict[str, Any]:
    """Return how a connection ended."""
    local = event.kind in (CloseKind.LOCAL, CloseKind.IDLE, CloseKind.TIMEOUT, CloseKind.VERSION)
    data: dict[str, Any] = {"owner": "local" if local else "remote"}
    if event.kind in (CloseKind.LOCAL, CloseKind.REMOTE):
        if event.application:
            data["application_code"] = event.error_code
        else:
            data["connection_code"] = transport_error(event.error_code)
    data["reason"] = event.reason
    data["trigger"] = _TRIGGERS.get(event.kind) or _cause(event)
    return data


def _cause(event: ConnectionClosed) -> str:
    if event.application:
        return "application"
    return "clean" if event.error_code == 0 and event.failure is None else "error"
