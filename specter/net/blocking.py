"""The blocking driver: one HTTP/3 connection that any number of threads share, and that has no thread of its own.

Callers drive. At any time at most one waiting thread is the *leader*: it sleeps in the kernel until a datagram
comes or the engine's deadline passes, moves everyone's bytes, and wakes the threads whose exchange got further. The
others are *followers* and sleep until woken. A leader that has what it came for hands over to a follower.

One lock guards the engine and everything below; nobody sleeps with it. A thread that does something while
another one leads sends by itself, and ends the leader's sleep only if that was set to last too long now.

Whatever escapes from the engine in mid-work (Ctrl-C, say) leaves it in an unknown state: the connection is then
given up. Ctrl-C in a sleep, where threads spend their time, costs nothing but the exchange of that thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from threading import Lock, get_ident
from typing import Final

from specter._backend import udp
from specter._wire import NEVER
from specter.errors import LocalProtocolError, NetworkError
from specter.net import clock
from specter.net.channel import Channel
from specter.net.connection import BaseConnection, Fields
from specter.net.exchange import FAILED, Exchange, Sleeper
from specter.net.spinning import spin_then_wait
from specter.net.waiting import wait_for_any
from specter.net.waker import Waker

__all__ = ["BlockingConnection"]

FRESH: Final = clock.SECOND // 5_000
"""A look at the socket is good for so long (ns): a request that follows at once sees nothing new."""
INSTANT: Final = clock.SECOND // 10_000
"""A sleep shorter than this (ns) was none."""
STEP_ASIDE: Final = 50e-6
"""How long (seconds) a busy leader leaves the lock to a thread that asked for it."""


class BlockingConnection(BaseConnection):
    """An established connection to ``host``, shared by threads. ``info`` describes it.

    A leader looks for datagrams without sleeping for ``spin`` ns before it lets the kernel put it to sleep.
    """

    def __init__(self, channel: Channel, host: str, *, spin: int = 0) -> None:
        super().__init__(channel, host)
        self._spin = spin
        self._lock = Lock()
        self._waker = Waker()
        self._leader = 0
        """The thread that leads, 0 for none."""
        self._armed = 0
        """What the sleeping leader's alarm is set to; 0 when it does not sleep."""
        self._asked = 0
        """Counts the threads that wanted the lock while somebody led."""
        self._sleepers: dict[Sleeper, None] = {}

    def tend(self) -> int:
        """Do what is due while nobody waits here; return when something is due again (ns)."""
        if not self._leader and not self.closed:
            with self._lock, self._guard:
                self._work()
        return NEVER if self.closed else self._engine.next_deadline()

    # -- exchanges --------------------------------------------------------------------------------

    def try_open(self, exchange: Exchange, fields: Fields, fin: bool) -> bool:
        self._ask()
        with self._lock, self._guard:
            if not self._leader:
                now = clock.now()
                if now - self._looked_at > FRESH:
                    self._catch_up(now)
            return self._open(exchange, fields, fin)

    def act(self, work: Callable[[], None]) -> None:
        self._ask()
        with self._lock:
            super().act(work)

    def leave_queue(self, exchange: Exchange) -> None:
        with self._lock:
            self._exchanges.leave_queue(exchange)

    def write(self, exchange: Exchange, data: memoryview, *, fin: bool = False) -> int:
        self._ask()
        with self._lock, self._guard:
            taken = self._write(exchange, data, fin)
            if self._leader:
                self._flush()
            else:
                self._work()
            return taken

    def read(self, exchange: Exchange, limit: int) -> bytes:
        self._ask()
        with self._lock, self._guard:
            data = self._engine.read_body(exchange.stream_id, limit)
            self._after_read(exchange, len(data))
            return data

    def readinto(self, exchange: Exchange, view: memoryview) -> int:
        self._ask()
        with self._lock, self._guard:
            count = self._engine.read_body_into(exchange.stream_id, view)
            self._after_read(exchange, count)
            return count

    def release(self, exchange: Exchange) -> None:
        if exchange in self._exchanges or self._owing:
            self._ask()
            with self._lock, self._guard:
                self._release(exchange)

    # -- the end ----------------------------------------------------------------------------------

    def close(self, reason: str = "") -> None:
        self._ask()
        with self._lock, self._guard:
            self._shut(f"the client closed the connection to {self.host}", reason)

    def retire(self) -> None:
        with self._lock, self._guard:
            self._retire()

    def disown(self) -> None:
        self._lock = Lock()
        self._leader = 0
        self._exchanges.failure = partial(NetworkError, "the connection belongs to the parent process")
        self._channel.close()

    def _dispose_if_over(self) -> None:
        if not self.closed:
            return
        if not self._leader:
            self._channel.close()
        elif self._leader != get_ident():
            self._waker.wake()

    def _watch_sockets(self) -> None:
        if self._leader:
            self._waker.wake()

    # -- waiting ----------------------------------------------------------------------------------

    async def until(self, exchange: Exchange, wanted: int, deadline: int) -> bool:
        return self.wait(exchange, wanted, deadline)

    def wait(self, exchange: Exchange, wanted: int, deadline: int) -> bool:
        """Sleep until ``exchange`` has one of the ``wanted`` flags or failed; return False at ``deadline`` (ns)."""
        wanted |= FAILED
        while not exchange.flags & wanted:
            led = self._lead(exchange, wanted, deadline)
            if led is not None:
                return led
            self._follow(exchange, wanted, deadline)
            if clock.now() >= deadline:
                return bool(exchange.flags & wanted)
        return True

    def _lead(self, exchange: Exchange, wanted: int, deadline: int) -> bool | None:
        """Work for everyone until this exchange has what it wants; None when another thread leads."""
        leads, me = False, get_ident()
        try:
            self._ask()
            with self._lock, self._guard:
                if self._leader or exchange.flags & wanted or self.closed:
                    return self._decline(me, exchange, wanted)
                leads, self._leader = True, me
                if self._owing:
                    self._say(clock.now())
                timeout = self._arm(deadline)
            while True:
                self._sleep(timeout)
                with self._lock, self._guard:
                    self._armed = 0
                    now = clock.now()
                    self._catch_up(now)
                    if exchange.flags & wanted:
                        self._owing = True  # what came can be acknowledged after the caller has it
                        return self._step_down(exchange, wanted)
                    self._say(now)
                    if self.closed or now >= deadline:
                        return self._step_down(exchange, wanted)
                    timeout = self._arm(deadline)
        finally:
            if leads and self._leader == me:
                self._leader = 0
                with self._lock:
                    self._succeed()

    def _decline(self, me: int, exchange: Exchange, wanted: int) -> bool | None:
        if self._leader == me:
            raise LocalProtocolError("a signal handler may not use the connection its thread is waiting on")
        self._pass_failure_on(exchange)
        return True if exchange.flags & wanted else None

    def _arm(self, deadline: int) -> int:
        """Set the alarm; return how long to sleep (ns), negative for ever."""
        now = clock.now()
        self._looked_at = now
        self._due = self._engine.next_deadline()
        self._armed = min(self._due, deadline)
        return -1 if self._armed >= NEVER else max(self._armed - now, 0)

    def _sleep(self, timeout: int) -> None:
        asked = self._asked
        pause = self._gathering.pause
        if pause and not self._spin and (timeout < 0 or timeout > pause * clock.SECOND):
            time.sleep(pause)
        socket, fd, spin = self._channel.udp, self._waker.fd, self._spin
        if self._channel.others:
            ready = wait_for_any(self._channel.sockets, fd, timeout)
        else:
            ready = spin_then_wait(socket, timeout, fd, spin) if spin else socket.wait(timeout, fd)
        if ready & udp.WOKEN:
            self._waker.clear()
        if self._asked != asked and clock.now() - self._looked_at < INSTANT:
            time.sleep(STEP_ASIDE)  # a leader that always takes the lock back would starve the others

    def _follow(self, exchange: Exchange, wanted: int, deadline: int) -> None:
        """Sleep while another thread leads."""
        sleeper = Sleeper(wanted)
        leaves = True
        try:
            with self._lock:
                if not self._leader or exchange.flags & wanted:
                    leaves = False
                    return
                self._sleepers[sleeper] = None
                exchange.sleepers.append(sleeper)
            sleeper.sleep(deadline)
            leaves = bool(exchange.flags & wanted) or clock.now() >= deadline
        finally:
            with self._lock:
                if sleeper in self._sleepers:
                    del self._sleepers[sleeper]
                    exchange.sleepers.remove(sleeper)
                if leaves:  # the lead may have been offered to this thread
                    self._succeed()

    def _step_down(self, exchange: Exchange, wanted: int) -> bool:
        """Lead no more; return whether this thread has what it wanted."""
        self._pass_failure_on(exchange)
        self._leader = 0
        self._succeed()
        return bool(exchange.flags & wanted)

    def _succeed(self) -> None:
        """If nobody leads, find somebody."""
        if self._leader:
            return
        self._armed = 0
        self._dispose_if_over()
        for sleeper in self._sleepers:
            if not sleeper.awake:
                sleeper.wake()
                return

    def _ask(self) -> None:
        """Announce that this thread wants the lock, if somebody may be holding it again and again."""
        if self._leader:
            self._asked += 1

    # -- work: all of it under the lock --------------------------------------------------------------

    def _work(self) -> None:
        """Drain the socket, deliver what came, keep the time, send."""
        now = clock.now()
        self._due = 0
        self._catch_up(now)
        self._say(now)

    def _flush(self) -> None:
        """Send, and let a sleeping leader know if it has to wake earlier than it thinks."""
        if self._exchanges.failure is not None:
            return
        self._owing = False
        self._channel.flush(clock.now())
        if self._armed and (self._channel.udp.unsent or self._engine.next_deadline() < self._armed):
            self._armed = 0
            self._waker.wake()
