"""Simulations of one client that changes its address, on purpose or without its knowledge."""

from __future__ import annotations

from abc import abstractmethod
from typing import Final

from specter.quic.connection import Connection
from specter.testing.engine import Address
from specter.testing.network import Network
from specter.testing.simulation import Host, Simulation

__all__ = ["CLIENT", "MovingSimulation"]

CLIENT: Final = ("client", 50_000)


class MovingSimulation(Simulation):
    """A client at ``client_host``, and its addresses."""

    client_host: Host

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self._bindings = 0

    @property
    @abstractmethod
    def moving(self) -> Connection:
        """The connection of the client that moves."""

    def migrate(self, *, host: bool = False, remote: Address = None) -> Address:
        """Have the client probe another port of its own, or another address, and move there; return which.

        ``remote`` is the server's preferred address, if it moves for that. Raises ``CannotMigrate``.
        """
        local = self._new_address(host)
        self.client_host.paths[local] = local, remote or self.network.server
        self.moving.paths.migrate(local, self.now, preferred=remote is not None)
        self.flush(self.client_host)
        return local

    def rebind(self, *, host: bool = False) -> None:
        """Give the client another port, or another address as well, as a NAT does: it does not know.

        Datagrams to the old address find nobody any more.
        """
        self.client_host.address = self._new_address(host)

    def _new_address(self, host: bool) -> Address:
        self._bindings += 1
        name, port = CLIENT
        return (f"{name} {self._bindings}" if host else name, port + self._bindings)
