"""Peers that move, seen by a server that is told exactly what it must not hear: validation, ids, limits."""

from __future__ import annotations

import pytest

from specter._backend import batch as batches
from specter._frame_types import (
    Ack,
    ConnectionClose,
    Frame,
    MaxData,
    NewConnectionId,
    Padding,
    PathChallenge,
    PathResponse,
    Ping,
    RetireConnectionId,
    Stream,
)
from specter._wire import NEVER
from specter.quic.config import MINIMUM_DATAGRAM, QuicConfig
from specter.quic.events import CloseKind, ConnectionClosed, PathChanged
from specter.quic.path import AMPLIFICATION_FACTOR
from specter.quic.paths import MAX_PATHS
from tests.quic.scripted import Scripted, connected, encode
from tests.quic.support import Pair

HOME = None
"""Where the client is at first: the sockets of these tests are connected."""
AWAY = ("192.0.2.7", 4000)
OTHER_PORT = ("192.0.2.7", 4001)
FAR = ("198.51.100.1", 5000)
DATA = bytes(8)


class Mover(Scripted):
    """A client that can be at several addresses, against a real server."""

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair, as_server=False)
        self.sent: list[tuple[object, bytes]] = []

    @property
    def core(self):  # type: ignore[no-untyped-def]
        return self.target._core

    def come(self, address: batches.Address, *said: Frame | bytes, pad: int = 0, cid: int | None = None) -> None:
        """Send one packet from ``address``; what the server says goes to ``sent``."""
        payload = encode(*said)
        packet = self.packet(payload + bytes(max(0, pad - len(payload) - 29)))
        if cid is not None:
            packet = self.with_cid(cid, payload + bytes(max(0, pad - len(payload) - 29)))
        self.arrive(address, packet)

    def with_cid(self, sequence: int, payload: bytes) -> bytes:
        """Return a packet to another of the server's connection ids."""
        remote = self.source._core.remote_cids
        usual = remote.current_sequence
        remote.use(sequence)
        packet = self.packet(payload)
        remote.use(usual)
        return packet

    def arrive(self, address: batches.Address, *datagrams: bytes) -> None:
        burst = batches.ReceiveBatch()
        for data in datagrams:
            burst.append(data, address)
        self.target.receive(burst, self.pair.now)
        self.hear()

    def hear(self) -> None:
        while len(burst := self.target.send(self.pair.now)):
            self.sent += [(address, bytes(data)) for data, address, _ in burst]
        while (event := self.target.next_event()) is not None:
            self.events.append(event)

    def wait(self, duration: int) -> None:
        end = self.pair.now + duration
        while self.target.next_deadline() <= end:
            self.pair.now = max(self.pair.now, self.target.next_deadline())
            self.target.handle_deadline(self.pair.now)
            self.hear()
        self.pair.now = end

    def heard(self, address: batches.Address, kind: type) -> list[Frame]:
        """Return the frames of a kind that went to ``address``."""
        return [
            frame for to, data in self.sent if to == address for frame in self.open(data) if isinstance(frame, kind)
        ]

    def sizes(self, address: batches.Address) -> list[int]:
        return [len(data) for to, data in self.sent if to == address]

    def cids(self, address: batches.Address) -> set[bytes]:
        return {data[1:9] for to, data in self.sent if to == address}

    def answer(self, address: batches.Address, *, by: batches.Address | str = "same") -> None:
        """Answer the newest challenge that went to ``address``."""
        challenge = self.heard(address, PathChallenge)[-1]
        assert isinstance(challenge, PathChallenge)
        self.come(address if by == "same" else by, PathResponse(challenge.data))  # type: ignore[arg-type]


def mover(config: QuicConfig | None = None) -> Mover:
    calm = QuicConfig(skip_packet_numbers=False, max_datagram_size=1200)
    pair = Pair(client_config=calm, server_config=config or calm)
    pair.handshake()
    pair.settle(300_000_000)
    client = Mover(pair)
    client.come(HOME, Ping())
    client.sent.clear()
    return client


def where(client: Mover) -> list[object]:
    return [event.address for event in client.events if isinstance(event, PathChanged)]


# -- moving -------------------------------------------------------------------------------------------------


def test_a_packet_with_data_from_another_address_moves_the_connection() -> None:
    client = mover()
    client.come(AWAY, Stream(0, 0, b"from afar", False), pad=1200)
    assert where(client) == [AWAY]
    assert client.target.address == AWAY
    assert len(client.heard(AWAY, PathChallenge)) == 1
    assert len(client.heard(HOME, PathChallenge)) == 1, "the path left behind is challenged too (section 9.3.3)"
    assert set(client.sizes(AWAY) + client.sizes(HOME)) >= {MINIMUM_DATAGRAM}
    client.answer(AWAY)
    assert client.core.path.validated
    assert client.target.stats.path_changes == 1


