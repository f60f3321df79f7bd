"""One engine and the socket it speaks through: bytes in, bytes out, time."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Final, TypeAlias

from specter._backend import batch, udp
from specter.h3.connection import H3Connection
from specter.quic.connection import Connection

__all__ = ["Channel"]

_spare: Final[list[batch.ReceiveBatch]] = []
"""Receive slabs that nobody uses at the moment: a connection needs one only while it reads."""
_SPARE_LIMIT: Final = 8
UNREACHABLE: Final = frozenset({errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.ENETDOWN, errno.EHOSTUNREACH})
"""What the system says when the network changed under a socket."""

Outgoing: TypeAlias = tuple[memoryview, batch.Address, int]


class Channel:
    """Moves bursts between ``udp`` and ``engine``, which speaks over ``quic``; for one thread at a time.

    ``refusals`` counts the ICMP refusals since the last datagram arrived. ``others`` are the sockets of paths that are
    not in use (yet, or any more), by what the engine calls their paths. ``on_unreachable`` hears of a socket by which
    the system can send nothing any more.
    """

    __slots__ = (
        "_dropped_before",
        "_faults_before",
        "_refused_before",
        "closed",
        "engine",
        "on_unreachable",
        "others",
        "quic",
        "refusals",
        "udp",
    )

    def __init__(self, socket: udp.UdpSocket, quic: Connection, engine: H3Connection) -> None:
        self.udp = socket
        self.quic = quic
        self.engine = engine
        self.refusals = 0
        self.closed = False
        self.others: dict[batch.Address, udp.UdpSocket] = {}
        self.on_unreachable: Callable[[], None] | None = None
        self._use(socket)

    def _use(self, socket: udp.UdpSocket) -> None:
        self.udp = socket
        self._refused_before = socket.refused
        self._faults_before = socket.faults
        self._dropped_before = socket.dropped
        self.quic.limit_datagrams(socket.max_payload)

    def receive(self, now: int) -> int:
        """Drain the socket (one burst at most) into the engine; return the datagrams read."""
        try:
            burst = _spare.pop()
        except IndexError:
            burst = batch.ReceiveBatch()
        count = self.udp.receive(burst)
        if count:
            self.refusals, self._refused_before = 0, self.udp.refused
            self.engine.receive(burst, now)
            burst.clear()
        elif self.udp.faults != self._faults_before:
            self._look_at_faults()
        if self.others:
            count += self._receive_elsewhere(burst, now)
        if len(_spare) < _SPARE_LIMIT:
            _spare.append(burst)
        return count

    def flush(self, now: int) -> None:
        """Send what the engine has to say, as long as the socket takes it."""
        socket, engine = self.udp, self.engine
        if self.closed or (socket.unsent and socket.flush()):
            return
        if self.others:
            self._flush_everywhere(now)
            return
        while True:
            burst = engine.send(now)
            if not len(burst) or socket.send(burst) or len(burst) < burst.capacity:
                break
        if socket.faults != self._faults_before:
            self._look_at_faults()
            if self.others:
                self._flush_everywhere(now)

    def _look_at_faults(self) -> None:
        """Count refusals; tell who can do something about datagrams that are too large, and a dead socket."""
        socket = self.udp
        self._faults_before = socket.faults
        self.refusals += socket.refused - self._refused_before
        self._refused_before = socket.refused
        if socket.too_large:
            self.quic.limit_datagrams(min(socket.too_large - 1, socket.max_payload))
            socket.too_large = 0
        if socket.dropped != self._dropped_before:
            self._dropped_before = socket.dropped
            if self.on_unreachable is not None and socket.failure is not None and socket.failure.errno in UNREACHABLE:
                self.on_unreachable()

    # -- several paths ----------------------------------------------------------------------------

    def add(self, socket: udp.UdpSocket) -> batch.Address:
        """Take another socket; return what the engine is to call its path: the socket's own address."""
        label: batch.Address = socket.local_address
        socket.label = label
        self.others[label] = socket
        return label

    def switch(self, address: batch.Address) -> None:
        """Send by another socket from now on, and listen to both."""
        before, after = self.udp, self.others.pop(address)
        self.others[before.label] = before
        self.refusals = 0
        self._use(after)

    def remove(self, address: batch.Address) -> udp.UdpSocket | None:
        """Give up a socket that is not in use; the caller closes it."""
        return self.others.pop(address, None)

    def _receive_elsewhere(self, burst: batch.ReceiveBatch, now: int) -> int:
        total = 0
        for socket in list(self.others.values()):
            if count := socket.receive(burst):
                total += count
                self.engine.receive(burst, now)
                burst.clear()
        return total

    def _flush_everywhere(self, now: int) -> None:
        """Send each datagram by the socket of its path."""
        for socket in self.others.values():
            socket.flush()
        while len(burst := self.engine.send(now)):
            for address, datagrams in groupby(burst, key=_address):
                self.others.get(address, self.udp).send(_copied(datagrams))
            if self.udp.unsent or len(burst) < burst.capacity:
                break
        if self.udp.faults != self._faults_before:
            self._look_at_faults()

    @property
    def sockets(self) -> list[udp.UdpSocket]:
        """All sockets, the one in use first."""
        return [self.udp, *self.others.values()]

    # -- the end ----------------------------------------------------------------------------------

    def close(self) -> None:
        """Give the socket back. The engine is not told."""
        self.closed = True
        for socket in self.sockets:
            socket.close()
        self.others.clear()
        if self.quic.trace is not None:
            self.quic.trace.finish()


def _address(outgoing: Outgoing) -> batch.Address:
    return outgoing[1]


def _copied(datagrams: Iterable[Outgoing]) -> batch.SendBatch:
    """Return a batch of its own for datagrams of one path."""
    copy = batch.SendBatch()
    for data, _, ecn in datagrams:
        start = copy.begin()
        copy.slab[start : start + len(data)] = data
        copy.commit(start + len(data), None, ecn)
    return copy.deliver()
