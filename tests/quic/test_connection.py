"""Whole connections, back to back: handshake, streams, limits, keys, and every way to end."""

from __future__ import annotations

import hashlib

import pytest

from specter._entropy import SeededEntropy
from specter._wire import NEVER
from specter._wire import TransportErrorCode as Code
from specter.quic.cids import encode_stateless_reset, reset_token
from specter.quic.config import MILLISECOND, SECOND, QuicConfig
from specter.quic.errors import StreamLimitReached, UnknownStream
from specter.quic.events import (
    CloseKind,
    ConnectionClosed,
    HandshakeCompleted,
    PingAcknowledged,
    StopSending,
    StreamFinished,
    StreamOpened,
    StreamReadable,
    StreamReset,
    StreamsAvailable,
    StreamWritable,
)
from specter.quic.packet import encode_version_negotiation, parse_header
from tests.quic.support import START, Pair


def connected(**configs: QuicConfig) -> Pair:
    pair = Pair(**configs)
    pair.handshake()
    return pair


def closed(pair: Pair, name: str) -> ConnectionClosed | None:
    return next((event for event in pair.events[name] if isinstance(event, ConnectionClosed)), None)


def upload(pair: Pair, stream: int, data: bytes, *, read: bool = True) -> bytes:
    """Write ``data`` at the client as fast as it is taken, read it at the server."""
    sent, got = 0, bytearray()
    server = pair.server
    assert server is not None

    def done() -> bool:
        nonlocal sent
        if sent < len(data) or not data:
            sent += pair.client.write(stream, memoryview(data)[sent:], fin=True) if sent < len(data) else 0
        if read:
            got.extend(server.read(stream))
        return sent == len(data) and (not read or (server.at_end(stream) and len(got) == len(data)))

    pair.run(done)
    return bytes(got)


# -- handshake ------------------------------------------------------------------------------------------


def test_handshake_is_confirmed_on_both_sides() -> None:
    pair = connected()
    assert HandshakeCompleted(b"h3") in pair.events["client"]
    assert HandshakeCompleted(b"h3") in pair.events["server"]


def test_a_large_client_hello_leaves_in_several_full_initial_datagrams() -> None:
    pair = Pair()
    pair.flush(pair.client, True)
    sizes = [len(data) for _, data in pair.log]
    assert len(sizes) >= 2
    assert all(1200 <= size <= 1252 for size in sizes)
    assert all(data[0] & 0xF0 == 0xC0 for _, data in pair.log)


def test_same_entropy_and_clock_give_the_same_datagrams() -> None:
    logs = []
    for _ in range(2):
        pair = Pair(seed=7)
        pair.flush(pair.client, True)
        logs.append(pair.log)
    assert logs[0] == logs[1]


@pytest.mark.parametrize("lost", range(12))
def test_any_single_lost_datagram_of_the_handshake_is_recovered(lost: int) -> None:
    """Among them the client's Finished, which nothing but its own probe brings back."""
    count = -1

    def drop(from_client: bool, data: bytes) -> bytes | None:
        nonlocal count
        count += 1
        return None if count == lost else data

    pair = Pair(filter=drop)
    pair.handshake()
    assert upload(pair, pair.client.open_stream(), b"x" * 3000) == b"x" * 3000


def test_the_rest_of_a_client_hello_is_repeated_at_once() -> None:
    """The server confirms the first datagram alone: it will not answer before it has the second."""
    count = 0

    def drop_second(from_client: bool, data: bytes) -> bytes | None:
        nonlocal count
        count += from_client
        return None if from_client and count == 2 else data

    pair = Pair(filter=drop_second)
    pair.handshake()
    assert pair.now - START < 60 * MILLISECOND
    assert pair.client._core.recovery.stats.probe_timeouts == 0


def test_client_breaks_the_deadlock_of_a_server_that_may_not_speak() -> None:
    """The server's reply is lost and it has used up its three-fold allowance (RFC 9002, section 6.2.2.1)."""
    pair = Pair()
    dropped = 0

    def drop(from_client: bool, data: bytes) -> bytes | None:
        nonlocal dropped
        if from_client or dropped >= 8:
            return data
        dropped += 1
        return None

    pair.filter = drop
    pair.handshake()
    assert dropped == 8


