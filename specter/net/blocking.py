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
from collections.abc import Callable, Sequence
from functools import partial
from threading import Lock, get_ident
from types import TracebackType
from typing import Final

from specter._backend import udp
from specter._wire import NEVER
from specter.errors import Error, LocalProtocolError, NetworkError
from specter.h3.errors import H3ErrorCode
from specter.net import clock
from specter.net.budget import Budget, Wait
from specter.net.channel import Channel
from specter.net.exchange import END, FAILED, FREE, READABLE, STOPPED, WRITABLE, Exchange, Sleeper
from specter.net.exchanges import Exchanges
from specter.net.gathering import Gathering
from specter.net.info import describe
from specter.net.spinning import spin_then_wait
from specter.net.waker import Waker
from specter.quic.errors import StreamLimitReached

__all__ = ["BlockingConnection"]

REFUSALS: Final = 3
"""ICMP refusals in a row that end a connection: a single one may be forged or stale."""
IDLE_MARGIN: Final = clock.SECOND // 5
"""A connection this near to its idle timeout (ns) gets no new request."""
CREDIT: Final = 32 << 10
"""Bytes read after which flow control credit is sent even though the reader has more to read."""
PAUSE: Final = clock.SECOND
"""After a pause this long (ns) the idle timeout is looked at before what lies in the socket."""
INSTANT: Final = clock.SECOND // 10_000
"""A sleep shorter than this (ns) was none."""
STEP_ASIDE: Final = 50e-6
"""How long (seconds) a busy leader leaves the lock to a thread that asked for it."""


