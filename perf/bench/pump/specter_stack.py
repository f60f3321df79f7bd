"""Specter's engine through its public calls, the way a driver makes them."""

from __future__ import annotations

from time import perf_counter_ns

from perf.bench.pump.client import AUTHORITY, PATH
from specter import __version__
from specter._backend import batch as batches
from specter._entropy import SeededEntropy
from specter.h3.connection import H3Connection
from specter.h3.events import BodyReadable, SettingsReceived
from specter.quic.config import QuicConfig
from specter.quic.connection import Connection
from specter.tls.config import ClientTlsConfig

HEADERS = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", AUTHORITY.encode()),
    (b":path", PATH.encode()),
]


class Client:
    """A ``PumpClient``."""

    version = __version__

    def __init__(self) -> None:
        self.received = 0
        self.connection: Connection
        self.h3: H3Connection
        self._batch = batches.ReceiveBatch()
        self._ready = False

    def start(self, now: int) -> list[bytes]:
        tls = ClientTlsConfig(server_name=AUTHORITY, verify=False)
        self.connection = Connection.client(QuicConfig(), tls, SeededEntropy("client"), now)
        self.h3 = H3Connection(self.connection)
        return self._flush(now)[1]

    def request(self, now: int) -> list[bytes]:
        self.h3.send_request(HEADERS, fin=True)
        return self._flush(now)[1]

    def ready(self) -> bool:
        return self._ready and self.h3.can_send_request()

    def burst(self, datagrams: list[bytes], now: int) -> tuple[int, list[bytes]]:
        self._batch.clear()
        for datagram in datagrams:  # the system's part: recvmmsg writes into the slab
            self._batch.append(datagram)
        begin = perf_counter_ns()
        self._digest(now)
        spent = perf_counter_ns() - begin
        more, leaving = self._flush(now)
        begin = perf_counter_ns()
        self.h3.next_deadline()
        return spent + more + perf_counter_ns() - begin, leaving

    def _digest(self, now: int) -> None:
        h3 = self.h3
        h3.receive(self._batch, now)
        while (event := h3.next_event()) is not None:
            if type(event) is BodyReadable:
                stream_id = event.stream_id
                while piece := h3.read_body(stream_id):
                    self.received += len(piece)
            elif type(event) is SettingsReceived:
                self._ready = True

    def _flush(self, now: int) -> tuple[int, list[bytes]]:
        """Return the time that sending took, and the datagrams; copying them out is not part of it."""
        leaving: list[bytes] = []
        spent = 0
        while True:
            begin = perf_counter_ns()
            batch = self.h3.send(now)
            count = len(batch)
            spent += perf_counter_ns() - begin
            if not count:
                return spent, leaving
            leaving.extend(bytes(datagram) for datagram, _, _ in batch)
