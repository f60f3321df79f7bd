"""The asyncio driver: one HTTP/3 connection that any number of tasks of one event loop share.

The loop watches the socket. A wake-up moves one whole burst, so that tasks and other connections have their turn
between two bursts. What is to be sent is sent once a turn, after every task that got further had its say, by one
callback that also sets the one timer: for the engine and for every wait with a time limit. It is only set anew when
something is due earlier than before; what is due later is found out when it fires.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import partial
from typing import Any, Final

from specter._wire import NEVER
from specter.errors import LocalProtocolError, NetworkError
from specter.net import clock
from specter.net.channel import Channel
from specter.net.connection import BaseConnection, Fields
from specter.net.exchange import FAILED, READABLE, Exchange

__all__ = ["AsyncConnection", "running_loop", "watch"]

STALE: Final = clock.SECOND // 100
"""When the loop did not look at the socket for so long (ns), what lies in it is read before a request is sent."""
TURN: Final = 1 << 20
"""Bytes that readers who need not wait are given before other tasks have their turn."""
TICK: Final = 1_000_000
"""What event loops round timers to (ns): a timer set for less may fire too early, again and again."""


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of the calling task.

    Raises:
        LocalProtocolError: there is none, or it is not asyncio's.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise LocalProtocolError("AsyncClient needs a running asyncio event loop") from None


def watch(loop: asyncio.AbstractEventLoop, fd: int, callback: Callable[[], None]) -> None:
    """Have ``callback`` called when ``fd`` is readable.

    Raises:
        LocalProtocolError: that is not for this loop to do.
    """
    try:
        loop.add_reader(fd, callback)
    except NotImplementedError:
        raise LocalProtocolError(f"AsyncClient cannot have its sockets watched by a {type(loop).__name__}") from None


class Waiter:
    """A task that waits for one of the flags ``wanted``."""

    __slots__ = ("_connection", "deadline", "future", "wanted")

    def __init__(self, connection: AsyncConnection, wanted: int, deadline: int, future: asyncio.Future[None]) -> None:
        self._connection = connection
        self.wanted = wanted
        self.deadline = deadline
        self.future = future

    def wake(self) -> None:
        """Let the task go on in the loop's next turn."""
        if not self.future.done():
            self._connection.woken = True
            try:
                self.future.set_result(None)
            except RuntimeError:  # the loop was closed, and the task left in it
                return


class Beside:
    """A task that does something for another one."""

    __slots__ = ("_task", "cancel")

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task
        self.cancel = task.cancel

    async def ended(self) -> None:
        await asyncio.wait([self._task])


