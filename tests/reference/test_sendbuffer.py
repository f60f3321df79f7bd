from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

PROPERTY = settings(max_examples=200, deadline=None, derandomize=True)
MANY = 1 << 40


def content(size: int) -> bytes:
    return bytes(position * 7 % 251 for position in range(size))


@pytest.fixture(scope="session")
def buffer(sendbuffer):
    def make(data=b"", limit=MANY, fin=False, sent=None):
        made = sendbuffer.SendBuffer(4, limit)
        made.write(data)
        if fin:
            made.finish()
        if sent is not None:
            assert made.take(0, sent, fin and sent == len(data)) == data[:sent]
        return made

    return make


def send(made, max_bytes=1200, new_allowed=MANY):
    piece = made.next_range(max_bytes, new_allowed)
    return None if piece is None else (*piece, bytes(made.take(*piece)))


# --- new data


def test_a_new_buffer(buffer):
    made = buffer()
    assert (made.stream_id, made.limit, made.offset_end, made.sent_offset, made.unsent) == (4, MANY, 0, 0, 0)
    assert not any((made.has_pending, made.blocked, made.done, made.finished_writing))
    assert made.next_range(1200, MANY) is None


def test_bytes_leave_in_order(buffer):
    made = buffer(b"abcdef")
    made.write(bytearray(b"gh"))
    made.write(memoryview(b"ij"))
    assert (made.offset_end, made.unsent) == (10, 10)
    assert made.next_range(4, MANY) == (0, 4, False)
    assert made.next_range(4, MANY) == (0, 4, False)
    assert send(made, 4) == (0, 4, False, b"abcd")
    assert send(made, 4) == (4, 4, False, b"efgh")
    assert (made.sent_offset, made.unsent, made.has_pending) == (8, 2, True)
    assert send(made, 4) == (8, 2, False, b"ij")
    assert not made.has_pending
    assert send(made) is None


def test_the_caller_s_memory_is_copied(buffer):
    memory = bytearray(b"abc")
    made = buffer(memory)
    memory[:] = b"???"
    assert send(made) == (0, 3, False, b"abc")


def test_the_stream_s_limit(buffer):
    made = buffer(b"abcdef", limit=4)
    assert not made.blocked
    assert send(made) == (0, 4, False, b"abcd")
    assert made.blocked
    assert not made.has_pending
    assert send(made) is None
    assert not made.raise_limit(4)
    assert not made.raise_limit(3)
    assert made.raise_limit(5)
    assert not made.blocked
    assert send(made) == (4, 1, False, b"e")
    assert made.limit == 5


def test_the_connection_s_limit(buffer):
    made = buffer(b"abcdef")
    assert made.next_range(1200, 0) is None
    assert made.has_pending
    assert send(made, 1200, 2) == (0, 2, False, b"ab")


def test_no_room(buffer):
    made = buffer(b"abc", fin=True)
    assert made.next_range(0, MANY) is None
    assert made.next_range(-5, MANY) is None


# --- the end


def test_fin_with_the_last_bytes(buffer):
    made = buffer(b"abcdef", fin=True)
    assert made.finished_writing
    assert send(made, 4) == (0, 4, False, b"abcd")
    assert send(made, 4) == (4, 2, True, b"ef")
    assert not made.has_pending
    assert send(made) is None


def test_fin_alone(buffer):
    made = buffer(b"abc", sent=3)
    made.finish()
    assert made.has_pending
    assert made.next_range(-1, 0) is None
    assert send(made, 0, 0) == (3, 0, True, b"")
    assert not made.has_pending
    made.acked(0, 3, False)
    assert not made.done
    made.acked(3, 3, True)
    assert made.done


def test_an_empty_stream(buffer):
    made = buffer(fin=True)
    assert send(made) == (0, 0, True, b"")
    made.lost(0, 0, True)
    assert send(made) == (0, 0, True, b"")
    made.acked(0, 0, True)
    assert made.done
    made.lost(0, 0, True)
    assert not made.has_pending


