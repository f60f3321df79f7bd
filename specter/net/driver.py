"""How a client waits: the one thing in which threads and event loops differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from specter.net.channel import Channel
from specter.net.connection import BaseConnection

if TYPE_CHECKING:
    from specter.net.dialing import Handshake

__all__ = ["Driver", "Event"]

C = TypeVar("C", bound=BaseConnection)


class Event(Protocol):
    """Happens once."""

    def set(self) -> None:
        """Let those go on who wait. May be called by any thread."""

    async def wait(self, deadline: int) -> bool:
        """Wait until it has happened; return False at ``deadline`` (ns)."""


class Driver(Protocol[C]):
    """What a pool of connections needs that depends on how it waits."""

    def connection(self, channel: Channel, host: str) -> C:
        """Return the connection that a completed handshake has become."""

    def event(self) -> Event:
        """Return an event that has not happened."""

    async def park(self, handshakes: Sequence[Handshake], until: int) -> None:
        """Wait until something arrived for one of ``handshakes``, until the moment ``until`` (ns), or ``wake``."""

    def wake(self) -> None:
        """End every ``park``, for good. May be called by any thread."""

    def look_after(self, connections: Callable[[], list[C] | None]) -> None:
        """Note where the pool's connections are found; None from there means that the pool is gone."""

    def keep_alive(self, connection: C) -> None:
        """Do the timed work of ``connection``, one of the pool's, while nobody uses it, if that was asked for."""

    def forget(self) -> None:
        """In the child of a fork: what waited was the parent's."""
