"""Both twins of ``batch`` lay the same datagrams out in the same places."""

from __future__ import annotations

import random

import pytest

from tests.twins.compare import Pair, measures_memory, outcome, resident, same, same_type

ADDRESSES = (None, ("192.0.2.1", 4433), ("2001:db8::1", 4433, 0, 0))
SLOT = 1536


class Batches(Pair):
    """A pair whose datagrams are compared as well."""

    def __init__(self, reference, compiled, attributes):
        super().__init__(reference, compiled, (*attributes, "capacity", "slab", "full"))

    def check(self, event):
        super().check(event)
        same(self.reference.__len__, self.compiled.__len__)


@pytest.fixture
def receiving(twins):
    pair = twins("batch")
    return lambda *arguments: Batches(*(m.ReceiveBatch(*arguments) for m in (pair.reference, pair.compiled)), ())


@pytest.fixture
def sending(twins):
    pair = twins("batch")
    return lambda *arguments: Batches(*(m.SendBatch(*arguments) for m in (pair.reference, pair.compiled)), ("size",))


def contents(batch):
    return [(bytes(data), address, ecn) for data, address, ecn in batch]


def test_the_same_names(twins):
    pair = twins("batch")
    assert pair.compiled.BURST == pair.reference.BURST
    assert pair.compiled.Address is pair.reference.Address
    for module in (pair.reference, pair.compiled):
        assert module.ReceiveBatch().capacity == 96
        assert module.SendBatch().capacity == 64


@pytest.mark.parametrize("seed", range(5))
def test_what_arrives(receiving, seed):
    rng = random.Random(seed)
    pair = receiving(rng.choice((1, 5, 80)))
    addresses = rng.choice((ADDRESSES, (None,)))
    for _ in range(60):
        kind = rng.choice((bytes, bytearray, memoryview))
        data = kind(rng.randbytes(rng.choice((0, 20, 1200, 1500, rng.randrange(65_536)))))
        pair("append", data, rng.choice(addresses), rng.randrange(4))
        if rng.random() < 0.2:
            pair("room")
        if rng.random() < 0.3:
            pair.reference.room()[:3] = pair.compiled.room()[:3] = b"abc"
            pair("commit", rng.choice((0, 3, 3, 3, -1, 10**6, 1 << 62)), rng.choice(addresses), rng.randrange(4))
        for index in (0, -1, rng.randrange(-100, 100)):
            for name in ("span", "ecn", "address"):
                pair(name, index)
        if rng.random() < 0.05:
            pair("clear")


def test_arguments_of_what_arrives(receiving):
    pair = receiving(2)
    pair("append", [1, 2, 3])
    pair("append", memoryview(bytes(range(6)))[::2])
    pair("append", b"no room")
    pair("clear")
    pair("append", memoryview(bytes(8)).cast("I"))
    pair("append", 7)
    for name, argument in (("span", "0"), ("ecn", 1.5), ("commit", None)):
        same_type(getattr(pair.reference, name), getattr(pair.compiled, name), argument)
    receiving(0)("append", b"")
    receiving(-10)("append", b"")


def test_the_slab_stays_where_it_is(twins):
    module = twins("batch").compiled
    for batch in (module.ReceiveBatch(2), module.SendBatch(2)):
        with pytest.raises(AttributeError):
            batch.slab = bytearray(5)
        batch.view.release()
        with pytest.raises(BufferError):
            batch.slab.clear()


def test_an_ecn_codepoint_is_a_byte(twins):
    module = twins("batch").compiled
    batch = module.ReceiveBatch(2)
    for ecn in (-1, 256):
        with pytest.raises(OverflowError):
            batch.append(b"x", None, ecn)
    assert len(batch) == 0


@pytest.mark.parametrize("seed", range(5))
def test_what_leaves(sending, seed):
    rng = random.Random(seed)
    pair = sending(rng.choice((1, 4, 64)))
    addresses = rng.choice((ADDRESSES, (None,)))
    for _ in range(100):
        start = pair("begin")[2]
        data = rng.randbytes(rng.choice((0, 40, 1200, SLOT)))
        if start + len(data) <= len(pair.reference.slab):
            for batch in (pair.reference, pair.compiled):
                batch.slab[start : start + len(data)] = data
        end = rng.choice((start + len(data),) * 8 + (start - 1, 10**9))
        pair("commit", end, rng.choice(addresses), rng.randrange(4))
        assert contents(pair.reference) == contents(pair.compiled)
        if rng.random() < 0.1:
            for batch in (pair.reference, pair.compiled):
                assert batch.deliver() is batch
            pair.check("deliver")
        if rng.random() < 0.03:
            pair("clear")


def test_making_one_that_is_too_large(twins):
    pair = twins("batch")
    for name in ("ReceiveBatch", "SendBatch"):
        same_type(getattr(pair.reference, name), getattr(pair.compiled, name), -1000)
        for module in (pair.reference, pair.compiled):
            assert outcome(getattr(module, name), 1 << 60)[0] in (OverflowError, MemoryError)


@measures_memory
def test_nothing_is_kept(twins):
    module = twins("batch").compiled
    data = bytes(1200)

    def work(rounds):
        for index in range(rounds):
            arrived, leaving = module.ReceiveBatch(8), module.SendBatch(8)
            for _ in range(20):
                outcome(arrived.append, data, ("192.0.2.1", index), 1)
                leaving.begin()
                outcome(leaving.commit, 10, ("192.0.2.1", index), 1)
            list(leaving)

    work(50)
    before = resident()
    work(2000)
    assert resident() - before < 1 << 20
