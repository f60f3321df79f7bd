"""An HTTP/3 client for simulations: requests on one connection, each kept with all that came back."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from specter.h3 import events
from specter.quic.early_data import EarlyDataStatus
from specter.quic.events import ConnectionClosed, HandshakeCompleted

if TYPE_CHECKING:
    from specter._backend import batch as batches
    from specter.h3.connection import H3Connection
    from specter.h3.events import H3Event, Headers

__all__ = ["Fetch", "FetchClient"]

KEPT: Final = 1 << 20
"""Bytes of a response body that are kept; of what is beyond only length and digest are."""


class Fetch:
    """One request and what became of it."""

    def __init__(
        self, method: str, target: str, headers: Headers, body: bytes | Iterable[bytes], protocol: str = ""
    ) -> None:
        self.method = method
        self.protocol = protocol
        self.target = target
        self.request_headers = headers
        self.stream_id = -1
        self.interim: list[tuple[int, Headers]] = []
        self.status = 0
        self.headers: Headers = ()
        self.trailers: Headers = ()
        self.body = bytearray()
        self.length = 0
        self.digest = hashlib.sha256()
        self.complete = False
        self.failed: events.ExchangeFailed | None = None
        self.stopped = False
        self.cancelled = False
        self.sent = 0
        self._pieces: Iterator[bytes] = iter([body] if isinstance(body, bytes) else body)
        self._pending = memoryview(b"")

    @property
    def done(self) -> bool:
        """Whether nothing more will come."""
        return self.complete or self.cancelled or self.failed is not None

    @property
    def over(self) -> bool:
        """Whether there is nothing more to do: a tunnel's other direction may outlive this one."""
        return self.failed is not None or (self.complete and (self.stopped or self.method != "CONNECT"))

    def header(self, name: bytes) -> bytes | None:
        """Return the first response field called ``name``."""
        return next((value for key, value in self.headers if key == name), None)

    def begin(self, h3: H3Connection, authority: bytes) -> None:
        """Send the request's header section and what fits of its body."""
        self._pending = memoryview(next(self._pieces, b""))
        pseudo = self._control_data(authority)
        self.stream_id = h3.send_request([*pseudo, *self.request_headers], fin=not self._pending)
        self.stopped = not self._pending

    def _control_data(self, authority: bytes) -> list[tuple[bytes, bytes]]:
        if self.method == "CONNECT" and not self.protocol:
            return [(b":method", b"CONNECT"), (b":authority", self.target.encode())]
        return [
            (b":method", self.method.encode()),
            *([(b":protocol", self.protocol.encode())] if self.protocol else []),
            (b":scheme", b"https"),
            (b":authority", authority),
            (b":path", self.target.encode()),
        ]

    def push(self, h3: H3Connection) -> None:
        """Send what the connection takes of the request body."""
        while not self.stopped:
            taken = h3.send_body(self.stream_id, self._pending)
            self.sent += taken
            self._pending = self._pending[taken:]
            if self._pending:
                return
            piece = next(self._pieces, None)
            if piece is None:
                self.stopped = True
                h3.send_body(self.stream_id, b"", fin=True)
            else:
                self._pending = memoryview(piece)

    def pull(self, h3: H3Connection) -> None:
        """Read what is here of the response body."""
        while piece := h3.read_body(self.stream_id):
            self.length += len(piece)
            self.digest.update(piece)
            if len(self.body) < KEPT:
                self.body += piece


