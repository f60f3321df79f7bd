"""Several addresses, one connection: attempts start one after the other, the first to be ready wins (RFC 8305)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, Protocol, TypeVar

from specter._backend import udp
from specter._wire import NEVER
from specter.errors import ConnectError, ConnectTimeout, Error
from specter.net import clock
from specter.net.failures import is_verdict

__all__ = ["STAGGER", "Attempt", "Race"]

STAGGER: Final = clock.SECOND // 4
"""How long (ns) an attempt has the field to itself before the next address is tried as well."""

Address = udp.SocketAddress

logger = logging.getLogger("specter.connection")


class Attempt(Protocol):
    """A connection in the making."""

    def next_deadline(self) -> int:
        """Return when ``advance`` is due even if nothing arrives (ns)."""

    def advance(self, now: int) -> bool:
        """Move bytes and time; return whether the connection is ready.

        Raises:
            Error: it will never be.
        """

    def abandon(self, now: int) -> None:
        """Give up: tell the peer if it listens, close the socket."""


A = TypeVar("A", bound=Attempt)


class Race(Generic[A]):
    """Runs attempts against each other.

    ``begin`` starts one; ``park`` waits until one of those given can advance, or until the moment given.
    """

    def __init__(
        self,
        host: str,
        begin: Callable[[Address, int], A],
        park: Callable[[Sequence[A], int], Awaitable[None]],
        *,
        now: Callable[[], int] = clock.now,
        stagger: int = STAGGER,
    ) -> None:
        self._host = host
        self._begin = begin
        self._park = park
        self._now = now
        self._stagger = stagger
        self._running: dict[A, Address] = {}
        self._failures: list[tuple[Address, Error]] = []

    async def run(self, addresses: Sequence[Address], deadline: int) -> A | None:
        """Return the winner with the others closed, None when ``deadline`` (ns) passed.

        Raises:
            CertificateError: a server was reached and its certificate refused; other addresses are not tried.
            ConnectError: every attempt failed.
        """
        waiting = list(reversed(addresses))
        next_start = self._now()
        try:
            while True:
                now = self._now()
                if waiting and (now >= next_start or not self._running):
                    self._start(waiting.pop(), now)
                    next_start = now + self._stagger
                winner = self._advance(now)
                if winner is not None:
                    return winner
                if not self._running and not waiting:
                    raise self._verdict()
                if now >= deadline:
                    return None
                if self._running:
                    await self._park(list(self._running), self._alarm(deadline, next_start if waiting else NEVER))
        finally:
            self._abandon_all()

    def _start(self, address: Address, now: int) -> None:
        try:
            self._running[self._begin(address, now)] = address
        except OSError as error:
            if isinstance(error, Error):
                raise
            self._fail(address, ConnectError(f"{error.strerror or error}"))

    def _advance(self, now: int) -> A | None:
        for attempt in list(self._running):
            try:
                if attempt.advance(now):
                    del self._running[attempt]
                    return attempt
            except Error as error:
                address = self._running.pop(attempt)
                attempt.abandon(now)
                if is_verdict(error):
                    raise
                self._fail(address, error)
        return None

    def _fail(self, address: Address, error: Error) -> None:
        logger.debug("no connection to %s at %s: %s", self._host, address[0], error)
        self._failures.append((address, error))

    def _alarm(self, *moments: int) -> int:
        return min(*moments, *(attempt.next_deadline() for attempt in self._running))

    def _abandon_all(self) -> None:
        now = self._now()
        while self._running:
            self._running.popitem()[0].abandon(now)

    def _verdict(self) -> Error:
        """Return the one failure, or a summary of all."""
        if not self._failures:
            return ConnectError(f"{self._host} has no address")
        if len(self._failures) == 1:
            return self._told(*self._failures[0])
        kinds = {type(error) for _, error in self._failures}
        details = "; ".join(f"{address[0]}: {error}" for address, error in self._failures)
        kind = ConnectTimeout if kinds == {ConnectTimeout} else ConnectError
        return kind(f"no address of {self._host} could be connected to ({details})")

    def _told(self, address: Address, error: Error) -> Error:
        if type(error) is ConnectError:
            return ConnectError(f"cannot connect to {self._host} ({address[0]} port {address[1]}): {error}")
        return error
