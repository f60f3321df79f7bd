"""0-RTT packets that overtook the Initial packet which opens their connection (RFC 9001, section 5.7)."""

from __future__ import annotations

from typing import Final, NamedTuple

from specter.testing.engine import Address

__all__ = ["EarlyArrivals"]

LIMIT: Final = 32
"""Datagrams kept, of all connections to come together; the oldest give way."""


class Arrival(NamedTuple):
    """A datagram as it came, for the connection that will go by ``dcid``."""

    dcid: bytes
    data: bytes
    address: Address
    ecn: int


class EarlyArrivals:
    """Keeps datagrams until their connection exists."""

    def __init__(self) -> None:
        self._kept: list[Arrival] = []

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, arrival: Arrival) -> None:
        self._kept.append(arrival)
        del self._kept[:-LIMIT]

    def take(self, dcid: bytes) -> list[Arrival]:
        """Return what came for ``dcid``, in the order it came."""
        taken = [arrival for arrival in self._kept if arrival.dcid == dcid]
        self._kept = [arrival for arrival in self._kept if arrival.dcid != dcid]
        return taken
