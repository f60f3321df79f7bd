"""What leaves, in which order, and how much of it."""

from __future__ import annotations

from itertools import pairwise

import pytest

from specter._backend import batch as batches
from specter._frame_types import (
    Ack,
    DataBlocked,
    MaxData,
    MaxStreamData,
    MaxStreams,
    NewToken,
    PathChallenge,
    PathResponse,
    Ping,
    ResetStream,
    Stream,
    StreamDataBlocked,
    StreamsBlocked,
)
from specter._wire import NEVER
from specter.quic.config import SECOND, QuicConfig
from specter.quic.outbound import CONTROL_LIMIT
from tests.quic.scripted import Scripted, connected
from tests.quic.support import Pair

STEADY = QuicConfig(max_datagram_size=1200)
"""Sends no path MTU probes."""


def said(peer: Scripted, answer: list[bytes]) -> list[object]:
    return [frame for data in answer for frame in peer.open(data)]


# -- budget -----------------------------------------------------------------------------------------------


def test_no_more_than_the_window_leaves_without_an_acknowledgment() -> None:
    peer = connected(Pair(client_config=STEADY))
    core = peer.target._core
    stream = peer.target.open_stream()
    peer.target.write(stream, bytes(200_000))
    sent = 0
    for _ in range(200):
        sent += sum(map(len, peer.flush()))
        peer.pair.now += 5_000_000
        if sent > core.recovery.window:
            break
    assert sent <= core.recovery.window
    assert sent > core.recovery.window - 2 * core.datagram_size
    assert core.recovery.pacing_deadline(peer.pair.now) == NEVER


def test_one_flush_is_complete() -> None:
    """A driver that stops at a batch that is not full must not leave anything behind."""
    peer = connected()
    core = peer.target._core
    for n in range(3):
        peer.target.write(peer.target.open_stream(), bytes(100 + n))
    peer.target.ping()
    batch = peer.target.send(peer.pair.now)
    assert 0 < len(batch) < batch.capacity
    assert not core.packer.has_work(peer.pair.now)
    assert len(peer.target.send(peer.pair.now)) == 0


def test_acknowledgments_need_no_window() -> None:
    peer = connected()
    peer.target._core.recovery.controller.window = 0
    answer = peer.deliver(*[peer.packet(b"\x01") for _ in range(4)])
    assert any(isinstance(frame, Ack) for frame in said(peer, answer))


def test_what_waits_for_the_window_leaves_with_the_acknowledgment() -> None:
    peer = connected(Pair(client_config=STEADY))
    core = peer.target._core
    stream = peer.target.open_stream()
    core.recovery.controller.window = 0
    peer.target.write(stream, b"waiting")
    assert peer.flush() == []
    core.recovery.controller.window = 12_000
    assert Stream(stream, 0, b"waiting", False) in said(peer, peer.flush())


@pytest.mark.security
def test_a_million_acknowledgments_that_nobody_acknowledges_are_not_kept() -> None:
    """OpenSSL CVE-2026-63075: metadata of ACK-only packets. 10^6 in the table, some through a connection."""
    peer = connected()
    core = peer.target._core
    for _ in range(300):
        peer.deliver(*[peer.packet(b"\x01") for _ in range(8)])
    assert peer.target.stats.datagrams_sent > 250
    table = core.app.sent
    held = len(table)
    for number in range(table.next_pn, table.next_pn + 1_000_000):
        table.record(number, peer.pair.now, 30, False, False)
    assert len(table) == held
    assert table.bytes_in_flight < 3000


@pytest.mark.security
def test_every_other_packet_number_missing_makes_no_endless_acknowledgment() -> None:
    """aioquic#549: 10^4 gaps; the ACK is cut to what fits, nothing raises, nothing spins."""
    peer = connected()
    base = peer.numbers[2]
    answer = []
    for start in range(0, 10_000, 80):
        numbers = range(base + 2 * start, base + 2 * (start + 80), 2)
        answer += peer.deliver(*[peer.packet(b"\x01", number=number) for number in numbers])
    assert peer.closed is None
    assert max(map(len, answer)) <= 1200
    assert len(peer.target._core.app.acks.ranges) <= 128
    stream = peer.target.open_stream()
    peer.target.write(stream, b"still room for data")
    assert Stream(stream, 0, b"still room for data", False) in said(peer, peer.flush())


