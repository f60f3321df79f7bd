"""The one deadline: what it stands for, and that it never stays in the past."""

from __future__ import annotations

import pytest

from specter._frame_types import Ack, Crypto, Ping
from specter._wire import NEVER
from specter.quic.close import CloseState
from specter.quic.config import MILLISECOND, SECOND, QuicConfig
from specter.quic.events import CloseKind, ConnectionClosed
from specter.quic.space import SpaceId
from tests.quic.scripted import Scripted, connected
from tests.quic.support import START, Pair

BUSY = QuicConfig(keep_alive=200 * MILLISECOND, idle_timeout=20 * SECOND)


def ticks(peer: Scripted, duration: int) -> int:
    """Run the target's timers alone, as a driver would, and count them; a deadline in the past may not recur."""
    count, now, end = 0, peer.pair.now, peer.pair.now + duration
    while (deadline := peer.target.next_deadline()) <= end:
        now = max(now, deadline)
        peer.pair.now = now
        peer.target.handle_deadline(now)
        peer.flush()
        count += 1
        assert count < 2000, "the timer spins"
    return count


@pytest.mark.parametrize("keep_alive", [0, 1, 50 * MILLISECOND])
def test_a_silent_server_does_not_make_the_timer_spin(keep_alive: int) -> None:
    """A keep-alive interval shorter than the handshake must not be due all the time."""
    config = QuicConfig(keep_alive=keep_alive, handshake_timeout=5 * SECOND)
    pair = Pair(client_config=config, filter=lambda from_client, data: None)
    steps = 0
    while not pair.client.closed:
        assert pair.step()
        steps += 1
        assert steps < 40, "the timer spins"
    assert pair.now <= START + 10 * SECOND


def test_deadlines_are_ahead_of_now_after_they_were_handled() -> None:
    """Through loss of everything, with all timers armed, each wake-up moves the deadline on."""
    peer = connected(Pair(client_config=BUSY))
    stream = peer.target.open_stream()
    peer.target.write(stream, bytes(50_000))
    peer.target.update_keys()
    peer.target._core.paths.validate(peer.target._core.path, peer.pair.now)
    peer.deliver(peer.packet(b"\x01"))
    assert ticks(peer, 30 * SECOND) < 300
    assert peer.closed is not None
    assert peer.closed.kind is CloseKind.IDLE
    assert peer.target.next_deadline() == NEVER


def test_a_delayed_acknowledgment_leaves_at_its_deadline() -> None:
    peer = connected()
    now = peer.pair.now
    assert peer.say(Ping()) == []
    assert peer.target.next_deadline() == now + 25 * MILLISECOND
    peer.pair.now = peer.target.next_deadline()
    peer.target.handle_deadline(peer.pair.now)
    (answer,) = peer.flush()
    assert isinstance(peer.open(answer)[0], Ack)


def test_handling_before_the_deadline_does_nothing() -> None:
    peer = connected()
    stream = peer.target.open_stream()
    peer.target.write(stream, b"x")
    assert len(peer.flush()) == 1
    deadline = peer.target.next_deadline()
    peer.target.handle_deadline(deadline - 1)
    assert peer.flush() == []
    assert peer.target.next_deadline() == deadline


@pytest.mark.parametrize(("idle", "expected"), [(30 * SECOND, 15 * SECOND), (8 * SECOND, 4 * SECOND), (0, 15 * SECOND)])
def test_a_connection_that_is_kept_open(idle: int, expected: int) -> None:
    """It pings at half of what both sides allow, or after 15 seconds, for as long as somebody wants that."""
    configs = QuicConfig(idle_timeout=idle), QuicConfig(idle_timeout=idle)
    pair = Pair(*configs)
    pair.handshake()
    pair.settle(SECOND)
    pair.client.keep_open(True)
    start, sent = pair.now, pair.client.stats.datagrams_sent
    pair.settle(expected + SECOND)
    assert pair.client.stats.datagrams_sent == sent + 1
    assert expected - SECOND <= pair.now - start <= expected + SECOND
    pair.settle(10 * expected)
    assert not pair.client.closing
    pair.client.keep_open(False)
    pair.settle(100 * SECOND)
    assert pair.client.closing == (idle > 0)


