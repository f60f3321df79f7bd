"""A server that notes how its clients end streams early."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from specter.h3 import events
from specter.h3.connection import H3Connection
from specter.net.entropy import SystemEntropy
from specter.quic.connection import Connection
from specter.testing.responder import Responder
from specter.testing.server import Server

__all__ = ["Ending", "WatchingServer"]


class Ending(NamedTuple):
    """``"reset"``: the client sends no more; ``"stop"``: it reads no more."""

    kind: str
    code: int


class WatchingServer(Server):
    """``endings`` has them in the order they came."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.endings: list[Ending] = []
        self.requests = 0

    def _wrap(self, connection: Connection) -> Responder:
        h3 = H3Connection(connection, self.h3_config, entropy=SystemEntropy())
        return Watching(self, h3, self._site, gather=self._site.wants_bodies, delay=self.delay)

    def wait_for(self, count: int, seconds: float = 5) -> list[Ending]:
        """Return the endings once there are ``count`` of them."""
        end = time.monotonic() + seconds
        while len(self.endings) < count and time.monotonic() < end:
            time.sleep(0.002)
        return list(self.endings)


class Watching(Responder):
    def __init__(self, server: WatchingServer, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._server = server

    def _handle(self, event: events.H3Event, now: int) -> int | None:
        if isinstance(event, events.RequestReceived):
            self._server.requests += 1
        elif isinstance(event, events.ExchangeFailed) and event.remote:
            self._server.endings.append(Ending("reset", event.error_code))
        elif isinstance(event, events.PeerStoppedReading):
            self._server.endings.append(Ending("stop", event.error_code))
        return super()._handle(event, now)