# -- probes -----------------------------------------------------------------------------------------------


def probe(peer: Scripted) -> list[bytes]:
    peer.pair.now = max(peer.pair.now, peer.target._core.recovery.deadline())
    peer.target.handle_deadline(peer.pair.now)
    return peer.flush()


def test_a_probe_repeats_the_oldest_data_and_ignores_the_window() -> None:
    peer = connected()
    stream = peer.target.open_stream()
    peer.target.write(stream, b"x" * 3000)
    peer.flush()
    peer.target._core.recovery.controller.window = 0
    answer = probe(peer)
    assert 1 <= len(answer) <= 2
    assert next(frame.offset for frame in said(peer, answer) if isinstance(frame, Stream)) == 0


def test_a_probe_passes_over_what_earlier_probes_have_repeated() -> None:
    """What was sent after them has been on its way just as long, and nobody repeats it otherwise."""
    peer = connected()
    stream = peer.target.open_stream()
    for data in (b"one", b"two"):
        peer.target.write(stream, data)
        peer.flush()
        probe(peer)
    again = [frame for frame in said(peer, probe(peer)) if isinstance(frame, Stream)]
    assert b"".join(bytes(frame.data) for frame in again) == b"onetwo"


def test_a_probe_acknowledges_again() -> None:
    peer = connected()
    for number in range(2):
        peer.say(Stream(1, number, b"x", False))
    stream = peer.target.open_stream()
    peer.target.write(stream, b"data")
    peer.flush()
    assert peer.target._core.app.acks.pending == 0
    answer = said(peer, probe(peer))
    assert any(isinstance(frame, Ack) for frame in answer)


def test_a_probe_without_data_is_a_ping() -> None:
    peer = connected()
    peer.target._core.app.probes = 2
    assert Ping() in said(peer, peer.flush())
    assert peer.target._core.app.probes == 0


def test_a_probe_pings_when_what_is_scheduled_may_not_leave() -> None:
    """The scheduled stream waits for connection credit: the probe must still ask for an acknowledgment."""
    peer = connected(Pair(server_config=QuicConfig(connection_window=1000)))
    stream = peer.target.open_stream()
    peer.target.write(stream, bytes(1000))
    peer.flush()
    peer.target.write(stream, b"more")
    peer.target._core.app.probes = 1
    answer = said(peer, peer.flush())
    assert any(isinstance(frame, Ping | DataBlocked) for frame in answer)


def test_probes_go_on_at_doubling_intervals_while_the_idle_timer_allows() -> None:
    peer = connected(Pair(client_config=QuicConfig(idle_timeout=10 * SECOND)))
    peer.target.write(peer.target.open_stream(), b"anybody?")
    times = [peer.pair.now] if peer.flush() else []
    while not peer.target.closing:
        peer.pair.now = max(peer.pair.now, peer.target.next_deadline())
        peer.target.handle_deadline(peer.pair.now)
        if peer.flush():
            times.append(peer.pair.now)
        assert len(times) < 30
    gaps = [later - sooner for sooner, later in pairwise(times)]
    assert all(later >= 2 * sooner * 0.99 for sooner, later in pairwise(gaps))


# -- blocked ----------------------------------------------------------------------------------------------


def test_stream_data_blocked_is_said_once_per_limit_and_at_once() -> None:
    peer = connected(Pair(server_config=QuicConfig(stream_window=1000)))
    stream = peer.target.open_stream()
    peer.target.write(stream, bytes(1500))
    told = [frame for frame in said(peer, peer.flush()) if isinstance(frame, StreamDataBlocked)]
    assert told == [StreamDataBlocked(stream, 1000)]
    for _ in range(5):
        peer.target.write(stream, b"more")
        assert peer.flush() == []
    answer = peer.say(MaxStreamData(stream, 1200))
    assert StreamDataBlocked(stream, 1200) in said(peer, answer + peer.flush())


