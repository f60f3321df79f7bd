"""HTTP/3 against TCP: the parts of a race that threads and event loops have in common."""

from __future__ import annotations

import logging
import threading
from collections.abc import Awaitable
from enum import Enum, auto
from typing import Any, Protocol

from specter.errors import ConnectError, Error
from specter.net.driver import Event

__all__ = ["Beaten", "Dial", "Gate", "Leg", "Runner", "starts_sending"]


logger = logging.getLogger("specter.httpx")


class Beaten(Exception):
    """Raised inside the library's own transport to keep it from sending what went over HTTP/3."""


class Runner(Enum):
    """Who takes part."""

    HTTP3 = auto()
    TCP = auto()


class Gate:
    """Lets one runner through: the one that claims it first sends the request. For any number of threads."""

    __slots__ = ("_lock", "_winner")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._winner: Runner | None = None

    def claim(self, runner: Runner) -> bool:
        """Return whether ``runner`` is the one; it may ask again."""
        with self._lock:
            if self._winner is None:
                self._winner = runner
            return self._winner is runner


class Dial:
    """An HTTP/3 connection in the making; any number of requests wait for it."""

    def __init__(self, started: int) -> None:
        self.started = started
        """When (ns, monotonic)."""
        self.finished = False
        self.connected = False
        self.error: Error | None = None
        self._listeners: list[Event] = []
        self._lock = threading.Lock()

    def tell(self, event: Event) -> Event:
        """Set ``event`` when this is finished, at once if it is already; return it."""
        with self._lock:
            if not self.finished:
                self._listeners.append(event)
                return event
        event.set()
        return event

    async def run(self, connecting: Awaitable[object]) -> None:
        """Wait for the connection, or for the error that says why there is none."""
        try:
            await connecting
            self.connected = True
        except Error as error:
            self.error = error
        except Exception as error:
            self.error = ConnectError(f"{type(error).__name__} while connecting: {error}")
            logger.exception("an HTTP/3 connection could not be made")
        finally:
            with self._lock:
                self.finished = True
                listeners, self._listeners = self._listeners, []
            for event in listeners:
                event.set()


class Leg(Protocol):
    """A request on its way over TCP, in a race."""

    async def result(self) -> Any:
        """Wait for the response, or raise the library's exception."""

    def abandon(self) -> None:
        """Nobody wants the result any more. Any number of times."""


def starts_sending(event: str) -> bool:
    """Whether the trace ``event`` of httpcore comes just before a request is sent."""
    return event.endswith(".send_request_headers.started")
