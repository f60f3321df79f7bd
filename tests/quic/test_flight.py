"""The datagrams of the handshake: split, coalesced, padded."""

from __future__ import annotations

import pytest

from specter._backend import batch as batches
from specter._frame_types import Ack, Crypto, Padding, Ping
from specter.quic.config import SECOND, QuicConfig
from specter.quic.packet import PacketType, parse_header
from specter.quic.parameters import TransportParameters
from specter.quic.space import SpaceId
from tests.quic.scripted import Scripted, encode, types_of
from tests.quic.support import Pair


def crypto_of(pair: Pair) -> bytes:
    """Return the client's CRYPTO stream of its Initial packets, put together from the wire."""
    pair.run(lambda: pair.server is not None)
    peer = Scripted(pair, as_server=False)
    peer.source, peer.target = peer.target, peer.source
    found: dict[int, bytes] = {}
    for from_client, data in pair.log:
        if from_client and types_of(data)[0] is PacketType.INITIAL:
            for frame in peer.open(data, SpaceId.INITIAL):
                if isinstance(frame, Crypto):
                    found[frame.offset] = bytes(frame.data)
    whole = b""
    for offset, piece in sorted(found.items()):
        assert offset == len(whole)
        whole += piece
    return whole


@pytest.mark.parametrize("size", [1200, 1250, 1333, 1452])
def test_a_client_hello_fills_datagrams_of_any_size(size: int) -> None:
    pair = Pair(client_config=QuicConfig(datagram_size=size))
    pair.flush(pair.client, True)
    sizes = [len(data) for _, data in pair.log]
    assert size - 8 < sizes[0] <= size
    assert all(1200 <= found <= size for found in sizes)
    hello = crypto_of(pair)
    assert len(hello) == 4 + int.from_bytes(hello[1:4], "big")
    pair.handshake()


@pytest.mark.parametrize("token", [0, 1, 62, 63, 64, 65, 300, 900])
def test_a_client_hello_is_split_around_a_token_of_any_length(token: int) -> None:
    """Each Initial repeats the token; lengths around the borders of its variable-length integer count most."""
    pair = Pair()
    pair.client._core.token = bytes(token)
    pair.flush(pair.client, True)
    for _, data in pair.log:
        assert len(data) == 1200
        assert len(parse_header(data, 0, len(data), 8).token) == token
    hello = crypto_of(pair)
    assert len(hello) == 4 + int.from_bytes(hello[1:4], "big")


