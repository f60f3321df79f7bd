"""Receive windows: credit follows the reader, growth follows need."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specter._frame_types import MaxData, MaxStreamData, Padding, Stream
from specter._wire import TransportErrorCode as Code
from specter.quic.config import SECOND, QuicConfig
from specter.quic.flow import ReceiveWindow
from tests.quic.scripted import Scripted, connected, encode
from tests.quic.support import Pair

RTT = 10_000_000


def test_an_update_is_worth_a_frame_after_half_the_window() -> None:
    window = ReceiveWindow(1000, 1000, 0)
    assert not window.consume(499)
    assert window.consume(1)
    assert window.advance(10 * RTT, RTT) == 1500
    assert not window.due


def test_a_fast_reader_doubles_the_window_up_to_its_ceiling() -> None:
    window = ReceiveWindow(1000, 3000, 0)
    now = 0
    for expected in (2000, 3000, 3000):
        window.consume(window.limit - window.consumed)
        now += RTT
        window.advance(now, RTT)
        assert window.window == expected


def test_a_slow_reader_keeps_its_window() -> None:
    window = ReceiveWindow(1000, 3000, 0)
    window.consume(1000)
    assert window.advance(2 * RTT, RTT) == 2000
    assert window.window == 1000


def test_a_ceiling_below_the_window_does_not_shrink_it() -> None:
    window = ReceiveWindow(1000, 10, 0)
    window.consume(1000)
    assert window.advance(RTT, RTT) == 2000


def test_a_lost_update_is_said_again_and_buys_nothing() -> None:
    window = ReceiveWindow(1000, 8000, 0)
    window.consume(600)
    limit = window.limit_to_tell(5 * RTT, RTT)
    for _ in range(10):
        assert window.limit_to_tell(5 * RTT, RTT) == limit
    assert window.window == 1000
    window.consume(900)
    assert window.limit_to_tell(50 * RTT, RTT) == 2500


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 3 * RTT)), max_size=50))
def test_limits_never_fall_and_stay_within_a_ceiling_of_what_was_read(steps: list[tuple[int, int]]) -> None:
    window = ReceiveWindow(1000, 4000, 0)
    now = limit = 0
    for count, pause in steps:
        now += pause
        window.consume(min(count, window.limit - window.consumed))
        limit, before = window.limit_to_tell(now, RTT), limit
        assert before <= limit <= window.consumed + 4000


def flow_frames(peer: Scripted, answer: list[bytes]) -> list[MaxData | MaxStreamData]:
    return [frame for data in answer for frame in peer.open(data) if isinstance(frame, MaxData | MaxStreamData)]


@pytest.mark.security
def test_sparse_data_at_the_top_of_the_window_raises_nothing() -> None:
    """aioquic#589; OpenSSL CVE-2026-75804: windows must follow the reader, not the highest offset seen."""
    config = QuicConfig(stream_window=10_000, connection_window=100_000)
    peer = connected(Pair(client_config=config))
    answer = []
    for index in range(9):
        answer += peer.say(Stream(3 + 4 * index, 9_999, b"x", False))
    assert flow_frames(peer, answer) == []
    assert peer.target._core.receiver.data_received == 90_000
    assert peer.closed is None


@pytest.mark.security
def test_the_connection_limit_holds_over_many_streams() -> None:
    """OpenSSL CVE-2026-75804: every stream within its own limit, all together beyond MAX_DATA."""
    peer = connected(Pair(client_config=QuicConfig(stream_window=10_000, connection_window=50_000)))
    for index in range(6):
        peer.say(Stream(3 + 4 * index, 9_999, b"x", False))
    assert peer.closed is not None
    assert peer.closed.error_code == Code.FLOW_CONTROL_ERROR


@pytest.mark.security
def test_one_byte_at_the_top_of_a_hundred_windows_costs_nothing() -> None:
    """quicly CVE-2026-44433: memory in proportion to bytes received, not to their offsets."""
    peer = connected(Pair(client_config=QuicConfig(connection_window=200 << 20)))
    for index in range(100):
        peer.say(Stream(3 + 4 * index, (1 << 20) - 1, b"x", False))
    assert peer.closed is None
    buffers = [stream.recv for stream in peer.target._core.streams.by_id.values()]
    assert sum(buffer.pending_segments for buffer in buffers if buffer is not None) == 100
    assert sum(buffer.readable for buffer in buffers if buffer is not None) == 0


@pytest.mark.security
def test_a_byte_does_not_keep_the_datagram_that_brought_it() -> None:
    """OpenSSL CVE-2026-54873: a slice of a datagram is no reason to keep all of it."""
    peer = connected(Pair(client_config=QuicConfig(connection_window=200 << 20)))
    packets = [
        peer.packet(encode(Stream(3 + 4 * (n % 50), 1 + 2 * (n // 50), b"x", False), Padding(1150))) for n in range(600)
    ]
    peer.deliver(*packets[:100])
    tracemalloc.start()
    try:
        peer.deliver(*packets[100:])
        gc.collect()
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peer.closed is None
    assert peer.target._core.streams._budget.used == 600
    assert grown < 500 * 1150 // 3


@pytest.mark.security
def test_gapped_bytes_are_capped_over_all_streams() -> None:
    """quinn CVE-2026-25800, RUSTSEC-2026-0341: one-byte fragments with one-byte gaps, on every stream in turn."""
    peer = connected(Pair(client_config=QuicConfig(connection_window=200 << 20)))
    budget = peer.target._core.streams._budget
    budget.limit = 500
    for start in range(0, 2000, 100):
        numbers = range(start, start + 100)
        peer.say(*[Stream(3 + 4 * (n % 50), 1 + 2 * (n // 50), b"x", False) for n in numbers])
    assert budget.used <= 500
    assert peer.closed is not None
    assert peer.closed.error_code == Code.INTERNAL_ERROR


def test_a_lost_max_data_is_repeated_without_growing_the_window() -> None:
    pair = Pair(client_config=QuicConfig(stream_window=20_000, connection_window=20_000))
    pair.handshake()
    server = pair.server
    assert server is not None
    stream = server.open_stream(unidirectional=True)
    server.write(stream, bytes(100_000))
    pair.run(lambda: pair.client.readable(stream) == 20_000)
    pair.settle(SECOND)
    window = pair.client._core.window.window
    pair.filter = lambda from_client, data: None if from_client else data
    pair.client.read(stream)
    pair.settle(3 * SECOND)
    assert pair.client._core.window.window <= 2 * window
    assert pair.client._core.window.limit <= 20_000 + 2 * window
    pair.filter = lambda from_client, data: data
    pair.run(lambda: pair.client.readable(stream) > 0)
