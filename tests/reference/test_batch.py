"""Bursts of datagrams in one buffer."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest


@pytest.fixture(scope="module", params=["reference", "compiled"])
def batch(request: pytest.FixtureRequest) -> ModuleType:
    if request.param == "compiled":
        return pytest.importorskip("specter._speedups.batch", reason="batch is not compiled", exc_type=ImportError)
    return importlib.import_module("specter._reference.batch")


def contents(datagrams: object) -> list[bytes]:
    assert hasattr(datagrams, "__iter__")
    return [bytes(data) for data, _, _ in datagrams]


# -- receiving --------------------------------------------------------------------------------------------


def test_what_is_appended_is_found_where_span_says(batch: ModuleType) -> None:
    burst = batch.ReceiveBatch(4)
    burst.append(b"first", ("192.0.2.1", 1), 2)
    burst.append(bytearray(b""), None, 0)
    burst.append(memoryview(b"third"), ("::1", 2, 0, 0), 3)
    assert len(burst) == 3
    spans = [burst.span(index) for index in range(3)]
    assert [bytes(burst.slab[start:end]) for start, end in spans] == [b"first", b"", b"third"]
    assert [burst.address(index) for index in range(3)] == [("192.0.2.1", 1), None, ("::1", 2, 0, 0)]
    assert [burst.ecn(index) for index in range(3)] == [2, 0, 3]
    assert burst.total == 10


def test_a_reader_fills_room_and_commits(batch: ModuleType) -> None:
    burst = batch.ReceiveBatch(4)
    for text in (b"one", b"three"):
        room = burst.room()
        assert len(room) >= 65_536
        room[: len(text)] = text
        burst.commit(len(text))
    assert [bytes(burst.slab[slice(*burst.span(index))]) for index in range(2)] == [b"one", b"three"]


def test_it_is_full_by_count_and_by_bytes(batch: ModuleType) -> None:
    burst = batch.ReceiveBatch(2)
    burst.append(b"a")
    assert not burst.full
    burst.append(b"b")
    assert burst.full
    with pytest.raises(BufferError):
        burst.append(b"c")
    burst = batch.ReceiveBatch(96)
    count = 0
    while not burst.full:
        burst.append(bytes(65_000))
        count += 1
    assert 1 < count < 96
    burst.clear()
    assert not burst.full


def test_a_datagram_that_does_not_fit_changes_nothing(batch: ModuleType) -> None:
    burst = batch.ReceiveBatch(2)
    burst.append(b"a")
    with pytest.raises(BufferError):
        burst.append(bytes(1 << 20))
    assert len(burst) == 1
    assert burst.total == 1


def test_cleared_it_starts_over(batch: ModuleType) -> None:
    burst = batch.ReceiveBatch(2)
    burst.append(b"old", ("192.0.2.1", 1), 3)
    burst.clear()
    assert (len(burst), burst.total) == (0, 0)
    burst.append(b"new")
    assert burst.span(0) == (0, 3)
    assert (burst.address(0), burst.ecn(0)) == (None, 0)


def test_the_largest_datagrams_fit_at_any_time_unless_full(batch: ModuleType) -> None:
    burst = batch.ReceiveBatch()
    while not burst.full:
        burst.append(bytes(1500))
    assert len(burst) == burst.capacity == batch.BURST


# -- sending ----------------------------------------------------------------------------------------------


def put(burst: object, text: bytes, address: object = None, ecn: int = 0) -> None:
    start = burst.begin()  # type: ignore[attr-defined]
    burst.slab[start : start + len(text)] = text  # type: ignore[attr-defined]
    burst.commit(start + len(text), address, ecn)  # type: ignore[attr-defined]


def test_datagrams_leave_in_order_with_address_and_mark(batch: ModuleType) -> None:
    burst = batch.SendBatch(4)
    put(burst, b"first", ("192.0.2.1", 1), 2)
    put(burst, b"second")
    assert [(bytes(data), address, ecn) for data, address, ecn in burst.deliver()] == [
        (b"first", ("192.0.2.1", 1), 2),
        (b"second", None, 0),
    ]
    assert burst.size == 11


def test_a_delivered_batch_is_emptied_by_the_next_delivery_or_datagram(batch: ModuleType) -> None:
    burst = batch.SendBatch(4)
    put(burst, b"old")
    assert len(burst.deliver()) == 1
    assert len(burst.deliver()) == 0
    put(burst, b"old")
    burst.deliver()
    put(burst, b"new")
    assert contents(burst) == [b"new"]
    assert contents(burst.deliver()) == [b"new"]


def test_full_counts_what_was_not_delivered(batch: ModuleType) -> None:
    burst = batch.SendBatch(2)
    put(burst, b"a")
    put(burst, b"b")
    assert burst.full
    burst.deliver()
    assert not burst.full
    burst.clear()
    assert (len(burst), burst.size, burst.full) == (0, 0, False)


def test_every_slot_holds_a_datagram_of_any_size_we_send(batch: ModuleType) -> None:
    burst = batch.SendBatch(3)
    texts = [bytes([n]) * 1500 for n in range(3)]
    for text in texts:
        put(burst, text)
    assert contents(burst.deliver()) == texts