@pytest.mark.parametrize("pieces", [1, 2, 7, 300])
def test_a_server_takes_a_client_hello_in_any_pieces_and_order(pieces: int) -> None:
    pair = Pair()
    hello = crypto_of(pair)
    pair = Pair()
    pair.filter = lambda from_client, data: None
    pair.flush(pair.client, True)
    pair.server = pair._accept(pair.log[0][1])
    peer = Scripted(pair, as_server=False)
    step = -(-len(hello) // pieces)
    offsets = list(range(0, len(hello), step))
    answer: list[bytes] = []
    for start in range(0, len(offsets), 100):
        said = [Crypto(offset, hello[offset : offset + step]) for offset in reversed(offsets[start : start + 100])]
        answer += peer.say(*said, Padding(1200), space=SpaceId.INITIAL)
    assert peer.closed is None
    assert any(PacketType.HANDSHAKE in types_of(data) for data in answer)


def test_initial_datagrams_of_both_sides_are_full_when_they_ask_for_an_answer() -> None:
    pair = Pair()
    pair.handshake()
    initials = [(up, data) for up, data in pair.log if PacketType.INITIAL in types_of(data)]
    assert {up for up, _ in initials} == {True, False}
    for up, data in initials:
        assert len(data) >= 1200 or not up
        if not up:
            assert len(data) == 1200


def test_the_servers_first_flight_is_coalesced() -> None:
    pair = Pair()
    pair.run(lambda: pair.client.handshake_complete)
    kinds = [types_of(data) for up, data in pair.log if not up]
    assert [PacketType.INITIAL, PacketType.HANDSHAKE] in kinds


def test_the_clients_answer_is_one_full_datagram() -> None:
    """Initial ACK, Handshake Finished and the first 1-RTT data travel together."""
    pair = Pair()
    pair.run(lambda: pair.client.handshake_complete)
    finish = [data for up, data in pair.log if up and PacketType.HANDSHAKE in types_of(data)]
    assert finish
    for data in finish:
        if PacketType.INITIAL in types_of(data):
            assert len(data) == 1200
    assert pair.client._core.spaces[SpaceId.INITIAL].discarded


def test_data_that_may_not_leave_yet_does_not_spoil_the_padding() -> None:
    """The stream is scheduled but its connection has no credit: the Initial's datagram must be full all the same."""
    pair = Pair(server_config=QuicConfig(connection_window=0))
    pair.filter = lambda from_client, data: data if from_client else None
    pair.run(lambda: pair.server is not None)
    pair.settle(SECOND // 20)
    flight = [data for up, data in pair.log if not up]
    peer = Scripted(pair)
    batch = batches.ReceiveBatch()
    for data in flight:
        batch.append(data)
    peer.target.receive(batch, pair.now)
    assert pair.client.handshake_complete
    pair.client._core.local_cids.set_peer_limit(1)
    pair.client.write(pair.client.open_stream(), b"x" * 10)
    answer = peer.flush()
    assert any(PacketType.INITIAL in types_of(data) for data in answer)
    found = [types_of(data) for data in answer]
    assert all(len(data) >= 1200 for data, kinds in zip(answer, found, strict=True) if PacketType.INITIAL in kinds)


def test_joined_1_rtt_acknowledgments_are_not_in_flight() -> None:
    """A 1-RTT packet behind Handshake packets, in any datagram of a batch but the first, must not leak bytes."""
    pair = Pair()
    pair.run(lambda: pair.client.handshake_complete)
    core = pair.client._core
    peer = Scripted(pair)
    before = core.app.sent.bytes_in_flight
    core.batch.begin()
    core.app.acks.record(peer.numbers[2] + 500, pair.now, True, 0)
    core.app.acks.record(peer.numbers[2] + 502, pair.now, True, 0)
    core.spaces[SpaceId.HANDSHAKE].acks.record(500, pair.now, True, 0)
    core.packer.ack(pair.now)
    core.app.acks.record(peer.numbers[2] + 504, pair.now, True, 0)
    answer = peer.flush()
    assert any(types_of(data) == [PacketType.HANDSHAKE, PacketType.ONE_RTT] for data in answer[1:])
    assert core.app.sent.bytes_in_flight == before


@pytest.mark.parametrize("space", [SpaceId.INITIAL, SpaceId.HANDSHAKE])
def test_a_probe_repeats_the_oldest_bytes_or_pings(space: SpaceId) -> None:
    pair = Pair()
    pair.filter = lambda from_client, data: data if from_client else None
    if space is SpaceId.HANDSHAKE:
        pair.filter = lambda from_client, data: None if from_client and pair.client.handshake_complete else data
        pair.run(lambda: pair.client.handshake_complete)
    else:
        pair.run(lambda: pair.server is not None)
    peer = Scripted(pair)
    own = Scripted(pair, as_server=False)
    pair.now = pair.client.next_deadline()
    pair.client.handle_deadline(pair.now)
    sent = peer.flush()
    assert 1 <= len(sent) <= 2
    said = [frame for data in sent for frame in peer.open(data, space)]
    assert any(isinstance(frame, Crypto) for frame in said)
    # acknowledged, it pings instead: the server may lack the credit to speak (RFC 9002, section 6.2.2.1)
    newest = own.source._core.spaces[space].sent.next_pn - 1
    peer.say(Ack(((0, newest),), 0), space=space)
    if space is SpaceId.INITIAL:
        pair.now = pair.client.next_deadline()
        pair.client.handle_deadline(pair.now)
        sent = peer.flush()
        assert [Ping() in peer.open(data, space) for data in sent] == [True]
        assert len(sent[0]) == 1200


def unheard_finished() -> tuple[Pair, Scripted]:
    """Return a client whose Finished message is lost, and what speaks for its server."""
    pair = Pair()
    pair.filter = lambda from_client, data: None if from_client and pair.client.handshake_complete else data
    pair.run(lambda: pair.client.handshake_complete)
    pair.flush(pair.client, True)
    return pair, Scripted(pair)


def crypto_in(peer: Scripted, sent: list[bytes]) -> list[int]:
    """Return how many CRYPTO frames of Handshake packets there are in each datagram."""
    return [sum(isinstance(frame, Crypto) for frame in peer.open(data, SpaceId.HANDSHAKE)) for data in sent]


def test_a_client_says_its_part_again_to_a_server_that_does() -> None:
    """Three times, and once for a burst of repetitions (RFC 9002, section 6.2.3)."""
    pair, peer = unheard_finished()
    repeated = [peer.packet(encode(Crypto(0, bytes(100))), SpaceId.HANDSHAKE) for _ in range(10)]
    for number in range(5):
        answer = peer.deliver(*repeated[2 * number : 2 * number + 2])
        assert sum(crypto_in(peer, answer)) == (1 if number < 3 else 0)
    assert pair.client._core.recovery.stats.packets_lost == 0


def test_who_has_nothing_to_say_again_just_acknowledges() -> None:
    pair, peer = unheard_finished()
    newest = pair.client._core.spaces[SpaceId.HANDSHAKE].sent.next_pn - 1
    peer.say(Ack(((0, newest),), 0), space=SpaceId.HANDSHAKE)
    answer = peer.say(Crypto(0, bytes(100)), space=SpaceId.HANDSHAKE)
    assert crypto_in(peer, answer) == [0]


def test_acknowledgments_of_the_handshake_need_no_congestion_window() -> None:
    pair = Pair()
    pair.run(lambda: pair.client.stats.datagrams_received > 0)
    peer = Scripted(pair)
    pair.client._core.recovery.controller.window = 0
    answer = peer.say(Ping(), space=SpaceId.HANDSHAKE)
    assert any(isinstance(frame, Ack) for data in answer for frame in peer.open(data, SpaceId.HANDSHAKE))


def test_defaults_of_the_peer_hold_before_its_parameters_come() -> None:
    pair = Pair()
    assert pair.client._core.peer_parameters is None
    assert pair.client._core.recovery.peer_max_ack_delay == TransportParameters().max_ack_delay_ns
