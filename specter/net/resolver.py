"""Host names to addresses, in the order they are to be tried."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeAlias, cast

from specter._backend import udp
from specter.errors import ConnectError
from specter.net import clock
from specter.net.budget import Budget, Wait
from specter.net.driver import Event
from specter.tls.names import ip_address

__all__ = ["Overrides", "Resolver", "interleave", "literal"]

Address: TypeAlias = udp.SocketAddress
Lookup: TypeAlias = Callable[[str, int], Sequence[Address]]
Overrides: TypeAlias = Mapping[str, str | Sequence[str]]
"""``"host"`` or ``"host:port"`` to one or several IP addresses."""

TICK: Final = clock.SECOND // 4
"""How often (ns) who waits for a lookup looks whether it is still wanted."""


def literal(host: str, port: int) -> Address | None:
    """Return the socket address of a host that is an IP address, None for a name."""
    address = ip_address(host)
    if address is None:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        scope = address.scope_id
        return (host.partition("%")[0], port, 0, _scope(scope)) if scope else (host, port, 0, 0)
    return host, port


def _scope(name: str) -> int:
    if name.isdigit():
        return int(name)
    try:
        return socket.if_nametoindex(name)
    except OSError as error:
        raise ConnectError(f"no network interface {name!r}") from error


def loopback(host: str, port: int) -> list[Address]:
    """Return the addresses of ``localhost`` and the names below it, none for others (RFC 6761, section 6.3).

    Nobody is asked, so nobody can lie. IPv4 comes first: few servers on a loopback interface have IPv6 alone.
    """
    name = host.lower().removesuffix(".")
    if name != "localhost" and not name.endswith(".localhost"):
        return []
    return [("127.0.0.1", port), ("::1", port, 0, 0)]


def interleave(addresses: Iterable[Address]) -> list[Address]:
    """Alternate the address families, keeping the order within each (RFC 8305, section 4); drop repetitions."""
    queues: dict[bool, list[Address]] = {}
    for address in dict.fromkeys(addresses):
        queues.setdefault(":" in address[0], []).append(address)
    ordered: list[Address] = []
    while any(queues.values()):
        ordered.extend(queue.pop(0) for queue in queues.values() if queue)
    return ordered


def system_lookup(host: str, port: int) -> list[Address]:
    """Ask the system. Blocks, and raises ``OSError``."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    return [cast(Address, entry[4]) for entry in found]


class Resolver:
    """Resolves with ``overrides`` first, then the system, in a thread so that time limits and Ctrl-C work.

    IP addresses and ``localhost`` are known without asking.

    A lookup that is given up goes on in its daemon thread until the system answers; its answer is dropped.
    """

    def __init__(self, overrides: Overrides | None = None, lookup: Lookup = system_lookup) -> None:
        self._overrides = {_normal(name): _listed(value) for name, value in (overrides or {}).items()}
        self._lookup = lookup

    async def resolve(
        self,
        host: str,
        port: int,
        budget: Budget,
        event: Callable[[], Event],
        *,
        stop: Callable[[], None] = lambda: None,
    ) -> list[Address]:
        """Return the addresses of ``host`` in the order to try them.

        ``event`` makes what the lookup is waited for with; ``stop`` raises when nobody wants the answer any more.

        Raises:
            ConnectError: the name has no address.
            ConnectTimeout: no answer in time.
        """
        chosen = self._overrides.get(_normal(f"{host}:{port}")) or self._overrides.get(_normal(host))
        if chosen:
            return interleave(address for text in chosen if (address := literal(text, port)) is not None)
        address = literal(host, port)
        known = loopback(host, port) if address is None else [address]
        if known:
            return known
        return interleave(await self._ask(_Query(self._lookup, host, port, event()), budget, stop))

    async def _ask(self, query: _Query, budget: Budget, stop: Callable[[], None]) -> Sequence[Address]:
        host = query.host
        deadline = budget.deadline(Wait.CONNECT, clock.now())
        while not await query.done.wait(min(deadline, clock.now() + TICK)):
            stop()
            if clock.now() >= deadline:
                raise budget.expired(Wait.CONNECT, f"looking up {host}")
        if query.error is not None:
            raise ConnectError(f"cannot look up {host}: {query.error.strerror or query.error}") from query.error
        if not query.addresses:
            raise ConnectError(f"{host} has no address")
        return query.addresses


class _Query:
    """One lookup in a thread of its own; ``done`` happens at its end."""

    def __init__(self, lookup: Lookup, host: str, port: int, done: Event) -> None:
        self.host = host
        self.done = done
        self.addresses: Sequence[Address] = ()
        self.error: OSError | None = None
        self._task = (lookup, host, port)
        threading.Thread(target=self._run, name=f"specter-resolve-{host}", daemon=True).start()

    def _run(self) -> None:
        lookup, host, port = self._task
        try:
            self.addresses = lookup(host, port)
        except OSError as error:
            self.error = error
        except UnicodeError as error:
            self.error = OSError(str(error))
        finally:
            self.done.set()


def _normal(name: str) -> str:
    return name.lower().replace("[", "").replace("]", "")


def _listed(value: str | Sequence[str]) -> list[str]:
    texts = [value] if isinstance(value, str) else list(value)
    for text in texts:
        if literal(text.strip("[]"), 0) is None:
            raise ValueError(f"resolve maps names to IP addresses, not to {text!r}")
    return [text.strip("[]") for text in texts]
