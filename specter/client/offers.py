"""Where origins offer HTTP/3, from all that is known: Alt-Svc, HTTPS records, and what failed."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Final

from specter.client.altsvc_cache import AltSvcCache
from specter.client.backoff import Backoff
from specter.client.url import Origin
from specter.net.https_records import Records
from specter.net.route import Route, Source

__all__ = ["Offers"]

HTTP3: Final = b"h3"
LIMIT: Final = 1000
"""Origins whose HTTPS records and last routes are kept."""


Key = tuple[Origin, str, int]


class Offers:
    """What is known about the origins. It does no I/O; time is an argument, the system's clock in nanoseconds.

    * ``alt_svc``: what servers said about themselves
    * ``records``: whether HTTPS records are to be asked for, too
    * ``backoff``: what was tried in vain

    For any number of threads.
    """

    def __init__(
        self, *, alt_svc: AltSvcCache | None = None, records: bool = False, backoff: Backoff[Key] | None = None
    ) -> None:
        self.alt_svc = AltSvcCache() if alt_svc is None else alt_svc
        self._backoff = Backoff[Key]() if backoff is None else backoff
        self._asks = records
        self._records: dict[Origin, tuple[Records, int]] = {}
        """The records of an origin, and until when they count."""
        self._via: dict[Origin, Route] = {}
        """Where the last connection to an origin led, for those that were led somewhere."""
        self._lock = threading.Lock()

    # -- asking -----------------------------------------------------------------------------------

    def route(self, origin: Origin, now: int) -> Route | None:
        """Return the best route that did not fail lately, None when there is none."""
        for route in self._routes(origin, now):
            if not self._backoff.until((origin, route.host, route.port), now):
                return route
        return None

    def broken_until(self, origin: Origin, now: int) -> int:
        """Return when (ns) the first of the routes that failed may be tried again; 0 when there is none."""
        waits = [self._backoff.until((origin, route.host, route.port), now) for route in self._routes(origin, now)]
        return min(waits, default=0)

    def _routes(self, origin: Origin, now: int) -> Iterator[Route]:
        for item in self.alt_svc.alternatives(origin, now, HTTP3):
            yield Route(item.host or origin.host, item.port, Source.ALT_SVC)
        records, until = self._records.get(origin, (None, 0))
        if records is not None and now < until:
            for service in records.services:
                if HTTP3 in service.alpn:
                    yield Route(service.host, service.port, Source.RECORD, service.hints)

    def wants_records(self, origin: Origin, now: int) -> bool:
        """Whether the HTTPS records of ``origin`` should be asked for now. Says so once: then somebody does it."""
        if not self._asks or now < self._records.get(origin, (None, 0))[1]:
            return False
        with self._lock:
            if now < self._records.get(origin, (None, 0))[1]:
                return False
            self._put(origin, _ASKING, now + _ASKING.lifetime)
            return True

    # -- learning ---------------------------------------------------------------------------------

    def learn(self, origin: Origin, status: int, fields: Sequence[tuple[bytes, bytes]], now: int) -> bool:
        """Take note of the Alt-Svc field of a response; False when it takes all alternatives back.

        The response must have come from the origin for certain: over TLS, with the certificate checked.
        """
        return self.alt_svc.learn(origin, status, fields, now)

    def found(self, origin: Origin, records: Records, now: int) -> None:
        """Take note of what the DNS said."""
        with self._lock:
            self._put(origin, records, now + records.lifetime)

    def _put(self, origin: Origin, records: Records, until: int) -> None:
        self._records.pop(origin, None)
        self._records[origin] = records, until
        while len(self._records) > LIMIT:
            del self._records[next(iter(self._records))]

    def failed(self, origin: Origin, route: Route, now: int) -> None:
        """``route`` did not lead to a connection: leave it alone for a while, each time for longer."""
        self._backoff.failed((origin, route.host, route.port), now)

    def succeeded(self, origin: Origin, route: Route | None) -> None:
        """There is a connection, by ``route`` or to the origin's own address."""
        with self._lock:
            self._via.pop(origin, None)
            if route is None:
                return
            self._via[origin] = route
            while len(self._via) > LIMIT:
                del self._via[next(iter(self._via))]
        self._backoff.succeeded((origin, route.host, route.port))

    def via(self, origin: Origin) -> Route | None:
        """Return the route that the last connection was made by, None for the origin's own address."""
        return self._via.get(origin)

    def lost(self, origin: Origin, now: int) -> None:
        """Where the last connection leads to, nobody answers any more."""
        route = self._via.get(origin)
        if route is not None:
            self.failed(origin, route, now)

    def misdirected(self, origin: Origin, now: int) -> None:
        """The server that the last connection leads to is not responsible (421; RFC 7838, section 6)."""
        route = self._via.get(origin)
        if route is not None:
            self.alt_svc.remove(origin, route.host, route.port)
            self.failed(origin, route, now)

    def network_changed(self) -> None:
        """Forget what belongs to the network that the machine has left."""
        self.alt_svc.network_changed()
        self._backoff.clear()
        with self._lock:
            self._records.clear()


_ASKING: Final = Records((), 5_000_000_000)
"""Stands for records while somebody asks for them."""
