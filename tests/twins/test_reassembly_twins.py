"""Both twins of ``reassembly`` give the same bytes, whatever arrives in whatever order, and refuse the same."""

from __future__ import annotations

import gc
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specter._reference.varint import encode_varint
from specter._wire import TransportErrorCode
from tests.twins.compare import Pair, measures_memory, outcome, resident, same_type

ATTRIBUTES = (
    "complete",
    "consumed",
    "discarded",
    "final_size",
    "finished",
    "highest",
    "is_reset",
    "limit",
    "pending_segments",
    "readable",
)
MUCH = 1 << 40
KINDS = (bytes, bytearray, memoryview)


class Buffers(Pair):
    """A pair of receive buffers; ``used`` of their budgets is compared as well."""

    def __init__(self, modules, limit=MUCH, budget=None, code=TransportErrorCode.FLOW_CONTROL_ERROR):
        both = (modules.reference, modules.compiled)
        self.budgets = [module.SegmentBudget(*([] if budget is None else [budget])) for module in both]
        made = [module.RecvBuffer(limit, own, code) for module, own in zip(both, self.budgets, strict=True)]
        super().__init__(*made, ATTRIBUTES)

    def check(self, event):
        super().check(event)
        reference, compiled = self.budgets
        assert (reference.used, reference.limit) == (compiled.used, compiled.limit), event

    def set_limit(self, limit):
        self.reference.limit = self.compiled.limit = limit
        self.check("limit")

    def readinto(self, size, start=0):
        targets = [bytearray(size), bytearray(size)]
        expected = self.reference.readinto(memoryview(targets[0])[start:])
        assert self.compiled.readinto(memoryview(targets[1])[start:]) == expected
        assert targets[0] == targets[1]
        self.check("readinto")


@pytest.fixture
def make(twins):
    modules = twins("reassembly")
    return lambda *arguments, **named: Buffers(modules, *arguments, **named)


def act(pair, rng, reach, sizes):
    """One event of a stream whose peer keeps no rule."""
    edge = pair.reference.consumed + pair.reference.readable
    roll = rng.random()
    if roll < 0.72:
        offset = max(0, edge + rng.choice((0, 0, 0, rng.randrange(-reach, reach), rng.randrange(reach))))
        data = rng.choice(KINDS)(rng.randbytes(rng.choice((0, 1, rng.choice(sizes), rng.randrange(max(sizes))))))
        pair("receive", offset, data, rng.random() < 0.01)
    elif roll < 0.79:
        pair(
            "read_frames",
            rng.choice((0, 0, 7, 300)),
            rng.choice((0, 1, rng.randrange(reach))),
            rng.randrange(2 * reach),
        )
    elif roll < 0.86:
        pair("read", rng.choice((-1, -1, 0, 1, rng.randrange(reach), rng.choice(sizes), 1 << 70, -(1 << 70))))
    elif roll < 0.92:
        pair.readinto(rng.randrange(max(sizes)))
    elif roll < 0.97:
        pair("peek", rng.choice((-1, 0, 1, rng.randrange(reach))))
    elif roll < 0.985:
        pair.set_limit(edge + rng.randrange(4 * reach))
    elif roll < 0.988:
        pair("reset", edge + rng.randrange(-5, reach))
    elif roll < 0.99:
        pair("discard")


@pytest.mark.parametrize("seed", range(40))
def test_a_peer_without_rules(make, seed):
    rng = random.Random(seed)
    pair = make(rng.choice((200, MUCH)), rng.choice((2, 5, 1000)), rng.choice((3, 0x0D, 77)))
    for _ in range(200):
        act(pair, rng, 60, (5, 20, 40))


@pytest.mark.parametrize("seed", range(12))
def test_the_same_with_much_data(make, seed):
    """Across the sizes at which memory is laid out anew."""
    rng = random.Random(1000 + seed)
    pair = make(MUCH)
    for _ in range(60):
        act(pair, rng, 150_000, (1180, 4096, 5000, 16_384, 65_536, 70_000, 300_000))


