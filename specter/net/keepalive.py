"""Keeps connections alive while nobody uses them: only clients that ask for ``keep_alive`` have this thread."""

from __future__ import annotations

import threading
import weakref
from typing import Final

from specter.net import clock
from specter.net.blocking import BlockingConnection

__all__ = ["KeepAlive"]

SHORTEST: Final = clock.SECOND // 100
"""How often (ns) the thread looks at its connections at most."""


class KeepAlive:
    """Does the engine's timed work for connections that no caller waits on, PINGs among it.

    One daemon thread for all connections of a client; it ends when there are none.
    """

    def __init__(self, interval: float) -> None:
        self._interval = int(interval * clock.SECOND)
        self._connections: weakref.WeakSet[BlockingConnection] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def add(self, connection: BlockingConnection) -> None:
        with self._lock:
            self._connections.add(connection)
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="specter-keep-alive", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        pause = self._interval
        while not self._stop.wait(pause / clock.SECOND):
            with self._lock:
                connections = [connection for connection in self._connections if not connection.closed]
                if not connections:
                    self._thread = None
                    return
            pause = self._turn(connections)
            del connections

    def _turn(self, connections: list[BlockingConnection]) -> int:
        """Look after each connection; return how long (ns) there is nothing to do."""
        due = min(connection.tend() for connection in connections)
        return min(max(due - clock.now(), SHORTEST), self._interval)
