"""The hot path alone: a receiver and a packer between real keys and a scripted owner."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from specter._frame_types import Ack, ConnectionClose, MaxData, Ping, ResetStream, Stream
from specter._wire import NEVER, TransportError
from specter._wire import TransportErrorCode as Code
from tests.reference.hotpath import CID, NOW, End, encode

# -- receiving --------------------------------------------------------------------------------------------


def test_stream_data_reaches_its_buffer_and_is_told_once(end: End) -> None:
    packets = [end.seal(encode(end, Stream(3, 10 * n, b"0123456789", n == 2))) for n in range(3)]
    assert end.run(*packets) == 3
    assert end.receiver.streams[3].read() == b"0123456789" * 3
    assert list(end.receiver.touched) == [3]
    assert end.owner.opened == [3]
    assert end.receiver.data_received == 30
    assert end.receiver.packets == 3


def test_data_ahead_of_a_gap_is_no_news(end: End) -> None:
    end.run(end.seal(encode(end, Stream(3, 5, b"later", False))))
    assert list(end.receiver.touched) == []
    end.run(end.seal(encode(end, Stream(3, 0, b"first", False))))
    assert list(end.receiver.touched) == [3]
    assert end.receiver.streams[3].read() == b"firstlater"


def test_an_end_without_data_is_news(end: End) -> None:
    end.run(end.seal(encode(end, Stream(3, 0, b"", True))))
    assert list(end.receiver.touched) == [3]


def test_uncommon_frames_go_to_the_owner_in_order(end: End) -> None:
    said = (MaxData(9), Ping(), Stream(0, 0, b"x", False), ResetStream(3, 1, 2), b"\x00\x00", MaxData(10))
    end.run(end.seal(encode(end, *said)))
    assert end.owner.frames == [MaxData(9), ResetStream(3, 1, 2), MaxData(10)]


def test_data_the_owner_ignores_leaves_no_trace(end: End) -> None:
    end.owner.refuse.add(3)
    end.run(end.seal(encode(end, Stream(3, 0, b"x", True))))
    assert (end.receiver.data_received, list(end.receiver.touched), end.receiver.streams) == (0, [], {})


def test_the_connection_limit_is_kept(end: End) -> None:
    end.receiver.data_limit = 15
    with pytest.raises(TransportError) as caught:
        end.run(end.seal(encode(end, Stream(3, 0, b"x" * 8, False), Stream(7, 0, b"x" * 8, False))))
    assert caught.value.code == Code.FLOW_CONTROL_ERROR


@pytest.mark.parametrize(
    "foreign",
    [
        b"",
        b"\x43",
        b"\x43" + CID[:7],
        b"\x43" + b"stranger" + bytes(30),
        b"\xc3" + CID + bytes(30),
        b"\x03" + CID + bytes(30),
    ],
    ids=["empty", "one byte", "short id", "foreign id", "long header", "no fixed bit"],
)
def test_run_stops_at_what_is_not_a_1_rtt_packet_of_this_path(end: End, foreign: bytes) -> None:
    assert end.run(end.seal(b"\x01"), foreign, end.seal(b"\x01")) == 1
    assert end.receiver.packets == 1
    assert end.owner.undecryptable == []


def test_run_stops_at_another_address(end: End) -> None:
    burst = end.twins.batch.ReceiveBatch(4)
    burst.append(end.seal(b"\x01"))
    burst.append(end.seal(b"\x01"), ("192.0.2.7", 443))
    assert end.receiver.run(burst, 0, NOW) == 1


def test_run_stops_without_keys(end: End) -> None:
    packet = end.seal(b"\x01")
    end.receiver.keys = None
    assert end.run(packet) == 0
    with pytest.raises(end.twins.protection.DecryptError):
        end.receiver.packet(end.twins.batch.ReceiveBatch(1), 0, 0, 0, NOW)


def test_the_owner_may_take_the_keys_away_in_the_middle_of_a_burst(end: End) -> None:
    """So a connection that closes on a frame stops the rest of the burst."""

    def close(frame: object, now: int) -> None:
        end.receiver.keys = None

    end.owner.on_frame = close  # type: ignore[method-assign]
    packets = [end.seal(encode(end, ConnectionClose(0, 0, b"", True))), end.seal(encode(end, Stream(3, 0, b"x", True)))]
    assert end.run(*packets) == 1
    assert end.receiver.streams == {}


def test_what_does_not_open_is_counted_and_the_burst_goes_on(end: End) -> None:
    bad = bytearray(end.seal(b"\x01"))
    bad[-1] ^= 1
    assert end.run(bytes(bad), b"\x43" + CID + bytes(5), end.seal(b"\x01")) == 3
    assert end.owner.undecryptable == [0, 1]
    assert end.receiver.packets == 1


def test_the_id_at_hand_is_known(end: End) -> None:
    end.receiver.cids = {CID, b"another!"}
    end.run(end.seal(b"\x01", cid=b"another!"))
    assert end.receiver.last_cid == b"another!"


def test_duplicates_change_nothing(end: End) -> None:
    packet = end.seal(encode(end, MaxData(1)))
    end.run(packet, packet)
    end.run(packet)
    assert end.owner.frames == [MaxData(1)]
    assert end.receiver.packets == 1


@pytest.mark.parametrize("bits", [0x08, 0x10, 0x18])
def test_reserved_bits_are_a_violation(end: End, bits: int) -> None:
    with pytest.raises(TransportError) as caught:
        end.run(end.seal(b"\x01", first=0x43 | bits))
    assert caught.value.code == Code.PROTOCOL_VIOLATION


def test_a_packet_without_frames_is_a_violation(end: End) -> None:
    with pytest.raises(TransportError) as caught:
        end.run(end.seal(b""))
    assert caught.value.code == Code.PROTOCOL_VIOLATION


def test_a_key_update_is_told_once(end: End) -> None:
    end.run(end.seal(b"\x01"))
    end.sealer.update()
    end.run(end.seal(b"\x01", first=0x47), end.seal(b"\x01", first=0x47))
    assert end.owner.key_updates == 1


def test_acknowledgments_are_sealed_at_the_packet_that_crosses_the_threshold(end: End) -> None:
    end.run(*[end.seal(b"\x01") for _ in range(5)])
    acks = [frames[0] for frames in end.delivered()]
    assert [ack.ranges for ack in acks] == [((0, 1),), ((0, 3),)]
    assert end.acks.pending == 1
    assert end.acks.deadline == NOW + 25_000_000


def test_acks_wait_when_the_send_batch_is_full(twins: SimpleNamespace) -> None:
    end = End(twins, capacity=2)
    end.run(*[end.seal(b"\x01") for _ in range(12)])
    assert len(end.delivered()) == 2
    assert end.acks.due(NOW)
    end.packer.ack(NOW)
    assert [frames[0].ranges for frames in end.delivered()] == [((0, 11),)]


def test_packets_that_ask_for_nothing_are_not_acknowledged(end: End) -> None:
    close = encode(end, ConnectionClose(0, 0, b"", True))
    end.run(end.seal(encode(end, Ack(((0, 0),), 0))), end.seal(b"\x00" * 50), end.seal(close))
    assert (end.acks.pending, end.acks.deadline) == (0, NEVER)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=80))
def test_any_payload_is_digested_or_a_protocol_error(twins: SimpleNamespace, payload: bytes) -> None:
    end = End(twins)
    with suppress(TransportError):
        end.run(end.seal(payload))


# -- packing ----------------------------------------------------------------------------------------------


def test_nothing_to_say_makes_no_packet(end: End) -> None:
    assert not end.packer.has_work(NOW)
    assert end.packer.fill(NOW, 1 << 20, 1200) == 0
    start = end.out.begin()
    assert end.packer.packet(NOW, start, start + 1200) == start
    assert end.sent.next_pn == 0


def test_without_keys_there_is_no_work(end: End) -> None:
    end.buffer(0, b"x")
    end.packer.keys = None
    assert not end.packer.has_work(NOW)
    end.packer.ack(NOW)
    assert len(end.out) == 0


def test_data_fills_datagrams_and_is_recorded(end: End) -> None:
    data = bytes(range(256)) * 12
    end.buffer(4, data, fin=True)
    packets = end.fill()
    pieces = [frame for frames in packets for frame in frames]
    assert b"".join(bytes(piece.data) for piece in pieces) == data
    assert [piece.offset for piece in pieces] == [0, *[piece.offset + len(piece.data) for piece in pieces[:-1]]]
    assert [piece.fin for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert end.packer.data_sent == len(data)
    assert end.sent.ack_eliciting_in_flight == len(packets) == 3
    assert end.packer.packets == 3


@pytest.mark.parametrize(("allowance", "packets"), [(0, 0), (1199, 0), (1200, 1), (2398, 1), (2400, 2)])
def test_the_allowance_covers_whole_datagrams(end: End, allowance: int, packets: int) -> None:
    end.buffer(0, bytes(10_000))
    used = end.packer.fill(NOW, allowance, 1200)
    assert len(end.out) == packets
    assert used <= allowance
    assert used == end.sent.bytes_in_flight


def test_the_batch_is_the_limit_too(twins: SimpleNamespace) -> None:
    end = End(twins, capacity=3)
    end.buffer(0, bytes(10_000))
    assert len(end.fill()) == 3
    assert end.packer.has_work(NOW)


def test_streams_take_turns(end: End) -> None:
    for stream_id in (0, 4, 8):
        end.buffer(stream_id, bytes(3000))
    order = [frames[0].stream_id for frames in end.fill(allowance=6 * 1200)]
    assert order == [0, 4, 8, 0, 4, 8]


def test_small_streams_share_a_packet(end: End) -> None:
    for stream_id in (0, 4, 8):
        end.buffer(stream_id, b"x" * 10, fin=True)
    (frames,) = end.fill()
    assert [frame.stream_id for frame in frames] == [0, 4, 8]
    acked = end.sent.acknowledge([(0, 0)], NOW)
    assert acked.streams == [(0, 0, 10, True)]
    assert acked.tokens == [(4, 0, 10, True), (8, 0, 10, True)]


def test_control_frames_come_first_and_only_whole(end: End) -> None:
    frame = MaxData(5)
    encoded = end.twins.frames.encode(frame)
    for _ in range(1000):
        end.packer.control.append((encoded, frame))
    end.buffer(0, b"data")
    packets = end.fill()
    assert sum(frames.count(frame) for frames in packets) == 1000
    assert packets[-1][-1] == Stream(0, 0, b"data", False)
    assert not end.packer.control


def test_connection_credit_stalls_and_is_raised(end: End) -> None:
    end.packer.data_limit = 100
    first, second = end.buffer(0, bytes(80)), end.buffer(4, bytes(80))
    (frames,) = end.fill()
    assert [len(frame.data) for frame in frames] == [80, 20]
    assert end.fill() == []
    assert end.packer.stalled
    assert not end.packer.has_work(NOW)
    assert not end.packer.raise_limit(100)
    assert end.packer.raise_limit(150)
    assert [len(frame.data) for frames in end.fill() for frame in frames] == [50]
    assert first.unsent == 0
    assert second.unsent == 10
    end.packer.remove(second)
    assert not end.packer.stalled


def test_lost_data_needs_no_credit(end: End) -> None:
    end.packer.data_limit = 100
    buffer = end.buffer(0, bytes(100))
    end.fill()
    buffer.lost(0, 100, False)
    end.packer.enqueue(buffer)
    (frames,) = end.fill()
    assert len(frames[0].data) == 100
    assert end.packer.data_sent == 100


def test_a_stream_at_its_limit_is_named_as_blocked(end: End) -> None:
    buffer = end.buffer(0, bytes(100), limit=60)
    assert [len(frame.data) for frames in end.fill() for frame in frames] == [60]
    assert list(end.packer.blocked) == [buffer]
    assert not end.packer.has_work(NOW)
    end.packer.blocked.clear()
    buffer.raise_limit(100)
    end.packer.enqueue(buffer)
    assert [len(frame.data) for frames in end.fill() for frame in frames] == [40]
    assert list(end.packer.blocked) == []


def test_a_pending_acknowledgment_rides_along(end: End) -> None:
    end.run(end.seal(b"\x01"))
    end.buffer(0, b"data")
    (frames,) = end.fill()
    assert [type(frame) for frame in frames] == [Ack, Stream]
    assert end.acks.pending == 0
    assert end.sent.acknowledge([(0, 0)], NOW).tokens == [0]


def test_an_acknowledgment_alone_is_not_in_flight(end: End) -> None:
    end.run(end.seal(b"\x01"), end.seal(b"\x01"))
    assert len(end.delivered()) == 1
    assert (end.sent.bytes_in_flight, end.sent.ack_eliciting_in_flight, end.sent.next_pn) == (0, 0, 1)
    assert len(end.sent) == 0


def test_padding_makes_a_packet_count_as_in_flight(end: End) -> None:
    end.acks.record(0, NOW, True, 0)
    start = end.out.begin()
    assert end.packer.packet(NOW, start, start + 1200, start + 1200) == start + 1200
    assert end.sent.bytes_in_flight == 1200
    assert end.sent.ack_eliciting_in_flight == 0


def test_a_tiny_packet_is_long_enough_to_be_sampled(end: End) -> None:
    end.packer.control.append((b"\x01", Ping()))
    (frames,) = end.fill()
    assert frames[0] == Ping()


def test_a_number_is_left_out_and_never_used(end: End) -> None:
    end.packer.skip_at = 1
    end.buffer(0, bytes(3000))
    end.fill()
    assert end.packer.skip_at == -1
    assert end.sent.next_pn == 4
    with pytest.raises(TransportError):
        end.sent.acknowledge([(0, 3)], NOW)


@pytest.mark.parametrize(
    ("unacknowledged", "length"), [(1, 1), (128, 1), (129, 2), (32768, 2), (32769, 3), (1 << 24, 4)]
)
def test_packet_numbers_are_as_long_as_they_need_to_be(end: End, unacknowledged: int, length: int) -> None:
    if unacknowledged > 1:
        end.sent.record(unacknowledged - 2, NOW, 10, False, False)
    end.packer.control.append((b"\x01" * 4, Ping()))
    end.packer.fill(NOW, 1200, 1200)
    ((data, _, _),) = end.out.deliver()
    plain = bytearray(data)
    number, start, _, _ = end.opener.open(plain, 0, 9, len(plain), unacknowledged - 2)
    assert number == unacknowledged - 1
    assert start - 9 == length


def test_the_key_phase_is_in_the_header(end: End) -> None:
    end.sealer.update()
    end.buffer(0, b"x")
    end.packer.fill(NOW, 1200, 1200)
    ((data, _, _),) = end.out.deliver()
    plain = bytearray(data)
    _, _, _, first = end.opener.open(plain, 0, 9, len(plain), -1)
    assert first & 0x04
    assert first & 0xC0 == 0x40


def test_cleared_it_has_nothing_to_say(end: End) -> None:
    end.packer.data_limit = 5
    end.buffer(0, bytes(10))
    end.buffer(4, bytes(10), limit=3)
    end.fill()
    end.packer.control.append((b"\x01", Ping()))
    end.buffer(8, b"x")
    end.packer.clear()
    assert not end.packer.has_work(NOW)
    assert not end.packer.stalled
    assert list(end.packer.blocked) == []
    assert end.fill() == []


def test_crypto_data_travels_without_a_stream(end: End) -> None:
    end.buffer(-1, b"ticket")
    (frames,) = end.fill()
    assert (type(frames[0]).__name__, bytes(frames[0].data)) == ("Crypto", b"ticket")
    assert end.packer.data_sent == 0
    assert end.sent.acknowledge([(0, 0)], NOW).streams == [(-1, 0, 6, False)]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3000), st.booleans()), min_size=1, max_size=8),
    st.integers(60, 1452),
)
def test_whatever_is_written_arrives_once(
    twins: SimpleNamespace, writes: list[tuple[int, int, bool]], size: int
) -> None:
    end = End(twins)
    expected: dict[int, bytes] = {}
    for index, length, fin in writes:
        stream_id = 4 * index
        if stream_id not in expected and (length or fin):
            expected[stream_id] = bytes([index]) * length
            end.buffer(stream_id, expected[stream_id], fin=fin)
    got: dict[int, bytes] = {}
    for _ in range(2000):
        packets = end.fill(size=size)
        if not packets:
            break
        for frames in packets:
            for frame in frames:
                got[frame.stream_id] = got.get(frame.stream_id, b"") + bytes(frame.data)
    assert got == expected
