"""0-RTT on one connection: sent, accepted, rejected, lost, and what neither side may do."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from specter._backend import frames, protection
from specter._frame_types import (
    Ack,
    Crypto,
    Frame,
    HandshakeDone,
    NewToken,
    Padding,
    PathResponse,
    RetireConnectionId,
    Stream,
)
from specter._wire import TransportErrorCode
from specter.quic import early_data, parameters
from specter.quic.config import QuicConfig
from specter.quic.connection import Connection
from specter.quic.early_data import EarlyDataStatus
from specter.quic.errors import StreamLimitReached
from specter.quic.events import (
    CloseKind,
    ConnectionClosed,
    EarlyDataRejected,
    HandshakeCompleted,
    StreamFinished,
    StreamOpened,
    TicketReceived,
)
from specter.quic.packet import PacketType, parse_header
from specter.quic.space import SpaceId
from specter.tls.session import Resumption, Session
from specter.tls.tickets import TicketKeeper
from tests.quic.scripted import Scripted, types_of
from tests.quic.support import CREDENTIAL, START, Pair

MS = 1_000_000
SECOND = 1_000_000_000
ROOMY = QuicConfig(stream_window=4 << 20, connection_window=8 << 20)


def clock() -> int:
    return 1_000_000


def keeper(**options: Any) -> TicketKeeper:
    return TicketKeeper(bytes(16), clock, **options)


def tickets_of(pair: Pair) -> list[Session]:
    return [event.session for event in pair.events["client"] if isinstance(event, TicketReceived)]


def visit(**options: Any) -> Session:
    """Connect once; return a session."""
    pair = Pair(tickets=keeper(), **options)
    pair.handshake()
    pair.run(lambda: len(tickets_of(pair)) == 2)
    return tickets_of(pair)[0]


def again(session: Session, tickets: TicketKeeper | None = None, *, early: bool = True, **options: Any) -> Pair:
    """Return a second connection, not flushed yet."""
    return Pair(tickets=tickets or keeper(), resumption=Resumption(session, 0, early), seed=2, **options)


def rejecting() -> TicketKeeper:
    return keeper(context=b"has changed")


def upload(pair: Pair, stream: int, data: bytes) -> bytes:
    """Write ``data`` and the end of the stream; return what the server reads."""
    sent = 0
    got = bytearray()

    def step() -> bool:
        nonlocal sent
        if sent < len(data):
            sent += pair.client.write(stream, memoryview(data)[sent:], fin=True)
        if pair.server is not None:
            got.extend(pair.server.read(stream))
        return len(got) == len(data)

    pair.run(step)
    return bytes(got)


def pseudo(size: int) -> bytes:
    return hashlib.shake_128(b"early").digest(size)


def closed(pair: Pair, name: str) -> ConnectionClosed | None:
    return next((event for event in pair.events[name] if isinstance(event, ConnectionClosed)), None)


def packets(pair: Pair, kind: PacketType) -> list[bytes]:
    """The client's packets of a kind, as they left."""
    found = []
    for from_client, data in pair.log:
        pos = 0
        while from_client and pos < len(data):
            header = parse_header(data, pos, len(data), 8)
            if header.type is kind:
                found.append(data[pos : header.end])
            pos = header.end
    return found


def open_early(pair: Pair, packet: bytes, version: int = 1) -> tuple[int, list[Frame]]:
    """Return number and frames of a 0-RTT packet."""
    secret = pair.secrets["CLIENT_EARLY_TRAFFIC_SECRET"]
    keys = protection.PacketProtection(0x1301, secret, version)
    buffer = bytearray(packet)
    header = parse_header(buffer, 0, len(buffer), 8)
    number, start, end, _ = keys.open(buffer, 0, header.pn_offset, header.end, -1)
    return number, frames.decode(bytes(buffer), start, end)


# -- accepted -----------------------------------------------------------------------------------------


