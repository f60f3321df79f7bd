"""One connection per origin, made when first needed and made again when it is gone."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from specter.client.connections import Connections
from specter.client.discovery import Discovery
from specter.client.limits import DEFAULT_LIMITS, Limits
from specter.client.url import Origin
from specter.errors import ConnectError, ConnectTimeout, Error, HandshakeError, NetworkError, Timeout
from specter.net import clock
from specter.net.budget import Budget, Wait
from specter.net.connection import BaseConnection
from specter.net.dialing import Dialer, dial
from specter.net.driver import Driver, Event
from specter.net.early import EarlyRequest
from specter.net.failures import again
from specter.net.moves import migrate

__all__ = ["Lease", "Pool"]

C = TypeVar("C", bound=BaseConnection)

logger = logging.getLogger("specter.client")


class Lease(NamedTuple, Generic[C]):
    """A connection to use, and whether somebody used it before."""

    connection: C
    reused: bool
    held: bool = False
    """Whether it is not to be closed for others, and to be released."""


class _Dial:
    """A connection in the making: one caller dials, others that want the same origin wait here."""

    __slots__ = ("_done", "error")

    def __init__(self, done: Event) -> None:
        self.error: Error | None = None
        self._done = done

    def finish(self, error: BaseException | None) -> None:
        """Let the others go on. A failure of the network is theirs too; the dialler's own haste is not."""
        if isinstance(error, Error) and not isinstance(error, Timeout):
            self.error = error
        self._done.set()

    async def wait(self, origin: Origin, budget: Budget) -> None:
        if not await self._done.wait(budget.deadline(Wait.CONNECT, clock.now())):
            raise budget.expired(Wait.CONNECT, f"somebody else is connecting to {origin}")
        if self.error is not None:
            raise again(self.error)


class _Room:
    """Those who wait until there is room for a connection."""

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting: list[Event] = []

    def notice(self) -> None:
        """A connection may be idle or gone: let them look. Any thread may call this, whatever it has locked."""
        for event in tuple(self.waiting):
            event.set()


