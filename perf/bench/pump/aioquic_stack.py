"""aioquic through its sans-IO calls; qh3 has the same ones, and one for a whole burst."""

from __future__ import annotations

import ssl
from importlib import import_module
from importlib.metadata import version
from time import perf_counter_ns
from typing import Any

from perf.bench.pump.client import AUTHORITY, PATH

ADDRESS = ("192.0.2.1", 443)
HEADERS = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", AUTHORITY.encode()),
    (b":path", PATH.encode()),
]


class Client:
    """A ``PumpClient``."""

    package = "aioquic"

    def __init__(self) -> None:
        configuration = import_module(f"{self.package}.quic.configuration")
        connection = import_module(f"{self.package}.quic.connection")
        h3 = import_module(f"{self.package}.h3.connection")
        events = import_module(f"{self.package}.h3.events")
        self.version = version(self.package)
        self.received = 0
        self._data_received: type = events.DataReceived
        options = configuration.QuicConfiguration(
            alpn_protocols=["h3"], is_client=True, server_name=AUTHORITY, verify_mode=ssl.CERT_NONE
        )
        self.quic: Any = connection.QuicConnection(configuration=options)
        self.h3: Any = h3.H3Connection(self.quic)

    def start(self, now: int) -> list[bytes]:
        self.quic.connect(ADDRESS, now=now / 1e9)
        return self._flush(now)

    def request(self, now: int) -> list[bytes]:
        self.h3.send_headers(self.quic.get_next_available_stream_id(), HEADERS, end_stream=True)
        return self._flush(now)

    def ready(self) -> bool:
        return self.h3.received_settings is not None

    def burst(self, datagrams: list[bytes], now: int) -> tuple[int, list[bytes]]:
        begin = perf_counter_ns()
        self._receive(datagrams, now / 1e9)
        while (event := self.quic.next_event()) is not None:
            for told in self.h3.handle_event(event):
                if isinstance(told, self._data_received):
                    self.received += len(told.data)  # type: ignore[attr-defined]
        leaving = self._flush(now)
        self.quic.get_timer()
        return perf_counter_ns() - begin, leaving

    def _receive(self, datagrams: list[bytes], now: float) -> None:
        for datagram in datagrams:
            self.quic.receive_datagram(datagram, ADDRESS, now)

    def _flush(self, now: int) -> list[bytes]:
        return [datagram for datagram, _ in self.quic.datagrams_to_send(now / 1e9)]
