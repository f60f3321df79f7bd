"""The parts of qlog 0.3 that the event logs use, as data (draft-ietf-quic-qlog-main-schema-03, -quic-events-03,
-h3-events-03: what qvis reads), and a checker. A key that begins with ``?`` is optional."""

from __future__ import annotations

import json
import re
from typing import Any

Record = dict[str, Any]

UINT, TEXT, BOOL, MS = "uint", "text", "bool", "milliseconds"
HEX = re.compile(r"([0-9a-f]{2})*")
OWNER = {"local", "remote"}
KEY_TYPES = {
    f"{side}_{level}_secret" for side in ("client", "server") for level in ("initial", "handshake", "0rtt", "1rtt")
}
KEY_TRIGGERS = {"tls", "remote_update", "local_update"}
PACKET_TYPES = {"initial", "handshake", "0RTT", "1RTT", "retry", "version_negotiation", "stateless_reset", "unknown"}
STREAM_TYPE = {"unidirectional", "bidirectional"}
H3_STREAM_TYPE = {"data", "control", "push", "reserved", "qpack_encode", "qpack_decode"}
STATES = {
    "attempted", "peer_validated", "handshake_started", "early_write", "handshake_complete", "handshake_confirmed",
    "closing", "draining", "closed",
}  # fmt: skip
DROP_TRIGGERS = {
    "key_unavailable", "unknown_connection_id", "header_parse_error", "payload_decrypt_error", "protocol_violation",
    "dos_prevention", "unsupported_version", "unexpected_packet", "unexpected_source_connection_id",
    "unexpected_version", "duplicate", "invalid_initial",
}  # fmt: skip
CLOSE_TRIGGERS = {
    "clean", "handshake_timeout", "idle_timeout", "error", "stateless_reset", "version_mismatch", "application",
}  # fmt: skip
RAW = {"?length": UINT, "?payload_length": UINT}
TOKEN = {"?type": {"retry", "resumption"}, "?length": UINT}
HEADER = {
    "packet_type": PACKET_TYPES, "?packet_number": UINT, "?flags": UINT, "?token": TOKEN, "?length": UINT,
    "?version": HEX, "?scil": UINT, "?dcil": UINT, "?scid": HEX, "?dcid": HEX,
}  # fmt: skip
FRAMES: dict[str, Any] = {
    "padding": {"?length": UINT, "payload_length": UINT},
    "ping": {},
    "ack": {"?ack_delay": MS, "?acked_ranges": [[UINT]], "?ect0": UINT, "?ect1": UINT, "?ce": UINT},
    "reset_stream": {"stream_id": UINT, "error_code": UINT, "final_size": UINT},
    "stop_sending": {"stream_id": UINT, "error_code": UINT},
    "crypto": {"offset": UINT, "length": UINT},
    "new_token": {"token": TOKEN},
    "stream": {"stream_id": UINT, "offset": UINT, "length": UINT, "?fin": BOOL},
    "max_data": {"maximum": UINT},
    "max_stream_data": {"stream_id": UINT, "maximum": UINT},
    "max_streams": {"stream_type": STREAM_TYPE, "maximum": UINT},
    "data_blocked": {"limit": UINT},
    "stream_data_blocked": {"stream_id": UINT, "limit": UINT},
    "streams_blocked": {"stream_type": STREAM_TYPE, "limit": UINT},
    "new_connection_id": {
        "sequence_number": UINT, "retire_prior_to": UINT, "?connection_id_length": UINT, "connection_id": HEX,
    },
    "retire_connection_id": {"sequence_number": UINT},
    "path_challenge": {"?data": HEX},
    "path_response": {"?data": HEX},
    "connection_close": {
        "?error_space": {"transport", "application"}, "?error_code": (TEXT, UINT), "?raw_error_code": UINT,
        "?reason": TEXT, "?trigger_frame_type": UINT,
    },
    "handshake_done": {},
    "datagram": {"?length": UINT},
    "unknown": {"raw_frame_type": UINT, "?raw_length": UINT},
}  # fmt: skip
H3_FRAMES: dict[str, Any] = {
    "data": {},
    "headers": {"headers": [{"name": TEXT, "value": TEXT}]},
    "settings": {"settings": [{"name": TEXT, "value": UINT}]},
    "goaway": {"id": UINT},
    "max_push_id": {"push_id": UINT},
    "cancel_push": {"push_id": UINT},
    "reserved": {"?length": UINT},
    "unknown": FRAMES["unknown"],
}
PACKET = {
    "header": HEADER, "?frames": [FRAMES], "?raw": RAW, "?retry_token": TOKEN, "?supported_versions": [HEX],
    "?is_mtu_probe_packet": BOOL, "?trigger": {"keys_available"},
}  # fmt: skip
H3_FRAME = {"stream_id": UINT, "?length": UINT, "frame": H3_FRAMES}
OPEN = "*"
"""Other members may be there too."""
EVENTS: dict[str, Any] = {
    "connectivity:connection_started": {
        "?ip_version": {"v4", "v6"}, "src_ip": TEXT, "dst_ip": TEXT, "?protocol": TEXT, "?src_port": UINT,
        "?dst_port": UINT, "?src_cid": HEX, "?dst_cid": HEX,
    },
    "connectivity:connection_closed": {
        "?owner": OWNER, "?connection_code": (TEXT, UINT), "?application_code": (TEXT, UINT), "?reason": TEXT,
        "?trigger": CLOSE_TRIGGERS,
    },
    "connectivity:connection_id_updated": {"owner": OWNER, "?old": HEX, "?new": HEX},
    "connectivity:connection_state_updated": {"?old": STATES, "new": STATES},
    "connectivity:mtu_updated": {"?old": UINT, "new": UINT},
    "transport:version_information": {"?server_versions": [HEX], "?client_versions": [HEX], "?chosen_version": HEX},
    "transport:alpn_information": {"?chosen_alpn": TEXT},
    "transport:parameters_set": {
        OPEN: True, "?owner": OWNER, "?tls_cipher": TEXT, "?original_destination_connection_id": HEX,
        "?initial_source_connection_id": HEX, "?retry_source_connection_id": HEX, "?disable_active_migration": BOOL,
        "?max_idle_timeout": UINT, "?max_udp_payload_size": UINT, "?ack_delay_exponent": UINT, "?max_ack_delay": UINT,
        "?active_connection_id_limit": UINT, "?initial_max_data": UINT, "?initial_max_stream_data_bidi_local": UINT,
        "?initial_max_stream_data_bidi_remote": UINT, "?initial_max_stream_data_uni": UINT,
        "?initial_max_streams_bidi": UINT, "?initial_max_streams_uni": UINT,
    },
    "transport:parameters_restored": {
        "?disable_active_migration": BOOL, "?max_idle_timeout": UINT, "?max_udp_payload_size": UINT,
        "?active_connection_id_limit": UINT, "?initial_max_data": UINT, "?initial_max_stream_data_bidi_local": UINT,
        "?initial_max_stream_data_bidi_remote": UINT, "?initial_max_stream_data_uni": UINT,
        "?initial_max_streams_bidi": UINT, "?initial_max_streams_uni": UINT,
    },
    "transport:packet_sent": PACKET,
    "transport:packet_received": PACKET,
    "transport:packet_dropped": {"?header": HEADER, "?raw": RAW, "?trigger": DROP_TRIGGERS},
    "transport:packet_buffered": {"?header": HEADER, "?raw": RAW, "?trigger": {"backpressure", "keys_unavailable"}},
    # The draft wants the key itself in ``new``; a log that can be shown to others has none.
    "security:key_updated": {"key_type": KEY_TYPES, "?generation": UINT, "?trigger": KEY_TRIGGERS},
    "security:key_discarded": {"key_type": KEY_TYPES, "?generation": UINT, "?trigger": KEY_TRIGGERS},
    "recovery:parameters_set": {
        OPEN: True, "?reordering_threshold": UINT, "?time_threshold": MS, "timer_granularity": UINT, "?initial_rtt": MS,
        "?max_datagram_size": UINT, "?initial_congestion_window": UINT, "?minimum_congestion_window": UINT,
        "?persistent_congestion_threshold": UINT,
    },
    "recovery:metrics_updated": {
        "?min_rtt": MS, "?smoothed_rtt": MS, "?latest_rtt": MS, "?rtt_variance": MS, "?pto_count": UINT,
        "?congestion_window": UINT, "?bytes_in_flight": UINT, "?ssthresh": UINT, "?packets_in_flight": UINT,
    },
    "recovery:congestion_state_updated": {"?old": TEXT, "new": TEXT, "?trigger": {"persistent_congestion", "ECN"}},
    "recovery:packet_lost": {"?header": HEADER, "?trigger": {"reordering_threshold", "time_threshold", "pto_expired"}},
    "http:parameters_set": {
        "?owner": OWNER, "?max_header_list_size": UINT, "?max_table_capacity": UINT, "?blocked_streams_count": UINT,
    },
    "http:stream_type_set": {"?owner": OWNER, "stream_id": UINT, "?old": H3_STREAM_TYPE, "new": H3_STREAM_TYPE},
    "http:frame_created": H3_FRAME,
    "http:frame_parsed": H3_FRAME,
}  # fmt: skip
FILE = {
    "qlog_version": {"0.3"},
    "qlog_format": {"JSON-SEQ"},
    "?title": TEXT,
    "trace": {
        "vantage_point": {"?name": TEXT, "type": {"client", "server", "network", "unknown"}},
        "common_fields": {
            OPEN: True, "?group_id": TEXT, "?protocol_type": [TEXT], "?reference_time": MS,
            "time_format": {"absolute", "delta", "relative"},
        },
    },
}  # fmt: skip


