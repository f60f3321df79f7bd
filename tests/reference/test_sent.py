from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specter._wire import NEVER, TransportError, TransportErrorCode

PROPERTY = settings(max_examples=200, deadline=None, derandomize=True)
MS = 1_000_000


@pytest.fixture(scope="session")
def table(sent):
    def make(count=0, size=100, stream_id=None):
        packets = sent.SentPackets()
        for pn in range(count):
            stream = None if stream_id is None else (stream_id, pn * 10, 10, False)
            packets.record(pn, pn * MS, size, True, True, (f"t{pn}",), stream)
        return packets

    return make


def refuse(call, *arguments):
    with pytest.raises(TransportError) as caught:
        call(*arguments)
    assert caught.value.code == TransportErrorCode.PROTOCOL_VIOLATION
    assert caught.value.reason == "acknowledgment of a packet never sent"


# --- recording


def test_a_new_table(table):
    packets = table()
    assert (packets.next_pn, packets.bytes_in_flight, packets.ack_eliciting_in_flight) == (0, 0, 0)
    assert (packets.largest_acked, packets.loss_time, packets.last_ack_eliciting_time) == (-1, NEVER, 0)
    assert packets.oldest(2) == []
    assert packets.detect_lost(10, 5).count == 0


def test_record(table):
    packets = table()
    packets.record(0, 10, 1200, True, True)
    packets.record(1, 20, 50, False, False)
    packets.record(2, 30, 900, False, True)
    packets.record(5, 40, 70, True, False)
    assert len(packets) == 3
    assert (packets.next_pn, packets.bytes_in_flight, packets.ack_eliciting_in_flight) == (6, 2100, 2)
    assert packets.last_ack_eliciting_time == 40


def test_numbers_only_grow(table):
    packets = table(3)
    for call in (lambda: packets.record(2, 0, 1, True, True), lambda: packets.skip(0)):
        with pytest.raises(ValueError, match="packet number already used"):
            call()
    assert packets.next_pn == 3


# --- acknowledgment


def test_acknowledge(table):
    packets = table(5, stream_id=4)
    acked = packets.acknowledge([(3, 3), (0, 1)], 100 * MS)
    assert (acked.count, acked.size, acked.largest, acked.largest_time, acked.first_time) == (3, 300, 3, 3 * MS, 0)
    assert acked.eliciting
    assert acked.largest_is_newest
    assert acked.streams == [(4, 0, 20, False), (4, 30, 40, False)]
    assert acked.tokens == ["t0", "t1", "t3"]
    assert (packets.bytes_in_flight, packets.ack_eliciting_in_flight, packets.largest_acked) == (200, 2, 3)
    assert len(packets) == 2


def test_acknowledged_again(table):
    packets = table(3)
    packets.acknowledge([(0, 2)], 0)
    acked = packets.acknowledge([(0, 2)], 0)
    assert (acked.count, acked.size, acked.largest, acked.largest_is_newest) == (0, 0, -1, False)
    assert (acked.streams, acked.tokens) == ([], [])


def test_an_old_ack_is_no_sample(table):
    packets = table(5)
    packets.acknowledge([(4, 4)], 0)
    acked = packets.acknowledge([(4, 4), (0, 0)], 0)
    assert (acked.count, acked.largest, acked.largest_is_newest) == (1, 0, False)
    assert packets.largest_acked == 4
    acked = packets.acknowledge([(1, 1)], 0)
    assert acked.largest_is_newest
    assert packets.largest_acked == 4


def test_never_sent(table):
    packets = table(3)
    refuse(packets.acknowledge, [(3, 3)], 0)
    refuse(packets.acknowledge, [(0, (1 << 62) - 1)], 0)
    assert packets.largest_acked == -1
    assert len(packets) == 3


def test_skipped(table):
    packets = table(3)
    packets.skip(3)
    packets.record(4, 0, 100, True, True)
    refuse(packets.acknowledge, [(3, 4)], 0)
    refuse(packets.acknowledge, [(4, 4), (0, 3)], 0)
    assert packets.acknowledge([(4, 4), (0, 2)], 0).count == 4
    packets.record(5, 0, 100, True, True)
    assert packets.acknowledge([(5, 5)], 0).count == 1
    refuse(packets.acknowledge, [(5, 5), (2, 3), (0, 0)], 0)