class FetchClient:
    """The client's side of a simulated HTTP/3 connection."""

    def __init__(self, h3: H3Connection, authority: str = "server.test") -> None:
        self.h3 = h3
        self.fetches: list[Fetch] = []
        self.log: list[H3Event] = []
        """Events that belong to no exchange."""
        self.reading = True
        """Set it to False to let response bodies wait."""
        self._authority = authority.encode()
        self._waiting: deque[Fetch] = deque()
        self._open: dict[int, Fetch] = {}

    @property
    def closed(self) -> ConnectionClosed | None:
        """How the connection ended, if it did."""
        last = self.log[-1] if self.log else None
        return last if isinstance(last, ConnectionClosed) else None

    @property
    def done(self) -> bool:
        """Whether every request has its response."""
        return not self._waiting and not self._open

    def fetch(
        self,
        target: str,
        *,
        method: str = "GET",
        headers: Headers = (),
        body: bytes | Iterable[bytes] = b"",
        protocol: str = "",
    ) -> Fetch:
        """Make a request as soon as the connection takes it; with ``protocol`` an extended CONNECT (RFC 9220).

        The target of a plain CONNECT is host and port.
        """
        fetch = Fetch("CONNECT" if protocol else method, target, headers, body, protocol)
        self.fetches.append(fetch)
        self._waiting.append(fetch)
        self.work()
        return fetch

    def describe(self) -> str:
        """Return one line about where this client stands."""
        told = [f"{fetch.method} {fetch.target}: {fetch.status} {fetch.length}" for fetch in self._open.values()]
        return f"{len(self._waiting)} waiting, open {told[:4]}, {self.log[-1:]}"

    def receive(self, batch: batches.ReceiveBatch, now: int) -> None:
        self.h3.receive(batch, now)
        self.work()

    def send(self, now: int) -> batches.SendBatch:
        return self.h3.send(now)

    def next_deadline(self) -> int:
        return self.h3.next_deadline()

    def handle_deadline(self, now: int) -> None:
        self.h3.handle_deadline(now)
        self.work()

    def work(self) -> None:
        """Handle the events that are waiting, and start requests that were."""
        moved: dict[int, Fetch] = {}
        while True:
            while (event := self.h3.next_event()) is not None:
                self._handle(event, moved)
            if not moved:
                break
            for fetch in moved.values():
                fetch.push(self.h3)
                if self.reading:
                    fetch.pull(self.h3)
                if fetch.over:
                    self._open.pop(fetch.stream_id, None)
            moved = {}
        self._begin()

    def cancel(self, fetch: Fetch) -> None:
        """Give a request up that is not done, whether or not it was sent."""
        if fetch in self._waiting:
            self._waiting.remove(fetch)
        elif self._open.pop(fetch.stream_id, None) is None:
            return
        else:
            self.h3.cancel(fetch.stream_id)
        fetch.cancelled = True
        self.work()

    def resume(self) -> None:
        """Read response bodies again."""
        self.reading = True
        for fetch in list(self._open.values()):
            fetch.pull(self.h3)
        self.work()

    def _begin(self) -> None:
        while self._waiting and self._ready():
            if not self.h3.can_send_request():
                return
            if self._waiting[0].protocol and not self.h3.peer_settings.received:
                return
            fetch = self._waiting.popleft()
            fetch.begin(self.h3, self._authority)
            self._open[fetch.stream_id] = fetch
            fetch.push(self.h3)

    def _ready(self) -> bool:
        early = self.h3.quic.early_data is EarlyDataStatus.OFFERED
        return early or any(isinstance(event, HandshakeCompleted) for event in self.log)

    def _handle(self, event: H3Event, moved: dict[int, Fetch]) -> None:
        stream_id = getattr(event, "stream_id", -1)
        if stream_id < 0:
            self.log.append(event)
            return
        fetch = self._open.get(stream_id)
        if fetch is None:
            return
        moved[stream_id] = fetch
        if isinstance(event, events.InformationalReceived):
            fetch.interim.append((event.status, event.headers))
        elif isinstance(event, events.ResponseReceived):
            fetch.status, fetch.headers = event.status, event.headers
        elif isinstance(event, events.TrailersReceived):
            fetch.trailers = event.headers
        elif isinstance(event, events.PeerStoppedReading):
            fetch.stopped = True
        elif isinstance(event, events.MessageComplete):
            fetch.complete = True
        elif isinstance(event, events.ExchangeFailed):
            fetch.failed = event
