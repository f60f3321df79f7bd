"""A tunnel as its user sees it: bytes both ways on one exchange, each direction with its own end (RFC 9114, 4.4)."""

from __future__ import annotations

from specter._wire import NEVER
from specter.errors import LocalProtocolError, ReadTimeout, StreamReset, WriteTimeout
from specter.net import clock
from specter.net.budget import Budget, Wait
from specter.net.connection import BaseConnection, Fields
from specter.net.exchange import END, FAILED, READABLE, STOPPED, WRITABLE
from specter.net.extras import Extras
from specter.net.failures import code_name
from specter.net.transfer import Transfer

__all__ = ["TunnelTransfer"]


class TunnelTransfer(Transfer):
    """The exchange of a CONNECT request. One caller may send while another receives.

    Moments are nanoseconds of the drivers' clock.
    """

    __slots__ = ("_ended",)

    def __init__(self, connection: BaseConnection, budget: Budget, extras: Extras | None = None) -> None:
        super().__init__(connection, budget, extras)
        self._ended = False

    async def start(self, fields: Fields, body: object = None) -> None:
        """Send the request, once the server has said that it takes such ones."""
        self.exchange.is_tunnel = True
        self.exchange.extended = any(name == b":protocol" for name, _ in fields)
        await self._open(fields, fin=False)

    def renew(self, budget: Budget) -> None:
        """The tunnel is open: from now on these limits count."""
        self._budget = budget

    # -- sending ------------------------------------------------------------------------------------

    async def send(self, data: bytes | bytearray | memoryview, *, eof: bool = False) -> None:
        """Send all of ``data``, waiting where flow control makes it wait, as long as the write timeout allows.

        ``eof`` ends our direction with it.

        Raises:
            WriteTimeout: how much of ``data`` left is unknown.
            StreamReset: the server reads no more.
        """
        view = memoryview(data).cast("B")
        while view:
            taken = self.offer(view, eof=eof)
            if taken == len(view):
                return
            view = view[taken:]
            if not taken:
                await self.writable()
        if eof:
            self.send_eof()

    async def writable(self, deadline: int = NEVER) -> None:
        """Wait until something may go that was offered in vain.

        Raises:
            WriteTimeout: not before ``deadline``, or within the write timeout.
        """
        limit = min(deadline, self._budget.deadline(Wait.WRITE, clock.now()))
        if not await self._connection.until(self.exchange, WRITABLE | STOPPED, limit):
            raise WriteTimeout("the server took no more of what is sent through the tunnel in time")

    def offer(self, view: memoryview, *, eof: bool = False) -> int:
        """Send what goes without waiting; return how many bytes that were. ``eof`` counts when all were."""
        self._require_sendable()
        taken = self._connection.write(self.exchange, view, fin=eof)
        if not taken:
            self._require_sendable()
        elif eof and taken == len(view):
            self._ended = True
        return taken

    def send_eof(self) -> None:
        """End our direction; nothing happens when it is over already."""
        if not self._ended and not self.exchange.flags & (STOPPED | FAILED):
            self._ended = True
            self._connection.write(self.exchange, memoryview(b""), fin=True)

    def _require_sendable(self) -> None:
        exchange = self.exchange
        if self._ended:
            raise LocalProtocolError("this direction of the tunnel was ended")
        if exchange.failure is not None:
            raise exchange.failure()
        if exchange.flags & STOPPED:
            name = code_name(exchange.stop_code, application=True)
            raise StreamReset(f"{self._connection.host} reads no more of this tunnel: {name}", code=exchange.stop_code)

    # -- receiving ----------------------------------------------------------------------------------

    async def receive(self, limit: int, deadline: int) -> bytes:
        """Return 1 to ``limit`` bytes, ``b""`` at the end of the server's direction.

        Raises:
            ReadTimeout: nothing came before ``deadline``.
        """
        while (data := await self.receive_or_write(limit, deadline, writes=False)) is None:
            pass
        return data

    async def receive_or_write(self, limit: int, deadline: int, *, writes: bool) -> bytes | None:
        """Like ``receive``, but with ``writes`` None is returned once something that was offered in vain may go."""
        exchange = self.exchange
        if exchange.flags & READABLE and (data := self._connection.read(exchange, limit)):
            return data
        if not exchange.flags & (READABLE | END):
            wanted = READABLE | END | (WRITABLE | STOPPED if writes else 0)
            if not await self._connection.until(exchange, wanted, deadline):
                raise ReadTimeout("nothing came through the tunnel in time")
            self._raise_if_failed(READABLE | END)
        return b"" if exchange.flags & (READABLE | END) == END else None

    async def receive_into(self, view: memoryview, deadline: int) -> int:
        """Fill ``view`` as far as bytes are here, with at least one; 0 at the end."""
        exchange = self.exchange
        while True:
            if exchange.flags & READABLE and (count := self._connection.readinto(exchange, view)):
                return count
            if exchange.flags & (READABLE | END) == END:
                return 0
            if not await self._connection.until(exchange, READABLE | END, deadline):
                raise ReadTimeout("nothing came through the tunnel in time")
            self._raise_if_failed(READABLE | END)

    @property
    def ended(self) -> bool:
        """Whether the server's direction is over and was read to its end."""
        return bool(self.exchange.flags & END)
