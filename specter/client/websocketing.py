"""A WebSocket over a tunnel, as far as both clients have it in common: coroutines (RFC 6455, RFC 9220).

Any number of callers may send, receive and close at once. Two mutexes see to it that one at a time does either. Who
receives answers PINGs and Close frames as far as that goes without waiting: if it waited for its turn to send, two
peers that send a lot before they read could wait for each other for ever.

What was begun to be sent is never left half done: whoever stops waiting for it (a timeout, Ctrl-C, a cancelled task)
leaves the rest in the queue, where the next one who sends or receives finds it.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from specter._wire import NEVER
from specter.client.base_response import BaseResponse
from specter.client.tunneling import CHUNK, moment
from specter.errors import Error, ReadTimeout, Timeout
from specter.net import clock
from specter.net.failures import again
from specter.net.tunnel import TunnelTransfer

if TYPE_CHECKING:
    from specter.client.messages import Message, Messages, SendTypes

__all__ = ["CLOSE_TIMEOUT", "GOOD_CODES", "NORMAL", "BaseWebSocket", "Mutex"]

CLOSE_TIMEOUT: Final = 10.0
"""Seconds that the closing handshake may take."""
LINGER: Final = clock.SECOND
"""How long (ns) the end of the server's direction is awaited after both sides have said Close."""
NORMAL: Final = 1000
INTERNAL_ERROR: Final = 1011
GOOD_CODES: Final = frozenset({1000, 1001, 1005})

R = TypeVar("R", bound=BaseResponse)


class Mutex(Protocol):
    """One at a time."""

    async def acquire(self, deadline: int) -> bool:
        """Wait for it; return False at ``deadline`` (ns)."""

    def try_acquire(self) -> bool:
        """Take it if it is free."""

    def release(self) -> None: ...


