"""What every driver's connection does, between the waits: the engine's work, and exchanges on their way through it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Final, Protocol

from specter.errors import Error, LocalProtocolError, NetworkError, StreamClosed, TunnelUnsupported
from specter.h3.errors import H3ErrorCode
from specter.h3.events import Headers
from specter.net import clock
from specter.net.channel import Channel
from specter.net.exchange import END, FAILED, INTERIM, READABLE, STOPPED, WRITABLE, Exchange
from specter.net.exchanges import Exchanges
from specter.net.gathering import Gathering
from specter.net.info import describe
from specter.net.moves import Moves
from specter.net.steps import DialSteps
from specter.quic.errors import StreamLimitReached
from specter.tls.session import Session

__all__ = ["BaseConnection", "Fields"]

Fields = Sequence[tuple[bytes, bytes]]

REFUSALS: Final = 3
"""ICMP refusals in a row that end a connection: a single one may be forged or stale."""
IDLE_MARGIN: Final = clock.SECOND // 5
"""A connection this near to its idle timeout (ns) gets no new request."""
CREDIT: Final = 32 << 10
"""Bytes read after which flow control credit is sent even though the reader has more to read."""
PAUSE: Final = clock.SECOND
"""After a pause this long (ns) the idle timeout is looked at before what lies in the socket."""


class Task(Protocol):
    """Work that is done beside other work."""

    def cancel(self) -> object:
        """Have it stop where it waits."""

    async def ended(self) -> None:
        """Wait until it has stopped, or is done."""


class BaseConnection(ABC):
    """An established connection to ``host``. ``info`` describes it.

    One caller at a time: a driver's connection sees to that, waits, and decides when what was said is sent.
    """

    suspends = False
    """Whether waiting lets others go on; then a body may be one that has to be awaited."""

    def __init__(self, channel: Channel, host: str) -> None:
        self.host = host
        self.steps: DialSteps | None = None
        """When it was made, if somebody looked."""
        self.holds = 0
        """How many requests are on their way to it: the pool's to count."""
        self.info = describe(channel)
        self._channel = channel
        self._engine = channel.engine
        self._quic = channel.quic
        self._exchanges = Exchanges(host)
        self.moves = Moves(channel, self._exchanges, host, self._moved, self._watch_sockets)
        self._guard = _Guard(self)
        self._gathering = Gathering()
        self._owing = False
        """Whether what came was not answered yet: not before the caller has it, but before anybody sleeps."""
        self._unsaid = 0
        """Bytes read since the peer could last hear of it."""
        self._looked_at = clock.now()
        self._due = 0
        """Before this moment the engine need not be asked for its deadline: one that was set later is later."""

    # -- what a driver adds -------------------------------------------------------------------------

    @abstractmethod
    def try_open(self, exchange: Exchange, fields: Fields, fin: bool) -> bool:
        """Send a request's header section; False when it has to wait for ``FREE``.

        Raises:
            Error: ``exchange.retry_safe`` then tells whether the request never left.
        """

    @abstractmethod
    def leave_queue(self, exchange: Exchange) -> None:
        """Wait for a stream no longer."""

    @abstractmethod
    def write(self, exchange: Exchange, data: memoryview, *, fin: bool = False) -> int:
        """Hand over part of the request's body; return the bytes taken.

        ``fin`` counts when all was taken. After 0 for a non-empty ``data``, wait for ``WRITABLE``.
        """

    @abstractmethod
    def read(self, exchange: Exchange, limit: int) -> bytes:
        """Return up to ``limit`` bytes of the response's body that are here."""

    @abstractmethod
    def readinto(self, exchange: Exchange, view: memoryview) -> int:
        """Move body bytes that are here into ``view``; return how many."""

    @abstractmethod
    def release(self, exchange: Exchange) -> None:
        """The caller is done with the exchange: what is unfinished of it is cancelled."""

    @abstractmethod
    async def until(self, exchange: Exchange, wanted: int, deadline: int) -> bool:
        """Wait until ``exchange`` has one of the ``wanted`` flags or failed; return False at ``deadline`` (ns)."""

    def start(self, work: Coroutine[Any, Any, None], name: str) -> Task:
        """Have ``work`` done beside what the caller does; only where waiting ``suspends``."""
        work.close()
        raise TypeError("only an AsyncClient can await the pieces of a body")

    @abstractmethod
    def close(self, reason: str = "") -> None:
        """Say goodbye and be gone; who still waits gets a ``NetworkError``."""

    @abstractmethod
    def retire(self) -> None:
        """Take no new requests, and close when the last exchange is over."""

    @abstractmethod
    def disown(self) -> None:
        """In the child of a fork: the connection is the parent's. Say nothing, forget it."""

    @abstractmethod
    def _flush(self) -> None:
        """See to it that what the engine has to say is sent."""

    @abstractmethod
    def _dispose_if_over(self) -> None:
        """Close the socket once the connection is over and nobody sleeps on it."""

    @abstractmethod
    def _watch_sockets(self) -> None:
        """Listen to all sockets of the channel: one came, or is about to be closed."""

    def _moved(self) -> None:
        self.info = describe(self._channel)

    def act(self, work: Callable[[], None]) -> None:
        """Do ``work`` as the only one at the engine, and send what came of it."""
        with self._guard:
            work()
            self._flush()

    # -- state ------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        return self._exchanges.failure is not None

    @property
    def loss(self) -> Error | None:
        """What ended it; None while it lives."""
        failure = self._exchanges.failure
        return None if failure is None else failure()

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

    def on_session(self, keep: Callable[[Session], None]) -> None:
        """Have ``keep`` called with sessions that later connections can resume; it must not wait for anybody."""
        self._exchanges.on_session = keep

    def adopt(self, exchange: Exchange, stream_id: int) -> None:
        """Take over a request that left as early data and was accepted; before anybody else has the connection."""
        exchange.stream_id, exchange.sent_all = stream_id, True
        exchange.signs = self.signs_of_life
        self._exchanges.add(exchange)
        self._deliver()

    def on_idle(self, tell: Callable[[], None]) -> None:
        """Have ``tell`` called when the last exchange has ended, and at the end; it must not wait."""
        self._exchanges.idle_since = clock.now()
        self._exchanges.on_idle = tell

    @property
    def idle_since(self) -> int:
        """When the last exchange ended (ns); kept once ``on_idle`` was called."""
        return self._exchanges.idle_since

    @property
    def saturated(self) -> bool:
        """Whether a new request would have to wait for a stream."""
        return self._exchanges.waiting > 0 or self._quic.streams_left <= 0

    @property
    def waiting(self) -> int:
        """How many requests wait for a stream."""
        return self._exchanges.waiting

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

    # -- exchanges --------------------------------------------------------------------------------

    def _open(self, exchange: Exchange, fields: Fields, fin: bool) -> bool:
        self._require_open(exchange)
        if exchange.extended and not self._may_extend(exchange):
            return False
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

    def _may_extend(self, exchange: Exchange) -> bool:
        """Whether the server has allowed extended CONNECT; False while that is not known (RFC 9220, section 3).

        Raises:
            TunnelUnsupported: it has not.
        """
        settings = self._engine.peer_settings
        if not settings.received:
            self._exchanges.await_settings(exchange)
        elif not settings.enable_connect_protocol:
            raise TunnelUnsupported(f"{self.host} does not allow extended CONNECT (RFC 9220)")
        return settings.received

    def awaits(self, exchange: Exchange) -> str:
        """Return in words what an exchange that could not be opened waits for."""
        if exchange.extended and not self._engine.peer_settings.received:
            return f"{self.host} has not sent its SETTINGS"
        return f"{self.host} allows no more streams at once"

    def _require_open(self, exchange: Exchange) -> None:
        failure = self._exchanges.failure
        if failure is not None:
            exchange.retry_safe = True
            raise failure()
        if self._exchanges.retired:
            exchange.retry_safe = True
            raise NetworkError(f"the connection to {self.host} takes no new requests")

    def _pass_failure_on(self, exchange: Exchange) -> None:
        """An exchange that came too late to be among those that failed."""
        if self._exchanges.failure is not None:
            exchange.fail(self._exchanges.failure, retry_safe=exchange.stream_id < 0)

    def _write(self, exchange: Exchange, data: memoryview, fin: bool) -> int:
        if exchange.flags & (FAILED | STOPPED):
            return 0
        taken = self._engine.send_body(exchange.stream_id, data, fin=fin)
        if taken == len(data):
            exchange.sent_all = fin
        elif not taken:
            exchange.flags &= ~WRITABLE
        return taken

    def send_trailers(self, exchange: Exchange, fields: Fields) -> None:
        """End the request's body with a trailer section, unless the server wants no more of it.

        Raises:
            LocalProtocolError: they are malformed, or the body is shorter than its content-length.
        """

        def work() -> None:
            if not exchange.flags & (FAILED | STOPPED):
                self._engine.send_headers(exchange.stream_id, fields, fin=True)
                exchange.sent_all = True

        self.act(work)

    def take_interim(self, exchange: Exchange, told: int) -> list[tuple[int, Headers]]:
        """Return the interim responses after the first ``told``, so that ``INTERIM`` means new ones."""
        new: list[tuple[int, Headers]] = []

        def work() -> None:
            exchange.flags &= ~INTERIM
            new.extend(exchange.interim[told:])

        self.act(work)
        return new

    def reprioritize(self, exchange: Exchange, value: bytes) -> None:
        """Give a request another Priority field value (RFC 9218, section 7); nothing for one that is over."""
        if not self.closed:
            self.act(lambda: self._engine.reprioritize(exchange.stream_id, value))

    def _after_read(self, exchange: Exchange, count: int) -> None:
        if not count:
            exchange.flags &= ~READABLE
        self._deliver()
        self._unsaid += count
        if not exchange.flags & END and (not count or self._unsaid >= CREDIT):
            self._unsaid = 0
            self._flush()

    def _release(self, exchange: Exchange) -> None:
        if exchange.is_tunnel:
            exchange.fail(partial(StreamClosed, "the tunnel was closed"), retry_safe=False)
        if self._exchanges.remove(exchange) and not self.closed:
            if not (exchange.flags & END and exchange.sent_all):
                self._engine.cancel(exchange.stream_id)
                exchange.fail(partial(StreamClosed, "the response was closed while it was used"), retry_safe=False)
            self._close_if_done()
        self._flush()

    # -- the end ----------------------------------------------------------------------------------

    def _retire(self) -> None:
        self._exchanges.retire(f"the connection to {self.host} takes no new requests")
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._exchanges.retired and not self.busy:
            self._shut(f"the connection to {self.host} was closed", "")

    def _look_for_tickets(self) -> None:
        """Take what lies in the socket: the server's tickets may have come after the last response."""
        if not self.closed and self._exchanges.on_session is not None:
            self._channel.receive(clock.now())
            self._exchanges.deliver(self._engine)

    def _shut(self, message: str, reason: str) -> None:
        self._look_for_tickets()
        if not self.closed:
            self._engine.close(H3ErrorCode.H3_NO_ERROR, reason)
            self._channel.flush(clock.now())
            self._exchanges.end(partial(NetworkError, message))
        self._dispose_if_over()

    def _broken(self, error: BaseException) -> None:
        """The engine stopped in mid-work: it cannot be trusted any more."""
        what = type(error).__name__
        message = f"the connection to {self.host} was given up ({what} while it was at work)"
        self._exchanges.end(partial(NetworkError, message))
        self._dispose_if_over()

    # -- work ---------------------------------------------------------------------------------------

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
        if now >= self._due and engine.next_deadline() <= now:
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


class _Guard:
    """Around the engine's work: anything but the errors it is meant to raise means it stopped half-way."""

    __slots__ = ("_connection",)

    def __init__(self, connection: BaseConnection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, Error):
            self._connection._broken(error)