def check_event(name: str, data: Any) -> None:
    """Raise ``AssertionError`` for an event that the drafts do not know, or know otherwise."""
    assert name in EVENTS, f"no event {name}"
    check(data, EVENTS[name], name)


def check(value: Any, rule: Any, where: str) -> None:
    match rule:
        case str():
            _check_primitive(value, rule, where)
        case re.Pattern():
            assert isinstance(value, str), where
            assert rule.fullmatch(value), f"{where}: {value!r} is not hexadecimal"
        case set():
            assert value in rule, f"{where}: {value!r}"
        case tuple():
            _check_primitive(value, TEXT if isinstance(value, str) else UINT, where)
        case list():
            assert isinstance(value, list), where
            for item in value:
                check(item, rule[0], f"{where}[]")
        case dict() if rule is FRAMES or rule is H3_FRAMES:
            kind = value.get("frame_type")
            assert kind in rule, f"{where}: no frame {kind!r}"
            check({key: item for key, item in value.items() if key != "frame_type"}, rule[kind], f"{where}.{kind}")
        case dict():
            _check_members(value, rule, where)
        case _:
            raise AssertionError(f"{where}: bad rule {rule!r}")


def _check_members(value: Any, rule: dict[str, Any], where: str) -> None:
    assert isinstance(value, dict), where
    for key, inner in rule.items():
        if key != OPEN and not key.startswith("?"):
            assert key in value, f"{where}: {key} is missing"
            check(value[key], inner, f"{where}.{key}")
    for key, item in value.items():
        known = key in rule or f"?{key}" in rule
        assert known or OPEN in rule, f"{where}: {key} is not in the draft"
        if f"?{key}" in rule:
            check(item, rule[f"?{key}"], f"{where}.{key}")


def _check_primitive(value: Any, kind: str, where: str) -> None:
    expected = {UINT: int, TEXT: str, BOOL: bool, MS: (int, float)}[kind]
    assert isinstance(value, expected), f"{where}: {value!r} is no {kind}"
    assert kind == BOOL or not isinstance(value, bool), f"{where}: {value!r} is no {kind}"
    assert kind not in (UINT, MS) or value >= 0, f"{where}: {value!r}"


def parse(text: str) -> tuple[Record, list[Record]]:
    """Take a JSON text sequence (RFC 7464) apart: its header and its events."""
    before, *records = text.split("\x1e")
    assert before == ""
    assert all(record.endswith("\n") and "\n" not in record[:-1] for record in records)
    header, *events = map(json.loads, records)
    return header, events


def check_file(text: str) -> list[Record]:
    """Check a whole ``.sqlog`` file; return its events."""
    header, events = parse(text)
    check(header, FILE, "file")
    times = [event["time"] for event in events]
    assert times == sorted(times)
    for event in events:
        assert set(event) == {"time", "name", "data"}
        check_event(event["name"], event["data"])
    return events
