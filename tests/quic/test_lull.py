"""A flow that stops in the middle is asked about, once; nothing else is."""

from __future__ import annotations

from specter._frame_types import Ack, Ping, Stream
from specter._wire import NEVER
from specter.quic.lull import PATIENCE
from tests.quic.scripted import Scripted, connected

PIECE = 1000


def flow(peer: Scripted, stream_id: int, pieces: int, *, start: int = 0, fin: bool = False) -> None:
    for number in range(start, start + pieces):
        last = fin and number == start + pieces - 1
        peer.say(Stream(stream_id, number * PIECE, bytes(PIECE), last))
        peer.target.read(stream_id)


def downloading(pieces: int = 20, *, fin: bool = False) -> Scripted:
    """Return the peer of a client that has sent a request and got so much of the answer."""
    peer = connected()
    stream_id = peer.target.open_stream()
    peer.target.write(stream_id, b"request", fin=True)
    peer.flush()
    largest = peer.target._core.app.sent.next_pn - 1
    peer.say(Ack(((largest, largest),), 0))
    flow(peer, stream_id, pieces, fin=fin)
    return peer


def silence(peer: Scripted, duration: int) -> list[int]:
    """Let time pass without a word; return when PINGs left, seen from the beginning of the silence."""
    began, pings = peer.pair.now, []
    while peer.target.next_deadline() <= began + duration:
        peer.pair.now = max(peer.pair.now, peer.target.next_deadline())
        peer.target.handle_deadline(peer.pair.now)
        for data in peer.flush():
            pings += [peer.pair.now - began for frame in peer.open(data) if isinstance(frame, Ping)]
    return pings


def test_silence_in_the_middle_of_a_flow_is_asked_about() -> None:
    peer = downloading()
    pto = peer.target._core.pto
    (first, *rest) = silence(peer, 10 * pto)
    assert PATIENCE <= first <= max(3 * pto, PATIENCE)
    assert rest, "it is repeated until it is acknowledged"


def test_once_answered_it_is_not_asked_again() -> None:
    peer = downloading()
    silence(peer, 4 * peer.target._core.pto)
    largest = peer.target._core.app.sent.next_pn - 1
    peer.say(Ack(((largest - 1, largest),), 0))
    assert silence(peer, 5_000_000_000) == []


def test_a_flow_that_goes_on_is_watched_again() -> None:
    peer = downloading()
    silence(peer, 4 * peer.target._core.pto)
    largest = peer.target._core.app.sent.next_pn - 1
    peer.say(Ack(((largest - 1, largest),), 0))
    flow(peer, 0, 20, start=20)
    assert silence(peer, 4 * peer.target._core.pto)


def test_the_end_of_an_answer_is_no_silence() -> None:
    assert silence(downloading(fin=True), 5_000_000_000) == []


def test_small_answers_make_no_flow() -> None:
    peer = downloading(pieces=3)
    assert peer.target._core.lull.deadline == NEVER
    assert silence(peer, 5_000_000_000) == []


def test_a_control_stream_that_stays_open_makes_no_flow() -> None:
    peer = downloading(fin=True)
    flow(peer, 3, 20)
    assert silence(peer, 5_000_000_000) == []


def test_a_server_has_its_own_means() -> None:
    peer = connected(as_server=False)
    flow(peer, 0, 50)
    assert peer.target._core.lull.deadline == NEVER
