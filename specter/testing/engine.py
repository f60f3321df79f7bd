"""The part of the driver contract that the test drivers need, and the addresses they carry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from specter._backend import batch as batches

Address: TypeAlias = Any
"""What a socket calls an address; the engines only compare and return it."""

Outgoing: TypeAlias = tuple[memoryview, Address, int]
"""A datagram to send, where to, and its ECN codepoint."""


class Batch(Protocol):
    """Datagrams to send; valid until the engine is asked for more."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Outgoing]: ...


class Engine(Protocol):
    """Four of the five driver calls; who reads the events is the engine's own affair."""

    def receive(self, batch: batches.ReceiveBatch, now: int) -> None: ...

    def send(self, now: int) -> Batch: ...

    def next_deadline(self) -> int: ...

    def handle_deadline(self, now: int) -> None: ...