@pytest.mark.parametrize("seed", range(30))
def test_runs_of_frames(make, seed):
    """DATA frames of many sizes, others between them, arriving in pieces and read in pieces of any size."""
    rng = random.Random(seed)
    pair = make(MUCH)
    wire = bytearray()
    for _ in range(60):
        size = rng.choice((0, 1, 63, 64, rng.randrange(5000), rng.randrange(70_000)))
        kind = 0 if rng.random() < 0.9 else rng.choice((1, 0x40, 0x21))
        wire += encode_varint(kind) + encode_varint(size) + rng.randbytes(size)
    sent = left = 0
    while sent < len(wire) or pair.reference.readable:
        step = rng.choice((1, 2, 1200, 40_000))
        if wire[sent : sent + step]:
            pair("receive", sent, bytes(wire[sent : sent + step]), False)
            sent += step
        before = pair.reference.consumed
        _, _, (payload, left, opened) = pair("read_frames", 0, left, rng.choice((1, 100, 65_536, 1 << 40)))
        assert pair.reference.consumed - before >= len(payload)
        assert left >= 0
        assert opened >= 0
        if sent >= len(wire) and not payload and not left:
            pair("read", 1)  # a frame of another type, which the caller has to understand


@given(
    pieces=st.lists(st.tuples(st.integers(0, 60), st.binary(max_size=20), st.booleans()), max_size=30),
    reads=st.integers(-1, 9),
    budget=st.integers(0, 4),
)
def test_any_pieces(twins, pieces, reads, budget):
    pair = Buffers(twins("reassembly"), 70, budget)
    for offset, data, fin in pieces:
        pair("receive", offset, data, fin and offset > 40)
        pair("read", reads)
    pair("read")
    pair("reset", 65)


def rounds(pair, rng, data, cuts):
    """Send ``data``, cut, in several orders at once; every piece twice."""
    pieces = list(zip([0, *cuts], [*cuts, len(data)], strict=True))
    order = pieces * 2
    style = rng.randrange(4)
    if style == 0:
        rng.shuffle(order)
    elif style == 1:
        order.reverse()
    elif style == 2:
        order = pieces[1::2] + pieces[-2::-2] + pieces[::2]
    else:
        order = pieces[3::4] + pieces[::-4] + pieces[1::4] + pieces[2::4] + pieces
    for start, end in order:
        pair.reference.receive(start, data[start:end], end == len(data))
        pair.compiled.receive(start, data[start:end], end == len(data))
    pair.check(style)


@pytest.mark.parametrize("seed", range(12))
def test_thousands_of_segments(make, seed):
    rng = random.Random(seed)
    data = rng.randbytes(rng.choice((9_000, 90_000)))
    count = 3000
    pair = make(MUCH, 1 << 20)
    rounds(pair, rng, data, sorted(rng.sample(range(1, len(data)), count)))
    assert pair("read")[2] == data
    assert pair.compiled.finished
    assert pair.budgets[1].used == 0


