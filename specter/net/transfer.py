"""One exchange as its caller sees it: send the body, wait for the head, read, all within a time budget."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Final, TypeAlias

from specter.h3.events import Headers
from specter.net import clock
from specter.net.budget import Budget, Wait
from specter.net.connection import BaseConnection, Fields
from specter.net.exchange import END, FAILED, FREE, HEAD, INTERIM, READABLE, SENT, STOPPED, WRITABLE, Exchange
from specter.net.extras import Extras
from specter.net.feeding import Feeder

__all__ = ["Transfer"]

EMPTY: Final = memoryview(b"")
Body: TypeAlias = Iterator[bytes] | AsyncGenerator[bytes, None]
CONTINUE: Final = 100
REDIRECTION: Final = 300


class Transfer:
    """Operations on one exchange of a shared connection, one at a time.

    A server may answer before it has the whole body, and may answer piece by piece as the body comes. So what
    is left of the body when the response's head is here goes out while the response is read.
    """

    __slots__ = ("_body", "_budget", "_connection", "_extras", "_feeder", "_piece", "_told", "exchange")

    def __init__(self, connection: BaseConnection, budget: Budget, extras: Extras | None = None) -> None:
        self.exchange = Exchange()
        self._extras = extras
        self._told = 0
        """Interim responses that were told of."""
        self._connection = connection
        self._budget = budget
        self._body: Iterator[bytes] | None = None
        self._piece = EMPTY
        self._feeder: Feeder | None = None

    @property
    def trailers(self) -> Headers:
        return self.exchange.trailers

    # -- the request ------------------------------------------------------------------------------

    async def start(self, fields: Fields, body: Body | None) -> None:
        """Send the header section, and the body until it is sent, refused, or the response is here."""
        if self.exchange.stream_id >= 0:
            return  # it left as early data
        if self._extras is None:
            await self._open(fields, fin=body is None)
        else:
            body = await self._open_with(self._extras, fields, body)
        if body is not None:
            await self._send(body)

    async def _send(self, body: Body) -> None:
        if not isinstance(body, Iterator):
            self._feeder = Feeder(self._connection, self.exchange, self._budget, body, self._end_body)
            if not await self._until(HEAD | SENT, self._budget.end):
                raise self._budget.expired(Wait.WRITE)
            return
        self._body = body
        while self._body is not None and not self.exchange.flags & (HEAD | FAILED):
            if not self._push():
                await self._wait(WRITABLE | STOPPED | HEAD, Wait.WRITE)

    async def _open(self, fields: Fields, *, fin: bool) -> None:
        """Wait for a free stream where the server allows no more right now."""
        connection, exchange, deadline = self._connection, self.exchange, 0
        try:
            while not connection.try_open(exchange, fields, fin):
                deadline = deadline or self._budget.deadline(Wait.POOL, clock.now())
                if not await connection.until(exchange, FREE, deadline):
                    raise self._budget.expired(Wait.POOL, connection.awaits(exchange))
        finally:
            if exchange.stream_id < 0:
                connection.leave_queue(exchange)

    def _push(self) -> bool:
        """Send a piece of the body; False when the connection takes nothing for now."""
        exchange = self.exchange
        if self._body is None or exchange.flags & (STOPPED | FAILED):
            self._drop_body()
            return True
        if not self._piece:
            piece = next(self._body, None)
            if piece is None:
                self._end_body()
                return True
            self._piece = memoryview(piece).cast("B")
        taken = self._connection.write(exchange, self._piece)
        self._piece = self._piece[taken:]
        return taken > 0

    def _end_body(self) -> None:
        """All of the body was sent: say so."""
        trailers = None if self._extras is None or self._extras.trailers is None else self._extras.trailers()
        self._body = None
        if trailers:
            self._connection.send_trailers(self.exchange, trailers)
        else:
            self._connection.write(self.exchange, EMPTY, fin=True)

    def _drop_body(self) -> None:
        if self._body is None:
            return
        body, self._body, self._piece = self._body, None, EMPTY
        close = getattr(body, "close", None)
        if close is not None:
            close()

    # -- what else a request has ------------------------------------------------------------------

    async def _open_with(self, extras: Extras, fields: Fields, body: Body | None) -> Body | None:
        """Send the header section; return the body to send, None for none and for one that is not wanted."""
        if body is None:
            body = None if extras.trailers is None else iter(())
            await self._open(fields, fin=body is None)
            return body
        await self._open(fields, fin=False)
        if isinstance(body, Iterator):
            self._body = body  # to be closed if it is not wanted
        if extras.patience and not await self._is_wanted(extras.patience):
            self._drop_body()
            return None
        return body

    async def _is_wanted(self, patience: int) -> bool:
        """Wait for 100 or a final response, but not for ever: not every server knows about it (RFC 9110, 10.1.1)."""
        exchange, now = self.exchange, clock.now()
        deadline = min(now + patience, self._budget.deadline(Wait.WRITE, now))
        while not any(status == CONTINUE for status, _ in exchange.interim):
            if exchange.flags & (HEAD | STOPPED | FAILED):
                break
            if not await self._connection.until(exchange, HEAD | STOPPED | INTERIM, deadline):
                break
            await self._tell()
        return not (exchange.flags & HEAD and exchange.status >= REDIRECTION)

    async def _tell(self) -> None:
        """Pass on the interim responses that came."""
        listener = None if self._extras is None else self._extras.on_interim
        for status, fields in self._connection.take_interim(self.exchange, self._told):
            self._told += 1
            said = None if listener is None else listener(status, fields)
            if inspect.isawaitable(said):
                await said

    async def _until_telling(self, wanted: int, deadline: int) -> bool:
        """Wait as the connection does, and pass interim responses on meanwhile."""
        while True:
            came = await self._connection.until(self.exchange, wanted | INTERIM, deadline)
            if self.exchange.flags & INTERIM:
                await self._tell()
            if not came or self.exchange.flags & (wanted | FAILED):
                return came

    # -- the response -----------------------------------------------------------------------------

    async def head(self) -> tuple[int, Headers]:
        """Wait for the final response's status and header section."""
        await self._wait(HEAD, Wait.READ)
        return self.exchange.status, self.exchange.headers

    async def head_within(self, seconds: float) -> bool:
        """Wait for the head, but only so long; return whether it came. A failure is raised."""
        limit = self._budget.deadline(Wait.READ, clock.now())
        deadline = min(limit, clock.after(clock.now(), seconds))
        if self._extras is None:
            came = await self._connection.until(self.exchange, HEAD, deadline)
        else:
            came = await self._until_telling(HEAD, deadline)
        if came:
            self._raise_if_failed(HEAD)
            return True
        if deadline == limit:
            raise self._budget.expired(Wait.READ)
        return False

    async def read(self, limit: int) -> bytes:
        """Return 1 to ``limit`` body bytes, ``b""`` at the end."""
        while True:
            data = b"" if self.exchange.flags & END else self._connection.read(self.exchange, limit)
            if data or await self._at_end():
                return data

    async def readinto(self, view: memoryview) -> int:
        """Fill ``view`` as far as bytes are here, with at least one; 0 at the end."""
        while True:
            count = 0 if self.exchange.flags & END else self._connection.readinto(self.exchange, view)
            if count or await self._at_end():
                return count

    async def _at_end(self) -> bool:
        """Nothing is here: return whether that is the end, else wait for more."""
        exchange = self.exchange
        if exchange.flags & END:
            await self._finish_body()
            return True
        if self._body is None:
            await self._wait(READABLE | END, Wait.READ)
        elif not self._push():
            await self._wait(READABLE | END | WRITABLE | STOPPED, Wait.READ)
        return False

    async def _finish_body(self) -> None:
        """The response is complete: what the server still takes of the request may go, but nothing depends on it."""
        if self._feeder is not None:
            await self._until(SENT, self._budget.end)
        while self._body is not None and not self.exchange.flags & FAILED:
            deadline = self._budget.deadline(Wait.WRITE, clock.now())
            if not self._push() and not await self._connection.until(self.exchange, WRITABLE | STOPPED, deadline):
                break
        self._drop_body()

    def reprioritize(self, value: bytes) -> None:
        """Give the request another Priority field value, without waiting."""
        self._connection.reprioritize(self.exchange, value)

    def close(self) -> None:
        """Cancel what is not finished. Any number of times."""
        if self._feeder is not None:
            self._feeder.cancel()
        self._drop_body()
        self._connection.release(self.exchange)

    async def aclose(self) -> None:
        """Close, and wait until nothing runs any more that belongs to the exchange."""
        self.close()
        if self._feeder is not None:
            await self._feeder.ended()

    # -- waiting ----------------------------------------------------------------------------------

    def _until(self, wanted: int, deadline: int) -> Coroutine[object, None, bool]:
        if self._extras is None:
            return self._connection.until(self.exchange, wanted, deadline)
        return self._until_telling(wanted, deadline)

    async def _wait(self, wanted: int, wait: Wait) -> None:
        deadline = self._budget.deadline(wait, clock.now())
        if self._extras is None:
            came = await self._connection.until(self.exchange, wanted, deadline)
        else:
            came = await self._until_telling(wanted, deadline)
        if not came:
            raise self._budget.expired(wait)
        self._raise_if_failed(wanted)

    def _raise_if_failed(self, wanted: int) -> None:
        exchange = self.exchange
        if exchange.failure is not None and not exchange.flags & wanted:
            raise exchange.failure()