@pytest.mark.parametrize(
    "frames",
    [
        (PathChallenge(DATA),),
        (PathChallenge(DATA), Padding(20)),
        (PathResponse(DATA),),
        (NewConnectionId(9, 0, b"new id 9", bytes(16)), PathChallenge(DATA)),
        (Padding(50),),
    ],
)
def test_probing_frames_move_nothing(frames: tuple[Frame, ...]) -> None:
    client = mover()
    client.come(AWAY, *frames, pad=1200, cid=1)
    assert where(client) == []
    assert client.target.address == HOME
    client.come(HOME, Ping())
    assert client.target.address == HOME


@pytest.mark.parametrize("frame", [Ping(), MaxData(1 << 30), Ack(((0, 0),), 0), Stream(0, 0, b"x", False)])
def test_any_other_frame_moves_it(frame: Frame) -> None:
    client = mover()
    client.come(AWAY, PathChallenge(DATA), frame, cid=1)
    assert where(client) == [AWAY]


def test_an_older_packet_from_another_address_moves_nothing() -> None:
    client = mover()
    early = client.packet(encode(Stream(0, 0, b"early", False)))
    client.come(HOME, Ping())
    client.arrive(AWAY, early)
    assert where(client) == []
    assert client.core.paths.others == {}
    assert client.target.read(0) == b"early", "it is the peer's all the same"


@pytest.mark.security
def test_what_does_not_open_leaves_no_trace() -> None:
    client = mover()
    for number in range(1000):
        packet = bytearray(client.packet(encode(Ping())))
        client.numbers[2] -= 1
        packet[-1] ^= 1
        client.arrive((f"192.0.2.{number % 256}", number), bytes(packet))
    assert client.core.paths.others == {}
    assert client.sent == []
    assert client.target.stats.packets_dropped >= 1000


def test_a_duplicate_from_another_address_leaves_no_trace() -> None:
    client = mover()
    packet = client.packet(encode(Ping()))
    client.arrive(HOME, packet)
    client.sent.clear()
    client.arrive(AWAY, packet)
    assert (where(client), client.core.paths.others, client.sent) == ([], {}, [])


def test_the_next_packet_from_home_moves_it_back_at_once() -> None:
    client = mover()
    window = client.core.recovery.window
    client.come(AWAY, Ping())
    client.come(HOME, Ping())
    assert where(client) == [AWAY, HOME]
    assert client.core.paths.others == {}, "nobody vouched for the other address"
    assert client.core.recovery.window == window
    assert client.core.path.validated


# -- validation ---------------------------------------------------------------------------------------------


def test_an_answer_by_another_path_counts_too() -> None:
    """RFC 9000, section 8.2.3: a PATH_RESPONSE on any path validates the one that was challenged."""
    client = mover()
    client.come(AWAY, Ping(), pad=1200)
    client.answer(AWAY, by=FAR)
    assert client.core.path.validated
    assert client.target.address == AWAY


def test_unanswered_challenges_are_repeated_and_given_up_and_the_last_good_path_taken_again() -> None:
    client = mover()
    client.come(AWAY, Ping(), pad=1200)
    began = client.pair.now
    client.wait(500_000_000)
    challenges = client.heard(AWAY, PathChallenge)
    assert 2 <= len(challenges) <= 6
    assert len({challenge.data for challenge in challenges if isinstance(challenge, PathChallenge)}) == len(challenges)
    while where(client) == [AWAY]:
        client.wait(100_000_000)
    assert where(client) == [AWAY, HOME]
    initial = client.core.recovery.initial_pto
    assert client.pair.now - began >= 3 * initial
    assert client.closed is None
    assert client.core.path.validated
    assert client.core.paths.others == {}


def test_validating_the_path_that_was_left_does_not_bring_it_back() -> None:
    client = mover()
    client.come(AWAY, Ping(), pad=1200)
    client.answer(AWAY)
    client.answer(HOME, by=HOME)
    assert client.target.address == AWAY
    client.wait(10_000_000_000)
    assert client.core.paths.others == {}


def test_nothing_is_left_of_a_path_after_the_move() -> None:
    client = mover()
    for address in (AWAY, FAR, OTHER_PORT):
        client.come(address, Ping(), pad=1200)
        client.answer(address)
    client.wait(10_000_000_000)
    assert client.target.address == OTHER_PORT
    assert client.core.paths.others == {}
    assert client.core.paths.deadline == NEVER