def test_a_stream_that_was_full_says_so_when_more_is_written() -> None:
    """Sent up to the limit exactly, it is not blocked; the next byte is."""
    peer = connected(Pair(server_config=QuicConfig(stream_window=1000)))
    stream = peer.target.open_stream()
    peer.target.write(stream, bytes(1000))
    assert not any(isinstance(frame, StreamDataBlocked) for frame in said(peer, peer.flush()))
    peer.target.write(stream, b"x")
    assert said(peer, peer.flush()) == [StreamDataBlocked(stream, 1000)]


def test_data_blocked_is_said_once_per_limit_and_in_the_same_flush() -> None:
    peer = connected(Pair(server_config=QuicConfig(connection_window=1000)))
    first, second = peer.target.open_stream(), peer.target.open_stream()
    peer.target.write(first, bytes(1000))
    peer.flush()
    peer.target.write(second, b"x")
    batch = peer.target.send(peer.pair.now)
    assert [frame for data, _, _ in batch for frame in peer.open(bytes(data))] == [DataBlocked(1000)]
    assert Stream(second, 0, b"x", False) in said(peer, peer.say(MaxData(2000)))


def test_streams_blocked_is_said_once_per_limit() -> None:
    peer = connected(Pair(server_config=QuicConfig(max_streams_bidi=1)))
    peer.target.write(peer.target.open_stream(), b"x")
    for _ in range(3):
        assert not peer.target.can_open()
    assert [frame for frame in said(peer, peer.flush()) if isinstance(frame, StreamsBlocked)] == [
        StreamsBlocked(1, False)
    ]
    assert peer.flush() == []
    peer.say(MaxStreams(2, False))
    peer.target.open_stream()
    assert not peer.target.can_open()
    assert StreamsBlocked(2, False) in said(peer, peer.flush())


def test_blocked_frames_are_repeated_only_while_they_are_true() -> None:
    """RFC 9000, 13.3: a lost one is sent again while the same limit still blocks."""
    pair = Pair(server_config=QuicConfig(stream_window=1000))
    peer = connected(pair)
    stream = peer.target.open_stream()
    peer.target.write(stream, bytes(1500))
    peer.flush()
    assert StreamDataBlocked(stream, 1000) in said(peer, probe(peer))
    peer.say(MaxStreamData(stream, 5000))
    peer.flush()
    assert not any(isinstance(frame, StreamDataBlocked) for frame in said(peer, probe(peer)))


# -- path validation --------------------------------------------------------------------------------------


def test_path_responses_travel_in_full_datagrams() -> None:
    peer = connected()
    answer = peer.say(PathChallenge(b"12345678"))
    assert [len(data) for data in answer if PathResponse(b"12345678") in peer.open(data)] == [1200]


@pytest.mark.security
def test_a_flood_of_path_challenges_with_every_acknowledgment_withheld() -> None:
    """aioquic#544; quic-go CVE-2023-49295; quiche CVE-2023-6193; OpenSSL CVE-2026-34183: 10^5 of them."""
    peer = connected()
    core = peer.target._core
    for turn in range(1000):
        peer.deliver(peer.packet(b"".join(b"\x1a" + (100 * turn + n).to_bytes(8, "big") for n in range(100))))
    assert peer.closed is None
    assert len(core.packer.control) <= 16
    assert len(core.path.validator._responses) <= 8
    assert len(core.app.sent) <= 20
    assert core.recovery.bytes_in_flight <= core.recovery.window + 1200


@pytest.mark.security
def test_lost_path_responses_are_not_repeated() -> None:
    """RFC 9000, 8.2.2; the same advisories."""
    peer = connected()
    peer.say(PathChallenge(b"12345678"))
    for _ in range(3):
        assert PathResponse(b"12345678") not in said(peer, probe(peer))