def test_early_data_arrives_in_the_first_flight() -> None:
    pair = again(visit())
    assert pair.client.early_data is EarlyDataStatus.OFFERED
    stream = pair.client.open_stream()
    assert pair.client.write(stream, b"question", fin=True) == 8
    pair.run(lambda: pair.server is not None and pair.server.readable(stream) == 8)
    assert pair.now - START == pair.delay
    server = pair.server
    assert server is not None
    assert not server.handshake_complete
    assert server.early_data is EarlyDataStatus.ACCEPTED
    assert server.read(stream) == b"question"
    assert server.at_end(stream)
    server.write(stream, b"answer", fin=True)
    pair.run(lambda: pair.client.readable(stream) == 6)
    assert pair.now - START == 2 * pair.delay
    assert pair.client.early_data is EarlyDataStatus.ACCEPTED
    assert pair.client.tls.resumed
    pair.handshake()
    pair.run(lambda: StreamFinished(stream) in pair.events["client"])
    assert pair.client.stats.packets_lost == server.stats.packets_lost == 0
    assert pair.server is not None
    assert pair.client.stats.packets_dropped == pair.server.stats.packets_dropped == 0


def test_early_data_shares_a_datagram_with_the_client_hello() -> None:
    pair = again(visit())
    pair.client.write(pair.client.open_stream(), b"question", fin=True)
    pair.flush(pair.client, True)
    sent = [data for from_client, data in pair.log if from_client]
    assert [types_of(data) for data in sent] == [
        [PacketType.INITIAL],
        [PacketType.INITIAL, PacketType.ZERO_RTT],
    ]
    assert all(len(data) >= 1200 for data in sent)


def test_without_early_data_there_is_only_a_resumption() -> None:
    pair = again(visit(), early=False)
    with pytest.raises(StreamLimitReached):
        pair.client.open_stream()
    pair.handshake()
    assert pair.client.tls.resumed
    assert pair.client.early_data is EarlyDataStatus.NONE
    assert not packets(pair, PacketType.ZERO_RTT)


def test_nothing_early_is_written() -> None:
    pair = again(visit())
    pair.handshake()
    assert pair.client.early_data is EarlyDataStatus.ACCEPTED
    assert not packets(pair, PacketType.ZERO_RTT)
    assert upload(pair, pair.client.open_stream(), b"later") == b"later"


def test_early_packets_carry_streams_only_and_share_numbers_with_1_rtt() -> None:
    pair = again(visit())
    streams = [pair.client.open_stream() for _ in range(3)]
    for stream in streams:
        pair.client.write(stream, b"x" * 700, fin=True)
    pair.client.ping()
    pair.flush(pair.client, True)
    opened = [open_early(pair, packet) for packet in packets(pair, PacketType.ZERO_RTT)]
    assert [number for number, _ in opened] == list(range(len(opened)))
    said = [frame for _, found in opened for frame in found]
    assert {type(frame) for frame in said} <= {Stream, Padding}
    assert sum(len(frame.data) for frame in said if isinstance(frame, Stream)) == 2100
    pair.handshake()
    assert pair.client._core.app.sent.next_pn > len(opened)


@pytest.mark.parametrize("size", [1, 1199, 30_000, 600_000])
def test_any_amount_arrives(size: int) -> None:
    pair = again(visit())
    stream = pair.client.open_stream()
    assert upload(pair, stream, pseudo(size)) == pseudo(size)
    pair.handshake()
    assert pair.client.early_data is EarlyDataStatus.ACCEPTED
    early = sum(len(packet) for packet in packets(pair, PacketType.ZERO_RTT))
    assert min(size, 8_000) <= early <= 12_000  # what the initial window leaves beside the ClientHello


def test_the_remembered_limits_hold_until_the_server_gives_others() -> None:
    small = QuicConfig(stream_window=2_000, connection_window=3_000, max_streams_bidi=2, max_streams_uni=0)
    pair = again(visit(server_config=small), server_config=replace(small))
    one, two = pair.client.open_stream(), pair.client.open_stream()
    assert not pair.client.can_open()
    assert not pair.client.can_open(unidirectional=True)
    pair.client.write(one, bytes(5_000))
    pair.client.write(two, bytes(5_000))
    pair.run(lambda: pair.server is not None)
    pair.settle(3 * pair.delay)
    server = pair.server
    assert server is not None
    assert server.readable(one) + server.readable(two) == 3_000
    assert server.readable(one) == 2_000
    assert closed(pair, "server") is None


