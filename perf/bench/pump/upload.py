"""Specter's engine as it uploads to the feed: the send path, and the acknowledgments that come back."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter_ns
from typing import Final

from perf.bench.pump.client import make_client
from perf.bench.pump.feed import Feed
from perf.bench.pump.pump import BURST, PATIENCE, STEP, Pump, Stalled
from perf.bench.pump.specter_stack import HEADERS, Client

__all__ = ["Upload", "UploadTime"]

PIECE: Final = BURST * 1150
"""Body bytes that fill nearly 64 datagrams."""


@dataclass(frozen=True, slots=True)
class UploadTime:
    """Nanoseconds of one piece."""

    sending: int
    acknowledging: int
    packets: int
    size: int
    """Bytes of the datagrams."""


class Upload:
    """One POST that does not end."""

    def __init__(self) -> None:
        client = make_client("specter")
        assert isinstance(client, Client)
        self._client = client
        self._feed = Feed()
        self._pump = Pump(client, self._feed, streams=0)
        self._now = 0
        self._stream = -1
        self._data = bytes(range(256)) * (1 + PIECE // 256)
        self._room = 0
        """Bytes that the stream takes while nothing waits in it."""

    def connect(self) -> None:
        """Shake hands and begin the request."""
        self._pump.connect()
        self._now = self._pump.now
        headers = [(b":method", b"POST"), *HEADERS[1:]]
        self._stream = self._client.h3.send_request(headers, fin=False)
        self._feed.take(self._flush()[1], self._now)
        self._room = self._client.connection.writable(self._stream)

    def ramp(self, size: int) -> None:
        """Send ``size`` bytes, by which time a burst fits into the congestion window."""
        h3 = self._client.h3
        end = self._feed.uploaded + size
        for _ in range(PATIENCE):
            h3.send_body(self._stream, memoryview(self._data)[:PIECE])
            self._feed.take(self._flush()[1], self._now)
            self._return()
            if self._feed.uploaded >= end:
                break
        self._settle()

    def burst(self) -> UploadTime:
        """Send a piece, let the server acknowledge it all, and take that in."""
        self._now += STEP
        begin = perf_counter_ns()
        taken = self._client.h3.send_body(self._stream, memoryview(self._data)[:PIECE])
        sending = perf_counter_ns() - begin
        more, leaving = self._flush()
        if taken < PIECE or self._client.connection.writable(self._stream) < self._room:
            raise Stalled("a burst does not fit into the window")
        self._feed.take(leaving, self._now)
        return UploadTime(sending + more, self._settle(), len(leaving), sum(map(len, leaving)))

    def _flush(self) -> tuple[int, list[bytes]]:
        """Send what may leave now; return the nanoseconds of it, and the datagrams."""
        h3 = self._client.h3
        leaving: list[bytes] = []
        spent = 0
        while True:
            begin = perf_counter_ns()
            batch = h3.send(self._now)
            count = len(batch)
            spent += perf_counter_ns() - begin
            if not count:
                return spent, leaving
            leaving.extend(bytes(datagram) for datagram, _, _ in batch)

    def _return(self) -> int:
        """Take in what the server says now; return the nanoseconds of it."""
        self._now += STEP
        back = self._feed.give(self._now)
        if not back:
            return 0
        spent, leaving = self._client.burst(back, self._now)
        self._feed.take(leaving, self._now)
        return spent

    def _settle(self) -> int:
        """Go on until nothing waits and nothing is on its way; return the nanoseconds that took the client."""
        spent = 0
        for _ in range(PATIENCE):
            spent += self._return()
            quic = self._client.connection
            if not quic.stats.bytes_in_flight and quic.writable(self._stream) >= self._room:
                return spent
        raise Stalled("the server does not acknowledge")
