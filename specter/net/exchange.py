"""One request and its response on a shared connection, as the driver keeps it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Protocol

from specter.h3.events import Headers
from specter.net import clock

__all__ = ["END", "FAILED", "FREE", "HEAD", "INTERIM", "READABLE", "SENT", "STOPPED", "WRITABLE", "Exchange", "Sleeper"]

FREE: Final = 1
"""A stream may be free for this request, or the server's SETTINGS are here that it waits for."""
HEAD: Final = 2
"""The final response's header section is here."""
READABLE: Final = 4
"""Body bytes wait in the connection."""
END: Final = 8
"""The response is complete and its body was read."""
WRITABLE: Final = 16
"""The connection takes more of the request's body."""
STOPPED: Final = 32
"""The server wants no more of the request's body."""
FAILED: Final = 64
"""``failure`` says why there will be nothing more."""

INTERIM: Final = 128
"""An interim response is here that nobody took."""
SENT: Final = 256
"""The task that sends the request's body has ended."""

NAP: Final = clock.SECOND
"""The longest sleep of a follower (ns): should a leader vanish without a word, its place is taken after this."""


class Waiting(Protocol):
    """Somebody who waits for one of the flags ``wanted``."""

    wanted: int

    def wake(self) -> None: ...


class Sleeper:
    """A thread that sleeps until another one wakes it. Woken at most once."""

    __slots__ = ("_gate", "awake", "wanted")

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.awake = False
        self._gate = threading.Lock()
        self._gate.acquire()

    def sleep(self, deadline: int) -> None:
        """Sleep until woken, or until ``deadline``, or for a nap's length."""
        nap = min(deadline - clock.now(), NAP)
        if nap > 0:
            self._gate.acquire(timeout=nap / clock.SECOND)

    def wake(self) -> None:
        """The caller holds the connection's lock."""
        if not self.awake:
            self.awake = True
            self._gate.release()


class Exchange:
    """The state of one exchange; whoever moves the connection's bytes updates it under the connection's lock."""

    __slots__ = (
        "extended",
        "failure",
        "flags",
        "headers",
        "interim",
        "is_tunnel",
        "retry_safe",
        "sent_all",
        "signs",
        "sleepers",
        "status",
        "stop_code",
        "stream_id",
        "trailers",
    )

    def __init__(self) -> None:
        self.stream_id = -1
        self.is_tunnel = False
        """It is used by several callers at once."""
        self.extended = False
        """It begins with an extended CONNECT, which the server has to allow first (RFC 9220)."""
        self.flags = 0
        self.status = 0
        self.stop_code = 0
        """Why the server stopped reading."""
        self.headers: Headers = ()
        self.interim: list[tuple[int, Headers]] = []
        self.trailers: Headers = ()
        self.failure: Callable[[], Exception] | None = None
        self.retry_safe = False
        """After a failure: the server did not process the request."""
        self.sent_all = False
        """The request, its end included, is with the engine."""
        self.signs = 0
        """What had come from the peer by the time the request left, to tell what came after it."""
        self.sleepers: list[Waiting] = []

    def signal(self, flag: int) -> None:
        """Set ``flag`` and wake those who want it. In threads, the caller holds the connection's lock."""
        self.flags |= flag
        for sleeper in self.sleepers:
            if sleeper.wanted & self.flags:
                sleeper.wake()

    def fail(self, failure: Callable[[], Exception], *, retry_safe: bool) -> None:
        """End the exchange; the first failure counts."""
        if not self.flags & FAILED:
            self.failure = failure
            self.retry_safe = retry_safe
            self.signal(FAILED)