@pytest.mark.interpreted
def test_higher_limits_of_the_server_count_once_it_has_spoken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameters, "encode_limits", lambda params: b"")
    small = QuicConfig(stream_window=2_000, connection_window=3_000, max_streams_bidi=1)
    pair = again(visit(server_config=small), server_config=ROOMY)
    stream = pair.client.open_stream()
    assert not pair.client.can_open()
    data = pseudo(100_000)
    assert upload(pair, stream, data) == data
    assert pair.client.early_data is EarlyDataStatus.ACCEPTED
    assert pair.client.can_open()
    assert sum(len(packet) for packet in packets(pair, PacketType.ZERO_RTT)) < 3_000


@pytest.mark.interpreted
@pytest.mark.parametrize(
    "changes",
    [
        {"connection_window": 1 << 20},
        {"stream_window": 1 << 19},
        {"max_streams_bidi": 99},
        {"max_streams_uni": 99},
        {"active_connection_id_limit": 3},
    ],
)
@pytest.mark.security
def test_a_server_that_accepts_may_not_lower_its_limits(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parameters, "encode_limits", lambda params: b"")
    pair = again(visit(), server_config=QuicConfig(**changes))
    pair.client.write(pair.client.open_stream(), b"x")
    pair.run(lambda: closed(pair, "client") is not None)
    end = closed(pair, "client")
    assert end is not None
    assert (end.kind, end.error_code) == (CloseKind.LOCAL, TransportErrorCode.PROTOCOL_VIOLATION)
    assert "0-RTT accepted with a smaller" in end.reason


def test_lower_limits_make_our_server_reject() -> None:
    pair = again(visit(), server_config=QuicConfig(connection_window=1 << 20))
    pair.handshake()
    assert pair.client.early_data is EarlyDataStatus.REJECTED


def test_tickets_of_a_resumed_connection_work_as_well() -> None:
    pair = again(visit())
    pair.run(lambda: len(tickets_of(pair)) == 2)
    third = again(tickets_of(pair)[1])
    assert upload(third, third.client.open_stream(), b"third") == b"third"
    third.handshake()
    assert third.client.early_data is EarlyDataStatus.ACCEPTED


# -- rejected -----------------------------------------------------------------------------------------


def test_rejection_undoes_all_streams() -> None:
    pair = again(visit(), rejecting())
    bidi, uni = pair.client.open_stream(), pair.client.open_stream(unidirectional=True)
    pair.client.write(bidi, b"first try", fin=True)
    pair.client.write(uni, b"first try", fin=True)
    pair.client.reset(uni, 5)
    pair.client.ping()
    pair.run(lambda: EarlyDataRejected() in pair.events["client"])
    core = pair.client._core
    assert pair.client.early_data is EarlyDataStatus.REJECTED
    assert core.streams.by_id == {}
    assert core.receiver.streams == {}
    assert core.packer.data_sent == 0
    assert core.app.sent.ack_eliciting_in_flight <= 1  # the ping
    pair.run(lambda: HandshakeCompleted(b"h3") in pair.events["client"])
    assert (bidi, uni) == (pair.client.open_stream(), pair.client.open_stream(unidirectional=True))
    assert upload(pair, bidi, b"second try") == b"second try"
    assert upload(pair, uni, b"second try") == b"second try"
    pair.handshake()
    server = pair.server
    assert server is not None
    assert server.early_data is EarlyDataStatus.REJECTED
    assert pair.events["server"].count(StreamOpened(bidi)) == 1
    assert any("PingAcknowledged" in repr(event) for event in pair.events["client"])
    kinds = [type(event) for event in pair.events["client"]]
    assert kinds.index(EarlyDataRejected) < kinds.index(HandshakeCompleted)
    assert closed(pair, "client") is closed(pair, "server") is None


def test_rejection_by_a_server_that_resumes_nothing() -> None:
    pair = again(visit(), TicketKeeper(bytes([7]) * 16, clock))
    stream = pair.client.open_stream()
    pair.client.write(stream, b"first try", fin=True)
    pair.handshake()
    assert not pair.client.tls.resumed
    assert pair.client.early_data is EarlyDataStatus.REJECTED
    assert pair.client.tls.peer_certificates == list(CREDENTIAL.chain)
    assert upload(pair, pair.client.open_stream(), b"second try") == b"second try"


