"""Keeps connections alive while nobody uses them: only clients that ask for ``keep_alive`` have this thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from specter.net import clock
from specter.net.blocking import BlockingConnection

__all__ = ["KeepAlive"]

SHORTEST: Final = clock.SECOND // 100
"""How often (ns) the thread looks at its connections at most."""


class KeepAlive:
    """Does the engine's timed work for connections that no caller waits on, PINGs among it.

    One daemon thread for all connections of a client, at work every ``interval`` seconds. ``connections`` gives
    those; the thread ends when there are none, and when it gives None because the client is gone.
    """

    def __init__(self, interval: float, connections: Callable[[], list[BlockingConnection] | None]) -> None:
        self._interval = int(interval * clock.SECOND)
        self._connections = connections
        self._lock = threading.Lock()
        self._worker: threading.Thread | None = None
        self._stop = threading.Event()

    def start(self) -> None:
        """See to it that the thread runs: there is a connection to look after."""
        with self._lock:
            if self._worker is None and not self._stop.is_set():
                self._worker = threading.Thread(target=self._run, name="specter-keep-alive", daemon=True)
                self._worker.start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        pause = self._interval
        while not self._stop.wait(pause / clock.SECOND):
            with self._lock:
                connections = [connection for connection in self._connections() or () if not connection.closed]
                if not connections:
                    self._worker = None
                    return
            pause = self._turn(connections)
            del connections

    def _turn(self, connections: list[BlockingConnection]) -> int:
        """Look after each connection; return how long (ns) there is nothing to do."""
        due = min(connection.tend() for connection in connections)
        return min(max(due - clock.now(), SHORTEST), self._interval)
