"""ECN: which datagrams are marked, what the peer's counts prove, and what a CE mark does."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from specter._backend import batch as batches
from specter._backend import sent
from specter._frame_types import Ack, EcnCounts
from specter.quic.config import MILLISECOND, QuicConfig
from specter.quic.ecn import ECT_0, NOT_ECT, EcnState, EcnValidator
from tests.quic.scripted import Scripted, connected
from tests.quic.support import Pair

PLAIN = QuicConfig(skip_packet_numbers=False, max_datagram_size=1200)


# -- the validator alone ------------------------------------------------------------------------------------


@dataclass
class Path:
    """A table of marked packets and the validator that hears of their fate."""

    table: sent.SentPackets = field(default_factory=sent.SentPackets)
    validator: EcnValidator = field(default_factory=EcnValidator)

    def __post_init__(self) -> None:
        self.validator.start()

    def send(self, count: int = 1) -> None:
        self.table.marking = self.validator.codepoint != NOT_ECT
        for _ in range(count):
            self.table.record(self.table.next_pn, 0, 100, True, True)

    def ack(self, smallest: int, largest: int, counts: tuple[int, int, int] | None) -> int:
        """``counts`` are ECT(0), ECT(1) and CE."""
        frame = Ack(((smallest, largest),), 0, EcnCounts(*counts) if counts else None)
        acked = self.table.acknowledge(frame.ranges, 0)
        return self.validator.acked(frame, acked, self.table)

    def lose(self) -> None:
        if self.table.detect_lost(1000, 0).marked:
            self.validator.lost(self.table)


def test_nothing_is_marked_before_the_test_starts() -> None:
    assert EcnValidator().codepoint == NOT_ECT
    assert Path().validator.codepoint == ECT_0


def test_matching_counts_make_the_path_capable() -> None:
    path = Path()
    path.send(3)
    assert path.ack(0, 2, (3, 0, 0)) == 0
    assert path.validator.state is EcnState.CAPABLE
    path.send(3)
    assert path.ack(3, 5, (5, 0, 1)) == 1
    path.send(3)
    assert path.ack(6, 8, (6, 0, 3)) == 2
    assert path.validator.codepoint == ECT_0


def test_counts_of_packets_whose_acknowledgment_was_lost_are_no_fault() -> None:
    path = Path()
    path.send(10)
    path.ack(5, 5, (9, 0, 0))
    assert path.validator.state is EcnState.CAPABLE


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param(None, id="none although marks arrived"),
        pytest.param((0, 0, 0), id="cleared"),
        pytest.param((2, 0, 0), id="some cleared"),
        pytest.param((0, 3, 0), id="ECT(0) became ECT(1)"),
        pytest.param((3, 1, 0), id="ECT(1) that nobody sent"),
        pytest.param((4, 0, 0), id="more than were sent"),
        pytest.param((3, 0, 1), id="more with CE than were sent"),
    ],
)
def test_wrong_counts_end_marking(counts: tuple[int, int, int] | None) -> None:
    path = Path()
    path.send(3)
    assert path.ack(0, 2, counts) == 0
    assert path.validator.state is EcnState.FAILED
    assert path.validator.codepoint == NOT_ECT
    assert path.ack(0, 2, (1000, 0, 1000)) == 0


@pytest.mark.parametrize("later", [(4, 0, 1), (6, 0, 0), (5, 0, 1)])
def test_counts_that_go_back_or_stand_still_end_marking(later: tuple[int, int, int]) -> None:
    path = Path()
    path.send(6)
    path.ack(0, 5, (5, 0, 1))
    assert path.validator.state is EcnState.CAPABLE
    path.send(1)
    assert path.ack(6, 6, later) == 0
    assert path.validator.state is EcnState.FAILED


def test_a_test_whose_packets_are_all_lost_has_failed() -> None:
    path = Path()
    path.send(4)
    path.validator.probe_timeout(1)
    assert (path.validator.state, path.validator.codepoint) == (EcnState.UNKNOWN, NOT_ECT)
    path.send(4)
    path.ack(4, 7, None)
    assert path.validator.state is EcnState.UNKNOWN
    path.lose()
    assert path.validator.state is EcnState.FAILED


def test_a_suspended_test_is_won_by_a_late_acknowledgment() -> None:
    path = Path()
    path.send(2)
    path.validator.probe_timeout(1)
    path.send(1)
    path.ack(0, 0, (1, 0, 0))
    assert path.validator.state is EcnState.CAPABLE


def test_a_capable_path_that_fell_silent_gets_one_more_test() -> None:
    path = Path()
    path.send(2)
    path.ack(0, 1, (2, 0, 0))
    path.send(3)
    path.validator.probe_timeout(1)
    assert path.validator.state is EcnState.CAPABLE
    path.validator.probe_timeout(2)
    assert path.validator.state is EcnState.UNKNOWN
    path.send(4)
    path.ack(5, 8, (2, 0, 0))
    path.lose()
    assert path.validator.state is EcnState.UNKNOWN
    path.send(1)
    path.ack(9, 9, (2, 0, 0))
    assert path.validator.state is EcnState.TESTING
    path.send(3)
    path.validator.probe_timeout(1)
    path.send(1)
    path.ack(13, 13, (2, 0, 0))
    path.lose()
    assert path.validator.state is EcnState.FAILED


# -- in a connection ----------------------------------------------------------------------------------------


def sends(peer: Scripted, count: int = 1) -> list[int]:
    """Let the target send ``count`` PINGs, each in a datagram of its own; return their marks."""
    marks = []
    for _ in range(count):
        peer.target.ping()
        while len(batch := peer.target.send(peer.pair.now)):
            marks += [ecn for _, _, ecn in batch]
    return marks


def answer(peer: Scripted, counts: tuple[int, int, int] | None, largest: int = -1) -> None:
    largest = peer.target._core.app.sent.next_pn - 1 if largest < 0 else largest
    peer.say(Ack(((largest, largest),), 0, EcnCounts(*counts) if counts else None))


def state(peer: Scripted) -> EcnState:
    return peer.target._core.ecn.state


@pytest.fixture(params=[True, False], ids=["client", "server"])
def peer(request: pytest.FixtureRequest) -> Scripted:
    """Tests the client (played against by a server), and the server."""
    return connected(Pair(client_config=PLAIN, server_config=PLAIN), as_server=request.param, warm=False)


def marked(peer: Scripted) -> int:
    return peer.target._core.app.sent.marked


def test_what_asks_for_an_answer_is_marked_once_the_handshake_is_confirmed(peer: Scripted) -> None:
    assert set(sends(peer, 3)) == {ECT_0}
    answer(peer, (marked(peer), 0, 0))
    assert state(peer) is EcnState.CAPABLE
    assert sends(peer) == [ECT_0]
    sent = marked(peer)
    batch_marks = []
    peer.target.receive(batch_of(peer.packet(b"\x01"), peer.packet(b"\x01")), peer.pair.now)
    while len(batch := peer.target.send(peer.pair.now)):
        batch_marks += [ecn for _, _, ecn in batch]
    assert batch_marks
    assert set(batch_marks) == {NOT_ECT}, "nobody would notice if acknowledgments vanished for their mark"
    assert marked(peer) == sent


def batch_of(*datagrams: bytes) -> batches.ReceiveBatch:
    burst = batches.ReceiveBatch()
    for data in datagrams:
        burst.append(data)
    return burst


def test_no_datagram_is_marked_during_the_handshake() -> None:
    marks: set[int] = set()
    pair = Pair()
    while not pair.client.confirmed:
        for connection in pair._ends():
            burst = connection.send(pair.now)
            for data, _, ecn in burst:
                marks.add(ecn)
                pair.wire.append((pair.now + 1, connection.is_client, bytes(data)))
        pair.step()
    assert marks == {NOT_ECT}


def test_a_peer_without_ecn_ends_marking_at_its_first_acknowledgment(peer: Scripted) -> None:
    sends(peer, 2)
    answer(peer, None)
    assert state(peer) is EcnState.FAILED
    assert sends(peer) == [NOT_ECT]


def test_a_late_acknowledgment_out_of_order_is_no_proof_against_the_path(peer: Scripted) -> None:
    """RFC 9000, section 13.4.2.1: only an ACK that raises the largest number may fail validation."""
    sends(peer, 3)
    answer(peer, (marked(peer), 0, 0))
    largest = peer.target._core.app.sent.next_pn - 2
    peer.say(Ack(((largest, largest),), 0, EcnCounts(1, 0, 0)))
    assert state(peer) is EcnState.CAPABLE


def test_a_ce_mark_is_a_congestion_event_once_a_round_trip(peer: Scripted) -> None:
    recovery = peer.target._core.recovery
    sends(peer, 2)
    answer(peer, (marked(peer), 0, 0))
    window = recovery.window
    sends(peer, 10)
    total = marked(peer)
    last = peer.target._core.app.sent.next_pn - 1
    peer.pair.now += 10 * MILLISECOND
    answer(peer, (total - 8, 0, 2), last - 5)
    assert recovery.stats.congestion_events == 1
    assert recovery.window < window
    reduced = recovery.window
    answer(peer, (total - 8, 0, 8), last)
    assert (recovery.stats.congestion_events, recovery.stats.ecn_ce) == (1, 8)
    assert recovery.window == reduced, "the same round trip"
    sends(peer, 2)
    peer.pair.now += 10 * MILLISECOND
    answer(peer, (total - 8, 0, 10))
    assert recovery.stats.congestion_events == 2


@pytest.mark.security
def test_impossible_counts_are_no_congestion_and_no_end_of_the_connection(peer: Scripted) -> None:
    sends(peer, 2)
    window = peer.target._core.recovery.window
    answer(peer, (0, 0, (1 << 62) - 1))
    assert state(peer) is EcnState.FAILED
    assert peer.target._core.recovery.window >= window
    assert peer.closed is None


def test_a_probe_timeout_in_the_test_leaves_without_marks(peer: Scripted) -> None:
    sends(peer)
    peer.pair.now = peer.target._core.recovery.deadline()
    peer.target.handle_deadline(peer.pair.now)
    batch = peer.target.send(peer.pair.now)
    assert [ecn for _, _, ecn in batch] == [NOT_ECT]


def test_ecn_can_be_turned_off() -> None:
    pair = Pair(client_config=QuicConfig(ecn=False))
    peer = connected(pair)
    assert sends(peer) == [NOT_ECT]
    answer(peer, (5, 0, 5))
    assert state(peer) is EcnState.OFF
    assert peer.target._core.recovery.stats.congestion_events == 0
