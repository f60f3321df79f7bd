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
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from threading import Lock, get_ident
from types import TracebackType
from typing import Any, Final

from specter._backend import udp
from specter._wire import NEVER
from specter.errors import Error, LocalProtocolError, NetworkError
from specter.h3 import events
from specter.h3.errors import H3ErrorCode
from specter.net import clock
from specter.net.budget import Budget, Wait
from specter.net.channel import Channel
from specter.net.exchange import END, FAILED, FREE, HEAD, READABLE, STOPPED, WRITABLE, Exchange, Sleeper
from specter.net.failures import Failure, connection_failure, exchange_failure
from specter.net.info import describe
from specter.net.waker import Waker
from specter.quic.errors import StreamLimitReached
from specter.quic.events import ConnectionClosed, TokenReceived

__all__ = ["BlockingConnection"]

REFUSALS: Final = 3
"""ICMP refusals in a row that end a connection: a single one may be forged or stale."""
IDLE_MARGIN: Final = clock.SECOND // 5
"""A connection this near to its idle timeout (ns) gets no new request."""
CREDIT: Final = 32 << 10
"""Bytes read after which flow control credit is sent even though the reader has more to read."""
PAUSE: Final = clock.SECOND
"""After a pause this long (ns) the idle timeout is looked at before what lies in the socket."""
STEP_ASIDE: Final = 50e-6
"""How long (seconds) a busy leader leaves the lock to a thread that asked for it."""


