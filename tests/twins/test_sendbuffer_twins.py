"""Both twins of ``sendbuffer`` offer the same ranges and bytes, whatever was written, sent, lost and acknowledged."""

from __future__ import annotations

import gc
import os
import random
import sys

import pytest

from tests.twins.compare import outcome, resident

ATTRIBUTES = (
    "blocked",
    "done",
    "finished_writing",
    "has_pending",
    "is_reset",
    "limit",
    "offset_end",
    "sent_offset",
    "stream_id",
    "unacked",
    "unsent",
)
MANY = 1 << 62


@pytest.fixture(scope="module")
def pair(twins):
    return twins("sendbuffer")


class Buffers:
    """The two buffers; every call goes to both and must do the same to both."""

    def __init__(self, pair, stream_id=4, limit=MANY):
        self.reference = pair.reference.SendBuffer(stream_id, limit)
        self.compiled = pair.compiled.SendBuffer(stream_id, limit)
        self.check()

    def __getattr__(self, name):
        def call(*arguments):
            expected = outcome(getattr(self.reference, name), *arguments)
            found = outcome(getattr(self.compiled, name), *arguments)
            assert found == expected
            self.check()
            return found[2] if found[0] == "returned" else found

        return call

    def check(self):
        for name in ATTRIBUTES:
            expected, found = getattr(self.reference, name), getattr(self.compiled, name)
            assert found == expected, name
            assert type(found) is type(expected), name
        assert self.compiled.next_range(1000, 1000) == self.reference.next_range(1000, 1000)


class Upload:
    """A random life of one stream."""

    def __init__(self, pair, seed):
        self.rng = random.Random(seed)
        self.scale = self.rng.choice((4, 300, 30_000))
        self.buffers = Buffers(pair, limit=self.scale)
        self.flying = []

    def step(self):
        kinds = (self.write, self.send, self.send, self.send, self.answer, self.answer, self.answer)
        self.rng.choice((*kinds, self.raise_limit, self.copy, self.any_range, self.seldom))()

    def write(self):
        data = self.rng.randbytes(self.rng.randrange(self.scale))
        self.buffers.write(self.rng.choice((bytes, bytearray, memoryview))(data))

    def send(self):
        for _ in range(self.rng.randrange(1, 6)):
            piece = self.buffers.next_range(self.rng.randrange(-1, self.scale), self.rng.randrange(-1, self.scale))
            if piece is None:
                continue
            offset, length, fin = piece
            if self.rng.random() < 0.2:
                length, fin = length // 2, False
            self.rng.choice((self.buffers.take, self.buffers.take, self.buffers.mark_sent))(offset, length, fin)
            self.flying.append((offset, offset + length, fin))

    def answer(self):
        for _ in range(self.rng.randrange(1, 6)):
            if not self.flying:
                return
            piece = self.flying.pop(self.rng.choice((0, self.rng.randrange(len(self.flying)))))
            if self.rng.random() < 0.3:
                self.buffers.lost(*piece)
                if self.rng.random() < 0.3:
                    self.buffers.acked(*piece)  # it was late only
            else:
                self.buffers.acked(*piece)

    def raise_limit(self):
        self.buffers.raise_limit(self.buffers.reference.limit + self.rng.randrange(-2, self.scale))

    def copy(self):
        low, high = sorted(self.rng.randrange(self.buffers.reference.offset_end + 1) for _ in range(2))
        for data in (bytearray(high - low + 2), memoryview(bytearray(high - low))):
            pos = self.rng.randrange(-1, 3)
            copies = [bytearray(data), bytearray(data)]
            results = [
                outcome(made.copy_into, copies[index], pos, low, high - low)
                for index, made in enumerate((self.buffers.reference, self.buffers.compiled))
            ]
            assert results[0] == results[1]
            assert copies[0] == copies[1]

    def any_range(self):
        end = self.buffers.reference.offset_end
        low, high = (self.rng.randrange(-2, end + 3) for _ in range(2))
        call = self.rng.choice(("acked", "lost", "take", "mark_sent"))
        fin = self.rng.random() < 0.1
        getattr(self.buffers, call)(low, high if call in ("acked", "lost") else high - low, fin)

    def seldom(self):
        choice = self.rng.random()
        if choice < 0.05:
            self.buffers.reset()
        elif choice < 0.2:
            self.buffers.finish()
        elif choice < 0.5:
            self.buffers.write(b"")


@pytest.mark.parametrize("seed", range(60))
def test_random_lives(pair, seed):
    upload = Upload(pair, seed)
    for _ in range(250):
        upload.step()


def test_the_same_names(pair):
    assert pair.compiled.__all__ == pair.reference.__all__