class BlockingConnection:
    """An established connection to ``host``, shared by threads. ``info`` describes it.

    A leader looks for datagrams without sleeping for ``spin`` ns before it lets the kernel put it to sleep.
    """

    def __init__(self, channel: Channel, host: str, *, spin: int = 0) -> None:
        self.host = host
        self._spin = spin
        self.info = describe(channel)
        self._channel = channel
        self._engine = channel.engine
        self._quic = channel.quic
        self._exchanges = Exchanges(host)
        self._lock = Lock()
        self._guard = _Guard(self)
        self._waker = Waker()
        self._gathering = Gathering()
        self._leader = 0
        """The thread that leads, 0 for none."""
        self._armed = 0
        """What the sleeping leader's alarm is set to; 0 when it does not sleep."""
        self._asked = 0
        """Counts the threads that wanted the lock while somebody led."""
        self._sleepers: dict[Sleeper, None] = {}
        self._owing = False
        """Whether what came was not answered yet: not before the caller has it, but before anybody sleeps."""
        self._unsaid = 0
        """Bytes read since the peer could last hear of it."""
        self._looked_at = clock.now()

    # -- state ------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        return self._exchanges.failure is not None

    @property
    def busy(self) -> bool:
        """Whether exchanges are open or wait for a stream."""
        return len(self._exchanges) > 0

    @property
    def channel(self) -> Channel:
        return self._channel

    @property
    def used_at(self) -> int:
        """When it was last looked at (ns)."""
        return self._looked_at

    def on_token(self, keep: Callable[[bytes], None]) -> None:
        """Have ``keep`` called with tokens for the next connection to this server; it must not wait."""
        self._exchanges.on_token = keep

    def usable(self) -> bool:
        """Return whether a new request has a chance; a look at what came in meanwhile is taken when it is opened."""
        if self.closed or self._exchanges.retired:
            return False
        return self.busy or not self._expired(clock.now())

    def _expired(self, now: int) -> bool:
        """Whether the idle timeout has passed, or is so near that a packet may come too late (RFC 9000, 10.1.2)."""
        quic = self._quic
        return now + IDLE_MARGIN + 3 * quic.stats.smoothed_rtt >= quic.idle_deadline

    @property
    def round_trip(self) -> float:
        """The smoothed round-trip time in seconds."""
        return self._quic.stats.smoothed_rtt / clock.SECOND

    @property
    def signs_of_life(self) -> int:
        """Counts what came from the peer, and from nobody else."""
        stats = self._quic.stats
        return stats.datagrams_received - stats.packets_dropped

    def tend(self) -> int:
        """Do what is due while nobody waits here; return when something is due again (ns)."""
        if not self._leader and not self.closed:
            with self._lock, self._guard:
                self._work()
        return NEVER if self.closed else self._engine.next_deadline()

    # -- exchanges --------------------------------------------------------------------------------

    def open(self, exchange: Exchange, fields: Sequence[tuple[bytes, bytes]], *, fin: bool, budget: Budget) -> None:
        """Send a request's header section; wait for a free stream where the server allows no more right now.

        Raises:
            Error: ``exchange.retry_safe`` then tells whether the request never left.
        """
        deadline = 0
        try:
            while not self._try_open(exchange, fields, fin):
                deadline = deadline or budget.deadline(Wait.POOL, clock.now())
                if not self.wait(exchange, FREE, deadline):
                    raise budget.expired(Wait.POOL, f"{self.host} allows no more streams at once")
        finally:
            if exchange.stream_id < 0:
                with self._lock:
                    self._exchanges.leave_queue(exchange)

    def _try_open(self, exchange: Exchange, fields: Sequence[tuple[bytes, bytes]], fin: bool) -> bool:
        self._ask()
        with self._lock, self._guard:
            if not self._leader:
                self._catch_up(clock.now())
            self._require_open(exchange)
            try:
                if not self._exchanges.may_start(exchange):
                    self._exchanges.enqueue(exchange)
                    return False
                stream_id = self._engine.send_request(fields, fin=fin)
            except StreamLimitReached:
                self._exchanges.enqueue(exchange)
                return False
            except LocalProtocolError:
                self._deliver()
                self._require_open(exchange)
                raise
            exchange.stream_id, exchange.sent_all = stream_id, fin
            exchange.signs = self.signs_of_life
            self._exchanges.add(exchange)
            self._flush()
            return True

    def _require_open(self, exchange: Exchange) -> None:
        failure = self._exchanges.failure
        if failure is not None:
            exchange.retry_safe = True
            raise failure()
        if self._exchanges.retired:
            exchange.retry_safe = True
            raise NetworkError(f"the connection to {self.host} takes no new requests")

    def write(self, exchange: Exchange, data: memoryview, *, fin: bool = False) -> int:
        """Hand over part of the request's body without waiting; return the bytes taken.

        ``fin`` counts when all was taken. After 0 for a non-empty ``data``, wait for ``WRITABLE``.
        """
        self._ask()
        with self._lock, self._guard:
            if exchange.flags & (FAILED | STOPPED):
                return 0
            taken = self._engine.send_body(exchange.stream_id, data, fin=fin)
            if taken == len(data):
                exchange.sent_all = fin
            elif not taken:
                exchange.flags &= ~WRITABLE
            if self._leader:
                self._flush()
            else:
                self._work()
            return taken

    def read(self, exchange: Exchange, limit: int) -> bytes:
        """Return up to ``limit`` bytes of the response's body that are here, without waiting."""
        self._ask()
        with self._lock, self._guard:
            data = self._engine.read_body(exchange.stream_id, limit)
            self._after_read(exchange, len(data))
            return data

    def readinto(self, exchange: Exchange, view: memoryview) -> int:
        """Move body bytes that are here into ``view``; return how many."""
        self._ask()
        with self._lock, self._guard:
            count = self._engine.read_body_into(exchange.stream_id, view)
            self._after_read(exchange, count)
            return count

    def _after_read(self, exchange: Exchange, count: int) -> None:
        if not count:
            exchange.flags &= ~READABLE
        self._deliver()
        self._unsaid += count
        if not exchange.flags & END and (not count or self._unsaid >= CREDIT):
            self._unsaid = 0
            self._flush()

    def release(self, exchange: Exchange) -> None:
        """The caller is done with the exchange: what is unfinished of it is cancelled."""
        if exchange not in self._exchanges and not self._owing:
            return
        self._ask()
        with self._lock, self._guard:
            if self._exchanges.remove(exchange) and not self.closed:
                if not (exchange.flags & END and exchange.sent_all):
                    self._engine.cancel(exchange.stream_id)
                self._close_if_done()
            self._flush()

    # -- the end ----------------------------------------------------------------------------------

    def close(self, reason: str = "") -> None:
        """Say goodbye and be gone; who still waits gets a ``NetworkError``."""
        self._ask()
        with self._lock, self._guard:
            self._shut(f"the client closed the connection to {self.host}", reason)

    def retire(self) -> None:
        """Take no new requests, and close when the last exchange is over."""
        with self._lock, self._guard:
            self._exchanges.retire(f"the connection to {self.host} takes no new requests")
            self._close_if_done()

    def disown(self) -> None:
        """In the child of a fork: the connection is the parent's. Say nothing, forget it."""
        self._lock = Lock()
        self._leader = 0
        self._exchanges.failure = partial(NetworkError, "the connection belongs to the parent process")
        self._channel.close()

    def _close_if_done(self) -> None:
        if self._exchanges.retired and not self.busy:
            self._shut(f"the connection to {self.host} was closed", "")

    def _shut(self, message: str, reason: str) -> None:
        if not self.closed:
            self._engine.close(H3ErrorCode.H3_NO_ERROR, reason)
            self._channel.flush(clock.now())
            self._exchanges.end(partial(NetworkError, message))
        self._dispose_if_over()

    def _dispose_if_over(self) -> None:
        """Close the socket once the connection is over and nobody sleeps on it."""
        if not self.closed:
            return
        if not self._leader:
            self._channel.close()
        elif self._leader != get_ident():
            self._waker.wake()

    def _broken(self, error: BaseException) -> None:
        """The engine stopped in mid-work: it cannot be trusted any more."""
        what = type(error).__name__
        message = f"the connection to {self.host} was given up ({what} while it was at work)"
        self._exchanges.end(partial(NetworkError, message))
        self._dispose_if_over()

    # -- waiting ----------------------------------------------------------------------------------

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

    def _pass_failure_on(self, exchange: Exchange) -> None:
        """An exchange that came too late to be among those that failed."""
        if self._exchanges.failure is not None:
            exchange.fail(self._exchanges.failure, retry_safe=exchange.stream_id < 0)

    def _arm(self, deadline: int) -> int:
        """Set the alarm; return how long to sleep (ns), negative for ever."""
        now = clock.now()
        self._looked_at = now
        self._armed = min(self._engine.next_deadline(), deadline)
        return -1 if self._armed >= NEVER else max(self._armed - now, 0)

    def _sleep(self, timeout: int) -> None:
        asked = self._asked
        pause = self._gathering.pause
        if pause and not self._spin and (timeout < 0 or timeout > pause * clock.SECOND):
            time.sleep(pause)
        socket, fd, spin = self._channel.udp, self._waker.fd, self._spin
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
        self._catch_up(now)
        self._say(now)

    def _say(self, now: int) -> None:
        """Send what the engine has to say."""
        if self._exchanges.failure is not None:
            return
        self._owing = False
        self._channel.flush(now)
        if self._channel.refusals:
            self._doubt(now)
            self._dispose_if_over()

    def _catch_up(self, now: int) -> None:
        """Drain the socket, deliver what came, keep the time."""
        if self._exchanges.failure is not None:
            return
        engine, before = self._engine, self._looked_at
        self._looked_at = now
        if now - before >= PAUSE and self._quic.idle_deadline <= now:
            engine.handle_deadline(now)
            self._deliver()
        datagrams = self._channel.receive(now)
        if datagrams:
            self._gathering.count(datagrams, now - before)
            self._deliver()
        if engine.next_deadline() <= now:
            engine.handle_deadline(now)
            self._deliver()

    def _deliver(self) -> None:
        exchanges = self._exchanges
        exchanges.deliver(self._engine)
        if exchanges.retired:
            self._close_if_done()
        if exchanges.failure is not None:
            self._channel.flush(clock.now())  # the engine's last word
            self._dispose_if_over()

    def _doubt(self, now: int) -> None:
        """The network says that nobody listens: ask again, and believe it the third time."""
        if self._channel.refusals >= REFUSALS:
            self._exchanges.end(partial(NetworkError, f"{self.host} refused the connection (ICMP port unreachable)"))
        else:
            self._quic.ping()
            self._channel.flush(now)

    def _flush(self) -> None:
        """Send, and let a sleeping leader know if it has to wake earlier than it thinks."""
        if self._exchanges.failure is not None:
            return
        self._owing = False
        self._channel.flush(clock.now())
        if self._armed and (self._channel.udp.unsent or self._engine.next_deadline() < self._armed):
            self._armed = 0
            self._waker.wake()


class _Guard:
    """Around the engine's work: anything but the errors it is meant to raise means it stopped half-way."""

    __slots__ = ("_connection",)

    def __init__(self, connection: BlockingConnection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, Error):
            self._connection._broken(error)
