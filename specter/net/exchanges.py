"""The exchanges of one connection: which are open, which wait for a stream, and what the engine says about them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from specter.errors import NetworkError
from specter.h3 import events
from specter.h3.connection import H3Connection
from specter.net import clock
from specter.net.exchange import END, FREE, HEAD, INTERIM, READABLE, STOPPED, WRITABLE, Exchange
from specter.net.failures import Failure, connection_failure, exchange_failure
from specter.quic.events import (
    AddressPreferred,
    ConnectionClosed,
    PathAbandoned,
    PathChanged,
    TicketReceived,
    TokenReceived,
)
from specter.tls.session import Session

__all__ = ["Exchanges"]

logger = logging.getLogger("specter.connection")


class Exchanges:
    """Everything here happens under the connection's lock.

    ``failure`` says why the connection is over, ``retired`` that it takes no new requests.
    """

    __slots__ = (
        "_by_stream",
        "_curious",
        "_guests",
        "_host",
        "_queue",
        "failure",
        "idle_since",
        "on_idle",
        "on_path",
        "on_session",
        "on_token",
        "retired",
    )

    def __init__(self, host: str) -> None:
        self._host = host
        self._by_stream: dict[int, Exchange] = {}
        self._queue: deque[Exchange] = deque()
        """Those that found no free stream, in the order they came."""
        self._curious: list[Exchange] = []
        """Those that wait for the server's SETTINGS."""
        self._guests: list[Exchange] = []
        """Those that wait for something else than HTTP."""
        self.failure: Failure | None = None
        self.retired = False
        self.on_path: Callable[[AddressPreferred | PathChanged | PathAbandoned], None] | None = None
        """Hears what becomes of network paths; must not wait."""
        self.on_token: Callable[[bytes], None] | None = None
        self.on_session: Callable[[Session], None] | None = None
        self.on_idle: Callable[[], None] | None = None
        """Hears that the last exchange has ended; must not wait. Only with it ``idle_since`` is kept."""
        self.idle_since = 0
        """When that was (ns)."""

    def __len__(self) -> int:
        """Return how many are open or wait for a stream."""
        return len(self._by_stream) + len(self._queue) + len(self._curious) + len(self._guests)

    def __contains__(self, exchange: Exchange) -> bool:
        return exchange.stream_id in self._by_stream

    def _left(self) -> None:
        """An exchange is here no more, and there is somebody who wants to know when none is."""
        if self.on_idle is not None and not len(self):
            self.idle_since = clock.now()
            self.on_idle()

    # -- waiting for a stream -----------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many wait for a stream."""
        return len(self._queue)

    def may_start(self, exchange: Exchange) -> bool:
        """Whether it is this one's turn to ask for a stream."""
        return not self._queue or self._queue[0] is exchange

    def enqueue(self, exchange: Exchange) -> None:
        """Let it wait for ``FREE``; one that waits already keeps its place."""
        exchange.flags &= ~FREE
        if exchange not in self._queue:
            self._queue.append(exchange)

    def await_settings(self, exchange: Exchange) -> None:
        """Let it wait for ``FREE``, which the server's SETTINGS bring."""
        exchange.flags &= ~FREE
        if exchange not in self._curious:
            self._curious.append(exchange)

    def attend(self, exchange: Exchange) -> None:
        """Let it fail with the others when the connection ends, until it ``leaves``."""
        self._guests.append(exchange)

    def leave(self, exchange: Exchange) -> None:
        if exchange in self._guests:
            self._guests.remove(exchange)
            self._left()

    def leave_queue(self, exchange: Exchange) -> None:
        """It has its stream or wants none any more: the next may try."""
        if exchange in self._curious:
            self._curious.remove(exchange)
        if exchange in self._queue:
            self._queue.remove(exchange)
            self._call_next()
        self._left()

    def _call_next(self) -> None:
        if self._queue:
            self._queue[0].signal(FREE)

    # -- beginnings and ends ------------------------------------------------------------------------

    def add(self, exchange: Exchange) -> None:
        self._by_stream[exchange.stream_id] = exchange
        if self._queue:
            self.leave_queue(exchange)

    def remove(self, exchange: Exchange) -> bool:
        """Forget an exchange; return whether it was open."""
        if self._by_stream.pop(exchange.stream_id, None) is None:
            return False
        if self.on_idle is not None:
            self._left()
        return True

    def retire(self, message: str) -> None:
        """Take no new requests; those that wait for a stream are to go elsewhere."""
        if not self.retired:
            logger.debug("%s", message)
        self.retired = True
        self._refuse_queue(partial(NetworkError, message))

    def end(self, failure: Failure) -> None:
        """Fail everything. The first failure is the one that counts."""
        if self.failure is None:
            self.failure = failure
            logger.debug("the connection to %s is over: %s", self._host, failure())
        exchanges = list(self._by_stream.values())
        self._by_stream.clear()
        for exchange in exchanges:
            exchange.fail(failure, retry_safe=False)
        self._refuse_queue(failure)
        self._left()

    def _refuse_queue(self, failure: Failure) -> None:
        waiting = [*self._queue, *self._curious]
        if self.failure is not None:
            waiting += self._guests
            self._guests.clear()
        self._queue.clear()
        self._curious.clear()
        for exchange in waiting:
            exchange.fail(failure, retry_safe=True)

    # -- what the engine says -----------------------------------------------------------------------

    def deliver(self, engine: H3Connection) -> None:
        """Take every event of ``engine``, and wake who waited for it."""
        while (event := engine.next_event()) is not None:
            handler = _HANDLERS.get(type(event))
            if handler is not None:
                handler(self, event)

    def _interim(self, event: events.InformationalReceived) -> None:
        if (exchange := self._by_stream.get(event.stream_id)) is not None:
            exchange.interim.append((event.status, event.headers))  # the engine limits how many there are
            exchange.signal(INTERIM)

    def _head(self, event: events.ResponseReceived) -> None:
        if (exchange := self._by_stream.get(event.stream_id)) is not None:
            exchange.status, exchange.headers = event.status, event.headers
            exchange.signal(HEAD)

    def _readable(self, event: events.BodyReadable) -> None:
        if (exchange := self._by_stream.get(event.stream_id)) is not None:
            exchange.signal(READABLE)

    def _trailers(self, event: events.TrailersReceived) -> None:
        if (exchange := self._by_stream.get(event.stream_id)) is not None:
            exchange.trailers = event.headers

    def _complete(self, event: events.MessageComplete) -> None:
        if (exchange := self._by_stream.get(event.stream_id)) is not None:
            if exchange.sent_all:
                del self._by_stream[event.stream_id]
                if self.on_idle is not None:
                    self._left()
            exchange.signal(END)

    def _writable(self, event: events.BodyWritable) -> None:
        if (exchange := self._by_stream.get(event.stream_id)) is not None:
            exchange.signal(WRITABLE)

    def _stopped(self, event: events.PeerStoppedReading) -> None:
        if (exchange := self._by_stream.get(event.stream_id)) is not None:
            exchange.sent_all = True
            exchange.stop_code = event.error_code
            exchange.signal(STOPPED)

    def _failed(self, event: events.ExchangeFailed) -> None:
        if (exchange := self._by_stream.pop(event.stream_id, None)) is not None:
            exchange.fail(exchange_failure(event, self._host), retry_safe=event.retry_safe)
            self._left()

    def _streams_free(self, _event: events.RequestsAvailable) -> None:
        self._call_next()

    def _settings(self, _event: events.SettingsReceived) -> None:
        curious, self._curious = self._curious, []
        for exchange in curious:
            exchange.signal(FREE)

    def _going_away(self, _event: events.GoAwayReceived) -> None:
        self.retire(f"{self._host} takes no new requests (GOAWAY)")

    def _token(self, event: TokenReceived) -> None:
        if self.on_token is not None:
            self.on_token(event.token)

    def _path(self, event: AddressPreferred | PathChanged | PathAbandoned) -> None:
        if self.on_path is not None:
            self.on_path(event)

    def _ticket(self, event: TicketReceived) -> None:
        if self.on_session is not None:
            self.on_session(event.session)

    def _closed(self, event: ConnectionClosed) -> None:
        self.end(connection_failure(event, self._host, established=True))


_HANDLERS: Final[dict[type, Callable[[Exchanges, Any], None]]] = {
    events.InformationalReceived: Exchanges._interim,
    events.ResponseReceived: Exchanges._head,
    events.BodyReadable: Exchanges._readable,
    events.TrailersReceived: Exchanges._trailers,
    events.MessageComplete: Exchanges._complete,
    events.BodyWritable: Exchanges._writable,
    events.PeerStoppedReading: Exchanges._stopped,
    events.ExchangeFailed: Exchanges._failed,
    events.RequestsAvailable: Exchanges._streams_free,
    events.GoAwayReceived: Exchanges._going_away,
    events.SettingsReceived: Exchanges._settings,
    TokenReceived: Exchanges._token,
    AddressPreferred: Exchanges._path,
    PathChanged: Exchanges._path,
    PathAbandoned: Exchanges._path,
    TicketReceived: Exchanges._ticket,
    ConnectionClosed: Exchanges._closed,
}