class BaseWebSocket(Generic[R]):
    """Messages in both directions."""

    def __init__(
        self,
        response: R,
        transfer: TunnelTransfer,
        messages: Messages,
        subprotocol: str | None,
        mutexes: tuple[Mutex, Mutex],
    ) -> None:
        self.response = response
        """The server's answer: header fields, ``connection``."""
        self.subprotocol = subprotocol
        """The one of those offered that the server chose, if any."""
        self.latency: float | None = None
        """Seconds from the last PING to its PONG, once a later ``receive`` saw that."""
        self._transfer = transfer
        self._messages = messages
        self._sending, self._receiving = mutexes
        self._error: Error | None = None
        self._pings: dict[bytes, int] = {}
        self._serial = 0
        self._released = False

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self._messages.is_open and self._error is None

    @property
    def close_code(self) -> int | None:
        """Why it was closed (RFC 6455, section 7.4), None before."""
        return self._messages.closed().code if self._messages.over else None

    @property
    def close_reason(self) -> str | None:
        return self._messages.closed().reason if self._messages.over else None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} to {self.response.request.url}>"

    # -- sending ------------------------------------------------------------------------------------

    async def _send(self, message: SendTypes) -> None:
        await self._begin_sending()
        try:
            with closing(self._messages.encode(message)) as frames:
                for _ in frames:
                    await self._drain()
        finally:
            self._end_sending()

    async def _ping(self, payload: bytes | None) -> None:
        if payload is None:
            self._serial += 1
            payload = self._serial.to_bytes(4, "big")
        await self._begin_sending()
        try:
            self._messages.ping(payload)
            self._note_ping(payload)
            await self._drain()
        finally:
            self._end_sending()

    async def _begin_sending(self) -> None:
        """Take ``_sending``, and send what was left behind by somebody who did not wait for it."""
        await self._sending.acquire(NEVER)
        try:
            self._raise_if_broken()
            await self._drain()
        except BaseException:
            self._sending.release()
            raise

    def _note_ping(self, payload: bytes) -> None:
        if len(self._pings) >= 16:
            del self._pings[next(iter(self._pings))]
        self._pings[payload] = clock.now()

    async def _drain(self, deadline: int = NEVER) -> None:
        """Send all that waits to be sent; ``_sending`` is held."""
        try:
            while not self._offer():
                await self._transfer.writable(deadline)
        except Timeout:
            raise
        except Error as error:
            self._break(error)
            self._raise_if_broken()

    def _end_sending(self) -> None:
        """Give ``_sending`` back. What others left behind meanwhile, because it was taken, leaves now."""
        self._sending.release()
        self._answer()

    def _answer(self) -> bool:
        """Send what waits and goes without waiting; return whether something is left."""
        while self._messages.current and self._sending.try_acquire():
            try:
                if not self._offer():
                    return True
            except Error:
                self._messages.drop()  # who receives learns why; a server that reads no more may go on sending
            finally:
                self._sending.release()
        return False

    def _offer(self) -> bool:
        """Return whether all that waited is gone; ``_sending`` is held."""
        while frame := self._messages.current:
            taken = self._transfer.offer(frame)
            if not taken:
                return False
            self._messages.sent(taken)
        return True

    # -- receiving ----------------------------------------------------------------------------------

    async def _receive(self, timeout: float | None) -> Message:
        deadline = moment(timeout)
        if not await self._receiving.acquire(deadline):
            raise ReadTimeout("somebody else receives from this WebSocket")
        try:
            while (message := self._messages.next()) is None:
                self._raise_if_broken()
                if self._messages.over:
                    raise self._messages.closed()
                await self._more(deadline)
            return message
        finally:
            self._receiving.release()

    async def _more(self, deadline: int) -> None:
        """Wait for something from the server, and take it; ``_receiving`` is held."""
        left = self._answer()
        try:
            data = await self._transfer.receive_or_write(CHUNK, deadline, writes=left)
        except Timeout:
            raise
        except Error as error:
            self._break(error)
            self._raise_if_broken()
        else:
            if data is not None:
                self._messages.feed(data)
                self._take_pongs()
                self._answer()
            if self._messages.failed:
                self._hang_up()

    def _take_pongs(self) -> None:
        pongs = self._messages.pongs
        while pongs:
            sent_at = self._pings.pop(pongs.popleft(), None)
            if sent_at is not None:
                self.latency = (clock.now() - sent_at) / clock.SECOND

    # -- the end ------------------------------------------------------------------------------------

    async def _close(self, code: int, reason: str, timeout: float | None) -> None:
        deadline = moment(timeout)
        self._messages.close(code, reason)
        try:
            if self._error is None and not self._released:
                await self._part(deadline)
        except Error:
            pass  # there is nobody to part from any more
        finally:
            self._release()

    async def _part(self, deadline: int) -> None:
        """Go through the closing handshake: what still comes is dropped."""
        if not await self._sending.acquire(deadline):
            return
        try:
            await self._drain(deadline)
        finally:
            self._end_sending()
        if not await self._receiving.acquire(deadline):
            return
        try:
            await self._await_the_end(deadline)
        finally:
            self._receiving.release()

    async def _await_the_end(self, deadline: int) -> None:
        while not self._messages.over:
            await self._more(deadline)
            while self._messages.next() is not None:
                pass
        self._transfer.send_eof()
        deadline = min(deadline, clock.now() + LINGER)
        while await self._transfer.receive(CHUNK, deadline):
            pass

    def _abandon(self) -> None:
        """Close without waiting for anything."""
        self._messages.close(INTERNAL_ERROR, "")
        self._answer()
        self._hang_up()

    def _hang_up(self) -> None:
        """End our direction, and want no more of the server's."""
        self._transfer.send_eof()
        self._release()

    def _break(self, error: Error) -> None:
        """The tunnel failed: nothing goes or comes any more."""
        if self._error is None:
            self._error = self._messages.closed() if self._released else error
        self._release()

    def _raise_if_broken(self) -> None:
        if self._error is not None:
            raise again(self._error)

    def _release(self) -> None:
        if not self._released:
            self._released = True
            self._transfer.close()
