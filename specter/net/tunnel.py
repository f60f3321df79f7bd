"""A tunnel as its user sees it: bytes both ways on one exchange, each direction with its own end (RFC 9114, 4.4)."""

from __future__ import annotations

from specter.errors import LocalProtocolError, ReadTimeout, StreamReset
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
        self.exchange.extended = any(name == b":protocol" for name, _ in fields)
        await self._open(fields, fin=False)

    def renew(self, budget: Budget) -> None:
        """The tunnel is open: from now on these limits count."""
        self._budget = budget

    # -- sending ------------------------------------------------------------------------------------

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of ``data``, waiting where flow control makes it wait.

        Raises:
            WriteTimeout: and how much of ``data`` left is unknown.
            StreamReset: the server reads no more.
        """
        view = memoryview(data).cast("B")
        while view:
            taken = self.offer(view)
            view = view[taken:]
            if not taken:
                await self._wait(WRITABLE | STOPPED, Wait.WRITE)

    def offer(self, view: memoryview) -> int:
        """Send what goes without waiting; return how many bytes that were."""
        self._require_sendable()
        taken = self._connection.write(self.exchange, view)
        if not taken:
            self._require_sendable()
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
        exchange = self.exchange
        while True:
            if exchange.flags & READABLE and (data := self._connection.read(exchange, limit)):
                return data
            if await self._at_end_or_more(deadline):
                return b""

    async def receive_into(self, view: memoryview, deadline: int) -> int:
        """Fill ``view`` as far as bytes are here, with at least one; 0 at the end."""
        exchange = self.exchange
        while True:
            if exchange.flags & READABLE and (count := self._connection.readinto(exchange, view)):
                return count
            if await self._at_end_or_more(deadline):
                return 0

    async def _at_end_or_more(self, deadline: int) -> bool:
        """Wait for more; return whether there is none because the direction has ended."""
        exchange = self.exchange
        if not exchange.flags & (READABLE | END):
            if not await self._connection.until(exchange, READABLE | END, deadline):
                raise ReadTimeout("nothing came through the tunnel in time")
            self._raise_if_failed(READABLE | END)
        return bool(exchange.flags & END) and not exchange.flags & READABLE

    @property
    def ended(self) -> bool:
        """Whether the server's direction is over and was read to its end."""
        return bool(self.exchange.flags & END)
