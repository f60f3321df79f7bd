"""An established connection moves to another local socket, or to where its server would rather be spoken to."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from specter._backend import batch, udp
from specter.errors import ConnectError, NetworkError
from specter.net import clock
from specter.net.budget import Budget, Wait
from specter.net.channel import Channel
from specter.net.exchange import FAILED, FREE, Exchange
from specter.net.exchanges import Exchanges
from specter.quic.errors import CannotMigrate
from specter.quic.events import AddressPreferred, PathAbandoned, PathChanged

if TYPE_CHECKING:
    from specter.net.connection import BaseConnection

__all__ = ["Moves", "migrate"]

logger = logging.getLogger("specter.connection")


class Moves:
    """The moves of one connection (RFC 9000, section 9); everything here happens under its lock.

    ``moved`` is called when packets take another path, ``watch`` when there are other sockets to listen to.
    """

    __slots__ = ("_channel", "_exchanges", "_heard", "_host", "_moved", "_movers", "_watch", "local_address")

    def __init__(
        self, channel: Channel, exchanges: Exchanges, host: str, moved: Callable[[], None], watch: Callable[[], None]
    ) -> None:
        self.local_address: str | None = None
        """The IP address to send from, if the client has one."""
        self._channel = channel
        self._exchanges = exchanges
        self._host = host
        self._moved = moved
        self._watch = watch
        self._movers: dict[batch.Address, Exchange] = {}
        self._heard = -1
        """Datagrams that had come when the last rescue was tried."""
        exchanges.on_path = self._follow
        channel.on_unreachable = self._rescue

    def open(self, local_address: str | None = None) -> udp.UdpSocket:
        """Return a new socket towards the same address of the server. ``OSError`` when the system cannot."""
        remote = self._channel.udp.peer_address
        if remote is None:
            raise OSError("the connection has no socket")
        host = local_address or self.local_address
        return udp.UdpSocket.connect(remote, local=None if host is None else (host, 0))

    def begin(self, socket: udp.UdpSocket, mover: Exchange | None = None, *, preferred: bool = False) -> None:
        """Probe the path of ``socket``, which belongs to this from now on; ``mover`` gets ``FREE``, or fails.

        Raises:
            CannotMigrate: see ``specter.quic.paths.Paths.migrate``.
        """
        label = self._channel.add(socket)
        try:
            self._channel.quic.paths.migrate(label, clock.now(), preferred=preferred)
        except CannotMigrate:
            self._channel.remove(label)
            socket.close()
            raise
        logger.debug("probing a path to %s from %s port %s", self._host, *socket.local_address[:2])
        if mover is not None:
            self._movers[label] = mover
            self._exchanges.attend(mover)
        self._watch()

    def call_off(self, mover: Exchange) -> None:
        """Nobody waits for this move any more: give it up."""
        self._exchanges.leave(mover)
        for label, waiting in list(self._movers.items()):
            if waiting is mover:
                del self._movers[label]
                self._channel.quic.paths.abandon(label)

    # -- what the engine says -----------------------------------------------------------------------

    def _follow(self, event: AddressPreferred | PathChanged | PathAbandoned) -> None:
        if isinstance(event, AddressPreferred):
            self._heed_preference(event.addresses)
        elif isinstance(event, PathChanged):
            self._switch(event.address)
        else:
            self._give_up(event.address)

    def _switch(self, label: batch.Address) -> None:
        if label not in self._channel.others:
            return
        self._channel.switch(label)
        local, remote = self._channel.udp.local_address, self._channel.udp.peer_address or ("", 0)
        logger.debug("the connection to %s goes from %s port %s to %s port %s", self._host, *local[:2], *remote[:2])
        self._watch()
        self._moved()
        mover = self._movers.pop(label, None)
        if mover is not None:
            self._exchanges.leave(mover)
            mover.signal(FREE)

    def _give_up(self, label: batch.Address) -> None:
        socket = self._channel.remove(label)
        if socket is None:
            return
        self._watch()
        mover = self._movers.pop(label, None)
        if mover is not None:
            self._exchanges.leave(mover)
            local = "{} port {}".format(*socket.local_address[:2])
            mover.fail(partial(NetworkError, f"{self._host} cannot be reached from {local}"), retry_safe=True)
        socket.close()

    # -- moves that nobody asked for ------------------------------------------------------------------

    def _rescue(self) -> None:
        """The system sends nothing by the socket any more: try a new one, once until something arrives."""
        heard = self._channel.quic.stats.datagrams_received
        if self._channel.others or heard == self._heard:
            return
        self._heard = heard
        try:
            self.begin(self.open())
        except (OSError, CannotMigrate) as error:
            logger.debug("the network changed under the connection to %s: %s", self._host, error)

    def _heed_preference(self, addresses: Sequence[tuple[str, int]]) -> None:
        """Move to the server's preferred address, if it is of use (RFC 9000, section 9.6)."""
        remote = self._channel.udp.peer_address
        for host, port in addresses:
            if remote is None or not is_acceptable(host, remote[0]):
                continue
            address: udp.SocketAddress = (host, port, 0, 0) if ":" in host else (host, port)
            local = None if self.local_address is None else (self.local_address, 0)
            try:
                self.begin(udp.UdpSocket.connect(address, local=local), preferred=True)
            except (OSError, CannotMigrate) as error:
                logger.debug("%s would rather be spoken to at %s port %s: %s", self._host, host, port, error)


def is_acceptable(host: str, now: str) -> bool:
    """Whether a server at ``now`` may send its clients to ``host``: to its own family, and not into their own network.

    RFC 9000, section 21.5.3: a server must not make clients send to hosts that it could not reach itself.
    """
    if (":" in host) is not (":" in now):
        return False
    wanted, present = ipaddress.ip_address(host), ipaddress.ip_address(now.partition("%")[0])
    return not wanted.is_multicast and (wanted.is_global or not present.is_global)


async def migrate(connection: BaseConnection, local_address: str | None, budget: Budget) -> None:
    """Move ``connection`` to a new socket, from ``local_address`` if that is given, and wait until that is done.

    Raises:
        CannotMigrate: the server wants it to stay.
        ConnectError: there is no such socket, or the time to connect is over. The connection stays where it is.
        NetworkError: the server does not answer there, so it stays; or it has come to its end.
    """
    moves, mover = connection.moves, Exchange()
    deadline = budget.deadline(Wait.CONNECT, clock.now())
    try:
        socket = moves.open(local_address)
    except OSError as error:
        raise ConnectError(f"cannot move the connection to {connection.host}: {error.strerror or error}") from error
    try:
        connection.act(partial(moves.begin, socket, mover))
        if not await connection.until(mover, FREE, deadline):
            raise budget.expired(Wait.CONNECT, f"moving the connection to {connection.host}")
    finally:
        if not mover.flags & (FREE | FAILED):
            connection.act(partial(moves.call_off, mover))
    if mover.failure is not None:
        raise mover.failure()
