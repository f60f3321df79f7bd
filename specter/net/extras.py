"""Requests with more than a head and a body: trailers, Expect: 100-continue, interim responses told as they come."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import NamedTuple

from specter.h3.events import Headers
from specter.net import clock
from specter.net.budget import Budget, Wait
from specter.net.connection import BaseConnection, Fields
from specter.net.exchange import FAILED, HEAD, INTERIM, STOPPED, WRITABLE
from specter.net.transfer import Transfer

__all__ = ["Extras", "TransferWithExtras"]

CONTINUE = 100
REDIRECTION = 300


class Extras(NamedTuple):
    """What a request has besides. ``on_interim`` may return something to await."""

    trailers: Callable[[], Fields] | None = None
    """Gives the trailer section; called after the last piece of the body."""
    patience: int = 0
    """How long (ns) the body waits for a sign that it is wanted."""
    on_interim: Callable[[int, Headers], object] | None = None
    """Hears of each interim response before anything that comes after it."""


class TransferWithExtras(Transfer):
    """A transfer that does what ``extras`` says."""

    __slots__ = ("_extras", "_told")

    def __init__(self, connection: BaseConnection, budget: Budget, extras: Extras) -> None:
        super().__init__(connection, budget)
        self._extras = extras
        self._told = 0

    async def start(self, fields: Fields, body: Iterator[bytes] | None) -> None:
        patient = body is not None and self._extras.patience > 0
        if body is None and self._extras.trailers is not None:
            body = iter(())
        await self._open(fields, fin=body is None)
        self._body = body
        if patient:
            await self._await_continue()
        while self._body is not None and not self.exchange.flags & (HEAD | FAILED):
            if not self._push():
                await self._wait(WRITABLE | STOPPED | HEAD, Wait.WRITE)
            elif self.exchange.flags & INTERIM:
                await self._tell()

    async def _await_continue(self) -> None:
        """Wait for 100, a final response, or so long that the server seems not to know about it (RFC 9110, 10.1.1)."""
        exchange, now = self.exchange, clock.now()
        deadline = min(now + self._extras.patience, self._budget.deadline(Wait.WRITE, now))
        while not exchange.flags & (HEAD | STOPPED | FAILED):
            if any(status == CONTINUE for status, _ in exchange.interim):
                break
            if not await self._connection.until(exchange, HEAD | STOPPED | INTERIM, deadline):
                break
            await self._tell()
        if exchange.flags & HEAD and exchange.status >= REDIRECTION:
            self._drop_body()

    def _end_body(self) -> None:
        fields = None if self._extras.trailers is None else self._extras.trailers()
        if not fields:
            super()._end_body()
            return
        self._body = None
        self._connection.send_trailers(self.exchange, fields)

    # -- interim responses --------------------------------------------------------------------------

    async def _tell(self) -> None:
        """Pass on the interim responses that came."""
        new = self._connection.take_interim(self.exchange, self._told)
        for status, fields in new:
            self._told += 1
            if self._extras.on_interim is not None:
                said = self._extras.on_interim(status, fields)
                if inspect.isawaitable(said):
                    await said

    async def _until(self, wanted: int, deadline: int) -> bool:
        """Wait like the connection does, and pass interim responses on meanwhile."""
        exchange = self.exchange
        while True:
            came = await self._connection.until(exchange, wanted | INTERIM, deadline)
            if exchange.flags & INTERIM:
                await self._tell()
            if not came or exchange.flags & (wanted | FAILED):
                return came

    async def head_within(self, seconds: float) -> bool:
        now = clock.now()
        limit = self._budget.deadline(Wait.READ, now)
        deadline = min(limit, clock.after(now, seconds))
        came = await self._until(HEAD, deadline)
        if came:
            self._raise_if_failed(HEAD)
        elif deadline == limit:
            raise self._budget.expired(Wait.READ)
        return came

    async def _wait(self, wanted: int, wait: Wait) -> None:
        if not await self._until(wanted, self._budget.deadline(wait, clock.now())):
            raise self._budget.expired(wait)
        self._raise_if_failed(wanted)
