"""Closing, draining and idling (RFC 9000, section 10)."""

from __future__ import annotations

import pytest

from specter._entropy import SeededEntropy
from specter._frame_types import ConnectionClose, Padding, Ping, Stream
from specter._wire import NEVER
from specter._wire import TransportErrorCode as Code
from specter.quic.cids import encode_stateless_reset, reset_token
from specter.quic.close import Closer, CloseState, IdleTimer
from specter.quic.config import SECOND, QuicConfig
from specter.quic.events import CloseKind, ConnectionClosed, StreamReadable
from specter.quic.packet import PacketType
from specter.quic.space import SpaceId
from tests.quic.scripted import Scripted, close_frames, connected, types_of
from tests.quic.support import START, Pair

FRAME = ConnectionClose(0, 0, b"", True)
PTO = 100


def test_closing_repeats_for_the_1st_2nd_4th_and_8th_packet() -> None:
    closer = Closer()
    closer.close(FRAME, 1000, PTO)
    assert (closer.state, closer.deadline, closer.send_due) == (CloseState.CLOSING, 1000 + 3 * PTO, True)
    repeated = []
    for count in range(1, 20):
        closer.send_due = False
        closer.packet_arrived()
        if closer.send_due:
            repeated.append(count)
    assert repeated == [1, 2, 4, 8, 16]


def test_draining_says_nothing_and_does_not_extend_closing() -> None:
    closer = Closer()
    closer.close(FRAME, 1000, PTO)
    closer.drain(1200, PTO)
    assert (closer.state, closer.send_due, closer.deadline) == (CloseState.DRAINING, False, 1000 + 3 * PTO)
    closer.packet_arrived()
    assert not closer.send_due
    closer.finish()
    assert (closer.state, closer.deadline) == (CloseState.CLOSED, NEVER)


def test_idle_takes_the_smaller_timeout_and_at_least_three_ptos() -> None:
    idle = IdleTimer(1000, 0)
    assert idle.deadline == 1000
    idle.agree(400)
    idle.packet_received(10, PTO)
    assert idle.deadline == 410
    idle.packet_received(20, 500)
    assert idle.deadline == 1520
    idle.agree(0)
    assert idle.timeout == 400


def test_without_timeouts_nothing_goes_idle() -> None:
    idle = IdleTimer(0, 0)
    idle.agree(0)
    idle.packet_received(5, PTO)
    assert idle.deadline == NEVER
    idle.agree(700)
    idle.packet_received(5, PTO)
    assert idle.deadline == 705


def test_only_the_first_packet_sent_after_one_received_restarts_the_timer() -> None:
    idle = IdleTimer(1000, 0)
    idle.packet_sent(100, PTO)
    idle.packet_sent(200, PTO)
    assert idle.deadline == 1100
    idle.packet_received(300, PTO)
    idle.packet_sent(400, PTO)
    assert idle.deadline == 1400


# -- on a whole connection --------------------------------------------------------------------------------


def test_a_draining_connection_sends_nothing_not_even_acks_sealed_before() -> None:
    """RFC 9000, 10.2.2: the acknowledgments of packets before the CONNECTION_CLOSE in the same burst stay here."""
    peer = connected()
    pings = [peer.packet(b"\x01") for _ in range(10)]
    assert peer.deliver(*pings, peer.packet(b"\x1d\x05\x00")) == []
    assert peer.closed == ConnectionClosed(CloseKind.REMOTE, 5, "", True)
    assert peer.deliver(peer.packet(b"\x01")) == []


def test_a_closing_connection_sends_only_its_close() -> None:
    peer = connected()
    for _ in range(10):
        peer.target._core.packer.ack(peer.pair.now)
    peer.target._core.packer.control.append((b"\x01", Ping()))
    peer.target.close(9, "enough")
    (datagram,) = peer.flush()
    assert peer.open(datagram) == [ConnectionClose(9, 0, b"enough", True)]


def test_what_arrived_before_the_close_is_told_before_it() -> None:
    peer = connected()
    peer.deliver(peer.packet(b"\x0a\x03\x03abc"), peer.packet(b"\x1d\x05\x00"))
    assert [type(event) for event in peer.events][-2:] == [StreamReadable, ConnectionClosed]
    assert peer.target.read(3) == b"abc"


