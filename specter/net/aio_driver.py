"""The asyncio driver's part of making and keeping connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from functools import partial

from specter._wire import NEVER
from specter.errors import LocalProtocolError
from specter.net import clock
from specter.net.aio import AsyncConnection, running_loop, watch
from specter.net.channel import Channel
from specter.net.dialing import Handshake

__all__ = ["LoopDriver"]

Wake = asyncio.Future[bool]


def _finish(future: Wake, happened: bool) -> None:
    if not future.done():
        future.set_result(happened)


async def _until(loop: asyncio.AbstractEventLoop, future: Wake, deadline: int) -> bool:
    """Wait for ``future``; return False at ``deadline`` (ns)."""
    if deadline >= NEVER:
        return await future
    seconds = max(deadline - clock.now(), 0) / clock.SECOND
    timer = loop.call_at(loop.time() + seconds, _finish, future, False)
    try:
        return await future
    finally:
        timer.cancel()


class LoopEvent:
    """An event that tasks of one loop wait for, and any thread may let happen."""

    __slots__ = ("_happened", "_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._happened = False
        self._waiting: set[Wake] = set()

    def set(self) -> None:
        self._happened = True
        with contextlib.suppress(RuntimeError):  # the loop was closed, and nobody waits any more
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for future in self._waiting:
            _finish(future, True)

    async def wait(self, deadline: int) -> bool:
        if self._happened:
            return True
        future = self._loop.create_future()
        self._waiting.add(future)
        try:
            return await _until(self._loop, future, deadline)
        finally:
            self._waiting.discard(future)


class LoopDriver:
    """Suspends the task that waits. It belongs to the first event loop it is used in."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._parked: set[Wake] = set()
        self._woken = False

    def forget(self) -> None:
        self._loop = None
        self._parked = set()

    def attach(self) -> asyncio.AbstractEventLoop:
        """Return the event loop of the calling task.

        Raises:
            LocalProtocolError: it is not the one that was used before.
        """
        loop = running_loop()
        if self._loop is None:
            self._loop = loop
        elif loop is not self._loop:
            state = "closed" if self._loop.is_closed() else "another one"
            raise LocalProtocolError(f"the event loop this client was used in is {state}; make a client for each loop")
        return loop

    def require_idle_or_own(self) -> None:
        """What is about to be done touches the loop: allow it in the loop, and while the loop does not run.

        Raises:
            LocalProtocolError: the loop runs in another thread.
        """
        loop = self._loop
        if loop is not None and loop.is_running() and running_loop() is not loop:
            raise LocalProtocolError("this client is in use in another event loop")

    def connection(self, channel: Channel, host: str) -> AsyncConnection:
        return AsyncConnection(channel, host, self.attach())

    def event(self) -> LoopEvent:
        return LoopEvent(self.attach())

    async def park(self, handshakes: Sequence[Handshake], until: int) -> None:
        if self._woken:
            return
        loop = self.attach()
        future = loop.create_future()
        self._parked.add(future)
        sockets = [handshake.channel.udp for handshake in handshakes]
        try:
            for socket in sockets:
                watch(loop, socket.fileno(), partial(_finish, future, True))
                if socket.unsent:
                    loop.add_writer(socket.fileno(), _finish, future, True)
            await _until(loop, future, until)
        finally:
            self._parked.discard(future)
            for socket in sockets:
                loop.remove_reader(socket.fileno())
                loop.remove_writer(socket.fileno())

    def wake(self) -> None:
        self._woken = True
        for future in self._parked:
            if not future.get_loop().is_closed():
                _finish(future, True)

    def look_after(self, connections: Callable[[], list[AsyncConnection] | None]) -> None:
        """Each connection's own timer does what is due."""

    def keep_alive(self, connection: AsyncConnection) -> None:
        """The same."""