@pytest.mark.security
def test_path_challenges_in_a_burst_that_fills_the_send_batch() -> None:
    """Each packet out of order is acknowledged at once; the answers wait for the next batch and nothing breaks."""
    peer = connected()
    base = peer.numbers[2] + 1000
    pings = [peer.packet(b"\x01", number=base + 2 * n) for n in range(90)]
    answer = peer.deliver(*pings, peer.packet(b"\x1a12345678", number=base + 500))
    assert sum(PathResponse(b"12345678") in peer.open(data) for data in answer) == 1
    assert peer.closed is None


# -- control frames ---------------------------------------------------------------------------------------


@pytest.mark.security
def test_limits_wait_where_they_are_while_control_frames_cannot_leave() -> None:
    """quic-go CVE-2024-22189 and its kind: what the peer makes us say must not pile up behind a closed window."""
    config = QuicConfig(stream_window=2000, stream_window_max=2000, connection_window=4000, connection_window_max=4000)
    peer = connected(Pair(client_config=config))
    core = peer.target._core
    core.recovery.controller.window = 0
    for index in range(3000):
        if index == core.streams.theirs[True].advertised:
            break
        peer.say(Stream(3 + 4 * index, 0, b"x" * 50, True))
        peer.target.read(3 + 4 * index)
    assert peer.closed is None
    assert len(core.packer.control) <= CONTROL_LIMIT + 8
    core.recovery.controller.window = 50_000
    kinds = {type(frame) for frame in said(peer, peer.flush() + peer.flush())}
    assert {MaxData, MaxStreams} <= kinds


@pytest.mark.security
@pytest.mark.parametrize("size", [1, 7, 20, 40, 100])
def test_the_packer_makes_progress_or_stops_at_any_remaining_room(size: int) -> None:
    """quiche CVE-2025-7054: frames that do not fit wait; no room is too small to end the loop."""
    peer = connected()
    core = peer.target._core
    peer.target.write(peer.target.open_stream(), bytes(5000))
    core.queue(ResetStream(0, 1, 2))
    core.queue(NewToken(bytes(60)))
    start = core.batch.begin()
    header = 1 + len(core.packer.dcid) + 4 + 16
    end = core.packer.packet(peer.pair.now, start, start + header + size)
    assert end <= start + header + size
    core.batch.clear()
    for _ in range(50):
        peer.flush()
        peer.pair.now += 10_000_000
    assert not core.packer.control


def test_a_lost_control_frame_waits_once() -> None:
    peer = connected()
    core = peer.target._core
    stream = peer.target.open_stream()
    peer.target.write(stream, b"x")
    peer.target.reset(stream, 5)
    peer.flush()
    core.recovery.controller.window = 0
    for _ in range(5):
        peer.target._delivery.probe(core.app, 5)
    assert len([frame for _, frame in core.packer.control if isinstance(frame, ResetStream)]) == 1


def test_a_server_with_little_credit_sends_no_probe_beyond_it() -> None:
    pair = Pair()
    pair.filter = lambda from_client, data: data if from_client else None
    pair.run(lambda: pair.server is not None and pair.server._core.app.sealer is not None)
    server = pair.server
    assert server is not None
    core = server._core
    core.app.probes = 2
    core.amplification.sent = 3 * core.amplification.received - 700
    batch = server.send(pair.now)
    assert batch.size == 0
    assert isinstance(batch, batches.SendBatch)


@pytest.mark.security
def test_refused_streams_cannot_pile_up_stop_requests() -> None:
    """The reader refuses every stream, the peer resets it and opens the next: our frames wait, so must the peer."""
    peer = connected()
    core = peer.target._core
    core.recovery.controller.window = 0
    index = 0
    while index < core.streams.theirs[True].advertised and index < 2000:
        peer.say(Stream(3 + 4 * index, 0, b"x", False))
        peer.target.stop_sending(3 + 4 * index, 1)
        peer.say(ResetStream(3 + 4 * index, 1, 1))
        index += 1
    assert index < 1000
    assert len(core.packer.control) < 2 * CONTROL_LIMIT
    assert peer.closed is None