# -- the amplification limit --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [40, 60, 100, 399, 400, 1200])
def test_no_more_than_three_times_what_came_until_the_path_is_validated(size: int) -> None:
    client = mover()
    stream = client.target.open_stream(True)
    client.target.write(stream, bytes(100_000))
    client.come(AWAY, Ping(), pad=size)
    client.wait(2_000_000_000)
    assert 0 < sum(client.sizes(AWAY)) <= AMPLIFICATION_FACTOR * max(size, 38)
    assert client.heard(AWAY, PathChallenge)


def test_a_small_challenge_is_followed_by_a_full_one() -> None:
    """RFC 9000, section 8.2.1: until 1,200 bytes got through, the path may be too small for QUIC."""
    client = mover()
    client.come(AWAY, Ping(), pad=60)
    assert max(client.sizes(AWAY)) < MINIMUM_DATAGRAM
    client.answer(AWAY)
    assert not client.core.path.validated
    assert client.core.amplification.validated
    assert client.sizes(AWAY)[-1] == MINIMUM_DATAGRAM
    client.answer(AWAY)
    assert client.core.path.validated


def test_a_path_too_small_for_quic_is_left() -> None:
    client = mover()
    client.come(AWAY, Ping(), pad=60)
    client.answer(AWAY)
    client.wait(10_000_000_000)
    assert where(client) == [AWAY, HOME]


def test_full_challenges_follow_as_soon_as_small_ones_did() -> None:
    """Nothing is known of the round trip of a new path, but that the peer has just answered on it."""
    client = mover()
    pto = client.core.pto
    client.come(AWAY, Ping(), pad=60)
    client.answer(AWAY)
    began = len(client.heard(AWAY, PathChallenge))
    client.wait(8 * pto)
    assert len(client.heard(AWAY, PathChallenge)) - began >= 3


def test_where_the_peer_was_reached_it_is_looked_for_again_when_nobody_is_at_the_last_good_path() -> None:
    client = mover()
    client.come(AWAY, Ping(), pad=60)
    client.answer(AWAY)
    client.wait(4_000_000_000)
    assert where(client) == [AWAY]
    client.answer(AWAY)
    assert client.core.path.validated
    client.wait(10_000_000_000)
    assert where(client) == [AWAY]
    assert client.core.paths.others == {}


def test_a_peer_that_is_at_the_last_good_path_is_not_looked_for_elsewhere() -> None:
    client = mover()
    client.come(AWAY, Ping(), pad=60)
    client.answer(AWAY)
    client.answer(HOME)
    client.wait(4_000_000_000)
    assert where(client) == [AWAY, HOME]


# -- connection ids -----------------------------------------------------------------------------------------


def test_a_peer_that_does_not_know_that_it_moved_keeps_its_id() -> None:
    client = mover()
    before = client.core.remote_cids.current
    client.come(AWAY, Ping(), pad=1200)
    assert client.cids(AWAY) == {before}


def test_a_peer_that_uses_another_id_is_given_another_id() -> None:
    """RFC 9000, section 9.5: the same id at two addresses would link them."""
    client = mover()
    before = client.core.remote_cids.current
    client.come(AWAY, Ping(), pad=1200, cid=1)
    assert before not in client.cids(AWAY)
    assert client.cids(HOME) <= {before}
    client.answer(AWAY)
    client.wait(10_000_000_000)
    retired = client.heard(AWAY, RetireConnectionId)
    assert set(retired) == {RetireConnectionId(0)}


def test_without_an_id_to_spare_a_new_path_is_not_answered() -> None:
    client = mover()
    while client.core.remote_cids.take() is not None:
        pass
    client.come(AWAY, PathChallenge(DATA), pad=1200, cid=1)
    client.come(FAR, Ping(), pad=1200, cid=2)
    assert client.sizes(AWAY) == client.sizes(FAR) == []
    assert client.target.address == HOME


def test_an_id_retired_by_the_peer_is_replaced_on_a_path_that_is_probed() -> None:
    client = mover()
    client.come(AWAY, PathChallenge(DATA), pad=1200, cid=1)
    used = client.cids(AWAY)
    client.sent.clear()
    client.come(HOME, NewConnectionId(4, 3, b"new id 4", b"t" * 16))
    client.come(AWAY, PathChallenge(DATA), pad=1200, cid=1)
    assert client.closed is None
    assert client.sizes(AWAY)
    assert client.cids(AWAY).isdisjoint(used)


# -- probing ------------------------------------------------------------------------------------------------