def test_keep_alive_waits_for_the_handshake_and_then_pings() -> None:
    peer = connected(Pair(client_config=QuicConfig(keep_alive=SECOND)))
    due = peer.pair.now + SECOND
    peer.deliver(peer.packet(b"\x01"), peer.packet(b"\x01"))
    assert peer.target.next_deadline() == due
    peer.pair.now = due
    peer.target.handle_deadline(due)
    assert any(Ping() in peer.open(data) for data in peer.flush())


@pytest.mark.security
def test_probes_end_with_the_handshake_timeout() -> None:
    """aioquic#637: a peer that acknowledges everything but never finishes the handshake."""
    pair = Pair(client_config=QuicConfig(handshake_timeout=4 * SECOND))
    pair.filter = lambda from_client, data: data if from_client else None
    pair.run(lambda: pair.server is not None)
    peer = Scripted(pair)
    sent = 0
    while not pair.client.closing:
        pair.now = max(pair.now, pair.client.next_deadline())
        pair.client.handle_deadline(pair.now)
        sent += len(peer.flush())
        newest = pair.client._core.spaces[SpaceId.INITIAL].sent.next_pn - 1
        if newest >= 0 and not pair.client.closing:
            sent += len(peer.say(Ack(((0, newest),), 0), space=SpaceId.INITIAL))
        assert sent < 200
    assert peer.closed is not None
    assert peer.closed.kind is CloseKind.TIMEOUT
    assert pair.now <= START + 5 * SECOND


def test_a_timeout_is_the_only_end_that_is_told() -> None:
    pair = Pair(client_config=QuicConfig(handshake_timeout=SECOND), filter=lambda from_client, data: None)
    pair.settle(10 * SECOND)
    ends = [event for event in pair.events["client"] if isinstance(event, ConnectionClosed)]
    assert [end.kind for end in ends] == [CloseKind.TIMEOUT]


def test_old_keys_are_dropped_three_ptos_after_an_update() -> None:
    pair = Pair()
    pair.handshake()
    pair.settle(SECOND)
    pair.client.update_keys()
    pair.client.ping()
    core = pair.client._core
    pair.run(lambda: core.previous_keys_until != NEVER)
    until = core.previous_keys_until
    assert 2 * core.pto < until - pair.now < 4 * core.pto
    pair.settle(until - pair.now)
    assert core.previous_keys_until == NEVER


def test_the_next_update_waits_until_the_old_keys_are_gone() -> None:
    """RFC 9001, 6.5: three PTOs after the last update was confirmed."""
    pair = Pair()
    pair.handshake()
    pair.settle(SECOND)
    core = pair.client._core
    sealer = core.app.sealer
    assert sealer is not None
    pair.client.update_keys()
    pair.client.ping()
    pair.run(lambda: core.previous_keys_until != NEVER)
    until = core.previous_keys_until
    before = len(pair.log)
    pair.client.update_keys()
    pair.client.ping()
    pair.settle(until - pair.now - 1)
    assert sealer.updates == 1
    assert len(pair.log) - before < 6, "no PINGs for want of an update"
    pair.settle(SECOND)
    assert sealer.updates == 2


def test_closing_and_draining_end_by_themselves() -> None:
    for said in (b"\x1d\x05\x00", b"\x21"):
        peer = connected()
        peer.say(said)
        deadline = peer.target.next_deadline()
        assert peer.pair.now < deadline <= peer.pair.now + 3 * peer.target._core.pto
        peer.target.handle_deadline(deadline)
        assert peer.target._core.closer.state is CloseState.CLOSED
        assert peer.target.next_deadline() == NEVER


def test_a_handshake_that_trickles_does_not_outlast_its_timeout() -> None:
    pair = Pair(client_config=QuicConfig(handshake_timeout=2 * SECOND))
    pair.filter = lambda from_client, data: data if from_client else None
    pair.run(lambda: pair.server is not None)
    peer = Scripted(pair)
    for offset in range(10):
        pair.now += SECOND // 4
        peer.say(Crypto(offset, b"\x02"), space=SpaceId.INITIAL)
        if pair.client.next_deadline() <= pair.now:
            pair.client.handle_deadline(pair.now)
            peer.flush()
    assert peer.closed is not None