def test_the_close_is_the_last_event_whatever_follows_it() -> None:
    peer = connected()
    after = [peer.packet(bytes([0x0A, 3 + 4 * n, 1, 65])) for n in range(5)]
    peer.deliver(peer.packet(b"\x1d\x05\x00" + b"\x0a\x03\x01x"), *after, peer.packet(b"\x1d\x06\x00"))
    assert isinstance(peer.events[-1], ConnectionClosed)
    assert sum(isinstance(event, ConnectionClosed) for event in peer.events) == 1
    peer.target.close(1)
    peer.target.handle_deadline(peer.pair.now + 60 * SECOND)
    peer.flush()
    assert isinstance(peer.events[-1], ConnectionClosed)
    assert peer.target.closed


def test_a_violation_is_told_after_the_data_before_it() -> None:
    peer = connected()
    peer.deliver(peer.packet(b"\x0a\x03\x03abc"), peer.packet(b"\x21"))
    assert [type(event) for event in peer.events][-2:] == [StreamReadable, ConnectionClosed]


@pytest.mark.parametrize("length", [0, 100, 5000])
@pytest.mark.parametrize("moment", ["initial", "handshake", "complete", "confirmed"])
def test_a_close_fits_one_datagram_at_any_time(moment: str, length: int) -> None:
    """Whatever spaces there are, whatever the reason: 1,200 bytes, full when an Initial is in it."""
    pair = Pair()
    pair.client._core.token = bytes(600)

    def there() -> bool:
        client = pair.client
        return {
            "initial": True,
            "handshake": client._core.spaces[SpaceId.HANDSHAKE].sealer is not None,
            "complete": client.handshake_complete,
            "confirmed": client.confirmed,
        }[moment]

    pair.run(there)
    pair.client.close(7, "é" * length, application=False)
    batch = pair.client.send(pair.now)
    assert len(batch) == 1
    ((datagram, _, _),) = batch
    data = bytes(datagram)
    kinds = types_of(data)
    assert len(data) <= 1200
    if PacketType.INITIAL in kinds:
        assert len(data) == 1200
    if moment == "confirmed":
        assert kinds == [PacketType.ONE_RTT]
    if moment == "initial":
        assert kinds == [PacketType.INITIAL]


@pytest.mark.parametrize("reason", ["", "short", "r" * 512])
def test_a_close_at_completion_can_be_read_at_every_level(reason: str) -> None:
    """The client has Initial, Handshake and 1-RTT keys and cannot know which of them the server has."""
    pair = Pair()
    end = pair.now + SECOND
    while not pair.client.handshake_complete:
        pair.flush(pair.client, True)
        if pair.server is not None:
            pair.flush(pair.server, False)
        pair.now = pair.upcoming()
        arrived, pair.wire = pair.wire, []
        for origin in (True, False):
            pair._deliver(origin, [data for _, from_client, data in arrived if from_client is origin])
        assert pair.now < end
    application = reason == "short"
    pair.client.close(0x123, reason, application=application)
    ((datagram, _, _),) = pair.client.send(pair.now)
    data = bytes(datagram)
    assert types_of(data) == [PacketType.INITIAL, PacketType.HANDSHAKE, PacketType.ONE_RTT]
    assert len(data) == 1200
    peer = Scripted(pair)
    expected = ConnectionClose(0x123, 0, reason[:256].encode(), False)
    if application:
        expected = ConnectionClose(Code.APPLICATION_ERROR, 0, b"", False)
    assert close_frames(peer.open(data, SpaceId.INITIAL)) == [expected]
    assert close_frames(peer.open(data, SpaceId.HANDSHAKE)) == [expected]
    pair._deliver(True, [data])
    pair._flush_all()
    assert any(isinstance(event, ConnectionClosed) for event in pair.events["server"])