def test_a_challenge_is_answered_where_it_came_from_and_with_a_challenge() -> None:
    client = mover()
    client.come(AWAY, PathChallenge(b"12345678"), pad=1200, cid=1)
    assert client.heard(AWAY, PathResponse) == [PathResponse(b"12345678")]
    assert len(client.heard(AWAY, PathChallenge)) == 1
    assert client.sizes(AWAY) == [MINIMUM_DATAGRAM]
    assert client.heard(HOME, PathResponse) == client.heard(HOME, PathChallenge) == []


def test_a_path_that_was_probed_needs_no_validation_after_the_move() -> None:
    client = mover()
    client.come(AWAY, PathChallenge(DATA), pad=1200, cid=1)
    client.come(AWAY, PathResponse(client.heard(AWAY, PathChallenge)[0].data), pad=1200, cid=1)  # type: ignore[union-attr]
    client.sent.clear()
    client.come(AWAY, Ping(), cid=1)
    assert where(client) == [AWAY]
    assert client.core.path.validated
    assert client.heard(AWAY, PathChallenge) == []


@pytest.mark.security
def test_probes_from_many_addresses_are_kept_within_bounds() -> None:
    client = mover()
    for number in range(2000):
        client.come((f"10.0.{number >> 8}.{number & 255}", 1), PathChallenge(number.to_bytes(8, "big")), pad=1200)
        assert len(client.core.paths.others) <= MAX_PATHS
    assert client.closed is None
    assert client.core.remote_cids.available >= 1


@pytest.mark.security
def test_challenges_from_elsewhere_are_answered_for_what_they_weigh() -> None:
    """No more than three bytes for one, and no queue that grows."""
    client = mover()
    for number in range(3000):
        client.come(AWAY, PathChallenge(number.to_bytes(8, "big")), cid=1)
    came = 3000 * (1 + 8 + 4 + 9 + 16)
    assert 0 < sum(client.sizes(AWAY)) <= AMPLIFICATION_FACTOR * came + MINIMUM_DATAGRAM
    assert len(client.core.paths.others[AWAY].validator._responses) <= 8


@pytest.mark.security
def test_a_challenge_without_an_address_of_its_own_costs_little() -> None:
    """10^5 PATH_CHALLENGE frames while ACKs are withheld: answered within the window, never repeated."""
    client = mover()
    for start in range(0, 100_000, 100):
        numbers = range(start, start + 100)
        client.come(HOME, *[PathChallenge(number.to_bytes(8, "big")) for number in numbers])
    assert client.closed is None
    assert client.core.recovery.bytes_in_flight <= client.core.recovery.window + 1200
    assert len(client.core.app.sent) < 100


# -- who may come -------------------------------------------------------------------------------------------


def test_a_server_that_forbids_migration_follows_a_nat_and_nobody_else() -> None:
    client = mover(QuicConfig(disable_active_migration=True, skip_packet_numbers=False))
    client.come(AWAY, Ping(), pad=1200, cid=1)
    assert where(client) == []
    assert client.sizes(AWAY) == []
    client.come(FAR, Ping(), pad=1200)
    assert where(client) == [FAR]


def test_a_client_ignores_servers_that_move() -> None:
    """RFC 9000, section 9: a server stays where it is."""
    peer = connected()
    before = peer.target.stats.packets_dropped
    burst = batches.ReceiveBatch()
    burst.append(peer.packet(encode(PathChallenge(DATA), Stream(3, 0, b"psst", False))), AWAY)
    peer.target.receive(burst, peer.pair.now)
    assert peer.flush() == []
    assert peer.target.stats.packets_dropped == before + 1
    assert peer.target.read(3) == b""


def test_a_close_from_another_address_is_heard() -> None:
    client = mover()
    client.come(AWAY, ConnectionClose(0, 0, b"bye", True))
    assert client.closed is not None
    assert client.closed.kind is CloseKind.REMOTE


def test_the_peers_fault_from_another_address_is_its_fault() -> None:
    client = mover()
    client.come(AWAY, b"\x21")
    assert isinstance(client.closed, ConnectionClosed)
    assert client.closed.kind is CloseKind.LOCAL
    assert client.core.paths.arrival is None


def test_when_no_path_is_left_the_connection_ends_silently() -> None:
    client = mover()
    client.come(AWAY, Ping(), pad=1200)
    client.core.paths._fallback = None
    client.sent.clear()
    client.wait(10_000_000_000)
    assert client.closed is not None
    assert client.closed.kind is CloseKind.TIMEOUT
    assert not client.heard(AWAY, ConnectionClose)
