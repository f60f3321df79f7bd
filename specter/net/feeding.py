"""Bodies that have to be awaited: sent beside the caller, who meanwhile waits for the response, or reads it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from specter.net import clock
from specter.net.budget import Budget, Wait
from specter.net.connection import BaseConnection
from specter.net.exchange import END, FAILED, HEAD, SENT, STOPPED, WRITABLE, Exchange

__all__ = ["Feeder"]


class Feeder:
    """Sends ``body`` piece by piece, ``finish`` after the last. What goes wrong is the failure of the exchange."""

    __slots__ = ("_budget", "_connection", "_exchange", "_task")

    def __init__(
        self,
        connection: BaseConnection,
        exchange: Exchange,
        budget: Budget,
        body: AsyncGenerator[bytes, None],
        finish: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._exchange = exchange
        self._budget = budget
        self._task = connection.start(self._run(body, finish), "specter-upload")

    def cancel(self) -> None:
        """Send no more of the body."""
        self._task.cancel()

    async def ended(self) -> None:
        """Wait until nothing runs here any more."""
        await self._task.ended()

    async def _run(self, body: AsyncGenerator[bytes, None], finish: Callable[[], None]) -> None:
        exchange = self._exchange
        try:
            async with aclosing(body):
                async for piece in body:
                    if not await self._send(memoryview(piece).cast("B")):
                        return
                finish()
        except Exception as error:
            failure = error  # the caller's own, or an Error: who waits for the response raises it
            exchange.fail(lambda: failure, retry_safe=False)
        finally:
            exchange.signal(SENT)

    async def _send(self, piece: memoryview) -> bool:
        """Send a piece; return whether more is wanted."""
        exchange = self._exchange
        while len(piece):
            if exchange.flags & (STOPPED | FAILED):
                return False
            taken = self._connection.write(exchange, piece)
            piece = piece[taken:]
            if not taken and not await self._room():
                return False
        return True

    async def _room(self) -> bool:
        """Wait until the connection takes more; return False when it does not, and nobody minds."""
        exchange, budget = self._exchange, self._budget
        while not await self._connection.until(exchange, WRITABLE | STOPPED, budget.deadline(Wait.WRITE, clock.now())):
            if exchange.flags & END:
                return False
            if not exchange.flags & HEAD or clock.now() >= budget.end:
                raise budget.expired(Wait.WRITE)
            # Who reads a response has a limit of his own.
        return True