def test_server_stays_within_three_times_what_it_received() -> None:
    received = sent = 0
    worst = 0.0

    def count(from_client: bool, data: bytes) -> bytes | None:
        nonlocal received, sent, worst
        if from_client:
            received += len(data)
            return data if received <= 2400 else None
        sent += len(data)
        worst = max(worst, sent / received)
        return None

    pair = Pair(filter=count)
    pair.settle(5 * SECOND)
    assert sent > 0
    assert worst <= 3


def test_a_handshake_nobody_answers_is_given_up_in_time() -> None:
    pair = Pair(client_config=QuicConfig(handshake_timeout=2 * SECOND), filter=lambda from_client, data: None)
    pair.settle(3 * SECOND)
    end = closed(pair, "client")
    assert end is not None
    assert end.kind is CloseKind.TIMEOUT


def test_a_server_of_other_versions_is_named() -> None:
    pair = Pair()
    pair.flush(pair.client, True)
    header = parse_header(pair.log[0][1], 0, len(pair.log[0][1]), 8)
    answer = encode_version_negotiation(header.dcid, header.scid, [0x0A0A0A0A, 0xFF00001D])
    pair._deliver(False, [answer])
    pair._flush_all()
    end = closed(pair, "client")
    assert end is not None
    assert end.kind is CloseKind.VERSION
    assert "0xff00001d" in end.reason


@pytest.mark.parametrize("versions", [[1], [0x0A0A0A0A, 1]])
def test_version_negotiation_that_lists_our_version_is_ignored(versions: list[int]) -> None:
    pair = Pair()
    pair.flush(pair.client, True)
    header = parse_header(pair.log[0][1], 0, len(pair.log[0][1]), 8)
    pair._deliver(False, [encode_version_negotiation(header.dcid, header.scid, versions)])
    pair.handshake()


def test_version_negotiation_after_a_packet_of_the_server_is_ignored() -> None:
    pair = Pair()
    pair.step()
    pair.run(lambda: pair.client.stats.datagrams_received > 0)
    header = parse_header(pair.log[0][1], 0, len(pair.log[0][1]), 8)
    pair._deliver(False, [encode_version_negotiation(header.dcid, header.scid, [0x0A0A0A0A])])
    pair.handshake()


@pytest.mark.parametrize("garbage", [b"", b"\x00", b"\x40" * 30, b"\xc0\x00\x00\x00\x01" + bytes(40), bytes(1200)])
def test_garbage_is_dropped_and_counted(garbage: bytes) -> None:
    pair = connected()
    pair._deliver(False, [garbage] if garbage else [b"\x41"])
    assert closed(pair, "client") is None
    assert pair.client.stats.packets_dropped >= 1
    assert upload(pair, pair.client.open_stream(), b"still there") == b"still there"


# -- streams --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 1199, 300_000, 3_000_000])
def test_what_is_written_arrives(size: int) -> None:
    pair = connected()
    data = hashlib.shake_128(b"x").digest(size)
    stream = pair.client.open_stream()
    assert upload(pair, stream, data) == data
    pair.run(lambda: StreamFinished(stream) in pair.events["client"])


def test_an_empty_stream_ends() -> None:
    pair = connected()
    stream = pair.client.open_stream(unidirectional=True)
    pair.client.write(stream, b"", fin=True)
    pair.run(lambda: StreamReadable(stream) in pair.events["server"])
    assert pair.server is not None
    assert pair.server.read(stream) == b""
    assert pair.server.at_end(stream)


def test_both_directions_of_a_stream_are_independent() -> None:
    pair = connected()
    assert pair.server is not None
    stream = pair.client.open_stream()
    pair.client.write(stream, b"question", fin=True)
    pair.run(lambda: pair.server is not None and pair.server.readable(stream) == 8)
    assert StreamOpened(stream) in pair.events["server"]
    assert pair.server.peek(stream, 5) == b"quest"
    target = bytearray(20)
    assert pair.server.readinto(stream, target) == 8
    assert bytes(target[:8]) == b"question"
    pair.server.write(stream, b"answer", fin=True)
    pair.run(lambda: pair.client.readable(stream) == 6)
    assert pair.client.read(stream, 3) == b"ans"
    assert pair.client.read(stream) == b"wer"
    assert pair.client.at_end(stream)
    pair.settle(SECOND)
    assert pair.client._core.streams.by_id == {}
    assert pair.server._core.streams.by_id == {}