@pytest.mark.parametrize("seed", range(6))
def test_segments_come_and_go(make, seed):
    """Single bytes at random places of a window that moves on: leaves fill, split, empty and merge."""
    rng = random.Random(seed)
    pair = make(MUCH, 400 if seed % 2 else 1 << 20)
    data = rng.randbytes(4000)
    window = rng.choice((600, 2500))
    for step in range(6000):
        base = min(step // 2, len(data) - 1)
        start = min(base + int(window * rng.random() ** 2), len(data) - 1)
        end = min(start + rng.choice((1, 1, 1, 2, 30)), len(data))
        arguments = (start, data[start:end], False)
        assert outcome(pair.reference.receive, *arguments) == outcome(pair.compiled.receive, *arguments)
        if step % 50 == 0:
            pair("read", rng.choice((-1, 7)))
    pair.check("done")


def test_the_budget_is_shared(twins):
    for module in (twins("reassembly").reference, twins("reassembly").compiled):
        budget = module.SegmentBudget(3)
        buffers = [module.RecvBuffer(MUCH, budget) for _ in range(2)]
        for buffer in buffers:
            buffer.receive(5, b"x", False)
        buffers[0].receive(9, b"x", False)
        assert budget.used == 3
        assert outcome(buffers[1].receive, 9, b"x", True)[2] == "INTERNAL_ERROR: too many gaps"
        assert buffers[1].final_size == -1
        buffers[0].discard()
        assert budget.used == 1
        assert buffers[1].receive(9, b"x", True) == 4


def test_arguments(make):
    pair = make(100)
    pair("receive", 0, b"abc", "yes")
    pair("receive", -2, b"abc", False)
    pair("receive", -2, b"abcdefg", False)
    pair("receive", True, memoryview(b"abc-defg")[::1], None)
    pair("readinto", memoryview(b"xyz"))
    pair("readinto", memoryview(b""))
    pair("readinto", memoryview(bytearray(8)).cast("I"))
    pair.check("refused")
    pair = make(100)
    for arguments in ((0, 7, False), (0, "text", False), ("0", b"", False), (0, None, False)):
        same_type(pair.reference.receive, pair.compiled.receive, *arguments)
    for target in (5, b"bytes"):
        same_type(pair.reference.readinto, pair.compiled.readinto, target)
    same_type(pair.reference.read, pair.compiled.read, "5")
    pair.check("refused")


def test_targets_that_are_not_bytes_side_by_side(make):
    pair = make(100)
    pair("receive", 0, b"abcdefgh", False)
    for build in (lambda: memoryview(bytearray(9))[::3], lambda: memoryview(bytearray(3))[::-1]):
        targets = build(), build()
        assert pair.reference.readinto(targets[0]) == pair.compiled.readinto(targets[1]) == 3
        assert targets[0] == targets[1]
        pair.check("readinto")


def test_a_flag_for_the_owner(make):
    buffer = make(100).compiled
    assert buffer.touched is False
    buffer.touched = True
    assert buffer.touched is True


def test_offsets_have_63_bits(make):
    buffer = make((1 << 63) - 1).compiled
    with pytest.raises(OverflowError):
        buffer.receive(1 << 63, b"", False)
    code, *_ = outcome(buffer.receive, (1 << 63) - 2, b"abc", False)[1]
    assert code == TransportErrorCode.FLOW_CONTROL_ERROR
    assert buffer.highest == 0


@pytest.mark.parametrize("size", [1, 511, 512, 513, 4095, 4096, 4097, 65_535, 65_536, 65_537, 200_000])
@pytest.mark.parametrize("fin", [False, True])
def test_what_was_read_stays_as_it_is(make, size, fin):
    """Bytes handed out are nobody's memory any more, however they were gathered."""
    pair = make(MUCH)
    kept = []
    for round_ in range(6):
        data = random.Random(round_).randbytes(size)
        for position in range(0, size, 1180):
            last = fin and round_ == 5 and position + 1180 >= size
            pair.compiled.receive(round_ * size + position, data[position : position + 1180], last)
        got = pair.compiled.read()
        assert got == data
        kept.append((got, bytes(bytearray(got)), hash(got)))
    assert all(got == copy and hash(copy) == digest for got, copy, digest in kept)
    assert pair.compiled.finished is fin


def segments_time(module, count, order, gap):
    """Seconds for ``count`` segments of 20 bytes; the best of three."""
    positions = list(range(count - 1, -1, -1))
    if order == "shuffled":
        random.Random(3).shuffle(positions)
    elif order == "scattered":
        positions = positions[::2] + positions[1::2]
    data, found = bytes(20), []
    for _ in range(3):
        buffer = module.RecvBuffer(MUCH, module.SegmentBudget(1 << 30))
        receive = buffer.receive
        started = time.process_time()
        for position in positions:
            receive(1 + position * (20 + gap), data, False)
        found.append(time.process_time() - started)
    return min(found)


@pytest.mark.parametrize("gap", [0, 1])
@pytest.mark.parametrize("order", ["reversed", "scattered", "shuffled"])
def test_linear_in_any_order(twins, order, gap):
    """Ten times the segments: about ten times the time, more where they leave the caches; a hundred if quadratic."""
    module = twins("reassembly").compiled
    segments_time(module, 1000, order, gap)
    assert segments_time(module, 100_000, order, gap) < 30 * segments_time(module, 10_000, order, gap) + 0.1


@measures_memory
def test_memory_is_in_proportion_to_the_bytes(twins):
    """The worst a peer can do: single bytes, each one next to nothing, then the bytes between them."""
    module = twins("reassembly").compiled
    before = resident()
    buffer = module.RecvBuffer(1 << 62, module.SegmentBudget(1 << 20))
    for parity in (1, 2):
        for position in range(parity, 200_000, 2):
            buffer.receive(position, b"x", False)
    assert buffer.pending_segments == 1
    del buffer
    buffer = module.RecvBuffer(1 << 62)
    buffer.receive((1 << 62) - 10, b"x" * 10, False)
    gc.collect()
    assert resident() - before < 60 << 20


@measures_memory
def test_nothing_is_kept(twins):
    module = twins("reassembly").compiled
    rng = random.Random(5)
    data = bytes(1180)
    offsets = [max(0, position + rng.choice((0, 0, 0, 3000, -2000))) for position in range(0, 1180 * 300, 1180)]

    def work(count):
        for index in range(count):
            buffer = module.RecvBuffer(MUCH)
            for offset in offsets:
                buffer.receive(offset, data, False)
                if offset % 3 == 0:
                    buffer.read(-1 if index % 2 else 700)
            if index % 3 == 0:
                buffer.discard()
            elif index % 3 == 1:
                buffer.reset(buffer.highest)
            outcome(buffer.receive, 0, data, True)

    work(100)
    before = resident()
    work(1000)
    assert resident() - before < 2 << 20