def test_fin_waits_for_the_limit(buffer):
    made = buffer(b"abcdef", limit=3, fin=True)
    assert send(made) == (0, 3, False, b"abc")
    assert not made.has_pending
    assert send(made) is None
    made.raise_limit(6)
    assert send(made) == (3, 3, True, b"def")


@pytest.mark.parametrize("end", ["finish", "reset"])
def test_nothing_after_the_end(buffer, end):
    made = buffer(b"abc")
    getattr(made, end)()
    with pytest.raises(ValueError, match="stream is finished"):
        made.write(b"d")
    with pytest.raises(ValueError, match="stream is finished"):
        made.finish()


# --- loss


def test_lost_ranges_come_first(buffer):
    made = buffer(content(100), sent=60)
    made.lost(30, 40, False)
    made.lost(10, 20, False)
    assert made.next_range(1200, 0) == (10, 10, False)
    assert send(made, 4) == (10, 4, False, content(100)[10:14])
    assert send(made) == (14, 6, False, content(100)[14:20])
    assert send(made) == (30, 10, False, content(100)[30:40])
    assert send(made) == (60, 40, False, content(100)[60:])


def test_lost_ranges_join(buffer):
    made = buffer(content(100), sent=100)
    for start, end in ((10, 20), (30, 40), (20, 25), (24, 30), (0, 3)):
        made.lost(start, end, False)
    assert send(made)[:2] == (0, 3)
    assert send(made)[:2] == (10, 30)
    assert send(made) is None


def test_lost_and_meanwhile_acknowledged(buffer):
    made = buffer(content(100), sent=100)
    made.acked(0, 10, False)
    made.acked(20, 30, False)
    made.acked(40, 50, False)
    made.lost(5, 60, False)
    assert [send(made)[:2] for _ in range(3)] == [(10, 10), (30, 10), (50, 10)]
    made.lost(10, 60, False)
    made.acked(12, 55, False)
    assert [send(made)[:2] for _ in range(2)] == [(10, 2), (55, 5)]
    assert send(made) is None


def test_lost_fin(buffer):
    made = buffer(b"abc", fin=True, sent=3)
    made.lost(0, 3, True)
    assert made.has_pending
    assert send(made, 2) == (0, 2, False, b"ab")
    assert send(made, 2) == (2, 1, True, b"c")
    made.lost(0, 3, True)
    made.acked(0, 3, False)
    assert send(made) == (3, 0, True, b"")
    made.acked(3, 3, True)
    made.lost(0, 3, True)
    assert made.done
    assert not made.has_pending


def test_fin_rides_on_a_lost_tail(buffer):
    made = buffer(b"abc", sent=3)
    made.lost(1, 3, False)
    made.finish()
    assert send(made) == (1, 2, True, b"bc")
    assert send(made) is None


def test_a_probe_sends_what_is_still_on_its_way(buffer):
    made = buffer(b"abcdef", sent=6)
    made.lost(0, 3, False)
    assert send(made) == (0, 3, False, b"abc")
    made.acked(0, 6, False)
    made.acked(0, 3, False)
    made.lost(0, 6, False)
    assert not made.has_pending
    assert made.unacked == 0


# --- acknowledgment


def test_the_acknowledged_prefix_is_released(buffer):
    made = buffer(content(100), sent=80)
    made.acked(20, 30, False)
    made.acked(50, 60, False)
    assert made.unacked == 100
    made.acked(0, 20, False)
    assert made.unacked == 70
    made.acked(25, 55, False)
    assert made.unacked == 40
    assert send(made) == (80, 20, False, content(100)[80:])
    made.lost(60, 100, False)
    assert send(made) == (60, 40, False, content(100)[60:])


def test_done_in_any_order(buffer):
    made = buffer(b"abcdef", fin=True, sent=6)
    made.acked(3, 6, True)
    assert not made.done
    made.acked(0, 3, False)
    assert made.done
    assert made.unacked == 0


# --- the caller's faults