def test_server_may_open_streams_of_both_types() -> None:
    pair = connected()
    assert pair.server is not None
    assert (pair.server.open_stream(), pair.server.open_stream(unidirectional=True)) == (1, 3)
    pair.server.write(1, b"one")
    pair.server.write(3, b"three", fin=True)
    pair.run(lambda: pair.client.readable(1) == 3 and pair.client.readable(3) == 5)


def test_a_slow_reader_stops_the_writer_and_memory_stays_within_the_window() -> None:
    pair = connected(server_config=QuicConfig(stream_window=64_000, connection_window=100_000))
    assert pair.server is not None
    stream = pair.client.open_stream()
    accepted = 0
    for _ in range(50):
        accepted += pair.client.write(stream, bytes(100_000))
        pair.settle(100 * MILLISECOND)
    assert pair.server.readable(stream) == 64_000
    assert pair.client.writable(stream) == 0
    assert accepted == 64_000 + pair.client._core.config.send_buffer
    while pair.server.read(stream):
        pair.settle(200 * MILLISECOND)
    assert StreamWritable(stream) in pair.events["client"]


def test_the_connection_window_bounds_all_streams_together() -> None:
    pair = connected(server_config=QuicConfig(stream_window=64_000, connection_window=100_000))
    server = pair.server
    assert server is not None
    streams = [pair.client.open_stream() for _ in range(4)]
    for stream in streams:
        pair.client.write(stream, bytes(60_000), fin=True)
    pair.settle(SECOND)
    assert sum(server.readable(stream) for stream in streams) == 100_000
    got = dict.fromkeys(streams, 0)

    def done() -> bool:
        for stream in streams:
            got[stream] += len(server.read(stream))
        return all(count == 60_000 for count in got.values())

    pair.run(done)


def test_windows_grow_with_the_bandwidth_delay_product() -> None:
    pair = connected(server_config=QuicConfig(stream_window=64_000, connection_window=128_000))
    pair.delay = 50 * MILLISECOND
    data = bytes(4_000_000)
    assert upload(pair, pair.client.open_stream(), data) == data
    assert pair.server is not None
    assert pair.server._core.window.window > 500_000


def test_stream_limit_is_kept_and_raised_as_streams_end() -> None:
    pair = connected(server_config=QuicConfig(max_streams_bidi=4))
    server = pair.server
    assert server is not None
    streams = [pair.client.open_stream() for _ in range(4)]
    assert not pair.client.can_open()
    with pytest.raises(StreamLimitReached):
        pair.client.open_stream()
    for stream in streams:
        pair.client.write(stream, b"x", fin=True)
    pair.run(lambda: all(server.readable(stream) == 1 for stream in streams))
    for stream in streams:
        server.read(stream)
        server.write(stream, b"", fin=True)
    pair.run(lambda: all(pair.client.at_end(stream) for stream in streams))
    pair.run(lambda: StreamsAvailable(False) in pair.events["client"])
    assert pair.client.open_stream() == 16


def test_five_hundred_streams_one_after_the_other_leave_nothing_behind() -> None:
    pair = connected()
    server = pair.server
    assert server is not None
    for _ in range(500):
        pair.run(pair.client.can_open)
        stream = pair.client.open_stream()
        pair.client.write(stream, b"x" * 10, fin=True)
        pair.run(lambda stream=stream: server.readable(stream) == 10)  # type: ignore[misc]
        server.read(stream)
        server.write(stream, b"y", fin=True)
        pair.run(lambda stream=stream: pair.client.readable(stream) == 1)  # type: ignore[misc]
        pair.client.read(stream)
    pair.settle(SECOND)
    for end in (pair.client, server):
        assert end._core.streams.by_id == {}
        assert end._core.receiver.streams == {}


def test_reset_reaches_the_reader_and_frees_the_stream() -> None:
    pair = connected()
    stream = pair.client.open_stream(unidirectional=True)
    pair.client.write(stream, bytes(5000))
    pair.settle(100 * MILLISECOND)
    pair.client.reset(stream, 77)
    pair.run(lambda: StreamReset(stream, 77) in pair.events["server"])
    pair.settle(SECOND)
    assert pair.server is not None
    assert pair.client._core.streams.by_id == {}
    assert pair.server._core.streams.by_id == {}
    assert pair.server._core.window.consumed == 5000