@pytest.mark.parametrize("call", ["acked", "lost"])
@pytest.mark.parametrize("order", ["ascending", "descending", "random"])
def test_more_ranges_than_are_remembered(pair, call, order):
    buffers = Buffers(pair)
    made = (buffers.reference, buffers.compiled)
    for buffer in made:
        buffer.write(bytes(20_000))
        buffer.mark_sent(0, 20_000, False)
    starts = list(range(1, 20_000, 4))
    if order == "descending":
        starts.reverse()
    elif order == "random":
        random.Random(1).shuffle(starts)
    for start in starts:
        for buffer in made:
            getattr(buffer, call)(start, start + 2, False)
    buffers.check()
    while (piece := buffers.next_range(1200, 0)) is not None:
        buffers.take(*piece)
    buffers.acked(0, 20_000, False)


def test_the_ring_turns_grows_and_shrinks(pair):
    buffers = Buffers(pair)
    rng = random.Random(7)
    data = rng.randbytes(700_000)
    for held in (3, 1000, 2048, 5000, 700_000, 300, 100_000, 0, 4):
        while buffers.reference.unacked < held:
            buffers.write(data[: rng.randrange(1, held + 1)])
        while (piece := buffers.reference.next_range(1 + held // 3, MANY)) is not None:
            assert buffers.next_range(1 + held // 3, MANY) == piece
            assert buffers.take(*piece)
        base = buffers.reference.sent_offset - buffers.reference.unacked
        buffers.acked(base, base + (buffers.reference.unacked - held if held else buffers.reference.unacked), False)
        base = buffers.reference.sent_offset - buffers.reference.unacked
        while buffers.reference.unacked > held // 20:
            step = min(1 + held // 50, buffers.reference.unacked)
            buffers.acked(base, base + step, False)
            base += step
            found = bytearray(buffers.reference.unacked)
            buffers.compiled.copy_into(found, 0, base, len(found))
            expected = bytearray(len(found))
            buffers.reference.copy_into(expected, 0, base, len(found))
            assert found == expected


@pytest.mark.parametrize("data", ["text", 5, None, [1, 2]])
def test_what_cannot_be_written(pair, data):
    buffers = Buffers(pair)
    assert buffers.write(data)[0] is TypeError
    buffers.finish()
    assert buffers.write(data)[0] is ValueError


@pytest.mark.parametrize("target", [bytes(10), memoryview(bytes(10)), "text", 5])
def test_what_cannot_be_copied_into(pair, target):
    buffers = Buffers(pair)
    buffers.write(b"abcdef")
    results = [outcome(made.copy_into, target, 1, 2, 3) for made in (buffers.reference, buffers.compiled)]
    assert results[0][0] is results[1][0] is TypeError
    if isinstance(target, bytes | memoryview):
        assert results[0] == results[1]


def test_numbers_far_out(pair):
    buffers = Buffers(pair)
    buffers.write(b"abcdef")
    top = (1 << 63) - 1
    for arguments in ((top, top), (0, top), (top, 1), (1, top), (-top, 1), (-top, -top), (0, -top)):
        buffers.take(*arguments, False)
        buffers.acked(*arguments, False)
        buffers.lost(*arguments, False)
        for made in (buffers.reference, buffers.compiled):
            assert outcome(made.copy_into, bytearray(9), 1, *arguments) == (ValueError, "range not held")
    for pos in (top, -top):
        for made in (buffers.reference, buffers.compiled):
            assert outcome(made.copy_into, bytearray(9), pos, 0, 3) == (ValueError, "range outside the buffer")
    buffers.next_range(top, top)
    buffers.next_range(-top, -top)
    for call, arguments in (("acked", (0, 1 << 63, False)), ("next_range", (1 << 63, 0)), ("raise_limit", (1 << 63,))):
        with pytest.raises(OverflowError):
            getattr(buffers.compiled, call)(*arguments)


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or "ASAN_OPTIONS" in os.environ,
    reason="reads /proc, and a sanitizer keeps what is freed",
)
def test_memory_is_let_go(pair):
    def run(count):
        for _ in range(count):
            buffer = pair.compiled.SendBuffer(0, MANY)
            for _ in range(3):
                buffer.write(bytes(30_000))
                start = buffer.sent_offset
                buffer.take(start, 30_000, False)
                for place in range(start + 29_990, start, -1000):
                    buffer.lost(place - 1, place, False)
                    buffer.acked(place, place + 1, False)
                buffer.acked(start, start + 30_000, False)
        gc.collect()
        return resident()

    before = run(20)
    assert run(200) - before < 2 << 20
