"""Bursts of datagrams in one buffer: what the driver hands in, and what the engine hands back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int] | None
"""A socket address; None on a socket that is connected to its peer."""

BURST: Final = 96
"""Datagrams a driver reads before it lets the engine work."""

SLOT: Final = 1536
"""Bytes that each datagram of a ``SendBatch`` may have."""

_READ_SPACE: Final = 65_536


class ReceiveBatch:
    """Datagrams as they arrived, one after the other in ``slab``; the engine opens them in place.

    A reader asks ``room`` for the free end of the slab, reads a datagram into it, and says ``commit``.
    """

    __slots__ = ("_addresses", "_ecns", "_ends", "_free", "_starts", "capacity", "slab", "view")

    def __init__(self, capacity: int = BURST) -> None:
        self.capacity = capacity
        self.slab = bytearray(capacity * SLOT + _READ_SPACE)
        self.view = memoryview(self.slab)
        self._free = 0
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._ecns: list[int] = []
        self._addresses: list[Address] = []

    def __len__(self) -> int:
        return len(self._starts)

    def clear(self) -> None:
        """Forget all datagrams; the slab is used again from its start."""
        self._free = 0
        self._starts.clear()
        self._ends.clear()
        self._ecns.clear()
        self._addresses.clear()

    @property
    def full(self) -> bool:
        """Whether another datagram of the largest size might not fit."""
        return len(self._starts) >= self.capacity or len(self.slab) - self._free < _READ_SPACE

    @property
    def total(self) -> int:
        """Bytes in all datagrams together."""
        return sum(self._ends) - sum(self._starts)

    def room(self) -> memoryview:
        """Return the free end of the slab; at least 65,536 bytes unless ``full``."""
        return self.view[self._free :]

    def commit(self, length: int, address: Address = None, ecn: int = 0) -> None:
        """Count the ``length`` bytes at the start of ``room()`` as one datagram.

        Raises:
            ValueError: there are not that many.
        """
        start = self._free
        if not 0 <= length <= len(self.slab) - start:
            raise ValueError("datagram outside the batch")
        self._free = start + length
        self._starts.append(start)
        self._ends.append(start + length)
        self._ecns.append(ecn)
        self._addresses.append(address)

    def append(self, data: bytes | bytearray | memoryview, address: Address = None, ecn: int = 0) -> None:
        """Copy a datagram in.

        Raises:
            BufferError: the batch is full.
        """
        length = len(data)
        if len(self._starts) >= self.capacity or self._free + length > len(self.slab):
            raise BufferError("the receive batch is full")
        self.slab[self._free : self._free + length] = data
        self.commit(length, address, ecn)

    def span(self, index: int) -> tuple[int, int]:
        """Return where datagram ``index`` starts and ends in the slab."""
        return self._starts[index], self._ends[index]

    def ecn(self, index: int) -> int:
        """Return the ECN codepoint of datagram ``index`` (0 to 3)."""
        return self._ecns[index]

    def address(self, index: int) -> Address:
        return self._addresses[index]


class SendBatch:
    """Sealed datagrams, ready to leave in order; valid until the engine's next call.

    Iterating gives ``(datagram, address, ecn)``.
    """

    __slots__ = ("_addresses", "_delivered", "_ecns", "_ends", "_starts", "capacity", "slab", "view")

    def __init__(self, capacity: int = 64) -> None:
        self.capacity = capacity
        self.slab = bytearray(capacity * SLOT)
        self.view = memoryview(self.slab)
        self._delivered = False
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._ecns: list[int] = []
        self._addresses: list[Address] = []

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[tuple[memoryview, Address, int]]:
        for start, end, address, ecn in zip(self._starts, self._ends, self._addresses, self._ecns, strict=True):
            yield self.view[start:end], address, ecn

    @property
    def size(self) -> int:
        """Bytes in all datagrams together."""
        return sum(self._ends) - sum(self._starts)

    @property
    def full(self) -> bool:
        return not self._delivered and len(self._starts) >= self.capacity

    def begin(self) -> int:
        """Return where the next datagram starts; a batch that was handed out is emptied first."""
        if self._delivered:
            self.clear()
        return len(self._starts) * SLOT

    def commit(self, end: int, address: Address, ecn: int = 0) -> None:
        """Count the bytes from ``begin()`` to ``end`` as one datagram.

        Raises:
            ValueError: ``end`` is before them or outside the slab.
        """
        start = len(self._starts) * SLOT
        if not start <= end <= len(self.slab):
            raise ValueError("datagram outside the batch")
        self._starts.append(start)
        self._ends.append(end)
        self._addresses.append(address)
        self._ecns.append(ecn)

    def deliver(self) -> SendBatch:
        """Hand the batch out: what is added later starts a new one."""
        if self._delivered:
            self.clear()
        self._delivered = True
        return self

    def clear(self) -> None:
        self._delivered = False
        self._starts.clear()
        self._ends.clear()
        self._addresses.clear()
        self._ecns.clear()