def test_stop_sending_resets_the_writer() -> None:
    pair = connected()
    assert pair.server is not None
    stream = pair.client.open_stream()
    pair.client.write(stream, bytes(5000))
    pair.run(lambda: pair.server is not None and pair.server.readable(stream) == 5000)
    pair.server.stop_sending(stream, 9)
    pair.run(lambda: StopSending(stream, 9) in pair.events["client"])
    with pytest.raises(UnknownStream):
        pair.client.write(stream, b"more")
    pair.settle(SECOND)
    assert pair.server._core.window.consumed == 5000
    assert not [event for event in pair.events["server"] if isinstance(event, StreamReset)]


def test_late_calls_on_a_finished_stream_are_harmless() -> None:
    pair = connected()
    stream = pair.client.open_stream()
    pair.client.write(stream, b"x", fin=True)
    pair.client.reset(stream, 1)
    pair.client.stop_sending(stream, 1)
    pair.settle(SECOND)
    assert (pair.client.read(stream), pair.client.readable(stream), pair.client.at_end(stream)) == (b"", 0, True)
    pair.client.reset(stream, 2)
    with pytest.raises(UnknownStream):
        pair.client.write(stream, b"x")


# -- loss -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("congestion", ["newreno", "cubic"])
def test_every_tenth_datagram_lost_each_way(congestion: str) -> None:
    count = 0

    def drop(from_client: bool, data: bytes) -> bytes | None:
        nonlocal count
        count += 1
        return None if count % 10 == 0 else data

    pair = connected(client_config=QuicConfig(congestion=congestion))
    pair.filter = drop
    data = hashlib.shake_128(b"loss").digest(400_000)
    assert upload(pair, pair.client.open_stream(), data) == data
    assert pair.client.stats.packets_lost > 10


def test_control_frames_are_sent_again() -> None:
    """Lose every datagram of the client for a while: limits, resets and stop requests must still arrive."""
    pair = connected()
    assert pair.server is not None
    first, second = pair.client.open_stream(), pair.client.open_stream()
    pair.client.write(first, b"a")
    pair.client.write(second, b"b")
    pair.settle(100 * MILLISECOND)
    pair.server.write(second, bytes(1000))
    pair.settle(100 * MILLISECOND)
    pair.filter = lambda from_client, data: None if from_client else data
    pair.client.reset(first, 5)
    pair.client.stop_sending(second, 6)
    pair.settle(50 * MILLISECOND)
    pair.filter = lambda from_client, data: data
    pair.run(lambda: StreamReset(first, 5) in pair.events["server"] and StopSending(second, 6) in pair.events["server"])


# -- keys -----------------------------------------------------------------------------------------------


def test_key_update_by_either_side_in_the_middle_of_a_transfer() -> None:
    pair = connected()
    server = pair.server
    assert server is not None
    for turn in range(4):
        (pair.client if turn % 2 else server).update_keys()
        data = hashlib.shake_128(bytes([turn])).digest(200_000)
        assert upload(pair, pair.client.open_stream(), data) == data
        pair.client.ping()
        pair.settle(200 * MILLISECOND)
    pair.client.ping()
    pair.settle(200 * MILLISECOND)
    for end in (pair.client, server):
        reader, writer = end._core.app.opener, end._core.app.sealer
        assert reader is not None
        assert writer is not None
        assert reader.updates == writer.updates == 4


def test_keys_are_updated_before_the_aead_limit() -> None:
    pair = connected()
    sealer = pair.client._core.app.sealer
    assert sealer is not None
    sealer.confidentiality_limit = 1100
    assert upload(pair, pair.client.open_stream(), bytes(400_000)) == bytes(400_000)
    assert sealer.updates >= 1


def test_too_many_forged_packets_close_the_connection() -> None:
    pair = connected()
    opener = pair.client._core.app.opener
    assert opener is not None
    opener.integrity_limit = 3
    cid = next(iter(pair.client.host_cids))
    for n in range(5):
        pair._deliver(False, [b"\x40" + cid + bytes([n]) * 40])
    pair._flush_all()
    end = closed(pair, "client")
    assert end is not None
    assert end.error_code == Code.AEAD_LIMIT_REACHED


# -- the end --------------------------------------------------------------------------------------------


