"""A WebSocket of the asyncio client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from specter.client.async_response import AsyncResponse
from specter.client.websocketing import CLOSE_TIMEOUT, GOOD_CODES, NORMAL, BaseWebSocket
from specter.errors import WebSocketClosed
from specter.net import clock

if TYPE_CHECKING:
    from specter.client.messages import Message, SendTypes

__all__ = ["AsyncWebSocket", "TaskMutex"]


class TaskMutex:
    """One task at a time."""

    __slots__ = ("_lock", "release")

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self.release = self._lock.release

    async def acquire(self, deadline: int) -> bool:
        try:
            async with asyncio.timeout(clock.remaining(deadline, clock.now())):
                return await self._lock.acquire()
        except TimeoutError:
            return False

    def try_acquire(self) -> bool:
        if self._lock.locked():
            return False
        attempt = self._lock.acquire()
        try:
            attempt.send(None)
        except StopIteration:
            return True
        attempt.close()  # another task has been promised it
        return False


class AsyncWebSocket(BaseWebSocket[AsyncResponse]):
    """Messages in both directions. ``AsyncClient.websocket`` opens one; any number of tasks may use it.

    PINGs of the server are answered while a task is in ``receive``, and so is its wish to close. Every operation
    raises ``WebSocketClosed`` after the WebSocket was closed, by either side, and what went wrong with the tunnel:
    ``NetworkError``, ``StreamReset``. Cancelling does no harm: a message that was begun to be sent leaves with the
    next, and none that came is lost.
    """

    async def send(self, message: SendTypes) -> None:
        """Send a message: text, bytes, or an iterable of either, which are sent as the fragments of one message.

        Raises:
            WriteTimeout: the server took no more for the client's write timeout; what is left of the message is sent
                before the next one.
        """
        await self._send(message)

    async def receive(self, timeout: float | None = None) -> Message:
        """Return the next message: ``str`` for text, else ``bytes``.

        Raises:
            ReadTimeout: none came for ``timeout`` seconds; the WebSocket stays open. None waits as long as it takes.
            WebSocketClosed: there are no more; ``code`` and ``reason`` say why.
        """
        return await self._receive(timeout)

    async def __aiter__(self) -> AsyncIterator[Message]:
        """Yield messages until the WebSocket is closed; ``WebSocketClosed`` when that is for no good reason."""
        while True:
            try:
                message = await self._receive(None)
            except WebSocketClosed as error:
                if error.code in GOOD_CODES:
                    return
                raise
            yield message

    async def ping(self, payload: bytes | None = None) -> None:
        """Send a PING of at most 125 bytes. ``latency`` is known when a ``receive`` has seen the answer."""
        await self._ping(payload)

    async def aclose(self, code: int = NORMAL, reason: str = "", *, timeout: float | None = CLOSE_TIMEOUT) -> None:
        """Say Close, wait for the server to say so too, for ``timeout`` seconds, and end. Any number of times.

        Messages that still come are dropped. Raises ``ValueError`` for a code (RFC 6455, section 7.4) or reason that
        cannot be sent.
        """
        await self._close(code, reason, timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self.aclose()
        else:
            self._abandon()