def test_the_last_16_skipped_numbers_are_remembered(table):
    packets = table()
    for pn in range(0, 40, 2):
        packets.skip(pn)
        packets.record(pn + 1, 0, 100, True, True)
    refuse(packets.acknowledge, [(8, 8)], 0)
    assert packets.acknowledge([(0, 7)], 0).count == 4


def test_untracked_packets_give_samples(table):
    packets = table()
    packets.record(0, 10, 100, True, True)
    packets.record(1, 20, 40, False, False)
    packets.record(2, 30, 40, False, False)
    acked = packets.acknowledge([(0, 2)], 100)
    assert (acked.count, acked.size, acked.largest, acked.largest_time) == (1, 100, 2, 30)
    assert acked.eliciting
    assert acked.largest_is_newest
    packets.record(3, 40, 100, True, True)
    packets.record(4, 50, 40, False, False)
    acked = packets.acknowledge([(4, 4)], 100)
    assert (acked.count, acked.largest, acked.largest_time, acked.eliciting) == (0, 4, 50, False)
    acked = packets.acknowledge([(3, 4)], 100)
    assert (acked.count, acked.largest, acked.largest_is_newest) == (1, 3, False)


def test_untracked_packets_take_no_room(table):
    packets = table(1)
    for pn in range(1, 2000):
        packets.record(pn, pn, 40, False, False)
    assert len(packets) == 1
    acked = packets.acknowledge([(0, 100)], 5000)
    assert (acked.count, acked.largest, acked.largest_is_newest) == (1, 0, False)


def test_streams_join_only_where_they_continue(table):
    packets = table()
    frames = [(0, 0, 10, False), (0, 10, 10, False), (4, 20, 5, False), (0, 20, 0, True), (0, 20, 0, False), None]
    frames += [(8, 100, 10, False), (8, 120, 10, True), (8, 130, 5, False)]
    for pn, stream in enumerate(frames):
        packets.record(pn, 0, 1, True, True, (), stream)
    acked = packets.acknowledge([(0, len(frames) - 1)], 0)
    assert acked.streams == [
        (0, 0, 20, False),
        (4, 20, 25, False),
        (0, 20, 20, True),
        (0, 20, 20, False),
        (8, 100, 110, False),
        (8, 120, 130, True),
        (8, 130, 135, False),
    ]


def test_fin_joins_the_range_it_ends(table):
    packets = table()
    packets.record(0, 0, 1, True, True, (), (0, 0, 10, False))
    packets.record(1, 0, 1, True, True, (), (0, 10, 0, True))
    assert packets.acknowledge([(0, 1)], 0).streams == [(0, 0, 10, True)]


# --- loss


def test_packet_threshold(table):
    packets = table(6, stream_id=0)
    packets.acknowledge([(5, 5)], 5 * MS)
    lost = packets.detect_lost(5 * MS, 1000 * MS)
    assert (lost.count, lost.size, lost.first_time, lost.largest_time) == (3, 300, 0, 2 * MS)
    assert lost.streams == [(0, 0, 30, False)]
    assert lost.tokens == ["t0", "t1", "t2"]
    assert (packets.bytes_in_flight, packets.ack_eliciting_in_flight) == (200, 2)
    assert packets.loss_time == 1003 * MS
    lost = packets.detect_lost(1003 * MS, 1000 * MS)
    assert (lost.count, lost.tokens) == (1, ["t3"])
    assert packets.loss_time == 1004 * MS
    assert packets.detect_lost(1004 * MS, 1000 * MS).count == 1
    assert packets.loss_time == NEVER


def test_a_wider_packet_threshold(table):
    packets = table(6)
    packets.acknowledge([(5, 5)], 5 * MS)
    assert packets.detect_lost(5 * MS, 1000 * MS, 5).tokens == ["t0"]


def test_nothing_is_lost_before_an_acknowledgment(table):
    packets = table(6)
    assert packets.detect_lost(10_000 * MS, 1).count == 0
    assert packets.loss_time == NEVER
    packets.acknowledge([(0, 0)], 0)
    assert packets.detect_lost(10_000 * MS, 1).count == 0
    assert packets.loss_time == NEVER