class AsyncConnection(BaseConnection):
    """An established connection to ``host``, shared by the tasks of ``loop``. ``info`` describes it."""

    suspends = True

    def __init__(self, channel: Channel, host: str, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(channel, host)
        self._loop = loop
        self._waiters: dict[Waiter, None] = {}
        self._first_limit = NEVER
        """No waiter's deadline is earlier (ns)."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = NEVER
        """When the timer fires (ns)."""
        self._settling = False
        """Whether ``_settle`` is on its way."""
        self._writing = False
        """Whether the loop looks for room in a socket: in that of ``_room_descriptor``."""
        self._room_descriptor = -1
        self._watched = True
        self.woken = False
        """Whether a task was woken since this was set to False."""
        self._given = 0
        """Bytes that readers were given in this turn."""
        self._postponed: list[Exchange] = []
        """Those who read on in the next turn."""
        self._context = Context()
        """For what the loop calls: nothing of the task that happened to connect."""
        self._descriptors: list[int] = []
        """Which sockets the loop watches."""
        self._watch_sockets()
        self._flush()

    # -- exchanges --------------------------------------------------------------------------------

    def try_open(self, exchange: Exchange, fields: Fields, fin: bool) -> bool:
        now, alone = clock.now(), not self._settling
        with self._guard:
            if now - self._looked_at > STALE:
                self._catch_up(now)
                self._flush()
            opened = self._open(exchange, fields, fin)
            if alone and opened:
                self._say(now)  # not later than it was made; the next ones of this turn go together
            return opened

    def act(self, work: Callable[[], None]) -> None:
        self._require_loop()
        super().act(work)

    def leave_queue(self, exchange: Exchange) -> None:
        self._exchanges.leave_queue(exchange)

    def write(self, exchange: Exchange, data: memoryview, *, fin: bool = False) -> int:
        with self._guard:
            taken = self._write(exchange, data, fin)
            self._flush()
            return taken

    def read(self, exchange: Exchange, limit: int) -> bytes:
        if self._given >= TURN:
            self._postpone(exchange)
            return b""
        with self._guard:
            data = self._engine.read_body(exchange.stream_id, limit)
            self._given += len(data)
            self._after_read(exchange, len(data))
            return data

    def readinto(self, exchange: Exchange, view: memoryview) -> int:
        if self._given >= TURN:
            self._postpone(exchange)
            return 0
        with self._guard:
            count = self._engine.read_body_into(exchange.stream_id, view)
            self._given += count
            self._after_read(exchange, count)
            return count

    def _postpone(self, exchange: Exchange) -> None:
        """Let others have their turn: ``exchange`` can be read on in the next one."""
        exchange.flags &= ~READABLE
        self._postponed.append(exchange)
        self._flush()

    def release(self, exchange: Exchange) -> None:
        if exchange in self._exchanges:
            with self._guard:
                self._release(exchange)

    def start(self, work: Coroutine[Any, Any, None], name: str) -> Beside:
        return Beside(self._loop.create_task(work, name=name))

    # -- waiting ----------------------------------------------------------------------------------

    async def until(self, exchange: Exchange, wanted: int, deadline: int) -> bool:
        wanted |= FAILED
        if not exchange.flags & wanted and self.closed:
            self._pass_failure_on(exchange)
        if exchange.flags & wanted:
            return True
        self._require_loop()
        waiter = Waiter(self, wanted, deadline, self._loop.create_future())
        exchange.sleepers.append(waiter)
        self._waiters[waiter] = None
        if deadline < self._first_limit:
            self._first_limit = deadline
            if deadline < self._timer_at:
                self._flush()
        try:
            await waiter.future
        finally:
            exchange.sleepers.remove(waiter)
            del self._waiters[waiter]
        return bool(exchange.flags & wanted)

    def _require_loop(self) -> None:
        if running_loop() is not self._loop:
            raise LocalProtocolError(f"the connection to {self.host} belongs to another event loop")

    def _expire(self, now: int) -> None:
        """Wake those whose time is up."""
        first = NEVER
        for waiter in self._waiters:
            if waiter.deadline <= now:
                waiter.wake()
            elif waiter.deadline < first:
                first = waiter.deadline
        self._first_limit = first

    # -- the end ----------------------------------------------------------------------------------

    def close(self, reason: str = "") -> None:
        with self._guard:
            self._shut(f"the client closed the connection to {self.host}", reason)

    def retire(self) -> None:
        with self._guard:
            self._retire()

    def disown(self) -> None:
        self._exchanges.failure = partial(NetworkError, "the connection belongs to the parent process")
        self._channel.close()

    def _dispose_if_over(self) -> None:
        if not self.closed or not self._watched:
            return
        self._watched = False
        if not self._loop.is_closed():
            for descriptor in self._descriptors:
                self._loop.remove_reader(descriptor)
            self._watch_for_room(False)
            if self._timer is not None:
                self._timer.cancel()
        self._timer = None
        self._channel.close()

    def _watch_sockets(self) -> None:
        if not self._watched or self._loop.is_closed():
            return
        self._watch_for_room(False)
        descriptors = [socket.fileno() for socket in self._channel.sockets]
        for gone in set(self._descriptors).difference(descriptors):
            self._loop.remove_reader(gone)
        for new in set(descriptors).difference(self._descriptors):
            Context().run(watch, self._loop, new, self._on_readable)  # in ``_context`` this may be already
        self._descriptors = descriptors

    # -- what the loop calls ------------------------------------------------------------------------

    def _on_readable(self) -> None:
        self.woken = False
        with self._guard:
            self._catch_up(clock.now())
            self._after_turn()

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, NEVER
        self.woken = False
        now = clock.now()
        with self._guard:
            self._catch_up(now)
            if self._first_limit <= now:
                self._expire(now)
            self._after_turn()

    def _on_room(self) -> None:
        with self._guard:
            self._settle()

    def _after_turn(self) -> None:
        """Answer what came: after the tasks that it woke, which may have more to say."""
        if self.woken:
            self._flush()
        elif not self._settling:
            self._settle()

    # -- sending ------------------------------------------------------------------------------------

    def _flush(self) -> None:
        if not self._settling and self._watched and not self._loop.is_closed():
            self._settling = True
            self._loop.call_soon(self._settle_turn, context=self._context)

    def _settle_turn(self) -> None:
        self._settling, self._given = False, 0
        postponed, self._postponed = self._postponed, []
        for exchange in postponed:
            exchange.signal(READABLE)
        with self._guard:
            self._settle()

    def _settle(self) -> None:
        """Send what there is to send, and set the timer."""
        now = clock.now()
        self._say(now)
        if not self._watched:
            return
        waiting = self._channel.udp.unsent > 0
        if waiting is not self._writing:
            self._watch_for_room(waiting)
        due = min(self._engine.next_deadline(), self._first_limit)
        if due < self._timer_at:
            self._set_timer(due, now)

    def _set_timer(self, due: int, now: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        ticks = max(-((now - due) // TICK), 0)
        self._timer_at = due
        when = self._loop.time() + ticks * TICK / clock.SECOND
        self._timer = self._loop.call_at(when, self._on_timer, context=self._context)

    def _watch_for_room(self, wanted: bool) -> None:
        """Have the loop say when the socket takes more, or no longer."""
        if self._writing:
            self._loop.remove_writer(self._room_descriptor)
        if wanted:
            self._room_descriptor = self._channel.udp.fileno()
            self._loop.add_writer(self._room_descriptor, self._on_room)
        self._writing = wanted
