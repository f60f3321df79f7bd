"""Finding out where origins offer HTTP/3: what :class:`Offers` knows, kept and completed."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from time import time_ns
from typing import TYPE_CHECKING, Final, TypeAlias

from specter.client.altsvc_cache import AltSvcCache
from specter.client.offers import Offers
from specter.client.url import Origin
from specter.net import clock
from specter.net.budget import Budget, Wait
from specter.net.driver import Event
from specter.net.route import Route, Source

if TYPE_CHECKING:
    from specter.net.https_records import HttpsRecords

__all__ = ["Discovery"]

AltSvcTypes: TypeAlias = AltSvcCache | str | os.PathLike[str] | None
MISDIRECTED: Final = 421
logger = logging.getLogger("specter")


class Discovery:
    """Where origins offer HTTP/3, when that is not simply their own host and port. Clients may share one.

    * ``alt_svc``: a file to keep in what servers say in Alt-Svc fields (RFC 7838), or an :class:`AltSvcCache`;
      without either it is kept in memory
    * ``https_records``: True asks the DNS for HTTPS records (RFC 9460) before the first connection to an origin;
      needs the extra ``dns``. :class:`HttpsRecords` says whom to ask

    Whoever an origin sends us to has to show the origin's certificate, and is asked for the origin's resources.
    Routes that lead nowhere are left alone, each time for longer. For any number of threads.
    """

    def __init__(self, *, alt_svc: AltSvcTypes = None, https_records: HttpsRecords | bool = False) -> None:
        cache = alt_svc if isinstance(alt_svc, AltSvcCache) else AltSvcCache(alt_svc)
        self._records: HttpsRecords | None
        if isinstance(https_records, bool):
            self._records = _make_records() if https_records else None
        else:
            self._records = https_records
        self.offers = Offers(alt_svc=cache, records=self._records is not None)

    async def route(self, origin: Origin, budget: Budget, event: Callable[[], Event]) -> Route | None:
        """Return the best route to ``origin`` that did not fail lately, after a look into the DNS if that is due."""
        await self.look_up(origin, budget, event)
        return self.offers.route(origin, time_ns())

    async def look_up(self, origin: Origin, budget: Budget, event: Callable[[], Event]) -> None:
        """Ask for the HTTPS records of ``origin`` if that is due. What goes wrong is as good as no records."""
        if self._records is None or not self.offers.wants_records(origin, time_ns()):
            return
        found = event()
        threading.Thread(
            target=self._ask, args=(self._records, origin, found), name=f"specter-records-{origin.host}", daemon=True
        ).start()
        await found.wait(budget.deadline(Wait.CONNECT, clock.now()))

    def _ask(self, records: HttpsRecords, origin: Origin, found: Event) -> None:
        try:
            self.offers.found(origin, records.lookup(origin.host, origin.port), time_ns())
        finally:
            found.set()

    def heard(self, origin: Origin, status: int, fields: Sequence[tuple[bytes, bytes]]) -> bool:
        """Take note of what an authenticated response says; False when the connection that it came by has to go."""
        if status == MISDIRECTED:
            self.offers.misdirected(origin, time_ns())
            return self.offers.via(origin) is None
        return self.offers.learn(origin, status, fields, time_ns()) or self.offers.via(origin) is None

    def alt_used(self, origin: Origin) -> bytes | None:
        """Return what Alt-Used says to the alternative service at the other end (RFC 7838, section 5)."""
        route = self.offers.via(origin)
        if route is None or route.source is not Source.ALT_SVC:
            return None
        return str(route).removesuffix(":443").encode()

    def failed(self, origin: Origin, route: Route) -> None:
        """``route`` did not lead to a connection."""
        self.offers.failed(origin, route, time_ns())

    def lost(self, origin: Origin) -> None:
        """Where the last connection leads to, nobody answers any more."""
        self.offers.lost(origin, time_ns())

    def network_changed(self) -> None:
        """The machine is in another network now: forget what belonged to the old one."""
        self.offers.network_changed()

    def save(self) -> None:
        """Write the file of alternative services, if there is one. Clients do that when they are closed."""
        try:
            self.offers.alt_svc.save(time_ns())
        except OSError as error:
            logger.warning("the alternative services were not saved: %s", error)


def _make_records() -> HttpsRecords:
    from specter.net.https_records import HttpsRecords

    return HttpsRecords()