def test_lost_packets_are_forgotten(table):
    packets = table(6)
    packets.acknowledge([(5, 5)], 0)
    packets.detect_lost(5 * MS, 1000 * MS)
    assert packets.acknowledge([(0, 5)], 0).count == 2
    assert packets.bytes_in_flight == 0
    assert packets.detect_lost(5 * MS, 1000 * MS).count == 0
    assert packets.loss_time == NEVER


def test_lost_padding_is_not_ack_eliciting(table):
    packets = table()
    packets.record(0, 10, 100, False, True)
    packets.record(1, 20, 100, True, False)
    packets.record(9, 30, 100, True, True)
    packets.acknowledge([(9, 9)], 0)
    lost = packets.detect_lost(100, 1)
    assert (lost.count, lost.size, lost.first_time, lost.largest_time) == (2, 100, 20, 10)
    assert lost.persistent_span == 0
    assert packets.ack_eliciting_in_flight == 0


def test_persistent_span(table):
    packets = table(12)
    packets.acknowledge([(11, 11), (4, 4)], 0)
    assert packets.detect_lost(11 * MS, 1000 * MS).persistent_span == 3 * MS
    packets = table(12)
    packets.acknowledge([(4, 4)], 0)
    packets.detect_lost(11 * MS, 1 * MS)
    packets.acknowledge([(11, 11)], 0)
    assert packets.detect_lost(100 * MS, 1 * MS).persistent_span == 5 * MS


def test_persistent_span_starts_and_ends_with_ack_eliciting_packets(table):
    packets = table()
    for pn, eliciting in enumerate([False, True, False, False, True, False]):
        packets.record(pn, pn * 10, 100, eliciting, True)
    packets.record(6, 60, 40, False, False)
    packets.record(20, 200, 100, True, True)
    packets.acknowledge([(20, 20)], 0)
    assert packets.detect_lost(300, 1).persistent_span == 30


# --- what weighs nothing


def test_a_probe_is_tracked_and_weighs_nothing(table):
    packets = table()
    packets.record(0, 10, 0, False, True, ("probe",))
    packets.record(1, 20, 1200, True, True)
    assert (packets.bytes_in_flight, packets.ack_eliciting_in_flight) == (1200, 1)
    assert packets.oldest(5) == [((), None)]
    packets.acknowledge([(1, 1)], 30)
    lost = packets.detect_lost(1000, 5)
    assert (lost.count, lost.size, lost.largest_time, lost.smallest_size) == (1, 0, 0, 0)
    assert lost.tokens == ["probe"]


def test_the_sizes_of_what_was_acknowledged_and_lost(table):
    packets = table()
    for pn, size in enumerate([1300, 1452, 1201, 900, 40]):
        packets.record(pn, pn * 10, size, True, True)
    acked = packets.acknowledge([(3, 4), (1, 1)], 50)
    assert acked.largest_size == 1452
    lost = packets.detect_lost(1000, 5)
    assert (lost.count, lost.smallest_size) == (2, 1201)


def test_marked_packets_are_counted(table):
    packets = table()
    for pn in range(8):
        packets.marking = pn % 2 == 0
        packets.record(pn, pn * 10, 100, pn != 6, pn != 6)
    assert packets.marked == 4
    assert packets.acknowledge([(4, 7)], 80).marked == 1
    assert packets.detect_lost(1000, 5).marked == 2


def test_what_was_sent_on_another_path_weighs_no_more_but_has_its_fate(table):
    packets = table(6)
    packets.disown()
    assert (packets.bytes_in_flight, packets.ack_eliciting_in_flight) == (0, 6)
    packets.record(6, 70 * MS, 100, True, True)
    acked = packets.acknowledge([(5, 5)], 80 * MS)
    assert (acked.count, acked.size, acked.largest_size) == (1, 0, 0)
    lost = packets.detect_lost(80 * MS, 1 * MS)
    assert (lost.count, lost.size, lost.persistent_span) == (5, 0, 0)
    assert lost.tokens == ["t0", "t1", "t2", "t3", "t4"]
    assert packets.bytes_in_flight == 100


# --- probes and the end


def test_oldest(table):
    packets = table(4, stream_id=8)
    packets.acknowledge([(1, 1)], 0)
    assert packets.oldest(2) == [(("t0",), (8, 0, 10, False)), (("t2",), (8, 20, 10, False))]
    assert packets.oldest(0) == []
    assert len(packets.oldest(9)) == 3
    assert packets.ack_eliciting_in_flight == 3


