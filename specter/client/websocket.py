"""A WebSocket of the blocking client."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from specter.client.response import Response
from specter.client.websocketing import CLOSE_TIMEOUT, GOOD_CODES, NORMAL, BaseWebSocket
from specter.errors import WebSocketClosed
from specter.net import clock
from specter.net.inline import run_inline

if TYPE_CHECKING:
    from specter.client.messages import Message, SendTypes

__all__ = ["ThreadMutex", "WebSocket"]


class ThreadMutex:
    """One thread at a time."""

    __slots__ = ("_lock", "release")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.release = self._lock.release

    async def acquire(self, deadline: int) -> bool:
        seconds = clock.remaining(deadline, clock.now())
        return self._lock.acquire(timeout=-1 if seconds is None else min(seconds, threading.TIMEOUT_MAX))

    def try_acquire(self) -> bool:
        return self._lock.acquire(blocking=False)


class WebSocket(BaseWebSocket[Response]):
    """Messages in both directions. ``Client.websocket`` opens one; any number of threads may use it.

    PINGs of the server are answered while a thread is in ``receive``, and so is its wish to close. Every operation
    raises ``WebSocketClosed`` after the WebSocket was closed, by either side, and what went wrong with the tunnel:
    ``NetworkError``, ``StreamReset``.
    """

    def send(self, message: SendTypes) -> None:
        """Send a message: text, bytes, or an iterable of either, which are sent as the fragments of one message.

        Raises:
            WriteTimeout: the server took no more for the client's write timeout; what is left of the message is sent
                before the next one.
        """
        run_inline(self._send(message))

    def receive(self, timeout: float | None = None) -> Message:
        """Return the next message: ``str`` for text, else ``bytes``.

        Raises:
            ReadTimeout: none came for ``timeout`` seconds; the WebSocket stays open. None waits as long as it takes.
            WebSocketClosed: there are no more; ``code`` and ``reason`` say why.
        """
        return run_inline(self._receive(timeout))

    def __iter__(self) -> Iterator[Message]:
        """Yield messages until the WebSocket is closed; ``WebSocketClosed`` when that is for no good reason."""
        while True:
            try:
                message = self.receive()
            except WebSocketClosed as error:
                if error.code in GOOD_CODES:
                    return
                raise
            yield message

    def ping(self, payload: bytes | None = None) -> None:
        """Send a PING of at most 125 bytes. ``latency`` is known when a ``receive`` has seen the answer."""
        run_inline(self._ping(payload))

    def close(self, code: int = NORMAL, reason: str = "", *, timeout: float | None = CLOSE_TIMEOUT) -> None:
        """Say Close, wait for the server to say so too, for ``timeout`` seconds, and end. Any number of times.

        Messages that still come are dropped. Raises ``ValueError`` for a code (RFC 6455, section 7.4) or reason that
        cannot be sent.
        """
        run_inline(self._close(code, reason, timeout))

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._abandon()