@pytest.mark.parametrize(
    "arguments", [(0, 4, False), (1, 4, False), (3, 2, False), (-1, 2, False), (0, 3, True), (3, 3, True)]
)
@pytest.mark.parametrize("call", ["acked", "lost"])
def test_what_was_never_sent(buffer, call, arguments):
    made = buffer(b"abcdef", sent=3)
    with pytest.raises(ValueError, match="range was never sent"):
        getattr(made, call)(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((4, 1, False), "not a range to send"),
        ((3, 3, True), "not a range to send"),
        ((2, 1, True), "not a range to send"),
        ((0, 7, False), "range not held"),
        ((0, -1, False), "range not held"),
        ((-1, 1, False), "range not held"),
        ((1, 1, False), "range not held"),
    ],
)
def test_what_cannot_be_taken(buffer, arguments, message):
    made = buffer(b"abcdef", sent=3)
    made.acked(0, 2, False)
    with pytest.raises(ValueError, match=message):
        made.take(*arguments)
    assert made.sent_offset == 3


def test_copy_into(buffer):
    made = buffer(b"abcdef", sent=3)
    made.acked(0, 1, False)
    target = bytearray(6)
    made.copy_into(target, 1, 1, 4)
    made.copy_into(memoryview(target), 5, 5, 1)
    assert target == b"\0bcdef"
    assert made.sent_offset == 3
    for pos in (-1, 3):
        with pytest.raises(ValueError, match="range outside the buffer"):
            made.copy_into(target, pos, 1, 4)
    for offset, length in ((0, 1), (5, 2), (2, -1)):
        with pytest.raises(ValueError, match="range not held"):
            made.copy_into(target, 0, offset, length)


def test_mark_sent(buffer):
    made = buffer(b"abcdef", fin=True)
    made.mark_sent(0, 4, False)
    made.mark_sent(4, 2, True)
    assert not made.has_pending


# --- reset


@pytest.mark.parametrize("fin", [False, True])
def test_reset(buffer, fin):
    made = buffer(b"abcdef", fin=fin)
    made.take(0, 4, False)
    made.lost(0, 2, False)
    assert made.reset() == 4
    assert made.is_reset
    assert not any((made.has_pending, made.blocked, made.done))
    assert (made.unsent, made.unacked, made.sent_offset) == (0, 0, 4)
    assert made.next_range(1200, MANY) is None
    made.acked(0, 4, False)
    made.lost(0, 4, False)
    made.lost(99, 100, True)
    assert not made.has_pending
    assert made.reset() == 4


# --- models


@PROPERTY
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("write"), st.integers(0, 30)),
            st.tuples(st.just("finish")),
            st.tuples(st.just("limit"), st.integers(0, 200)),
            st.tuples(st.just("send"), st.integers(0, 20), st.integers(0, 30)),
            st.tuples(st.just("acked"), st.integers(0, 1000)),
            st.tuples(st.just("lost"), st.integers(0, 1000)),
            st.tuples(st.just("probe"), st.integers(0, 1000)),
        ),
        max_size=80,
    )
)
def test_against_a_model(buffer, steps):
    everything = content(4000)
    made = buffer(limit=20)
    written = limit = 0
    limit = 20
    on_the_way: list[tuple[int, int, bool]] = []
    unsent_again: set[int] = set()
    acked: set[int] = set()
    fin = fin_sent = fin_acked = fin_lost = False
    for name, *arguments in steps:
        if name == "write" and not fin:
            made.write(everything[written : written + arguments[0]])
            written += arguments[0]
        elif name == "finish" and not fin:
            made.finish()
            fin = True
        elif name == "limit":
            assert made.raise_limit(arguments[0]) == (arguments[0] > limit)
            limit = max(limit, arguments[0])
        elif name == "send":
            before = made.sent_offset
            result = send(made, *arguments)
            if result is None:
                continue
            offset, length, with_fin, data = result
            assert data == everything[offset : offset + length]
            assert length <= arguments[0]
            assert with_fin == (fin and offset + length == written)
            if unsent_again:
                assert offset == min(unsent_again)
                assert set(range(offset, offset + length)) <= unsent_again
            else:
                assert offset == before
                assert length <= arguments[1]
                assert offset + length <= limit
                assert length or fin
            unsent_again.difference_update(range(offset, offset + length))
            on_the_way.append((offset, offset + length, with_fin))
            if with_fin:
                fin_sent, fin_lost = True, False
        elif name in ("acked", "lost", "probe") and on_the_way:
            index = arguments[0] % len(on_the_way)
            start, end, with_fin = on_the_way[index] if name == "probe" else on_the_way.pop(index)
            if name == "acked":
                made.acked(start, end, with_fin)
                acked.update(range(start, end))
                unsent_again -= acked
                fin_acked |= with_fin
                fin_lost &= not fin_acked
            else:
                made.lost(start, end, with_fin)
                unsent_again |= set(range(start, end)) - acked
                fin_lost |= with_fin and not fin_acked
        sent_up_to = made.sent_offset
        fin_pending = fin and (fin_lost or not fin_sent) and not fin_acked
        assert made.offset_end == written
        assert made.unsent == written - sent_up_to
        assert made.blocked == (written > sent_up_to >= limit)
        new = written > sent_up_to and sent_up_to < limit
        assert made.has_pending == bool(unsent_again or new or (fin_pending and sent_up_to == written))
        assert made.done == (fin_acked and len(acked) == written)
        prefix = next((position for position in range(written) if position not in acked), written)
        assert made.unacked == written - prefix


