"""The event log of a connection: complete, true, within the drafts, without secrets, and without effect."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest

from specter._wire import VARINT_MAX
from specter.quic.config import QuicConfig
from specter.quic.connection import Connection
from specter.quic.events import CloseKind, ConnectionClosed, TicketReceived
from specter.quic.parameters import ParameterId, PreferredAddress, TransportParameters, decode, encode_raw, to_items
from specter.quic.qlog import MAX_NOTES, Trace
from specter.quic.qlog_values import close, parameters
from specter.quic.traced import TracedConnection
from specter.testing.network import Link, Transit
from specter.testing.pair import ALPN, Pair, fixed_credential
from specter.testing.transfers import Action, Order
from specter.tls.config import ServerTlsConfig
from specter.tls.session import Resumption
from specter.tls.tickets import TicketKeeper
from tests.qlog_schema import check_event

MS = 1_000_000
LOSSY = Link(delay=10 * MS, loss=0.03, reorder=0.02, duplicate=0.02, corrupt=0.01)
ORDERS = (Order(Action.DOWNLOAD, 150_000), Order(Action.ECHO, 60_000), Order(Action.CLIENT_RESETS, 20_000))


@dataclass
class Log:
    """A sink that keeps what it gets and checks it against the drafts."""

    events: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)
    finished: int = 0

    def write(self, time: int, name: str, data: dict[str, Any]) -> None:
        assert not self.finished
        assert not self.events or time >= self.events[-1][0]
        check_event(name, json.loads(json.dumps(data)))
        self.events.append((time, name, data))

    def finish(self) -> None:
        self.finished += 1

    def named(self, name: str) -> list[dict[str, Any]]:
        return [data for _, event, data in self.events if event == name]

    def frames(self, name: str) -> Counter[str]:
        return Counter(frame["frame_type"] for data in self.named(name) for frame in data.get("frames", ()))

    def packets(self, name: str, kind: str) -> list[int]:
        headers = [data["header"] for data in self.named(name)]
        return [header["packet_number"] for header in headers if header["packet_type"] == kind]

    @property
    def text(self) -> str:
        return json.dumps(self.events)


class Logs:
    """Opens a log for each connection."""

    def __init__(self) -> None:
        self.client = Log()
        self.server = Log()
        self.opened: list[tuple[bytes, bool]] = []

    def __call__(self, original_dcid: bytes, is_client: bool, now: int) -> Log:
        self.opened.append((original_dcid, is_client))
        return self.client if is_client else self.server

    @property
    def config(self) -> QuicConfig:
        return QuicConfig(qlog=self)


def pair(logs: Logs, *args: Any, **options: Any) -> Pair:
    return Pair(*args, client_config=logs.config, server_config=logs.config, **options)


def record_wire(made: Pair) -> list[tuple[int, bool, int]]:
    """Have every datagram noted: its time, its direction and its size (its bytes depend on ML-KEM's own dice)."""
    wire: list[tuple[int, bool, int]] = []

    def note(transit: Transit) -> bool:
        wire.append((transit.time, transit.to_server, len(transit.data)))
        return True

    made.network.filters.append(note)
    return wire


@pytest.fixture(scope="module")
def lossy() -> tuple[Logs, Pair]:
    """A transfer over a bad network, from the first packet to the last, with both sides' logs."""
    logs = Logs()
    made = pair(logs, 4711, LOSSY, orders=ORDERS)
    made.transfer()
    made.client.connection.update_keys()
    made.client.connection.ping()
    made.flush(made.client_host)
    made.run(lambda: len(logs.client.named("security:key_updated")) == 8, limit=20)
    made.close()
    return logs, made


@pytest.mark.parametrize("side", ["client", "server"])
def test_every_packet_is_in_the_log(lossy: tuple[Logs, Pair], side: str) -> None:
    logs, made = lossy
    log = getattr(logs, side)
    connection = made.client.connection if side == "client" else None
    sent = log.packets("transport:packet_sent", "1RTT")
    assert sent == sorted(set(sent))
    assert len(sent) > 50
    received = log.packets("transport:packet_received", "1RTT")
    assert len(received) == len(set(received)) > 50
    lost = log.packets("recovery:packet_lost", "1RTT")
    assert lost
    assert set(lost) <= set(sent)
    if connection is not None:
        core = connection._core
        assert (len(sent), len(received)) == (core.packer.packets, core.receiver.packets)
        assert len(log.named("recovery:packet_lost")) == core.stats.packets_lost
        repeated = [data for data in log.named("transport:packet_dropped") if data["trigger"] == "duplicate"]
        assert len(log.named("transport:packet_dropped")) == core.stats.packets_dropped + len(repeated)


def test_what_one_side_received_the_other_had_sent(lossy: tuple[Logs, Pair]) -> None:
    logs, _ = lossy
    for sender, receiver in ((logs.client, logs.server), (logs.server, logs.client)):
        for kind in ("initial", "handshake", "1RTT"):
            sent = {
                data["header"]["packet_number"]: data
                for data in sender.named("transport:packet_sent")
                if data["header"]["packet_type"] == kind
            }
            for data in receiver.named("transport:packet_received"):
                if data["header"]["packet_type"] == kind:
                    same = sent[data["header"]["packet_number"]]
                    assert (data["frames"], data["raw"], data["header"]["dcid"]) == (
                        same["frames"],
                        same["raw"],
                        same["header"]["dcid"],
                    )


def test_the_frames_are_those_of_the_transfer(lossy: tuple[Logs, Pair]) -> None:
    logs, _ = lossy
    sent = logs.client.frames("transport:packet_sent")
    assert {"crypto", "padding", "ack", "stream", "reset_stream", "ping", "connection_close"} <= set(sent)
    received = logs.client.frames("transport:packet_received")
    assert {"crypto", "ack", "stream", "handshake_done", "new_connection_id"} <= set(received)
    assert "unknown" not in sent | received


def test_the_course_of_the_connection(lossy: tuple[Logs, Pair]) -> None:
    logs, _ = lossy
    names = [name for _, name, _ in logs.client.events]
    assert names[0] == "connectivity:connection_started"
    assert [data["owner"] for data in logs.client.named("transport:parameters_set")] == ["local", "remote"]
    assert logs.client.named("transport:parameters_set")[1]["tls_cipher"] == "AES_128_GCM_SHA256"
    assert logs.client.named("transport:alpn_information") == [{"chosen_alpn": "specter-test"}]
    states = [data["new"] for data in logs.client.named("connectivity:connection_state_updated")]
    assert states[0] == "attempted"
    assert states[-3:] == ["handshake_confirmed", "closing", "closed"]
    assert logs.client.named("connectivity:connection_closed")[0]["trigger"] == "application"
    (closed,) = logs.server.named("connectivity:connection_closed")
    assert (closed["owner"], closed["reason"]) == ("remote", "done")
    assert (logs.client.finished, logs.server.finished) == (1, 1)
    assert logs.opened == [(logs.opened[0][0], True), (logs.opened[0][0], False)]


def test_keys_come_move_and_go(lossy: tuple[Logs, Pair]) -> None:
    logs, _ = lossy
    for log, mover in ((logs.client, "local_update"), (logs.server, "remote_update")):
        told = [
            (data["key_type"], data.get("generation"), data["trigger"]) for data in log.named("security:key_updated")
        ]
        assert told[:2] == [
            (f"{side}_initial_secret", None, "tls")
            for side in (("client", "server") if log is logs.client else ("server", "client"))
        ]
        assert {(kind, number) for kind, number, trigger in told if trigger == mover} == {
            ("client_1rtt_secret", 1),
            ("server_1rtt_secret", 1),
        }
        assert len(told) == len(set(told)) == 8
        gone = {data["key_type"] for data in log.named("security:key_discarded")}
        assert gone == {f"{side}_{level}_secret" for side in ("client", "server") for level in ("initial", "handshake")}


def test_recovery_is_told_as_it_moves(lossy: tuple[Logs, Pair]) -> None:
    logs, made = lossy
    merged: dict[str, float] = {}
    for data in logs.client.named("recovery:metrics_updated"):
        assert data
        assert all(merged.get(name) != value for name, value in data.items())
        merged |= data
    recovery = made.client.connection._core.recovery
    assert merged["smoothed_rtt"] == recovery.rtt.smoothed / MS
    assert merged["congestion_window"] == recovery.window
    states = logs.server.named("recovery:congestion_state_updated")
    assert states[0] == {"new": "slow_start"}
    assert "recovery" in [data["new"] for data in states]
    assert all(later["old"] == earlier["new"] for earlier, later in pairwise(states))


def test_probes_of_the_path_mtu_are_marked() -> None:
    logs = Logs()
    made = pair(logs, 8, orders=(Order(Action.UPLOAD, 400_000),))
    made.transfer()
    probes = [data for data in logs.client.named("transport:packet_sent") if data.get("is_mtu_probe_packet")]
    (grown, *_) = logs.client.named("connectivity:mtu_updated")
    assert grown["old"] == 1200
    assert grown["new"] in {data["raw"]["length"] for data in probes}
    assert all([frame["frame_type"] for frame in data["frames"]][:1] == ["ping"] for data in probes)


def test_logging_changes_nothing_on_the_wire() -> None:
    wires = []
    for config in (QuicConfig(), Logs().config):
        made = Pair(99, LOSSY, orders=ORDERS, client_config=config, server_config=config, start=True)
        wire = record_wire(made)
        made.transfer()
        wires.append(wire)
    assert len(wires[0]) > 200
    assert wires[0] == wires[1]


def test_without_a_log_nothing_looks_on() -> None:
    made = Pair(1)
    connection = made.client.connection
    assert type(connection) is Connection
    assert connection.trace is None
    assert connection._core.receiver.observer is None
    assert connection._core.packer.observer is None


def test_secrets_stay_out() -> None:
    """Neither traffic secrets nor what ends or opens a connection: reset tokens, address tokens."""
    logs = Logs()
    made = pair(logs, 5, retry=True, orders=ORDERS[:1])
    made.transfer()
    made.client.connection.update_keys()
    made.server.connection.issue_token(b"address-token-of-the-future")
    made.poke()
    made.run(lambda: "new_token" in logs.client.frames("transport:packet_received"), limit=5)
    made.close()
    core = made.client.connection._core
    secrets = [core.token.hex(), b"address-token-of-the-future".hex()]
    secrets += [remote.reset_token.hex() for remote in core.remote_cids._active.values()]
    assert len(secrets) == 6
    for log in (logs.client, logs.server):
        assert "new_token" in log.frames("transport:packet_sent") | log.frames("transport:packet_received")
        for secret in secrets:
            assert secret
            assert secret not in log.text


def test_retry_is_a_packet_too() -> None:
    logs = Logs()
    made = pair(logs, 5, retry=True, orders=ORDERS[:1])
    made.transfer()
    (retry,) = [
        data for data in logs.client.named("transport:packet_received") if data["header"]["packet_type"] == "retry"
    ]
    assert retry["retry_token"]["length"] > 0
    initials = [
        data["header"]
        for data in logs.client.named("transport:packet_sent")
        if data["header"]["packet_type"] == "initial"
    ]
    assert "token" not in initials[0]
    assert initials[-1]["token"] == {"length": retry["retry_token"]["length"]}
    assert logs.opened[0][0] == logs.opened[1][0]  # both sides name the file alike, Retry or not


@pytest.mark.parametrize("rejects", [False, True])
def test_early_data_is_told(rejects: bool) -> None:
    tls = ServerTlsConfig(
        credentials=(fixed_credential().tls,), alpn=ALPN, tickets=TicketKeeper(bytes(16), lambda: 1_000)
    )
    first = Pair(1, server_tls=tls)
    first.run(lambda: any(isinstance(event, TicketReceived) for event in first.client.log))
    session = next(event.session for event in first.client.log if isinstance(event, TicketReceived))
    if rejects:
        tls = replace(tls, tickets=TicketKeeper(bytes(16), lambda: 1_000, context=b"changed"))
    logs = Logs()
    made = pair(logs, 2, orders=ORDERS[:1], server_tls=tls, resumption=Resumption(session, 0, early_data=True))
    made.transfer()
    made.close()
    log = logs.client
    assert log.packets("transport:packet_sent", "0RTT") == [0]
    assert log.named("transport:parameters_restored")[0]["initial_max_data"] == 2 << 20
    keys = [data["key_type"] for data in log.named("security:key_updated")]
    assert keys.count("client_0rtt_secret") == 1
    assert {"key_type": "client_0rtt_secret", "trigger": "tls"} in log.named("security:key_discarded")
    assert bool(logs.server.packets("transport:packet_received", "0RTT")) is not rejects
    assert session.secret.hex() not in log.text


def test_version_negotiation_ends_in_the_log() -> None:
    logs = Logs()
    made = pair(logs, 5, versions=(0x1A2A3A4A,), orders=ORDERS[:1])
    made.run(lambda: made.client.closed is not None, limit=5)
    assert logs.client.named("transport:packet_received")[-1]["supported_versions"] == ["1a2a3a4a"]
    assert logs.client.named("connectivity:connection_closed")[0]["trigger"] == "version_mismatch"
    assert logs.client.finished == 1


def test_a_packet_ahead_of_its_keys_is_told_twice() -> None:
    logs = Logs()
    made = pair(logs, 5, orders=ORDERS[:1])
    dropped: list[Transit] = []

    def lose_first_answer(transit: Transit) -> bool:
        if not transit.to_server and not dropped:
            dropped.append(transit)
            return False
        return True

    made.network.filters.append(lose_first_answer)
    made.transfer()
    buffered = logs.client.named("transport:packet_buffered")
    assert buffered
    assert {data["trigger"] for data in buffered} == {"keys_unavailable"}


# -- values ---------------------------------------------------------------------------------------------------


def peer_parameters(**changes: Any) -> TransportParameters:
    """Every parameter as large as it may be, as read from the wire."""
    maximal = {
        "original_destination_connection_id": b"\xff" * 20,
        "max_idle_timeout": VARINT_MAX,
        "stateless_reset_token": b"\xfe" * 16,
        "max_udp_payload_size": VARINT_MAX,
        "initial_max_data": VARINT_MAX,
        "initial_max_stream_data_bidi_local": VARINT_MAX,
        "initial_max_stream_data_bidi_remote": VARINT_MAX,
        "initial_max_stream_data_uni": VARINT_MAX,
        "initial_max_streams_bidi": 1 << 60,
        "initial_max_streams_uni": 1 << 60,
        "ack_delay_exponent": 20,
        "max_ack_delay": (1 << 14) - 1,
        "disable_active_migration": True,
        "preferred_address": PreferredAddress(b"\xff" * 4, 65535, b"\xff" * 16, 65535, b"\xfd" * 20, b"\xfe" * 16),
        "active_connection_id_limit": VARINT_MAX,
        "initial_source_connection_id": b"\xff" * 20,
        "retry_source_connection_id": b"\xff" * 20,
        "max_datagram_frame_size": VARINT_MAX,
        "grease_quic_bit": True,
        **changes,
    }
    return TransportParameters(**maximal)


@pytest.mark.security
def test_maximal_parameters_fit_the_log() -> None:
    """ngtcp2 CVE-2026-40170: the peer's transport parameters overflowed a buffer of the qlog writer."""
    items = to_items(peer_parameters())
    items += [(0x10000 + number, b"\xaa" * 1000) for number in range(60)]
    items += [(VARINT_MAX, b"\xbb" * 30_000)]
    versions = b"".join(number.to_bytes(4, "big") for number in range(1, 5_000))
    items += [(ParameterId.VERSION_INFORMATION, versions)]
    data = parameters("remote", decode(encode_raw(items), from_server=True))
    check_event("transport:parameters_set", json.loads(json.dumps(data)))
    assert data["initial_max_data"] == VARINT_MAX
    assert data["preferred_address"]["ip_v6"] == ":".join(["ffff"] * 8)
    assert len(data["version_information"]["available_versions"]) == 4998
    assert len(json.dumps(data)) < 100_000
    assert "fe" * 16 not in json.dumps(data)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (ConnectionClosed(CloseKind.LOCAL, 0, ""), ("local", "clean")),
        (ConnectionClosed(CloseKind.LOCAL, 0x0A, "rule broken"), ("local", "error")),
        (ConnectionClosed(CloseKind.REMOTE, 0x100, "", True), ("remote", "application")),
        (ConnectionClosed(CloseKind.IDLE, 0, ""), ("local", "idle_timeout")),
        (ConnectionClosed(CloseKind.TIMEOUT, 0, ""), ("local", "handshake_timeout")),
        (ConnectionClosed(CloseKind.RESET, 0, ""), ("remote", "stateless_reset")),
        (ConnectionClosed(CloseKind.VERSION, 0, ""), ("local", "version_mismatch")),
    ],
)
def test_each_end_has_its_word(event: ConnectionClosed, expected: tuple[str, str]) -> None:
    data = close(event)
    check_event("connectivity:connection_closed", data)
    assert (data["owner"], data["trigger"]) == expected