def test_a_rejecting_server_processes_no_early_packet() -> None:
    pair = again(visit(), rejecting())
    stream = pair.client.open_stream()
    pair.client.write(stream, b"first try", fin=True)
    pair.handshake()
    pair.settle(SECOND)
    assert pair.server is not None
    assert StreamOpened(stream) not in pair.events["server"]
    assert pair.server.stats.packets_dropped == 1


def test_after_a_rejection_the_new_limits_count() -> None:
    pair = again(visit(), server_config=QuicConfig(stream_window=1_000, connection_window=1_500, max_streams_bidi=1))
    for _ in range(2):
        pair.client.write(pair.client.open_stream(), bytes(3_000))
    pair.run(lambda: EarlyDataRejected() in pair.events["client"])
    stream = pair.client.open_stream()
    assert not pair.client.can_open()
    assert upload(pair, stream, pseudo(20_000)) == pseudo(20_000)
    assert closed(pair, "server") is None


@pytest.mark.security
def test_rejected_early_data_may_not_be_acknowledged() -> None:
    pair = again(visit(), rejecting())
    pair.client.write(pair.client.open_stream(), b"x")
    pair.handshake()
    pair.settle(SECOND)
    peer = Scripted(pair)
    peer.say(Ack(((0, 1),), 0))
    assert peer.closed is not None
    assert peer.closed.error_code == TransportErrorCode.PROTOCOL_VIOLATION
    assert "early data" in peer.closed.reason


def test_replayed_first_flights_are_rejected() -> None:
    session, shared = visit(), keeper()
    first, second = again(session, shared), again(session, shared)
    for pair in (first, second):
        pair.client.write(pair.client.open_stream(), b"x", fin=True)
        pair.handshake()
    assert first.client.early_data is EarlyDataStatus.ACCEPTED
    assert second.client.early_data is EarlyDataStatus.REJECTED


# -- loss and reordering ------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [{0}, {1}, {2}, {3}, {0, 1}, {1, 2}, {0, 1, 2}, {0, 1, 2, 3}])
@pytest.mark.parametrize("size", [100, 2_000])
@pytest.mark.parametrize("rejects", [False, True])
def test_any_datagram_of_the_first_flights_may_be_lost(lost: set[int], size: int, rejects: bool) -> None:
    count = -1

    def drop(from_client: bool, data: bytes) -> bytes | None:
        nonlocal count
        count += 1
        return None if count in lost else data

    pair = again(visit(), rejecting() if rejects else keeper(), filter=drop)
    stream = pair.client.open_stream()
    data = pseudo(size)
    pair.client.write(stream, data, fin=True)
    if rejects:
        pair.run(lambda: EarlyDataRejected() in pair.events["client"])
        pair.client.write(pair.client.open_stream(), data, fin=True)
    pair.run(lambda: pair.server is not None and pair.server.readable(stream) == size)
    assert pair.server is not None
    assert pair.server.read(stream) == data
    pair.handshake()


def test_a_lost_first_flight_is_repeated_early_data_and_all() -> None:
    pair = again(visit())
    pair.filter = lambda from_client, data: None if pair.now == START else data
    stream = pair.client.open_stream()
    pair.client.write(stream, b"question", fin=True)
    pair.run(lambda: pair.server is not None and pair.server.readable(stream) == 8)
    assert pair.server is not None
    assert not pair.server.handshake_complete
    numbers = [open_early(pair, packet)[0] for packet in packets(pair, PacketType.ZERO_RTT)]
    assert len(numbers) >= 2
    assert len(set(numbers)) == len(numbers)


def early_and_other(pair: Pair) -> tuple[list[bytes], list[bytes]]:
    """Return the client's first flight, taken apart: 0-RTT packets, and the datagrams of the rest."""
    pair.flush(pair.client, True)
    sent, pair.wire = [data for _, _, data in pair.wire], []
    early = packets(pair, PacketType.ZERO_RTT)
    rest = []
    for data in sent:
        for packet in early:
            data = data.replace(packet, b"")
        rest += [data] if data else []
    return early, rest