def test_oldest_leaves_out_what_does_not_elicit(table):
    packets = table()
    packets.record(0, 0, 100, False, True, ("padding",))
    packets.record(1, 0, 100, True, True, ("ping",))
    assert packets.oldest(5) == [(("ping",), None)]


def test_discard(table):
    packets = table(4)
    packets.acknowledge([(1, 1)], 0)
    packets.detect_lost(0, 1000 * MS)
    assert packets.loss_time != NEVER
    assert packets.discard() == 300
    assert (packets.bytes_in_flight, packets.ack_eliciting_in_flight, packets.loss_time) == (0, 0, NEVER)
    assert (packets.next_pn, len(packets)) == (4, 0)
    assert packets.discard() == 0
    assert packets.acknowledge([(0, 3)], 0).count == 0


# --- a model


@PROPERTY
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("send"), st.integers(1, 9), st.booleans(), st.booleans(), st.integers(0, 2)),
            st.tuples(st.just("skip")),
            st.tuples(st.just("ack"), st.sets(st.integers(0, 40), min_size=1)),
            st.tuples(st.just("lose"), st.integers(1, 5)),
        ),
        max_size=60,
    )
)
def test_against_a_dict(table, steps):
    packets = table()
    model: dict[int, tuple[int, int, bool, bool, tuple[int, ...]]] = {}
    skipped: set[int] = set()
    largest_acked = -1
    now = 0
    for name, *arguments in steps:
        now += 1
        pn = packets.next_pn
        if name == "send":
            size, eliciting, in_flight, tokens = arguments
            packets.record(pn, now, size, eliciting, in_flight, (pn,) * tokens)
            if eliciting or in_flight:
                model[pn] = (now, size, eliciting, in_flight, (pn,) * tokens)
        elif name == "skip":
            packets.skip(pn)
            skipped.add(pn)
        elif name == "ack":
            numbers = sorted(arguments[0], reverse=True)
            ranges = [(number, number) for number in numbers]
            if numbers[0] >= pn or skipped.intersection(numbers):
                if len(skipped) <= 16 or numbers[0] >= pn:
                    refuse(packets.acknowledge, ranges, now)
                continue
            acked = packets.acknowledge(ranges, now)
            found = [model.pop(number) for number in sorted(numbers) if number in model]
            largest_acked = max(largest_acked, numbers[0])
            check_totals(acked, found)
        else:
            lost = packets.detect_lost(now, arguments[0])
            found = []
            loss_time = NEVER
            for number in sorted(model):
                if number >= largest_acked:
                    continue
                if model[number][0] <= now - arguments[0] or number <= largest_acked - 3:
                    found.append(model.pop(number))
                else:
                    loss_time = min(loss_time, model[number][0] + arguments[0])
            check_totals(lost, found)
            assert packets.loss_time == loss_time
        assert packets.largest_acked == largest_acked
        assert len(packets) == len(model)
        assert packets.bytes_in_flight == sum(packet[1] for packet in model.values() if packet[3])
        assert packets.ack_eliciting_in_flight == sum(packet[2] for packet in model.values())


def check_totals(result, found):
    assert result.count == len(found)
    assert result.size == sum(packet[1] for packet in found if packet[3])
    assert result.tokens == [token for packet in found for token in packet[4]]


# --- cost


def spent(table, count, ack):
    packets = table(count)
    started = time.process_time()
    for pn in range(1, count, 2):
        packets.acknowledge(ack(pn), 0)
        packets.detect_lost(0, 1 << 60)
    assert packets.next_pn == count
    return time.process_time() - started


@pytest.mark.parametrize(
    "ack",
    [
        lambda pn: [(0, pn)],
        lambda pn: [(pn - 1, pn)],
        lambda pn: [(pn, pn)],
    ],
    ids=["everything so far", "two", "one of two"],
)
def test_an_acknowledgment_costs_what_it_acknowledges(table, ack):
    assert spent(table, 40_000, ack) < 40 * spent(table, 4_000, ack) + 0.5


def test_a_wide_range_costs_nothing(table):
    packets = table(3)
    packets.record(1 << 61, 0, 1, True, True)
    assert packets.acknowledge([(0, 1 << 61)], 0).count == 4
