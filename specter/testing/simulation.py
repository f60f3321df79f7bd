"""Engines on a virtual network and a virtual clock: hours pass in milliseconds, no socket is opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from specter._backend import batch as batches
from specter._wire import NEVER
from specter.testing.engine import Address, Engine, Outbox
from specter.testing.network import Network, Transit

__all__ = ["Host", "Simulation", "Stalled"]

SECOND: Final = 1_000_000_000
START: Final = 1_000 * SECOND
SPIN_LIMIT: Final = 2_000
"""Steps at one instant before an engine counts as spinning."""
FLUSH_LIMIT: Final = 10_000
"""Batches one engine may produce in one flush."""


class Collector(Protocol):
    """An engine that holds several others, such as an ``Endpoint``."""

    def receive(self, batch: batches.ReceiveBatch, now: int) -> None: ...

    def send(self, now: int) -> Outbox: ...

    def next_deadline(self) -> int: ...

    def handle_deadline(self, now: int) -> None: ...


class Stalled(Exception):
    """The simulation did not reach its goal; the message has the seed and where everybody stood."""


@dataclass(slots=True, eq=False)
class Host:
    """An engine at an address, which may change (rebinding). ``wakes`` counts its calls.

    ``paths`` are further ways of a client that migrates: what its engine calls one, to the own address and the peer's.

    ``mtu`` is the largest UDP payload its interface takes. Like a driver that gets EMSGSIZE, it tells the engine
    of what is larger (``limit_datagrams``, if the engine has that) and drops it; ``refused`` counts these.
    """

    address: Address
    engine: Engine | Collector
    wakes: int = 0
    mtu: int = 65_527
    refused: int = 0
    paths: dict[Address, tuple[Address, Address]] = field(default_factory=dict)
    spoken_to: dict[Address, Address] = field(default_factory=dict)
    """At which of a server's addresses each client spoke to it last: that is where answers come from."""

    def route(self, address: Address, server: Address) -> tuple[Address, Address]:
        """Return where a datagram that the engine addressed so comes from, and where it goes."""
        if address in self.paths:
            return self.paths[address]
        destination = server if address is None else address
        return self.spoken_to.get(destination, self.address), destination

    def refuse(self, size: int) -> None:
        """Do without a datagram of ``size`` bytes."""
        self.refused += 1
        limit = getattr(self.engine, "limit_datagrams", None)
        if limit is not None:
            limit(size - 1)