def test_early_packets_ahead_of_the_client_hello_are_kept() -> None:
    """The first part of the ClientHello comes, then 0-RTT packets, then the rest."""
    pair = again(visit())
    stream = pair.client.open_stream()
    pair.client.write(stream, pseudo(5_000), fin=True)
    early, rest = early_and_other(pair)
    pair.server = pair._accept(rest[0])
    pair._deliver(True, [rest[0]])
    for packet in early:
        pair._deliver(True, [packet])
    assert len(early) <= 10
    # The second Initial needs its datagram filled up again.
    pair._deliver(True, [rest[1] + bytes([0x40]) + bytes(1200 - len(rest[1]))])
    assert pair.server.readable(stream) == 5_000


def test_early_packets_ahead_of_the_client_hello_are_kept_within_a_limit() -> None:
    pair = again(visit())
    pair.client.write(pair.client.open_stream(), pseudo(5_000), fin=True)
    early, rest = early_and_other(pair)
    pair.server = pair._accept(rest[0])
    pair._deliver(True, [rest[0]])
    for _ in range(20):
        pair._deliver(True, early)
    assert len(pair.server._inbound._deferred) == 10


def test_kept_early_packets_go_with_a_rejection() -> None:
    pair = again(visit(), rejecting())
    pair.client.write(pair.client.open_stream(), pseudo(500), fin=True)
    early, rest = early_and_other(pair)
    pair.server = pair._accept(rest[0])
    pair._deliver(True, [rest[0], *early])
    assert len(pair.server._inbound._deferred) == 1
    pair._deliver(True, [rest[1] + bytes([0x40]) + bytes(1200 - len(rest[1]))])
    assert not pair.server._inbound._deferred
    assert pair.server._core.streams.by_id == {}


def test_late_early_packets_open_for_three_ptos() -> None:
    pair = again(visit())
    stream = pair.client.open_stream()
    pair.client.write(stream, b"late")
    early, rest = early_and_other(pair)
    pair.wire = [(pair.now + pair.delay, True, data.ljust(1200, b"\x40")) for data in rest]
    pair.run(lambda: pair.server is not None and pair.server.handshake_complete)
    server = pair.server
    assert server is not None
    assert server._core.early_data.keys is not None
    pair._deliver(True, early)
    assert server.readable(stream) == 4
    pair.settle(5 * SECOND)
    assert server._core.early_data.keys is None
    dropped = server.stats.packets_dropped
    pair._deliver(True, early)
    assert server.stats.packets_dropped == dropped + 1


# -- rules --------------------------------------------------------------------------------------------


def test_the_client_forgets_its_early_keys_and_sends_no_more() -> None:
    pair = again(visit())
    stream = pair.client.open_stream()
    pair.client.write(stream, b"early")
    pair.run(lambda: pair.client.handshake_complete)
    assert pair.client._core.early_data.keys is None
    count = len(packets(pair, PacketType.ZERO_RTT))
    pair.client.write(stream, b"late", fin=True)
    pair.run(lambda: pair.server is not None and pair.server.readable(stream) == 9)
    assert len(packets(pair, PacketType.ZERO_RTT)) == count


@pytest.mark.interpreted
@pytest.mark.parametrize(
    "frame",
    [
        Ack(((0, 0),), 0),
        Crypto(0, b"x"),
        HandshakeDone(),
        NewToken(b"token"),
        PathResponse(bytes(8)),
        RetireConnectionId(0),
    ],
)
@pytest.mark.security
def test_frames_that_do_not_belong_in_early_data(frame: Frame, monkeypatch: pytest.MonkeyPatch) -> None:
    def put(self: early_data.EarlyData, payload: bytearray, room: int) -> list[tuple[int, int, int, bool]]:
        payload += frames.encode(frame)
        return [(0, 0, 1, False)]

    monkeypatch.setattr(early_data.EarlyData, "put_streams", put)
    pair = again(visit())
    pair.client.write(pair.client.open_stream(), b"x")
    pair.flush(pair.client, True)
    pair.run(lambda: closed(pair, "server") is not None, steps=500)
    end = closed(pair, "server")
    assert end is not None
    assert end.error_code == TransportErrorCode.PROTOCOL_VIOLATION
    assert "0-RTT packet" in end.reason


def test_a_client_drops_early_packets() -> None:
    pair = again(visit())
    pair.client.write(pair.client.open_stream(), b"x")
    early, _ = early_and_other(pair)
    dropped = pair.client.stats.packets_dropped
    pair._deliver(False, early)
    assert pair.client.stats.packets_dropped == dropped + 1


