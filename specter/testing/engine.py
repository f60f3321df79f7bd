"""The part of the driver contract that the test drivers need, and the addresses they carry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, TypeAlias

from specter._backend import batch as batches

__all__ = ["Address", "Engine", "Outbox", "Outgoing"]

Address: TypeAlias = batches.Address

Outgoing: TypeAlias = tuple[memoryview, Address, int]
"""A datagram to send, where to, and its ECN codepoint."""


class Outbox:
    """What several engines have to send: their batches, one after the other."""

    __slots__ = ("batches",)

    def __init__(self) -> None:
        self.batches: list[batches.SendBatch] = []

    def __len__(self) -> int:
        return sum(len(batch) for batch in self.batches)

    def __iter__(self) -> Iterator[Outgoing]:
        for batch in self.batches:
            yield from batch


class Engine(Protocol):
    """Four of the five driver calls; who reads the events is the engine's own affair."""

    def receive(self, batch: batches.ReceiveBatch, now: int) -> None: ...

    def send(self, now: int) -> batches.SendBatch: ...

    def next_deadline(self) -> int: ...

    def handle_deadline(self, now: int) -> None: ...
