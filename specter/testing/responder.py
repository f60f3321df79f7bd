"""The server's side of one HTTP/3 connection, without sockets, threads or a clock."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from specter._wire import NEVER
from specter.errors import LocalProtocolError
from specter.h3 import events
from specter.quic.events import ConnectionClosed
from specter.testing.exchange import Exchange
from specter.testing.messages import Handler, Reply, Request

if TYPE_CHECKING:
    from specter._backend import batch as batches
    from specter.h3.connection import H3Connection

__all__ = ["Answer", "Responder"]

MAX_BODY: Final = 64 << 20
"""Bytes of a request body that is gathered for a handler."""

MAX_EARLY: Final = 128
"""Priorities that are kept for requests that have not come yet."""

logger = logging.getLogger("specter.testing")

Answer: TypeAlias = Callable[[Request], Reply]


class Responder:
    """Answers the requests of one connection; an engine around ``h3``.

    With ``gather`` a request is answered when its body is complete (413 above ``max_body`` bytes), else, and CONNECT
    always, as soon as its header section is there. ``delay`` seconds pass before each reply. A body that waits to be
    asked for (``Expect: 100-continue``) is asked for, unless ``expectation`` gives a reply to the header section.
    """

    def __init__(
        self,
        h3: H3Connection,
        answer: Answer,
        *,
        gather: bool = False,
        delay: float = 0.0,
        max_body: int = MAX_BODY,
        expectation: Handler | None = None,
    ) -> None:
        self.h3 = h3
        self.requests = 0
        self._newest = -1
        self._answer = answer
        self._gather = gather
        self._delay = delay
        self._max_body = max_body
        self._expectation = expectation
        self._exchanges: dict[int, Exchange] = {}
        self._timers: list[tuple[int, int]] = []
        self._early_priorities: dict[int, bytes] = {}
        """Priority field values of requests that have not come yet."""

    def describe(self) -> str:
        """Return one line about where this connection stands."""
        return f"{len(self._exchanges)} exchanges, {self.requests} requests, closed={self.h3.closed}"

    def receive(self, batch: batches.ReceiveBatch, now: int) -> None:
        self.h3.receive(batch, now)
        self._serve(now)

    def send(self, now: int) -> batches.SendBatch:
        return self.h3.send(now)

    def next_deadline(self) -> int:
        return min(self.h3.next_deadline(), self._timers[0][0] if self._timers else NEVER)

    def handle_deadline(self, now: int) -> None:
        if self.h3.next_deadline() <= now:
            self.h3.handle_deadline(now)
        due: dict[int, None] = {}
        while self._timers and self._timers[0][0] <= now:
            due[heapq.heappop(self._timers)[1]] = None
        self._serve(now, due)

    def _serve(self, now: int, moved: dict[int, None] | None = None) -> None:
        """Handle what the connection has to tell, and push each stream that has news; that may bring more news."""
        moved = {} if moved is None else moved
        while True:
            while (event := self.h3.next_event()) is not None:
                stream_id = self._handle(event, now)
                if stream_id is not None:
                    moved[stream_id] = None
            if not moved:
                return
            for stream_id in moved:
                self._push(stream_id, now)
            moved = {}

    def _handle(self, event: events.H3Event, now: int) -> int | None:
        """Take note of ``event``; return the stream to push."""
        if isinstance(event, events.RequestReceived):
            self._begin(event, now)
            return event.stream_id
        if isinstance(event, ConnectionClosed):
            self._stop_all()
            return None
        if isinstance(event, events.PriorityUpdated):
            self._prioritize(event)
            return None
        exchange = self._exchanges.get(getattr(event, "stream_id", -1))
        if exchange is None:
            return None
        if isinstance(event, events.BodyReadable):
            self._body_arrived(exchange, now)
        elif isinstance(event, events.TrailersReceived):
            exchange.trailers_arrived(event.headers)
        elif isinstance(event, events.MessageComplete):
            self._request_ended(exchange, now)
        elif isinstance(event, events.PeerStoppedReading):
            exchange.stop()
        elif isinstance(event, events.ExchangeFailed):
            exchange.stop()
            exchange.request_complete = True
        return exchange.stream_id

    def _begin(self, event: events.RequestReceived, now: int) -> None:
        self.requests += 1
        exchange = self._exchanges[event.stream_id] = Exchange(self.h3, event)
        exchange.request.priority_update = self._early_priorities.pop(event.stream_id, None)
        self._newest = max(self._newest, event.stream_id)
        if not self._gather or exchange.request.method == "CONNECT":
            self._reply(exchange, exchange.request, now)
        elif (exchange.request.header("expect") or "").lower() == "100-continue":
            self._answer_expectation(exchange, now)

    def _answer_expectation(self, exchange: Exchange, now: int) -> None:
        refusal = None if self._expectation is None else self._expectation(exchange.request)
        if refusal is None:
            exchange.proceed()
        else:
            exchange.answer(refusal, now, self._delay)

    def _prioritize(self, event: events.PriorityUpdated) -> None:
        exchange = self._exchanges.get(event.stream_id)
        if exchange is not None:
            exchange.request.priority_update = event.value
        elif event.stream_id > self._newest and len(self._early_priorities) < MAX_EARLY:
            self._early_priorities[event.stream_id] = event.value

    def _body_arrived(self, exchange: Exchange, now: int) -> None:
        if not exchange.answering and not exchange.gather(self._max_body):
            exchange.answer(Reply(413, [("content-type", "text/plain")], b"too large\n"), now)

    def _request_ended(self, exchange: Exchange, now: int) -> None:
        exchange.request_complete = True
        if not exchange.answering and not exchange.replied:
            self._reply(exchange, exchange.gathered(), now)

    def _reply(self, exchange: Exchange, request: Request, now: int) -> None:
        try:
            reply = self._answer(request)
        except Exception:
            logger.exception("the handler failed for %s %s", request.method, request.target)
            reply = Reply(500, [("content-type", "text/plain")], b"the handler failed\n")
        exchange.answer(reply, now, self._delay)

    def _push(self, stream_id: int, now: int) -> None:
        exchange = self._exchanges.get(stream_id)
        if exchange is None:
            return
        try:
            exchange.push(now)
            if exchange.replied and not exchange.request_complete:
                exchange.refuse_rest()
        except LocalProtocolError:
            exchange.stop()
            self.h3.cancel(stream_id)
        except Exception:
            logger.exception("the reply to %s %s failed", exchange.request.method, exchange.request.target)
            exchange.stop()
            self.h3.cancel(stream_id)
        self._after_push(exchange)

    def _after_push(self, exchange: Exchange) -> None:
        if exchange.resume_at and exchange.resume_at != exchange.armed_at:
            heapq.heappush(self._timers, (exchange.resume_at, exchange.stream_id))
        exchange.armed_at = exchange.resume_at
        if exchange.replied and exchange.request_complete:
            self._exchanges.pop(exchange.stream_id, None)

    def _stop_all(self) -> None:
        for exchange in self._exchanges.values():
            exchange.stop()
        self._exchanges.clear()
        self._timers.clear()