@pytest.mark.security
def test_forged_early_packets_are_dropped() -> None:
    pair = again(visit())
    stream = pair.client.open_stream()
    pair.client.write(stream, b"question", fin=True)
    early, _ = early_and_other(pair)
    pair = again(visit())
    stream = pair.client.open_stream()
    pair.client.write(stream, b"question", fin=True)
    pair.run(lambda: pair.server is not None and pair.server.readable(stream) == 8)
    assert pair.server is not None
    genuine = packets(pair, PacketType.ZERO_RTT)[0]
    for forged in (genuine[:-1] + bytes([genuine[-1] ^ 1]), genuine[: len(genuine) // 2], genuine, early[0]):
        pair._deliver(True, [forged])
    assert pair.server.read(stream) == b"question"
    pair.handshake()


def test_flow_control_holds_for_early_data() -> None:
    """A client that overruns the remembered limits is told so."""
    tight = QuicConfig(stream_window=2_000, connection_window=3_000)
    pair = again(visit(server_config=tight), server_config=tight)
    pair.client._core.packer.data_limit = 1 << 40
    stream = pair.client.open_stream()
    send = pair.client._core.streams.by_id[stream].send
    assert send is not None
    send.raise_limit(1 << 40)
    send.write(bytes(5_000))
    pair.run(lambda: closed(pair, "server") is not None)
    end = closed(pair, "server")
    assert end is not None
    assert end.error_code == TransportErrorCode.FLOW_CONTROL_ERROR


def test_a_blocked_writer_does_not_spin() -> None:
    """Early data that limits hold back does not make the driver's alarm go off again and again."""
    tight = QuicConfig(stream_window=500, connection_window=600)
    pair = again(visit(server_config=tight), server_config=tight)
    pair.filter = lambda from_client, data: None
    for _ in range(2):
        pair.client.write(pair.client.open_stream(), bytes(1_000))
    pair._flush_all()
    turns = 0
    while closed(pair, "client") is None:
        pair.now = pair.client.next_deadline()
        pair.client.handle_deadline(pair.now)
        pair._flush_all()
        turns += 1
        assert turns < 50


@pytest.mark.parametrize("changes", [{"transport_parameters": b"\xff"}, {"quic_version": 0x6B3343CF}])
def test_a_session_that_cannot_be_used_is_not(changes: dict[str, Any]) -> None:
    pair = again(replace(visit(), **changes))
    with pytest.raises(StreamLimitReached):
        pair.client.open_stream()
    pair.handshake()
    assert not pair.client.tls.resumed


def test_the_server_keeps_to_its_amplification_limit() -> None:
    """0.5-RTT data is sent to an address that nobody has validated."""
    pair = again(visit())
    stream = pair.client.open_stream()
    pair.client.write(stream, b"give me a lot", fin=True)
    pair.run(lambda: pair.server is not None and pair.server.readable(stream) > 0)
    assert pair.server is not None
    pair.filter = lambda from_client, data: None if from_client else data
    pair.server.write(stream, bytes(200_000))
    pair.settle(SECOND)
    received, sent = pair.server.stats.bytes_received, pair.server.stats.bytes_sent
    assert received < sent <= 3 * received


def test_closing_before_the_handshake_is_over() -> None:
    pair = again(visit())
    pair.client.write(pair.client.open_stream(), b"x", fin=True)
    pair.flush(pair.client, True)
    pair.client.close(0, "never mind")
    pair.settle(5 * SECOND)
    assert closed(pair, "client") is not None


def test_numbers_of_spaces() -> None:
    """Initial and 0-RTT packets are acknowledged each in its own space."""
    pair = again(visit())
    pair.client.write(pair.client.open_stream(), b"x", fin=True)
    pair.handshake()
    pair.settle(SECOND)
    assert pair.client._core.spaces[SpaceId.APPLICATION].sent.largest_acked >= 0
    assert not pair.client._core.app.sent.ack_eliciting_in_flight


def test_a_connection_knows_nothing_of_early_data_by_default() -> None:
    pair = Pair()
    assert isinstance(pair.client, Connection)
    pair.handshake()
    assert pair.client.early_data is EarlyDataStatus.NONE
    assert pair.server is not None
    assert pair.server.early_data is EarlyDataStatus.NONE