class BlockingConnection:
    """An established connection to ``host``, shared by threads.

    ``reserve`` etc. raise the exceptions of :mod:`specter.errors` only.
    """

    def __init__(self, channel: Channel, host: str) -> None:
        self.host = host
        self.info = describe(channel)
        self._channel = channel
        self._engine = channel.engine
        self._quic = channel.quic
        self._lock = Lock()
        self._guard = _Guard(self)
        self._waker = Waker()
        self._leader = 0
        self._armed = 0
        """What the sleeping leader's alarm is set to; 0 when it does not sleep."""
        self._asked = 0
        """Counts the threads that wanted the lock while somebody led."""
        self._unsaid = 0
        """Bytes read since the peer could last hear of it."""
        self._sleepers: dict[Sleeper, None] = {}
        self._exchanges: dict[int, Exchange] = {}
        self._queue: deque[Exchange] = deque()
        """Those that found no free stream, in the order they came."""
        self._failure: Failure | None = None
        self._retired = False
        self._looked_at = clock.now()
        self.on_token: Callable[[bytes], None] | None = None
        """Called with a token for the next connection to this server; quick and without waiting."""

    # -- state ------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        return self._failure is not None

    @property
    def busy(self) -> bool:
        """Whether exchanges are open or wait for a stream."""
        return bool(self._exchanges or self._queue)

    @property
    def channel(self) -> Channel:
        return self._channel

    def usable(self) -> bool:
        """Return whether a new request has a chance; a look at what came in meanwhile is taken when it is opened."""
        if self._failure is not None or self._retired:
            return False
        return bool(self._exchanges) or not self._expired(clock.now())

    @property
    def used_at(self) -> int:
        """When it was last looked at (ns)."""
        return self._looked_at

    def tend(self) -> int:
        """Do what is due while nobody waits here; return when something is due again (ns)."""
        if not self._leader and self._failure is None:
            with self._lock, self._guard:
                self._work()
        return NEVER if self._failure is not None else self._engine.next_deadline()

    def _expired(self, now: int) -> bool:
        """Whether the idle timeout has passed, or is so near that a packet may come too late (RFC 9000, 10.1.2)."""
        quic = self._quic
        return now + IDLE_MARGIN + 3 * quic.stats.smoothed_rtt >= quic.idle_deadline

    def quiet_since(self, moment: int) -> bool:
        """Whether nothing has arrived after ``moment`` (ns)."""
        return self._channel.heard_at <= moment

    @property
    def signs_of_life(self) -> int:
        """Counts what came from the peer, and from nobody else."""
        stats = self._quic.stats
        return stats.datagrams_received - stats.packets_dropped

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
                self._leave_queue(exchange)

    def _try_open(self, exchange: Exchange, fields: Sequence[tuple[bytes, bytes]], fin: bool) -> bool:
        self._ask()
        with self._lock, self._guard:
            if not self._leader:
                self._catch_up(clock.now())
            self._require_open(exchange)
            if self._queue and self._queue[0] is not exchange:
                return self._enqueue(exchange)
            try:
                stream_id = self._engine.send_request(fields, fin=fin)
            except StreamLimitReached:
                return self._enqueue(exchange)
            exchange.stream_id, exchange.sent_all, exchange.sent_at = stream_id, fin, clock.now()
            self._exchanges[stream_id] = exchange
            self._flush()
            if self._queue:
                self._advance_queue(exchange)
            return True

    def _require_open(self, exchange: Exchange) -> None:
        if self._failure is None and not self._retired:
            return
        exchange.retry_safe = True
        raise self._failure() if self._failure else NetworkError(f"{self.host} takes no new requests (GOAWAY)")

    def _enqueue(self, exchange: Exchange) -> bool:
        exchange.flags &= ~FREE
        if exchange not in self._queue:
            self._queue.append(exchange)
        return False

    def _advance_queue(self, served: Exchange) -> None:
        """``served`` has its stream: let the next in line try."""
        if self._queue[0] is served:
            self._queue.popleft()
        if self._queue:
            self._queue[0].signal(FREE)

    def _leave_queue(self, exchange: Exchange) -> None:
        with self._lock, self._guard:
            if exchange in self._queue:
                self._queue.remove(exchange)
                if self._queue:
                    self._queue[0].signal(FREE)

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
        if exchange.stream_id not in self._exchanges:
            return
        self._ask()
        with self._lock, self._guard:
            if self._exchanges.pop(exchange.stream_id, None) is None or self._failure is not None:
                return
            if not (exchange.flags & END and exchange.sent_all):
                self._engine.cancel(exchange.stream_id)
            self._flush()
            self._close_if_done()

    # -- the end ----------------------------------------------------------------------------------

    def close(self, reason: str = "") -> None:
        """Say goodbye and be gone; who still waits gets a ``NetworkError``."""
        self._ask()
        with self._lock, self._guard:
            self._shut(partial(NetworkError, f"the client closed the connection to {self.host}"), reason)

    def retire(self) -> None:
        """Take no new requests, and close when the last exchange is over."""
        with self._lock, self._guard:
            self._retired = True
            self._fail_queue(partial(NetworkError, f"the connection to {self.host} is not used any more"))
            self._close_if_done()

    def disown(self) -> None:
        """In the child of a fork: the connection is the parent's. Say nothing, forget it."""
        self._failure = partial(NetworkError, "the connection belongs to the parent process")
        self._channel.close()

    def _close_if_done(self) -> None:
        if self._retired and not self.busy:
            self._shut(partial(NetworkError, f"the connection to {self.host} was closed"), "")

    def _shut(self, failure: Failure, reason: str) -> None:
        if self._failure is None:
            self._engine.close(H3ErrorCode.H3_NO_ERROR, reason)
            self._channel.flush(clock.now())
            self._end(failure)
        self._dispose_if_over()

    def _end(self, failure: Failure) -> None:
        """Fail everything that is open."""
        if self._failure is None:
            self._failure = failure
        exchanges = list(self._exchanges.values())
        self._exchanges.clear()
        for exchange in exchanges:
            exchange.fail(failure, retry_safe=False)
        self._fail_queue(failure)

    def _fail_queue(self, failure: Failure) -> None:
        while self._queue:
            self._queue.popleft().fail(failure, retry_safe=True)

    def _dispose_if_over(self) -> None:
        """Close the socket once the connection is over and nobody sleeps on it."""
        if self._failure is None:
            return
        if not self._leader:
            self._channel.close()
        elif self._leader != get_ident():
            self._waker.wake()

    def _broken(self, error: BaseException) -> None:
        """The engine stopped in mid-work: it cannot be trusted any more."""
        what = type(error).__name__
        self._end(partial(NetworkError, f"the connection to {self.host} was given up ({what} while it was at work)"))
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
        me = get_ident()
        try:
            self._ask()
            with self._lock, self._guard:
                if self._leader or exchange.flags & wanted or self._failure is not None:
                    return self._decline(me, exchange, wanted)
                self._leader = me
                timeout = self._arm(deadline)
            while True:
                self._sleep(timeout)
                with self._lock, self._guard:
                    self._armed = 0
                    self._work()
                    if exchange.flags & wanted or self.closed or clock.now() >= deadline:
                        self._step_down(exchange)
                        return bool(exchange.flags & wanted)
                    timeout = self._arm(deadline)
        finally:
            if self._leader == me:
                self._leader = 0
                with self._lock:
                    self._succeed()

    def _decline(self, me: int, exchange: Exchange, wanted: int) -> bool | None:
        if self._leader == me:
            raise LocalProtocolError("a signal handler may not use the connection its thread is waiting on")
        if self._failure is not None:
            exchange.fail(self._failure, retry_safe=exchange.stream_id < 0)
        return True if exchange.flags & wanted else None

    def _arm(self, deadline: int) -> int:
        """Set the alarm; return how long to sleep (ns), negative for ever."""
        now = clock.now()
        self._looked_at = now
        self._armed = min(self._engine.next_deadline(), deadline)
        return -1 if self._armed >= NEVER else max(self._armed - now, 0)

    def _sleep(self, timeout: int) -> None:
        asked = self._asked
        if self._channel.udp.wait(timeout, self._waker.fd) & udp.WOKEN:
            self._waker.clear()
        if self._asked != asked:
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

    def _step_down(self, exchange: Exchange) -> None:
        if self._failure is not None:
            exchange.fail(self._failure, retry_safe=exchange.stream_id < 0)
        self._leader = 0
        self._succeed()

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
        if self._failure is None:
            now = clock.now()
            self._catch_up(now)
            self._channel.flush(now)
            if self._channel.refusals:
                self._doubt(now)
            self._dispose_if_over()

    def _catch_up(self, now: int) -> None:
        """Drain the socket, deliver what came, keep the time."""
        if self._failure is not None:
            return
        engine, before = self._engine, self._looked_at
        self._looked_at = now
        if now - before >= PAUSE and self._quic.idle_deadline <= now:
            engine.handle_deadline(now)
            self._deliver()
        if self._channel.receive(now):
            self._deliver()
        if engine.next_deadline() <= now:
            engine.handle_deadline(now)
            self._deliver()
        if self.closed:
            self._channel.flush(now)
            self._dispose_if_over()

    def _doubt(self, now: int) -> None:
        """The network says that nobody listens: ask again, and believe it the third time."""
        if self._channel.refusals >= REFUSALS:
            self._end(partial(NetworkError, f"{self.host} refused the connection (ICMP port unreachable)"))
        else:
            self._quic.ping()
            self._channel.flush(now)

    def _flush(self) -> None:
        """Send, and let a sleeping leader know if it has to wake earlier than it thinks."""
        if self._failure is not None:
            return
        self._channel.flush(clock.now())
        if self._armed and (self._channel.udp.unsent or self._engine.next_deadline() < self._armed):
            self._armed = 0
            self._waker.wake()

    def _deliver(self) -> None:
        next_event = self._engine.next_event
        while (event := next_event()) is not None:
            handler = _HANDLERS.get(type(event))
            if handler is not None:
                handler(self, event)

    def _on_interim(self, event: events.InformationalReceived) -> None:
        if (exchange := self._exchanges.get(event.stream_id)) is not None:
            exchange.interim.append((event.status, event.headers))  # the engine limits how many there are

    def _on_head(self, event: events.ResponseReceived) -> None:
        if (exchange := self._exchanges.get(event.stream_id)) is not None:
            exchange.status, exchange.headers = event.status, event.headers
            exchange.signal(HEAD)

    def _on_readable(self, event: events.BodyReadable) -> None:
        if (exchange := self._exchanges.get(event.stream_id)) is not None:
            exchange.signal(READABLE)

    def _on_trailers(self, event: events.TrailersReceived) -> None:
        if (exchange := self._exchanges.get(event.stream_id)) is not None:
            exchange.trailers = event.headers

    def _on_complete(self, event: events.MessageComplete) -> None:
        if (exchange := self._exchanges.get(event.stream_id)) is not None:
            if exchange.sent_all:
                del self._exchanges[event.stream_id]
                self._close_if_done()
            exchange.signal(END)

    def _on_writable(self, event: events.BodyWritable) -> None:
        if (exchange := self._exchanges.get(event.stream_id)) is not None:
            exchange.signal(WRITABLE)

    def _on_stopped(self, event: events.PeerStoppedReading) -> None:
        if (exchange := self._exchanges.get(event.stream_id)) is not None:
            exchange.sent_all = True
            exchange.signal(STOPPED)

    def _on_failed(self, event: events.ExchangeFailed) -> None:
        if (exchange := self._exchanges.pop(event.stream_id, None)) is not None:
            exchange.fail(exchange_failure(event, self.host), retry_safe=event.retry_safe)
            self._close_if_done()

    def _on_free(self, _event: events.RequestsAvailable) -> None:
        if self._queue:
            self._queue[0].signal(FREE)

    def _on_goaway(self, _event: events.GoAwayReceived) -> None:
        self._retired = True
        self._fail_queue(partial(NetworkError, f"{self.host} takes no new requests (GOAWAY)"))
        self._close_if_done()

    def _on_token(self, event: TokenReceived) -> None:
        if self.on_token is not None:
            self.on_token(event.token)

    def _on_closed(self, event: ConnectionClosed) -> None:
        self._end(connection_failure(event, self.host, established=True))


_HANDLERS: Final[dict[type, Callable[[BlockingConnection, Any], None]]] = {
    events.InformationalReceived: BlockingConnection._on_interim,
    events.ResponseReceived: BlockingConnection._on_head,
    events.BodyReadable: BlockingConnection._on_readable,
    events.TrailersReceived: BlockingConnection._on_trailers,
    events.MessageComplete: BlockingConnection._on_complete,
    events.BodyWritable: BlockingConnection._on_writable,
    events.PeerStoppedReading: BlockingConnection._on_stopped,
    events.ExchangeFailed: BlockingConnection._on_failed,
    events.RequestsAvailable: BlockingConnection._on_free,
    events.GoAwayReceived: BlockingConnection._on_goaway,
    TokenReceived: BlockingConnection._on_token,
    ConnectionClosed: BlockingConnection._on_closed,
}


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
