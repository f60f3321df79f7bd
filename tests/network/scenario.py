"""What the interop scenarios have in common: HTTP/3 requests on a virtual network, and the figures they end with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache

from specter.quic.config import SECOND
from specter.quic.connection import Connection
from specter.quic.events import CloseKind
from specter.testing.content import content
from specter.testing.fetch import Fetch, FetchClient
from specter.testing.network import LinkStats
from specter.testing.web import WebPair

MS = 1_000_000
MEGABYTE = 1 << 20
FAREWELL = 15 * SECOND
"""A connection whose CONNECTION_CLOSE arrives is gone after three probe timeouts; the idle timeout is twice this."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a scenario took, in virtual time: the same on every machine and backend."""

    seconds: float
    requests: int
    size: int
    """Bytes of response bodies."""
    datagrams: int
    """Of both sides."""
    spoiled: int
    """Of those, what the network lost, dropped or damaged."""
    connections: int = 1
    note: str = ""

    @property
    def rate(self) -> float:
        """Bits of response bodies per second."""
        return self.size * 8 / self.seconds

    def row(self, name: str) -> str:
        """Return one line of a table."""
        numbers = f"{self.connections:5}{self.requests:6}{self.size / 1e6:8.2f}{self.datagrams:8}{self.spoiled:7}"
        return f"{name:20}{self.seconds:9.3f}{numbers}{self.rate / 1e6:8.2f}  {self.note}".rstrip()


def together(figures: list[Figures], note: str = "") -> Figures:
    """Return the figures of connections made one after the other."""
    return Figures(
        *(
            sum(getattr(one, name) for one in figures)
            for name in ("seconds", "requests", "size", "datagrams", "spoiled")
        ),
        connections=len(figures),
        note=note,
    )


HEADER = f"{'scenario':20}{'seconds':>9}{'conn':>5}{'req':>6}{'MB':>8}{'sent':>8}{'lost':>7}{'Mbit/s':>8}  note"


class Visit:
    """One WebPair from its first datagram on: requests, then a farewell, then figures."""

    def __init__(self, web: WebPair) -> None:
        self.web = web
        self.clients = [web.client]
        self._began = web.now

    @property
    def seconds(self) -> float:
        """Virtual time so far."""
        return (self.web.now - self._began) / SECOND

    @property
    def server(self) -> Connection:
        """The server's side of the newest connection."""
        return list(self.web.endpoint.peers)[-1].connection

    def get(self, *sizes: int, limit: float = 60.0) -> None:
        """Have files of these sizes fetched at once, and wait until all of them are there."""
        self.ask(*sizes)
        self.wait(limit=limit)

    def ask(self, *sizes: int) -> None:
        """Begin to fetch files."""
        for size in sizes:
            self.web.client.fetch(f"/bytes/{size}")
        self.web.flush(self.web.client_host)

    def wait(self, *, limit: float = 60.0) -> None:
        """Wait for the answers of all clients; an ended connection is a failure."""
        clients = self.clients
        self.web.run(lambda: all(client.done or client.closed for client in clients), limit=limit, max_steps=1_000_000)
        for client in clients:
            assert client.closed is None, client.closed
            for fetch in client.fetches:
                check(fetch)

    def finish(self, note: str = "") -> Figures:
        """Say goodbye; return the figures up to there. Nothing ends in a timeout."""
        web, seconds, datagrams, spoiled = self.web, self.seconds, 0, 0
        for way in (web.network.up, web.network.down):
            datagrams += way.sent
            spoiled += losses(way)
        self._part()
        fetches = [fetch for client in self.clients for fetch in client.fetches]
        size = sum(fetch.length for fetch in fetches)
        return Figures(seconds, len(fetches), size, datagrams, spoiled, len(self.clients), note)

    def _part(self) -> None:
        web = self.web
        assert len(web.endpoint.peers) == len(self.clients)
        assert not any(peer.connection.closing for peer in web.endpoint.peers)
        before, began = losses(web.network.up), web.now
        for host in web.hosts:
            if isinstance(host.engine, FetchClient):
                host.engine.h3.close()
                host.engine.work()
                web.flush(host)
        web.settle()
        for client in self.clients:
            assert client.closed is not None
            assert client.closed.kind is CloseKind.LOCAL
        assert not web.endpoint.peers
        if losses(web.network.up) == before:
            assert web.now - began < FAREWELL


def losses(way: LinkStats) -> int:
    """Return how many datagrams did not arrive as they were sent."""
    return way.lost + way.overflowed + way.too_big + way.filtered + way.corrupted


def check(fetch: Fetch) -> None:
    """A file arrived, as it is."""
    size = int(fetch.target.rpartition("/")[2])
    assert fetch.complete, fetch.failed
    assert (fetch.status, fetch.length) == (200, size)
    assert fetch.digest.digest() == digest(size)


@cache
def digest(size: int) -> bytes:
    return hashlib.sha256(content(0, size)).digest()
