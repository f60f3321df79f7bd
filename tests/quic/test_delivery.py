"""What becomes of frames that are acknowledged, lost, or sent again as probes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from specter._frame_types import (
    Ack,
    HandshakeDone,
    MaxData,
    MaxStreams,
    NewConnectionId,
    Padding,
    PathChallenge,
    Ping,
    ResetStream,
    RetireConnectionId,
    StopSending,
    Stream,
)
from specter._wire import TransportErrorCode as Code
from specter.quic.config import QuicConfig
from specter.quic.delivery import UserPing
from specter.quic.events import PingAcknowledged, StreamFinished
from tests.quic.scripted import Scripted, connected, encode
from tests.quic.support import Pair


def said(peer: Scripted, answer: list[bytes]) -> list[object]:
    return [frame for data in answer for frame in peer.open(data)]


def lose(peer: Scripted) -> list[bytes]:
    """Lose everything in flight: later packets are acknowledged, those before are not. Return what is sent then."""
    sent = peer.target._core.app.sent
    answer: list[bytes] = []
    for _ in range(4):
        peer.target._core.queue(Ping())
        answer += peer.flush()
    newest = sent.next_pn - 1
    skipped = peer.target._core.packer.skip_at
    assert skipped < 0 or skipped > newest
    return answer + peer.say(Ack(((newest, newest),), 0)) + peer.flush()


def quiet() -> Scripted:
    """Return a scripted peer whose target skips no packet numbers, so that they may be counted."""
    return connected(Pair(client_config=QuicConfig(skip_packet_numbers=False)))


def acknowledge(peer: Scripted) -> list[bytes]:
    newest = peer.target._core.app.sent.next_pn - 1
    return peer.say(Ack(((0, newest),), 0))


# -- acknowledged -----------------------------------------------------------------------------------------


def test_an_acknowledged_end_finishes_the_stream() -> None:
    peer = quiet()
    stream = peer.target.open_stream(unidirectional=True)
    peer.target.write(stream, b"x" * 3000, fin=True)
    peer.flush()
    acknowledge(peer)
    assert StreamFinished(stream) in peer.events
    assert peer.target._core.streams.by_id == {}


def test_an_acknowledged_reset_finishes_the_stream_silently() -> None:
    peer = quiet()
    stream = peer.target.open_stream(unidirectional=True)
    peer.target.write(stream, b"x" * 3000)
    peer.target.reset(stream, 1)
    peer.flush()
    acknowledge(peer)
    assert StreamFinished(stream) not in peer.events
    assert peer.target._core.streams.by_id == {}


def test_data_acknowledged_after_the_reset_changes_nothing() -> None:
    peer = quiet()
    stream = peer.target.open_stream(unidirectional=True)
    peer.target.write(stream, b"x" * 3000, fin=True)
    peer.flush()
    newest = peer.target._core.app.sent.next_pn - 1
    peer.target.reset(stream, 1)
    peer.flush()
    peer.say(Ack(((0, newest),), 0))
    assert list(peer.target._core.streams.by_id) == [stream]
    acknowledge(peer)
    assert peer.target._core.streams.by_id == {}
    assert peer.closed is None


def test_an_acknowledged_ack_lets_old_ranges_go() -> None:
    peer = quiet()
    base = peer.numbers[2]
    for number in range(base, base + 40, 4):
        peer.deliver(peer.packet(b"\x01", number=number))
    peer.numbers[2] = base + 37
    acks = peer.target._core.app.acks
    assert len(acks.ranges) > 5
    peer.target.ping()
    peer.deliver(peer.packet(b"\x01"))
    acknowledge(peer)
    assert len(acks.ranges) <= 2
    assert acks.is_duplicate(base)


@pytest.mark.security
@pytest.mark.parametrize("beyond", [0, 1, 1000, (1 << 62) - 100])
def test_an_acknowledgment_of_what_was_never_sent_closes(beyond: int) -> None:
    """quiche CVE-2025-4821: the window must not grow from packets nobody sent."""
    peer = connected()
    sent = peer.target._core.app.sent
    window = peer.target._core.recovery.window
    number = min(sent.next_pn + beyond, (1 << 62) - 1)
    peer.say(Ack(((0, number),), 0))
    assert peer.closed is not None
    assert peer.closed.error_code == Code.PROTOCOL_VIOLATION
    assert peer.target._core.recovery.window == window


@pytest.mark.security
def test_an_optimistic_acknowledgment_meets_a_skipped_number() -> None:
    """quiche CVE-2025-4820: a peer that acknowledges everything as soon as it could have been sent."""
    pair = Pair()
    peer = connected(pair)
    stream = peer.target.open_stream()
    for _ in range(2000):
        peer.target.write(stream, bytes(2000))
        peer.flush()
        acknowledge(peer)
        if peer.closed is not None:
            break
        pair.now += 10_000_000
    assert peer.closed is not None
    assert peer.closed.error_code == Code.PROTOCOL_VIOLATION


# -- lost -------------------------------------------------------------------------------------------------


def prepare_stop(peer: Scripted) -> None:
    peer.deliver(peer.packet(encode(Stream(3, 0, b"x", False))))
    peer.target.stop_sending(3, 7)


def prepare_reset(peer: Scripted) -> None:
    stream = peer.target.open_stream()
    peer.target.write(stream, b"abc")
    peer.target.reset(stream, 9)


def prepare_retirement(peer: Scripted) -> None:
    peer.target._core.remote_cids.rotate()
    peer.target._core.packer.dcid = peer.target._core.remote_cids.current


def prepare_limit(peer: Scripted) -> None:
    core = peer.target._core
    for index in range(50):
        peer.deliver(peer.packet(encode(Stream(3 + 4 * index, 0, b"x", True))))
        peer.target.read(3 + 4 * index)
    assert core.streams.theirs[True].finished == 50


def prepare_data(peer: Scripted) -> None:
    stream = peer.target.open_stream()
    peer.target.write(stream, b"abc", fin=True)


def prepare_ids(peer: Scripted) -> None:
    core = peer.target._core
    sequence = max(core.local_cids._ids)
    peer.deliver(peer.packet(encode(RetireConnectionId(sequence))))


@pytest.mark.parametrize(
    ("prepare", "kind"),
    [
        (prepare_stop, StopSending),
        (prepare_reset, ResetStream),
        (prepare_retirement, RetireConnectionId),
        (prepare_limit, MaxStreams),
        (prepare_data, Stream),
        (prepare_ids, NewConnectionId),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_lost_is_sent_again(prepare: Callable[[Scripted], None], kind: type) -> None:
    peer = quiet()
    prepare(peer)
    peer.flush()
    repeated = [frame for frame in said(peer, lose(peer)) if isinstance(frame, kind)]
    assert repeated
    assert peer.closed is None


def test_handshake_done_is_sent_again_by_a_server() -> None:
    pair = Pair()
    pair.filter = lambda from_client, data: data if from_client or not pair.client.handshake_complete else None
    pair.run(lambda: pair.server is not None and pair.server.confirmed)
    pair.filter = lambda from_client, data: data
    pair.run(lambda: pair.client.confirmed)


def test_path_frames_and_pings_are_not_sent_again() -> None:
    peer = quiet()
    peer.say(PathChallenge(b"12345678"))
    before = peer.target._core.stats.packets_lost
    frames = said(peer, lose(peer))
    assert peer.target._core.stats.packets_lost > before
    assert {type(frame) for frame in frames} <= {Ping, Ack, Padding}


def test_a_stop_request_is_not_repeated_once_the_stream_has_ended() -> None:
    peer = quiet()
    prepare_stop(peer)
    peer.flush()
    peer.say(ResetStream(3, 7, 1))
    assert not [frame for frame in said(peer, lose(peer)) if isinstance(frame, StopSending)]


def test_a_lost_user_ping_is_still_answered_once() -> None:
    """Its caller waits for PingAcknowledged; a loss must not leave it waiting."""
    peer = quiet()
    peer.target.ping()
    peer.flush()
    lose(peer)
    assert PingAcknowledged() not in peer.events
    peer.flush()
    acknowledge(peer)
    acknowledge(peer)
    assert peer.events.count(PingAcknowledged()) == 1


def test_a_user_ping_that_was_probed_is_answered_once() -> None:
    peer = quiet()
    peer.target.ping()
    peer.flush()
    for _ in range(3):
        peer.pair.now = max(peer.pair.now, peer.target._core.recovery.deadline())
        peer.target.handle_deadline(peer.pair.now)
        peer.flush()
    assert not [frame for _, frame in peer.target._core.packer.control if isinstance(frame, UserPing)]
    acknowledge(peer)
    assert peer.events.count(PingAcknowledged()) == 1


def test_lost_limits_are_repeated_with_todays_values() -> None:
    peer = connected(Pair(client_config=QuicConfig(skip_packet_numbers=False, connection_window=2000)))
    peer.say(Stream(3, 0, bytes(1500), False))
    peer.target.read(3)
    first = [frame for frame in said(peer, peer.flush()) if isinstance(frame, MaxData)]
    peer.say(Stream(3, 1500, bytes(1500), False))
    peer.target.read(3)
    second = [frame for frame in said(peer, lose(peer)) if isinstance(frame, MaxData)]
    assert second[-1].maximum == peer.target._core.receiver.data_limit > first[0].maximum


def test_done_frames_of_a_handshake_are_not_confused_with_others() -> None:
    peer = connected()
    peer.say(HandshakeDone())
    assert peer.closed is None