@PROPERTY
@given(seed=st.integers(0, 1 << 32), loss=st.sampled_from([0.0, 0.1, 0.5]), size=st.integers(0, 5000))
def test_everything_arrives(buffer, seed, loss, size):
    chance = random.Random(seed)
    data = content(size)
    made = buffer(data, fin=True)
    arrived = bytearray(size)
    flying: list[tuple[int, int, bool]] = []
    ended = False
    while not made.done:
        piece = send(made, chance.randint(1, 700))
        if piece is not None:
            flying.append((piece[0], piece[0] + piece[1], piece[2]))
        if piece is None or chance.random() < 0.5:
            start, end, fin = flying.pop(chance.randrange(len(flying)))
            if chance.random() < loss:
                made.lost(start, end, fin)
            else:
                arrived[start:end] = data[start:end]
                ended |= fin
                made.acked(start, end, fin)
    assert arrived == data
    assert ended
    assert made.unacked == 0


# --- limits and cost


@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
@pytest.mark.parametrize("call", ["lost", "acked"])
def test_scattered_ranges_are_bounded(buffer, call, order):
    size = 40_000
    made = buffer(content(size), sent=size)
    starts = list(range(1, size, 4))
    if order == "descending":
        starts.reverse()
    elif order == "shuffled":
        random.Random(3).shuffle(starts)
    for start in starts:
        getattr(made, call)(start, start + 1, False)
    pending = []
    while (piece := send(made)) is not None:
        pending.append(piece[:2])
    assert len(pending) <= 4096 + 40
    covered = {position for offset, length in pending for position in range(offset, offset + length)}
    if call == "lost":
        assert covered >= set(starts)
        made.acked(0, size, False)
    else:
        made.acked(0, 1, False)
        for start in starts:
            if start in covered:
                made.acked(start, start + 1, False)
            made.acked(start + 1, min(start + 4, size), False)
    assert made.unacked == 0


def spent(buffer, count):
    made = buffer()
    piece = bytes(1000)
    started = time.process_time()
    for _ in range(100):
        made.write(piece)
    for index in range(count):
        made.write(piece)
        made.take(*made.next_range(1000, MANY))
        made.acked(index * 1000, index * 1000 + 1000, False)
    assert made.unacked == 100_000
    return time.process_time() - started


def test_a_byte_costs_the_same_late_as_early(buffer):
    assert spent(buffer, 20_000) < 40 * spent(buffer, 2_000) + 0.5


def test_writing_much_and_sending_little_is_linear(buffer):
    def cost(count):
        made = buffer(bytes(count * 100))
        started = time.process_time()
        for index in range(count):
            made.take(*made.next_range(100, MANY))
            made.acked(index * 100, index * 100 + 100, False)
        return time.process_time() - started

    assert cost(20_000) < 40 * cost(2_000) + 0.5