class Pool(Generic[C]):
    """Connections by origin, for any number of callers, who wait as ``driver`` does.

    Connecting to one origin holds up nobody who wants another. Two callers that want the same new origin share
    one dial. ``discovery`` says where to connect to; it may ``learn`` from responses if servers are authenticated.
    """

    def __init__(
        self,
        dialer: Dialer,
        driver: Driver[C],
        *,
        discovery: Discovery | None = None,
        learn: bool = True,
        early_data: bool = False,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self.discovery = discovery
        self.learns = learn and discovery is not None
        self.early_data = early_data
        """Whether requests may leave as early data."""
        self._dialer = dialer
        self._driver = driver
        self._lock = threading.Lock()
        self._limits = limits
        self.limited = limits.max_connections is not None
        """Whether connections may be closed to make room for others: then those that were found are to be held."""
        self._connections: Connections[C] = Connections(limits)
        self._dials: dict[Origin, _Dial] = {}
        self._room = _Room()
        self._closed = False
        driver.look_after(_connections_of(weakref.ref(self)))
        _pools.add(self)

    @property
    def closed(self) -> bool:
        return self._closed

    def find(self, origin: Origin) -> Lease[C] | None:
        """Return a connection to ``origin`` that looks alive, if there is one."""
        connections = self._connections
        connection = connections.get(origin)
        if connection is None:
            return None
        if connection.usable():
            if not connections.particular:
                return Lease(connection, True)
            if connections.fit(connection):
                return None if connection.saturated else Lease(connection, True)
        self.discard(origin, connection)
        return None

    def loss(self, origin: Origin) -> Error | None:
        """Return what ended a connection to ``origin`` that nobody has used yet; None while it lives."""
        connection = self._connections.get(origin)
        error = None if connection is None else connection.loss
        if self.discovery is not None and isinstance(error, HandshakeError):
            self.discovery.lost(origin)
        return error

    async def acquire(
        self, origin: Origin, budget: Budget, *, offered: bool = False, early: EarlyRequest | None = None
    ) -> Lease[C]:
        """Return a connection to ``origin`` that looks alive, a new one where there is none; it is held.

        ``offered``: only where the origin is known to offer HTTP/3, not at its own address on the off chance.
        ``early`` may leave with the handshake of a new one; its ``outcome`` tells.

        Raises:
            ConnectError: and its kinds; no connection could be made.
            NetworkError: the client is closed.
        """
        mine = _Dial(self._driver.event())
        deadline = 0
        while True:
            try:
                found = self._find_or_claim(origin, mine)
                if found is mine:
                    return Lease(await self._dial(origin, budget, mine, offered, early), False, True)
                if found is not None and not isinstance(found, _Dial):
                    return Lease(found, True, True)
                if found is not None:
                    await found.wait(origin, budget)
            except BaseException as error:
                self._release(origin, mine, error)
                if not isinstance(error, ConnectError) or not self._has(origin):
                    raise
                self._connections.stay_alone(origin)
                mine = _Dial(self._driver.event())
            if found is None:
                deadline = deadline or budget.deadline(Wait.POOL, clock.now())
                if not await self._wait_for_room(deadline):
                    raise budget.expired(Wait.POOL, f"all {self._limits.max_connections} connections are in use")

    async def prepare(self, origin: Origin, budget: Budget, *, offered: bool = False) -> None:
        """See to it that there is a connection to ``origin``; as ``acquire`` does, which see."""
        self.release(await self.acquire(origin, budget, offered=offered))

    def _find_or_claim(self, origin: Origin, mine: _Dial) -> C | _Dial | None:
        """Return a connection, somebody's dial to wait for, ``mine`` if this caller is to dial; None: wait for room."""
        victim = None
        with self._lock:
            self._require_open()
            connection = self._connections.best(origin)
            if connection is not None and not (connection.saturated and self._connections.may_grow(origin)):
                connection.holds += 1
                return connection
            if origin in self._dials:
                return self._dials[origin]
            if self._is_full():
                if connection is not None:
                    connection.holds += 1
                    return connection
                idle = self._connections.idle()
                if not idle:
                    return None
                victim = idle[0]
                self._connections.drop(*victim)
            self._dials[origin] = mine
        if victim is not None:
            self.discard(*victim)
        return mine

    def _has(self, origin: Origin) -> bool:
        with self._lock:
            return self._connections.best(origin) is not None

    # -- room for one more --------------------------------------------------------------------------

    def hold(self, lease: Lease[C]) -> Lease[C]:
        """Let nobody close the connection to make room."""
        with self._lock:
            lease.connection.holds += 1
        return Lease(lease.connection, lease.reused, True)

    def release(self, lease: Lease[C]) -> None:
        """The request is under way, or over: the connection may go as soon as it is idle."""
        if lease.held:
            with self._lock:
                lease.connection.holds -= 1
            self._room.notice()

    def _is_full(self) -> bool:
        most = self._limits.max_connections
        return most is not None and len(self._connections.every()) + len(self._dials) >= most

    async def _wait_for_room(self, deadline: int) -> bool:
        """Wait until a connection may be idle or gone; return False at ``deadline`` (ns)."""
        event = self._driver.event()
        self._room.waiting.append(event)
        try:
            with self._lock:
                self._require_open()
                if not self._is_full() or self._connections.idle():
                    return True
            return await event.wait(deadline)
        finally:
            self._room.waiting.remove(event)

    # -- making connections -------------------------------------------------------------------------

    async def _dial(self, origin: Origin, budget: Budget, mine: _Dial, offered: bool, early: EarlyRequest | None) -> C:
        connection = await self._connect(origin, budget, offered, early)
        connection.holds = 1
        if self.limited or self._connections.particular:
            connection.on_idle(self._room.notice)
        with self._lock:
            before = None if self._closed else self._connections.put(origin, connection)
        if self._closed:
            connection.close()
            self._require_open()
        if before is not None:
            before.retire()
        self._release(origin, mine, None)
        self._driver.keep_alive(connection)
        self._trim(connection)
        return connection

    async def _connect(self, origin: Origin, budget: Budget, offered: bool, early: EarlyRequest | None) -> C:
        """Return a new connection: by the best route, or to the origin's own address when no route works."""
        host, port, discovery = origin.host, origin.port, self.discovery
        if discovery is None:
            return await dial(self._dialer, self._driver, host, port, budget, self._require_open, early=early)
        while True:
            route = await discovery.route(origin, budget, self._driver.event)
            if route is None and offered:
                raise ConnectError(f"{origin} does not offer HTTP/3")
            try:
                # A request to an alternative has to say so, and it was made without knowing.
                goes_early = early if route is None else None
                connection = await dial(
                    self._dialer, self._driver, host, port, budget, self._require_open, route, goes_early
                )
            except ConnectError as error:
                if route is None:
                    raise
                discovery.failed(origin, route)
                logger.debug("%s does not serve %s: %s", route, origin, error)
                if offered or isinstance(error, ConnectTimeout):
                    raise
            else:
                discovery.offers.succeeded(origin, route)
                return connection

    def _release(self, origin: Origin, mine: _Dial, error: BaseException | None) -> None:
        with self._lock:
            if self._dials.get(origin) is mine:
                del self._dials[origin]
        mine.finish(error)
        self._room.notice()

    def _require_open(self) -> None:
        if self._closed:
            raise NetworkError("the client is closed")

    def discard(self, origin: Origin, connection: C) -> None:
        """Give no more requests to ``connection``; those that run on it go on."""
        with self._lock:
            self._connections.drop(origin, connection)
        connection.retire()
        self._room.notice()

    # -- where origins are served -----------------------------------------------------------------

    def alt_used(self, origin: Origin) -> bytes | None:
        """Return the alternative service that is connected to in place of ``origin``, if that is so."""
        return None if self.discovery is None else self.discovery.alt_used(origin)

    def hear(self, origin: Origin, lease: Lease[C], status: int, fields: Sequence[tuple[bytes, bytes]]) -> None:
        """Take note of what a response says about alternatives: it may take back the one that it came from."""
        if self.discovery is not None and not self.discovery.heard(origin, status, fields):
            self.discard(origin, lease.connection)

    def give_up(self, origin: Origin, lease: Lease[C], error: BaseException) -> None:
        """Give no more requests to a connection that lost one; a new one that carried nothing came by a bad route."""
        self.discard(origin, lease.connection)
        for spare in self._connections.unused_spares(origin):
            self.discard(origin, spare)  # it is as old, and nobody has heard from it
        bad = isinstance(error, HandshakeError) or (isinstance(error, Timeout) and not lease.reused)
        if self.discovery is not None and bad:
            self.discovery.lost(origin)

    # -- moving -----------------------------------------------------------------------------------

    async def migrate(self, origin: Origin | None, local_address: str | None, budget: Budget) -> int:
        """Move the connections to ``origin``, or all, to new sockets; return how many. See :func:`moves.migrate`."""
        with self._lock:
            self._require_open()
            moving = [connection for served, connection in self._connections.every() if origin in (None, served)]
        failures: list[Error] = []
        for connection in moving:
            try:
                await migrate(connection, local_address, budget)
            except Error as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return len(moving)

    # -- the end ----------------------------------------------------------------------------------

    def _trim(self, newest: C) -> None:
        """Close idle connections when there are too many, and forget those that are closed."""
        with self._lock:
            gone = self._connections.superfluous(newest)
        for origin, connection in gone:
            self.discard(origin, connection)

    def close(self) -> None:
        """Close every connection; who uses or makes one gets a ``NetworkError``."""
        with self._lock:
            self._closed = True
            connections = [connection for _, connection in self._connections.every()]
            self._connections.clear()
        self._driver.wake()
        self._room.notice()
        for connection in connections:
            connection.close()
        if self.discovery is not None:
            self.discovery.save()

    def forget(self) -> None:
        """After a fork: these connections belong to the parent process."""
        connections = [connection for _, connection in self._connections.every()]
        self._lock = threading.Lock()
        self._connections, self._dials = Connections(self._limits), {}
        self._room = _Room()
        self._driver.forget()
        if self._dialer.sessions is not None:
            self._dialer.sessions.forget()
        for connection in connections:
            connection.disown()


def _connections_of(owner: weakref.ref[Pool[C]]) -> Callable[[], list[C] | None]:
    """Return what gives the connections of a pool without keeping it."""

    def connections() -> list[C] | None:
        pool = owner()
        if pool is None:
            return None
        with pool._lock:
            return [connection for _, connection in pool._connections.every()]

    return connections


_pools: weakref.WeakSet[Pool[Any]] = weakref.WeakSet()


def _after_fork() -> None:
    for pool in list(_pools):
        pool.forget()


def _at_exit() -> None:
    """Tell the servers, which would keep forgotten connections until they are idle for too long."""
    for pool in list(_pools):
        pool.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