def test_errors_have_their_names() -> None:
    assert close(ConnectionClosed(CloseKind.REMOTE, 0x12A, ""))["connection_code"] == "crypto_error_0x12a"
    assert close(ConnectionClosed(CloseKind.REMOTE, 0x08, ""))["connection_code"] == "transport_parameter_error"
    assert close(ConnectionClosed(CloseKind.REMOTE, 0x7777, ""))["connection_code"] == 0x7777


# -- time -----------------------------------------------------------------------------------------------------


def traced() -> tuple[TracedConnection, Trace, Log]:
    logs = Logs()
    made = pair(logs, 3, start=False)
    connection = made.client.connection
    assert isinstance(connection, TracedConnection)
    assert connection.trace is not None
    return connection, connection.trace, logs.client


def test_what_the_layer_above_does_gets_the_time_of_the_next_call() -> None:
    connection, trace, log = traced()
    now = log.events[-1][0]
    trace.note("http:stream_type_set", {"stream_id": 0, "new": "data"})
    assert log.events[-1][1] != "http:stream_type_set"
    connection.send(now + 7 * MS)
    position = [name for _, name, _ in log.events].index("http:stream_type_set")
    assert log.events[position][0] == now + 7 * MS
    assert log.events[position + 1][1] == "transport:packet_sent"


