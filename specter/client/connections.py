"""The connections of a pool: which one the next request gets, which are to go."""

from __future__ import annotations

from typing import Generic, TypeVar

from specter.client.limits import Limits
from specter.client.url import Origin
from specter.net import clock
from specter.net.budget import nanoseconds
from specter.net.connection import BaseConnection

__all__ = ["Connections"]

C = TypeVar("C", bound=BaseConnection)


class Connections(dict[Origin, C], Generic[C]):
    """The connection of each origin that the next request is for; ``spares`` are its others.

    There are spares only with ``limits.max_per_origin``. Whoever changes anything here has the pool's lock.
    """

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.spares: dict[Origin, list[C]] = {}
        self._limits = limits
        self._expiry = nanoseconds(limits.idle_expiry)
        self._alone: set[Origin] = set()
        self.particular = limits.max_per_origin > 1 or limits.idle_expiry is not None
        """Whether a connection has to be looked at twice."""

    # -- for a request ------------------------------------------------------------------------------

    def fit(self, connection: C) -> bool:
        """Whether a request has a chance with it."""
        return connection.usable() and not (self.particular and self._expired(connection))

    def _expired(self, connection: C) -> bool:
        """Whether nobody used it for longer than connections are kept."""
        return not connection.busy and clock.now() - connection.idle_since >= self._expiry

    def best(self, origin: Origin) -> C | None:
        """Return the connection for the next request: if there is one with a stream to spare, that."""
        connection, spares = self.get(origin), self.spares.get(origin)
        if not spares:
            return connection if connection is not None and self.fit(connection) else None
        every = spares if connection is None else [connection, *spares]
        fit = [candidate for candidate in every if self.fit(candidate)]
        if not fit:
            return None
        best = min(fit, key=lambda candidate: (candidate.saturated, candidate.waiting))
        self[origin] = best
        self.spares[origin] = [candidate for candidate in every if candidate is not best]
        return best

    def may_grow(self, origin: Origin) -> bool:
        """Whether one more connection to an origin that has one is allowed, and of use."""
        if self._limits.max_per_origin == 1 or origin in self._alone:
            return False
        every = [*self.spares.get(origin, ()), self.get(origin)]
        return sum(one is not None and self.fit(one) for one in every) < self._limits.max_per_origin

    def stay_alone(self, origin: Origin) -> None:
        """A further connection failed: do not try again as long as those that there are last."""
        self._alone.add(origin)

    # -- coming and going ---------------------------------------------------------------------------

    def put(self, origin: Origin, connection: C) -> C | None:
        """Add a new connection; return the one that it replaces, if that is so."""
        before = self.get(origin)
        self[origin] = connection
        if before is None or self._limits.max_per_origin == 1 or not self.fit(before):
            return before
        self.spares.setdefault(origin, []).append(before)
        return None

    def drop(self, origin: Origin, connection: C) -> None:
        self._alone.discard(origin)
        if self.get(origin) is connection:
            del self[origin]
        elif connection in self.spares.get(origin, ()):
            self.spares[origin].remove(connection)

    def clear(self) -> None:
        super().clear()
        self.spares.clear()

    def every(self) -> list[tuple[Origin, C]]:
        """Return all that are not closed."""
        spares = [(origin, spare) for origin, spares in self.spares.items() for spare in spares]
        return [item for item in [*self.items(), *spares] if not item[1].closed]

    def idle(self) -> list[tuple[Origin, C]]:
        """Return those that nobody uses, the longest unused first."""
        idle = [item for item in self.every() if not item[1].busy and not item[1].holds]
        return sorted(idle, key=lambda item: item[1].idle_since or item[1].used_at)

    def unused_spares(self, origin: Origin) -> list[C]:
        return [spare for spare in self.spares.get(origin, ()) if not spare.busy and not spare.holds]

    def superfluous(self, newest: C) -> list[tuple[Origin, C]]:
        """Return those to close or to forget now that there is ``newest``."""
        spares = [(origin, spare) for origin, spares in self.spares.items() for spare in spares]
        gone = [item for item in [*self.items(), *spares] if item[1].closed]
        gone += [item for item in spares if not item[1].closed and not item[1].busy and not self.fit(item[1])]
        idle = [item for item in self.idle() if item not in gone and item[1] is not newest]
        if self._limits.idle_expiry is not None:
            gone += [item for item in idle if self._expired(item[1])]
        most = self._limits.max_idle
        if most is not None and len(idle) >= most:
            gone += [item for item in idle[: len(idle) + 1 - most] if item not in gone]
        return gone
