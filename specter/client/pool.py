"""One connection per origin, made when first needed and made again when it is gone."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from typing import Final, NamedTuple

from specter.client.url import Origin
from specter.errors import Error, NetworkError, Timeout
from specter.net import clock
from specter.net.blocking import BlockingConnection
from specter.net.budget import Budget, Wait
from specter.net.dialing import Dialer, dial
from specter.net.failures import again
from specter.net.keepalive import KeepAlive
from specter.net.waker import Waker

__all__ = ["Lease", "Pool"]

MAX_CONNECTIONS: Final = 100
"""Connections beyond this number are closed when idle, the longest unused first."""


class Lease(NamedTuple):
    """A connection to use, and whether somebody used it before."""

    connection: BlockingConnection
    reused: bool


class _Dial:
    """A connection in the making: one thread dials, others that want the same origin wait here."""

    __slots__ = ("_done", "error")

    def __init__(self) -> None:
        self.error: Error | None = None
        self._done = threading.Event()

    def finish(self, error: BaseException | None) -> None:
        """Let the others go on. A failure of the network is theirs too; the dialler's own haste is not."""
        if isinstance(error, Error) and not isinstance(error, Timeout):
            self.error = error
        self._done.set()

    def wait(self, origin: Origin, budget: Budget) -> None:
        deadline = budget.deadline(Wait.CONNECT, clock.now())
        if not self._done.wait(clock.remaining(deadline, clock.now())):
            raise budget.expired(Wait.CONNECT, f"another thread is connecting to {origin}")
        if self.error is not None:
            raise again(self.error)


class Pool:
    """Connections by origin, for any number of threads.

    Connecting to one origin holds up nobody who wants another. Two threads that want the same new origin share
    one dial. ``keep_alive`` (seconds) starts a thread that lets the connections live while unused.
    """

    def __init__(self, dialer: Dialer, *, keep_alive: float | None = None) -> None:
        self._dialer = dialer
        self._lock = threading.Lock()
        self._connections: dict[Origin, BlockingConnection] = {}
        self._dials: dict[Origin, _Dial] = {}
        self._closed = False
        self._waker = Waker()
        self._interval = keep_alive
        self._keep_alive = self._keeper(keep_alive)
        _pools.add(self)

    def _keeper(self, interval: float | None) -> KeepAlive | None:
        if not interval:
            return None
        owner = weakref.ref(self)

        def connections() -> list[BlockingConnection] | None:
            pool = owner()
            if pool is None:
                return None
            with pool._lock:
                return list(pool._connections.values())

        return KeepAlive(interval, connections)

    @property
    def closed(self) -> bool:
        return self._closed

    def acquire(self, origin: Origin, budget: Budget) -> Lease:
        """Return a connection to ``origin`` that looks alive.

        Raises:
            ConnectError: and its kinds; no connection could be made.
            NetworkError: the client is closed.
        """
        connection = self._connections.get(origin)
        if connection is not None and connection.usable():
            return Lease(connection, True)
        if connection is not None:
            self.discard(origin, connection)
        mine = _Dial()
        while True:
            try:
                found = self._find_or_claim(origin, mine)
                if isinstance(found, BlockingConnection):
                    return Lease(found, True)
                if found is mine:
                    return Lease(self._dial(origin, budget, mine), False)
            except BaseException as error:
                self._release(origin, mine, error)
                raise
            found.wait(origin, budget)

    def _find_or_claim(self, origin: Origin, mine: _Dial) -> BlockingConnection | _Dial:
        """Return a connection, somebody's dial to wait for, or ``mine`` if this thread is to dial."""
        with self._lock:
            self._require_open()
            connection = self._connections.get(origin)
            if connection is not None and connection.usable():
                return connection
            return self._dials.setdefault(origin, mine)

    def _dial(self, origin: Origin, budget: Budget, mine: _Dial) -> BlockingConnection:
        connection = dial(self._dialer, origin.host, origin.port, budget, self._require_open, self._waker)
        with self._lock:
            before = self._connections.get(origin)
            if not self._closed:
                self._connections[origin] = connection
        if self._closed:
            connection.close()
            self._require_open()
        if before is not None:
            before.retire()
        self._release(origin, mine, None)
        if self._keep_alive is not None:
            self._keep_alive.start()
        self._trim()
        return connection

    def _release(self, origin: Origin, mine: _Dial, error: BaseException | None) -> None:
        with self._lock:
            if self._dials.get(origin) is mine:
                del self._dials[origin]
        mine.finish(error)

    def _require_open(self) -> None:
        if self._closed:
            raise NetworkError("the client is closed")

    def discard(self, origin: Origin, connection: BlockingConnection) -> None:
        """Give no more requests to ``connection``; those that run on it go on."""
        with self._lock:
            if self._connections.get(origin) is connection:
                del self._connections[origin]
        connection.retire()

    def _trim(self) -> None:
        """Close idle connections when there are too many, and forget those that are closed."""
        with self._lock:
            items = sorted(self._connections.items(), key=lambda item: item[1].used_at)
            gone = [item for item in items if item[1].closed]
            idle = [item for item in items if not item[1].closed and not item[1].busy]
            gone += idle[: max(len(items) - len(gone) - MAX_CONNECTIONS, 0)]
        for origin, connection in gone:
            self.discard(origin, connection)

    def close(self) -> None:
        """Close every connection; threads that use or make one get a ``NetworkError``."""
        with self._lock:
            self._closed = True
            connections = list(self._connections.values())
            self._connections.clear()
        if self._keep_alive is not None:
            self._keep_alive.stop()
        self._waker.wake()
        for connection in connections:
            connection.close()

    def forget(self) -> None:
        """After a fork: these connections belong to the parent process."""
        connections = list(self._connections.values())
        self._lock = threading.Lock()
        self._connections, self._dials = {}, {}
        self._waker = Waker()
        self._keep_alive = self._keeper(self._interval)
        for connection in connections:
            connection.disown()


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


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