class Simulation:
    """Moves datagrams and time between hosts; everything follows from the network's seed and the engines."""

    def __init__(self, network: Network, *, now: int = START) -> None:
        self.network = network
        self.now = now
        self.hosts: list[Host] = []
        self.steps = 0
        self._appointments: list[tuple[int, int, Callable[[], None]]] = []
        self._still = 0
        self._batch = batches.ReceiveBatch()

    def add(self, engine: Engine | Collector, address: Address) -> Host:
        """Put ``engine`` on the network and let it send what it already has."""
        host = Host(address, engine)
        self.hosts.append(host)
        self.flush(host)
        return host

    def run(self, until: Callable[[], bool], *, limit: float = 60.0, max_steps: int = 200_000) -> None:
        """Run until ``until()`` holds. Raises ``Stalled`` after ``limit`` virtual seconds or ``max_steps`` steps."""
        end = self.now + int(limit * SECOND)
        last_step = self.steps + max_steps
        while not until():
            instant = self.next_instant()
            if instant == NEVER:
                raise self.stalled("nothing more will happen")
            if instant > end:
                raise self.stalled(f"not done after {limit:g} virtual seconds")
            if self.steps >= last_step:
                raise self.stalled(f"not done after {max_steps} steps")
            self.step(instant)

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` of virtual time pass, whatever happens in them."""
        end = self.now + int(seconds * SECOND)
        while (instant := self.next_instant()) <= end:
            self.step(instant)
        self.now = end

    def at(self, seconds: float, action: Callable[[], None]) -> None:
        """Do ``action`` when so many virtual seconds from now have passed."""
        self._appointments.append((self.now + int(seconds * SECOND), len(self._appointments), action))

    def every(self, seconds: float, action: Callable[[], None]) -> None:
        """Do ``action`` again and again; a simulation with such a thing to do never settles."""

        def act() -> None:
            action()
            self.at(seconds, act)

        self.at(seconds, act)

    def settle(self, *, limit: float = 600.0) -> None:
        """Run until no datagram is under way and no engine has a deadline."""
        self.run(lambda: self.next_instant() == NEVER, limit=limit)

    def next_instant(self) -> int:
        """Return when something happens next, ``NEVER`` if nothing does."""
        instant = min((host.engine.next_deadline() for host in self.hosts), default=NEVER)
        instant = min(instant, self.network.next_arrival(), *(time for time, _, _ in self._appointments))
        return instant if instant == NEVER else max(instant, self.now)

    def step(self, instant: int) -> None:
        """Deliver and fire everything due at ``instant``."""
        self._count_step(instant)
        self.now = instant
        if self._appointments:
            self._keep_appointments()
        arrived = self.network.arrivals(instant)
        for host in self.hosts:
            transits = self._arrived_at(host, arrived)
            if transits:
                self._deliver(host, transits)
            due = host.engine.next_deadline() <= instant
            if due:
                host.engine.handle_deadline(instant)
            if due or transits:
                host.wakes += 1
                self.flush(host)

    def flush(self, host: Host) -> None:
        """Send what ``host`` has; call it after using an engine outside of ``run``."""
        for _ in range(FLUSH_LIMIT):
            batch = host.engine.send(self.now)
            if not len(batch):
                return
            for data, address, ecn in batch:
                if len(data) > host.mtu:
                    host.refuse(len(data))
                    continue
                self.network.send(*host.route(address, self.network.server), bytes(data), ecn, self.now)
        raise self.stalled(f"{host.address} never stops sending")

    def _arrived_at(self, host: Host, arrived: dict[Address, list[Transit]]) -> list[tuple[Transit, Address]]:
        """Return what came for ``host``, each with the address that its engine is to see."""
        found = [(transit, transit.source) for transit in arrived.get(host.address, ())]
        for name, (local, _) in host.paths.items():
            found += [(transit, name) for transit in arrived.get(local, ())]
        if host.address == self.network.server:
            for alias in self.network.server_aliases:
                found += [(transit, transit.source) for transit in arrived.get(alias, ())]
            host.spoken_to.update((transit.source, transit.destination) for transit, _ in found)
        return found

    def _deliver(self, host: Host, transits: list[tuple[Transit, Address]]) -> None:
        batch = self._batch
        for transit, address in transits:
            batch.append(transit.data, address, transit.ecn)
            if batch.full:
                host.engine.receive(batch, self.now)
                batch.clear()
        if len(batch):
            host.engine.receive(batch, self.now)
        batch.clear()

    def _keep_appointments(self) -> None:
        due = sorted(entry for entry in self._appointments if entry[0] <= self.now)
        self._appointments = [entry for entry in self._appointments if entry[0] > self.now]
        for _, _, action in due:
            action()

    def _count_step(self, instant: int) -> None:
        self.steps += 1
        self._still = self._still + 1 if instant == self.now else 0
        if self._still > SPIN_LIMIT:
            raise self.stalled("an engine spins: its deadline never moves")

    def stalled(self, why: str) -> Stalled:
        """Return the error for a run that cannot go on."""
        network = self.network
        lines = [
            f"{why} (seed {network.seed}, {(self.now - START) / SECOND:.3f} virtual seconds, {self.steps} steps)",
            f"  up {network.up}",
            f"  down {network.down}, {network.in_transit} under way",
        ]
        lines += [f"  {host.address}: {self._describe(host)}" for host in self.hosts]
        return Stalled("\n".join(lines))

    def _describe(self, host: Host) -> str:
        deadline = host.engine.next_deadline()
        when = "never" if deadline == NEVER else f"in {(deadline - self.now) / 1e6:.3f} ms"
        describe = getattr(host.engine, "describe", lambda: type(host.engine).__name__)
        return f"{host.wakes} wakes, deadline {when}, {describe()}"
