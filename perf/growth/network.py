"""A client's engine on the virtual network, and the processor time it takes."""

from __future__ import annotations

from time import thread_time_ns
from typing import Final

from specter._backend import batch as batches
from specter._entropy import SeededEntropy
from specter.quic.config import QuicConfig
from specter.quic.connection import Connection
from specter.quic.events import ConnectionClosed, StreamReadable
from specter.testing.network import Link
from specter.testing.pair import ALPN, NAME, Pair
from specter.testing.transfers import Action, Order
from specter.tls.config import ClientTlsConfig

MILLISECOND: Final = 1_000_000
BANDWIDTH: Final = 200_000_000
"""Bits per second of the simulated path."""
DATAGRAM_TIME: Final = 1200 * 8 * 1_000_000_000 // BANDWIDTH
"""Nanoseconds that one full datagram takes on it."""
QUEUE: Final = 1 << 20
WARM: Final = 1_000_000
"""Bytes before the clock starts: the handshake and slow start are not what is looked at."""
LIMIT: Final = 100_000.0
"""Virtual seconds that a download may take."""


class Sink:
    """An engine that downloads, throws away what comes, and notes the processor time of its calls."""

    def __init__(self, connection: Connection, size: int) -> None:
        self.connection = connection
        self.received = 0
        self.closed = False
        self.spent = 0
        """Nanoseconds in the engine since the warm-up."""
        self.packets = 0
        """Datagrams received since then."""
        self._size = size
        self._asked = False

    @property
    def done(self) -> bool:
        return self.received >= self._size

    def receive(self, batch: batches.ReceiveBatch, now: int) -> None:
        begin = thread_time_ns()
        self.connection.receive(batch, now)
        self._read()
        if self.received > WARM:
            self.spent += thread_time_ns() - begin
            self.packets += len(batch)

    def _read(self) -> None:
        while (event := self.connection.next_event()) is not None:
            if isinstance(event, StreamReadable):
                while piece := self.connection.read(event.stream_id):
                    self.received += len(piece)
            elif isinstance(event, ConnectionClosed):
                self.closed = True

    def send(self, now: int) -> batches.SendBatch:
        if not self._asked and self.connection.handshake_complete:
            self._asked = True
            self.connection.write(self.connection.open_stream(), Order(Action.DOWNLOAD, self._size).encode(), True)
        begin = thread_time_ns()
        batch = self.connection.send(now)
        self._count(begin)
        return batch

    def next_deadline(self) -> int:
        return self.connection.next_deadline()

    def handle_deadline(self, now: int) -> None:
        begin = thread_time_ns()
        self.connection.handle_deadline(now)
        self._read()
        self._count(begin)

    def _count(self, begin: int) -> None:
        if self.received > WARM:
            self.spent += thread_time_ns() - begin


def download(size: int, to_client: Link, to_server: Link, *, seed: int) -> float:
    """Return the nanoseconds of the client's processor time for a packet received."""
    pair = Pair(seed, to_server, to_client, server_config=QuicConfig(), start=False)
    tls = ClientTlsConfig(server_name=NAME, verify=False, alpn=ALPN)
    entropy = SeededEntropy(f"{seed} client")
    connection = Connection.client(QuicConfig(), tls, entropy, pair.now, address=pair.network.server)
    sink = Sink(connection, size)
    pair.add(sink, ("client", 50_000))
    pair.run(lambda: sink.done or sink.closed, limit=LIMIT, max_steps=50_000_000)
    if not sink.done:
        raise RuntimeError(f"the connection ended after {sink.received:,} of {size:,} bytes")
    return sink.spent / max(sink.packets, 1)


def path(*, rtt: float = 20.0, loss: float = 0.0, depth: int = 0) -> tuple[Link, Link]:
    """Return both directions of a path: round trip in ms, loss in percent, reordering by ``depth`` datagrams."""
    delay = int(rtt / 2 * MILLISECOND)
    down = Link(
        delay=delay,
        bandwidth=BANDWIDTH,
        queue=QUEUE,
        loss=loss / 100,
        reorder=0.1 if depth else 0.0,
        reorder_delay=depth * DATAGRAM_TIME,
    )
    return down, Link(delay=delay)
