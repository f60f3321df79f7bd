"""Which way a request goes: decided without a socket or a clock, the same for threads and event loops."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from specter.client.offers import Offers
from specter.client.url import Origin
from specter.errors import Error, HandshakeError, StreamReset
from specter.h3.errors import H3ErrorCode
from specter.integrations._outcome import Reason
from specter.net.route import Route

__all__ = ["Plan", "Way"]

TRIES: Final = 2
"""How often a request goes over HTTP/3 before something else has to do."""


class Way(Enum):
    """What to do next."""

    HTTP3 = auto()
    """Send it over the HTTP/3 connection, or over a new one where nothing else will do."""
    RACE = auto()
    """Connect over HTTP/3; when that takes too long, over TCP as well: the first that is connected sends it."""
    FALLBACK = auto()
    """Send it over TCP."""


class Plan:
    """The way of one request to ``origin``; ``offers`` is None when HTTP/3 is the only one.

    ``reason`` and ``detail`` say why it is the one last given.
    """

    __slots__ = ("_fallback", "_loss", "_lost", "_offers", "_origin", "_tried", "detail", "reason")

    def __init__(self, offers: Offers | None, origin: Origin) -> None:
        self._offers = offers
        self._origin = origin
        self._fallback = False
        self._lost = 0
        self._loss = ""
        self._tried: Route | None = None
        """The route of the last race: without a loss since, it is not run twice."""
        self.reason = Reason.ONLY if offers is None else Reason.REUSED
        self.detail = ""

    def way(self, connected: bool, now: int) -> Way:
        """Return what to do, given whether an HTTP/3 connection to the origin is there."""
        if self._fallback:
            return Way.FALLBACK
        if self._offers is None or connected:
            if self._lost:
                self._because(Reason.FOUND, f"at the second try: {self._loss}")
            return Way.HTTP3
        route = self._offers.route(self._origin, now)
        if route is not None and route != self._tried:
            self._tried = route
            self._because(Reason.FOUND, route.source)
            return Way.RACE
        if self.reason is not Reason.FAILED:
            broken = self._offers.broken_until(self._origin, now)
            self._because(Reason.BROKEN if broken else Reason.NOT_OFFERED)
        return Way.FALLBACK

    def not_connected(self, error: Error | None) -> None:
        """HTTP/3 could not be connected; another route may still work."""
        self._because(Reason.FAILED, "" if error is None else str(error))

    def overtaken(self, error: Error | None) -> None:
        """TCP was connected first; HTTP/3 may have failed with ``error`` by then."""
        self._fallback = True
        if error is None:
            self._because(Reason.SLOW)
        else:
            self.not_connected(error)

    def lost(self, error: Error) -> None:
        """HTTP/3 failed with ``error``, after which the request may be sent again."""
        self._lost += 1
        self._tried = None
        self._loss = str(error)
        self._fallback = self._lost >= TRIES or isinstance(error, StreamReset | HandshakeError)
        self._because(Reason.REFUSED, self._loss)

    def _because(self, reason: Reason, detail: str = "") -> None:
        self.reason, self.detail = reason, detail

    @staticmethod
    def may_repeat(error: Error, fresh: bool) -> bool:
        """Whether a request whose body is ``fresh`` may be sent another way after ``error``."""
        sent_elsewhere = isinstance(error, StreamReset) and error.code == H3ErrorCode.H3_VERSION_FALLBACK
        return fresh and (error.retry_safe or sent_elsewhere)
