"""One engine and the socket it speaks through: bytes in, bytes out, time."""

from __future__ import annotations

from typing import Final

from specter._backend import batch, udp
from specter.h3.connection import H3Connection
from specter.quic.connection import Connection

__all__ = ["Channel"]

_spare: Final[list[batch.ReceiveBatch]] = []
"""Receive slabs that nobody uses at the moment: a connection needs one only while it reads."""
_SPARE_LIMIT: Final = 8


class Channel:
    """Moves bursts between ``udp`` and ``engine``, which speaks over ``quic``; for one thread at a time.

    ``refusals`` counts the ICMP refusals since the last datagram arrived.
    """

    __slots__ = ("_faults_before", "_refused_before", "closed", "engine", "quic", "refusals", "udp")

    def __init__(self, socket: udp.UdpSocket, quic: Connection, engine: H3Connection) -> None:
        self.udp = socket
        self.quic = quic
        self.engine = engine
        self.refusals = 0
        self.closed = False
        self._refused_before = socket.refused
        self._faults_before = socket.faults
        quic.limit_datagrams(socket.max_payload)

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
        if len(_spare) < _SPARE_LIMIT:
            _spare.append(burst)
        return count

    def flush(self, now: int) -> None:
        """Send what the engine has to say, as long as the socket takes it."""
        socket, engine = self.udp, self.engine
        if self.closed or (socket.unsent and socket.flush()):
            return
        while True:
            burst = engine.send(now)
            if not len(burst) or socket.send(burst) or len(burst) < burst.capacity:
                break
        if socket.faults != self._faults_before:
            self._look_at_faults()

    def _look_at_faults(self) -> None:
        """Count refusals, and tell the engine of datagrams that were too large for the interface."""
        socket = self.udp
        self._faults_before = socket.faults
        self.refusals += socket.refused - self._refused_before
        self._refused_before = socket.refused
        if socket.too_large:
            self.quic.limit_datagrams(min(socket.too_large - 1, socket.max_payload))
            socket.too_large = 0

    def close(self) -> None:
        """Give the socket back. The engine is not told."""
        self.closed = True
        self.udp.close()
        if self.quic.trace is not None:
            self.quic.trace.finish()
