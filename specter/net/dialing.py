"""From a host and a port to an established connection."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, TypeVar

from specter._backend import udp
from specter._entropy import Entropy
from specter.errors import ConnectError, LocalProtocolError
from specter.h3.config import H3Config
from specter.h3.connection import H3Connection
from specter.h3.errors import H3ErrorCode
from specter.net import clock
from specter.net.budget import Budget, Wait
from specter.net.channel import Channel
from specter.net.connection import BaseConnection
from specter.net.driver import Driver, Event
from specter.net.early import ACCEPTED, REJECTED, EarlyRequest
from specter.net.entropy import SystemEntropy
from specter.net.failures import connection_failure
from specter.net.info import describe
from specter.net.racing import Race
from specter.net.resolver import Resolver, interleave, literal
from specter.net.route import Route
from specter.net.sessions import SessionCache, session_key
from specter.net.steps import DialSteps
from specter.quic.config import QuicConfig
from specter.quic.connection import Connection
from specter.quic.early_data import EarlyDataStatus
from specter.quic.events import ConnectionClosed, HandshakeCompleted

if TYPE_CHECKING:
    from specter.tls.config import ClientTlsConfig
    from specter.tls.session import Resumption

__all__ = ["Dialer", "Handshake", "dial"]

Address = udp.SocketAddress
C = TypeVar("C", bound=BaseConnection)

logger = logging.getLogger("specter.connection")


class TokenCache:
    """Address validation tokens of servers, each for one connection (RFC 9000, section 8.1.3)."""

    LIMIT: Final = 256

    def __init__(self) -> None:
        self._tokens: dict[tuple[str, int, int], bytes] = {}

    def put(self, host: str, port: int, version: int, token: bytes) -> None:
        """Keep the newest token of a server in a QUIC version, and those of the servers heard of last."""
        self._tokens.pop((host, port, version), None)
        self._tokens[host, port, version] = token
        while len(self._tokens) > self.LIMIT:
            self._tokens.pop(next(iter(self._tokens)), None)

    def take(self, host: str, port: int, version: int) -> bytes:
        return self._tokens.pop((host, port, version), b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialer:
    """What every connection of a client has in common.

    ``tls`` makes the TLS configuration for a host; it is called in the dialling thread.
    """

    tls: Callable[[str], ClientTlsConfig]
    quic: QuicConfig = field(default_factory=QuicConfig)
    h3: H3Config = field(default_factory=H3Config)
    resolver: Resolver = field(default_factory=Resolver)
    entropy: Entropy = field(default_factory=SystemEntropy)
    local_address: str | None = None
    tokens: TokenCache = field(default_factory=TokenCache)
    sessions: SessionCache | None = None
    """What connections resume; None resumes nothing."""

    def begin(
        self, tls: ClientTlsConfig, host: str, address: Address, now: int, early: EarlyRequest | None = None
    ) -> Handshake:
        """Open a socket towards ``address`` and start the handshake, with ``early`` behind it if that is possible.

        ``OSError`` when the system cannot.
        """
        logger.debug("connecting to %s at %s port %s", host, *address[:2])
        local = None if self.local_address is None else (self.local_address, 0)
        socket = udp.UdpSocket.connect(address, local=local)
        try:
            ends = (socket.local_address, socket.peer_address) if self.quic.qlog else (None, None)
            offer = self._session(tls, host, address[1], early_data=early is not None)
            config = self._config_for(offer)
            token = self.tokens.take(host, address[1], config.first_version)
            quic = Connection.client(config, tls, self.entropy, now, token=token, endpoints=ends, resumption=offer)
            remembered = b"" if offer is None else offer.session.application
            engine = H3Connection(quic, self.h3, entropy=self.entropy, remembered=remembered)
            handshake = Handshake(Channel(socket, quic, engine), host)
            if early is not None:
                handshake.send_early(early)
        except BaseException:
            socket.close()
            raise
        return handshake

    def _session(self, tls: ClientTlsConfig, host: str, port: int, *, early_data: bool) -> Resumption | None:
        if self.sessions is None or self.sessions.empty:
            return None
        key = session_key(host, port, tls)
        fixed = self.quic.original_version
        versions = self.quic.versions if fixed is None else (fixed,)
        return self.sessions.take(key, tls, versions, early_data=early_data)

    def _config_for(self, offer: Resumption | None) -> QuicConfig:
        """Begin in the version of the session that is offered: a server that gave it means to go on speaking it, and
        takes it in no other (RFC 9369, sections 5 and 6)."""
        if offer is None or offer.session.quic_version == self.quic.first_version:
            return self.quic
        return replace(self.quic, original_version=offer.session.quic_version)


class Handshake:
    """A connection until its handshake is complete."""

    __slots__ = ("_early_stream", "_host", "answered", "channel")

    def __init__(self, channel: Channel, host: str) -> None:
        self.channel = channel
        self.answered = 0
        """When the first datagram came (ns)."""
        self._host = host
        self._early_stream = -1

    def send_early(self, early: EarlyRequest) -> None:
        """Make a request at once, as early data, where that is offered to the server and within its limits."""
        if self.channel.quic.early_data is EarlyDataStatus.OFFERED:
            with contextlib.suppress(LocalProtocolError):
                self._early_stream = self.channel.engine.send_request(early.fields, fin=True)

    def settle_early(self, early: EarlyRequest, connection: BaseConnection) -> None:
        """Hand on, to what this has become, a request that the server took as early data."""
        if self._early_stream < 0:
            return
        if self.channel.quic.early_data is EarlyDataStatus.ACCEPTED:
            early.outcome = ACCEPTED
            connection.adopt(early.exchange, self._early_stream)
        else:
            early.outcome = REJECTED

    def next_deadline(self) -> int:
        return self.channel.engine.next_deadline()

    def advance(self, now: int) -> bool:
        """Move bytes and time; return whether the handshake is complete. Raises what ended it."""
        channel, engine = self.channel, self.channel.engine
        if channel.receive(now) and not self.answered:
            self.answered = now
        if engine.next_deadline() <= now:
            engine.handle_deadline(now)
        complete = self._complete()
        channel.flush(now)
        if channel.refusals and not complete:
            raise ConnectError("connection refused (ICMP port unreachable)")
        if channel.udp.dropped and channel.udp.failure is not None and not complete:
            raise ConnectError(channel.udp.failure.strerror or str(channel.udp.failure))
        return complete

    def _complete(self) -> bool:
        while (event := self.channel.engine.next_event()) is not None:
            if isinstance(event, HandshakeCompleted):
                self._tell_connected()
                return True  # the events behind it are for the connection's users
            if isinstance(event, ConnectionClosed):
                self.channel.flush(clock.now())
                failure = connection_failure(event, self._host, established=False)
                raise failure()
        return False

    def _tell_connected(self) -> None:
        if logger.isEnabledFor(logging.DEBUG):
            info = describe(self.channel)
            told = [info.quic_version, info.cipher_suite, info.key_exchange, info.alpn]
            told += ["resumed"] if info.resumed else []
            told += [f"early data {self.channel.quic.early_data.value}"] if self._early_stream >= 0 else []
            logger.debug("connected to %s at %s port %s: %s", self._host, *info.remote_address, ", ".join(told))

    def abandon(self, now: int) -> None:
        """Say goodbye if that is possible, which an engine interrupted at work may not be, and close the socket."""
        try:
            with contextlib.suppress(Exception):
                self.channel.engine.close(H3ErrorCode.H3_NO_ERROR)
                self.channel.flush(now)
        finally:
            self.channel.close()


async def dial(
    dialer: Dialer,
    driver: Driver[C],
    host: str,
    port: int,
    budget: Budget,
    stop: Callable[[], None],
    route: Route | None = None,
    early: EarlyRequest | None = None,
) -> C:
    """Connect to ``host``, at the end of ``route`` if there is one; ``stop`` raises once nobody wants the connection.

    ``early`` goes along with the handshake where the server allows it; its ``outcome`` tells.

    Raises:
        ConnectError: among them ``ConnectTimeout``, ``HandshakeError`` and ``CertificateError``.
    """
    deadline = budget.deadline(Wait.CONNECT, clock.now())
    tls = dialer.tls(host)
    addresses = await _addresses(dialer.resolver, route or Route(host, port), budget, driver.event, stop)
    looked_up = clock.now()
    port = port if route is None else route.port

    async def park(handshakes: Sequence[Handshake], until: int) -> None:
        await driver.park(handshakes, until)
        stop()

    race = Race(host, lambda address, now: dialer.begin(tls, host, address, now, early), park)
    winner = await race.run(addresses, deadline)
    if winner is None:
        tried = ", ".join(address[0] for address in addresses[:4])
        raise budget.expired(Wait.CONNECT, f"connecting to {host} port {port} ({tried})")
    connection = driver.connection(winner.channel, host)
    connection.moves.local_address = dialer.local_address
    connection.steps = DialSteps(looked_up, winner.answered, clock.now())
    version = connection.channel.quic.version
    connection.on_token(lambda token: dialer.tokens.put(host, port, version, token))
    if (sessions := dialer.sessions) is not None:
        connection.on_session(lambda session: sessions.put(session_key(host, port, tls), session))
    if early is not None:
        winner.settle_early(early, connection)
    return connection


async def _addresses(
    resolver: Resolver, route: Route, budget: Budget, event: Callable[[], Event], stop: Callable[[], None]
) -> list[Address]:
    try:
        return await resolver.resolve(route.host, route.port, budget, event, stop=stop)
    except ConnectError:
        hints = [address for text in route.hints if (address := literal(text, route.port)) is not None]
        if not hints:
            raise
        return interleave(hints)