def test_notes_keep_their_place_and_are_few() -> None:
    _, trace, log = traced()
    trace.note("http:stream_type_set", {"stream_id": 0, "new": "data"})
    trace.emit("http:stream_type_set", {"stream_id": 4, "new": "data"})
    assert [data["stream_id"] for data in log.named("http:stream_type_set")] == [0, 4]
    for number in range(3 * MAX_NOTES):
        trace.note("http:stream_type_set", {"stream_id": number, "new": "data"})
        assert len(trace._notes) <= MAX_NOTES
    trace.finish()
    trace.finish()
    assert len(log.named("http:stream_type_set")) == 3 * MAX_NOTES + 2
    trace.emit("http:stream_type_set", {"stream_id": 8, "new": "data"})
    trace.note("http:stream_type_set", {"stream_id": 8, "new": "data"})
    trace.settle(0)
    assert log.finished == 1


def test_a_payload_that_cannot_be_read_is_told_as_far_as_it_can() -> None:
    _, trace, log = traced()
    payload = memoryview(b"\x01\x01\x3f\xff\xff")
    trace.received(0x40, 9, payload, 0, len(payload), 30)
    (data,) = log.named("transport:packet_received")
    assert [frame["frame_type"] for frame in data["frames"]] == ["ping", "ping", "unknown"]
