"""Silence while something is expected is asked about, a few times; nothing else is."""

from __future__ import annotations

from itertools import pairwise

from specter._frame_types import Ack, Frame, Ping, Stream
from specter._wire import NEVER
from specter.quic.config import MILLISECOND, QuicConfig
from specter.quic.lull import FLOW, QUESTIONS
from tests.quic.scripted import Scripted, connected
from tests.quic.support import Pair

SECOND = 1000 * MILLISECOND
PIECE = 1000


def acknowledge(peer: Scripted) -> None:
    largest = peer.target._core.app.sent.next_pn - 1
    peer.say(Ack(((largest, largest),), 0))


def asking(*, answer: int = 0, fin: bool = False, config: QuicConfig | None = None) -> Scripted:
    """Return the peer of a client that has sent a request, and got so many pieces of the answer."""
    peer = connected(Pair(client_config=config or QuicConfig(skip_packet_numbers=False)))
    stream_id = peer.target.open_stream()
    peer.target.write(stream_id, b"request", fin=True)
    peer.flush()
    acknowledge(peer)
    for number in range(answer):
        peer.say(Stream(stream_id, number * PIECE, bytes(PIECE), fin and number == answer - 1))
        peer.target.read(stream_id)
    return peer


def silence(peer: Scripted, duration: int, *, answered: bool = True) -> list[int]:
    """Let time pass, PINGs acknowledged at once or not at all; return when they left, from its beginning."""
    began, pings = peer.pair.now, []
    while peer.target.next_deadline() <= began + duration:
        peer.pair.now = max(peer.pair.now, peer.target.next_deadline())
        peer.target.handle_deadline(peer.pair.now)
        said: list[Frame] = [frame for data in peer.flush() for frame in peer.open(data)]
        if any(isinstance(frame, Ping) for frame in said):
            pings.append(peer.pair.now - began)
            if answered:
                acknowledge(peer)
    peer.pair.now = began + duration
    return pings


def test_a_server_that_is_silent_is_asked_less_and_less_often() -> None:
    peer = asking()
    pto = peer.target._core.pto
    asked = silence(peer, 25 * SECOND)
    assert 100 * MILLISECOND <= asked[0] <= max(3 * pto, 100 * MILLISECOND)
    assert len(asked) == QUESTIONS
    assert all(later >= 1.9 * earlier for earlier, later in pairwise(asked))


def test_silence_in_the_middle_of_an_answer_counts_like_any_other() -> None:
    peer = asking(answer=20)
    assert len(silence(peer, 25 * SECOND)) == QUESTIONS


def test_an_answer_with_a_hole_in_it_is_waited_for_although_its_end_is_known() -> None:
    peer = asking()
    stream_id = next(iter(peer.target._core.receiver.streams))
    peer.say(Stream(stream_id, PIECE, bytes(PIECE), True))
    assert len(silence(peer, 25 * SECOND)) == QUESTIONS


def test_what_is_in_flight_asks_by_itself() -> None:
    """An unanswered question is repeated by the probe timeout, and by nothing else."""
    peer = asking()
    timeouts = peer.target._core.recovery.stats.probe_timeouts
    asked = silence(peer, 3 * SECOND, answered=False)
    assert len(asked) == 1 + peer.target._core.recovery.stats.probe_timeouts - timeouts


def test_the_answer_puts_the_question_off() -> None:
    peer = asking()
    for _ in range(20):
        assert silence(peer, 60 * MILLISECOND) == []
        peer.say(Ping())
    assert silence(peer, SECOND)


def test_more_data_is_a_new_flow() -> None:
    peer = asking(answer=3)
    assert len(silence(peer, 25 * SECOND)) == QUESTIONS
    peer.say(Stream(0, 3 * PIECE, bytes(FLOW - 1), False))
    assert silence(peer, 25 * SECOND) == []
    peer.say(Stream(0, 3 * PIECE + FLOW - 1, b"x", False))
    assert len(silence(peer, 25 * SECOND)) == QUESTIONS


def test_when_all_is_answered_nobody_is_asked() -> None:
    peer = asking(answer=20, fin=True)
    assert silence(peer, 25 * SECOND) == []
    assert peer.target._core.lull.deadline == NEVER
    assert peer.target.next_deadline() == peer.target.idle_deadline


def test_streams_that_only_the_server_writes_may_be_silent() -> None:
    peer = asking(answer=1, fin=True)
    peer.say(Stream(3, 0, bytes(4 * FLOW), False))
    assert silence(peer, 25 * SECOND) == []


def test_a_stream_that_the_server_does_not_allow_is_waited_for() -> None:
    peer = connected(Pair(server_config=QuicConfig(max_streams_bidi=1)))
    peer.target.open_stream()
    assert not peer.target.can_open()
    peer.flush()
    acknowledge(peer)
    peer.say(Stream(0, 0, b"", True))
    acknowledge(peer)
    assert silence(peer, SECOND)


def test_it_can_be_turned_off() -> None:
    peer = asking(answer=20, config=QuicConfig(silence=0))
    assert silence(peer, 25 * SECOND) == []


def test_a_server_has_its_own_means() -> None:
    peer = connected(as_server=False)
    for number in range(50):
        peer.say(Stream(0, number * PIECE, bytes(PIECE), False))
    peer.target.open_stream(True)
    assert peer.target._core.lull.deadline == NEVER