def test_close_tells_the_peer_and_then_goes_away() -> None:
    pair = connected()
    pair.client.close(0x100, "done")
    pair.settle(2 * SECOND)
    mine, theirs = closed(pair, "client"), closed(pair, "server")
    assert mine is not None
    assert theirs is not None
    assert (mine.kind, theirs.kind) == (CloseKind.LOCAL, CloseKind.REMOTE)
    assert (theirs.error_code, theirs.reason, theirs.application) == (0x100, "done", True)
    assert pair.server is not None
    assert pair.client.closed
    assert pair.server.closed
    assert pair.client.next_deadline() == pair.server.next_deadline() == NEVER


def test_close_before_the_handshake_ends_hides_the_application_code() -> None:
    pair = Pair()
    pair.run(lambda: pair.client.stats.datagrams_received > 0)
    pair = Pair()
    pair.flush(pair.client, True)
    pair.client.close(0x123, "secret reason")
    pair.settle(SECOND)
    theirs = closed(pair, "server")
    assert theirs is not None
    assert (theirs.error_code, theirs.application, theirs.reason) == (Code.APPLICATION_ERROR, False, "")


def test_a_lost_close_is_repeated_for_packets_that_still_come() -> None:
    pair = connected()
    assert pair.server is not None
    pair.filter = lambda from_client, data: None if from_client else data
    pair.client.close(1, "x")
    pair._flush_all()
    pair.filter = lambda from_client, data: data
    stream = pair.server.open_stream()
    pair.server.write(stream, b"are you there?")
    pair.run(lambda: closed(pair, "server") is not None)


def test_idle_connections_end_silently() -> None:
    pair = connected(client_config=QuicConfig(idle_timeout=3 * SECOND))
    sent = len(pair.log)
    pair.settle(60 * SECOND)
    for name in ("client", "server"):
        end = closed(pair, name)
        assert end is not None
        assert end.kind is CloseKind.IDLE
    assert len(pair.log) <= sent + 2


def test_keep_alive_keeps_it_alive() -> None:
    config = QuicConfig(idle_timeout=3 * SECOND, keep_alive=SECOND)
    pair = connected(client_config=config)
    before = len(pair.log)
    pair.settle(30 * SECOND)
    assert closed(pair, "client") is None
    pings = sum(from_client for from_client, _ in pair.log[before:])
    assert 20 <= pings <= 62


def test_keep_alive_does_not_outlive_a_dead_peer() -> None:
    config = QuicConfig(idle_timeout=3 * SECOND, keep_alive=SECOND)
    pair = connected(client_config=config)
    pair.filter = lambda from_client, data: None
    pair.settle(10 * SECOND)
    end = closed(pair, "client")
    assert end is not None
    assert end.kind is CloseKind.IDLE


def test_ping_is_answered() -> None:
    pair = connected()
    pair.client.ping()
    pair.run(lambda: PingAcknowledged() in pair.events["client"])


def test_a_stateless_reset_ends_the_connection() -> None:
    pair = connected()
    assert pair.server is not None
    ids = pair.server._core.local_cids
    token = reset_token(ids._reset_key, pair.client._core.remote_cids.current)
    reset = encode_stateless_reset(token, 100, SeededEntropy(1))
    assert reset is not None
    pair._deliver(False, [reset])
    pair._flush_all()
    end = closed(pair, "client")
    assert end is not None
    assert end.kind is CloseKind.RESET
    assert not len(pair.client.send(pair.now))


def test_connection_ids_are_issued_retired_and_replaced() -> None:
    pair = connected()
    pair.settle(SECOND)
    assert pair.server is not None
    client, server = pair.client._core, pair.server._core
    assert len(server.local_cids.active) == 4
    old = client.remote_cids.current
    assert client.remote_cids.rotate()
    client.packer.dcid = client.remote_cids.current
    pair.client.ping()
    pair.settle(SECOND)
    assert old not in pair.server.host_cids
    assert len(server.local_cids.active) == 4
    assert upload(pair, pair.client.open_stream(), b"on the new id") == b"on the new id"


@pytest.mark.parametrize("code", [-1, 1 << 62])
def test_error_codes_that_cannot_be_sent_change_nothing(code: int) -> None:
    pair = connected()
    stream = pair.client.open_stream()
    with pytest.raises(ValueError, match="error code"):
        pair.client.reset(stream, code)
    with pytest.raises(ValueError, match="error code"):
        pair.client.stop_sending(stream, code)
    assert upload(pair, stream, b"as before") == b"as before"
