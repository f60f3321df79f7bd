"""The blocking driver's part of making and keeping connections."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from specter._wire import NEVER
from specter.net import clock
from specter.net.blocking import BlockingConnection
from specter.net.channel import Channel
from specter.net.dialing import Handshake
from specter.net.keepalive import KeepAlive
from specter.net.waiting import wait_for_any
from specter.net.waker import Waker

__all__ = ["ThreadDriver"]


class ThreadEvent:
    """An event that threads wait for."""

    __slots__ = ("_event", "set")

    def __init__(self) -> None:
        self._event = threading.Event()
        self.set = self._event.set

    async def wait(self, deadline: int) -> bool:
        return self._event.wait(clock.remaining(deadline, clock.now()))


class ThreadDriver:
    """Blocks the thread that waits. ``keep_alive`` (seconds) starts a thread that lets unused connections live.

    ``spin``: see :class:`BlockingConnection`.
    """

    def __init__(self, *, keep_alive: float | None = None, spin: int = 0) -> None:
        self._interval = keep_alive
        self._spin = spin
        self._connections: Callable[[], list[BlockingConnection] | None] = list
        self.forget()

    def forget(self) -> None:
        self._waker = Waker()
        self._keeper = KeepAlive(self._interval, self._kept) if self._interval else None

    def _kept(self) -> list[BlockingConnection] | None:
        return self._connections()

    def look_after(self, connections: Callable[[], list[BlockingConnection] | None]) -> None:
        self._connections = connections

    def connection(self, channel: Channel, host: str) -> BlockingConnection:
        return BlockingConnection(channel, host, spin=self._spin)

    def event(self) -> ThreadEvent:
        return ThreadEvent()

    async def park(self, handshakes: Sequence[Handshake], until: int) -> None:
        timeout = -1 if until >= NEVER else max(until - clock.now(), 0)
        if len(handshakes) == 1:
            handshakes[0].channel.udp.wait(timeout, self._waker.fd)
        else:
            wait_for_any([handshake.channel.udp for handshake in handshakes], self._waker.fd, timeout)

    def wake(self) -> None:
        if self._keeper is not None:
            self._keeper.stop()
        self._waker.wake()

    def keep_alive(self, connection: BlockingConnection) -> None:
        if self._keeper is not None:
            self._keeper.start()