def test_a_close_leaves_although_the_send_batch_was_full_of_acks() -> None:
    peer = connected()
    numbers = range(1000, 1300, 2)
    packets = [peer.packet(b"\x01", number=number) for number in numbers]
    answer = peer.deliver(*packets, peer.packet(b"\x21", number=2000))
    (close,) = close_frames(peer.open(answer[0]))
    assert close.error_code == Code.FRAME_ENCODING_ERROR


def test_a_close_finds_room_beside_the_widest_of_acks() -> None:
    """Gaps of billions of packet numbers make an ACK that fills a packet alone."""
    peer = connected()
    number = peer.numbers[2]
    for _ in range(150):
        number += 100_000_000
        buffer = peer.target._core.app.acks
        buffer.record(number, peer.pair.now, True, 0)
    peer.target.close(3, "r" * 400)
    (datagram,) = peer.flush()
    assert len(close_frames(peer.open(datagram))) == 1


def test_a_server_out_of_credit_closes_when_it_hears_more() -> None:
    """The close is held back by the three-fold limit, and leaves when a further datagram raises it."""
    pair = Pair()
    pair.filter = lambda from_client, data: data if from_client else None
    pair.run(lambda: pair.server is not None)
    server = pair.server
    assert server is not None
    core = server._core
    core.amplification.sent = 3 * core.amplification.received
    server.close(1, "no")
    assert len(server.send(pair.now)) == 0
    pair._deliver(True, [pair.log[0][1]])
    assert len(server.send(pair.now)) == 1


def test_a_stateless_reset_behind_data_is_told_after_it() -> None:
    peer = connected()
    token = reset_token(peer.source._core.local_cids._reset_key, peer.target._core.remote_cids.current)
    reset = encode_stateless_reset(token, 100, SeededEntropy(1))
    assert reset is not None
    peer.deliver(peer.packet(b"\x0a\x03\x03abc"), reset)
    assert [type(event) for event in peer.events][-2:] == [StreamReadable, ConnectionClosed]


def test_empty_foreign_and_repeated_datagrams_do_not_keep_a_connection_alive() -> None:
    peer = connected()
    known = peer.packet(b"\x01")
    peer.deliver(known)
    before = peer.target.idle_deadline
    peer.pair.now += SECOND
    for junk in (b"", b"\x40", bytes(50), known, b"\xc0" + bytes(60)):
        peer.deliver(junk)
    assert peer.target.idle_deadline == before
    peer.deliver(junk, peer.packet(b"\x00"))
    assert peer.target.idle_deadline > before


def test_one_good_packet_among_bad_ones_of_its_datagram_keeps_it_alive() -> None:
    pair = Pair()
    pair.run(lambda: pair.client.stats.datagrams_received > 0)
    peer = Scripted(pair)
    pair.now += SECOND
    before = peer.target.idle_deadline
    foreign = b"\xd0\x00\x00\x00\x01\x08" + bytes(8) + b"\x00\x00\x40\x20" + bytes(32)
    peer.deliver(peer.packet(b"\x01", SpaceId.HANDSHAKE) + foreign)
    assert peer.target.idle_deadline > before


def test_a_surrogate_in_the_reason_does_no_harm() -> None:
    peer = connected()
    peer.target.close(1, "a\udc80b")
    (datagram,) = peer.flush()
    assert close_frames(peer.open(datagram))[0].reason == b"a?b"


def test_a_closed_connection_is_deaf_and_mute() -> None:
    pair = Pair(client_config=QuicConfig(handshake_timeout=SECOND))
    pair.filter = lambda from_client, data: None
    pair.settle(10 * SECOND)
    assert pair.client.closed
    assert pair.client.next_deadline() == NEVER
    pair._deliver(False, [bytes(1200)])
    assert len(pair.client.send(START + 20 * SECOND)) == 0
    pair.client.handle_deadline(START + 30 * SECOND)
    assert pair.client.next_event() is None


def test_padding_hides_nothing_behind_a_close() -> None:
    peer = connected()
    peer.say(b"\x1c\x0a\x06\x02no", Padding(3), Stream(3, 0, b"x", False))
    assert peer.closed == ConnectionClosed(CloseKind.REMOTE, 0x0A, "no", False, 0x06)
    assert isinstance(peer.events[-1], ConnectionClosed)
