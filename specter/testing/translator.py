"""Network address translation: a socket of its own towards the server for each client, until they are forgotten."""

from __future__ import annotations

import ipaddress
import selectors
from typing import Final

from specter._backend import udp
from specter.testing.engine import Address

__all__ = ["Translator", "check_addresses"]

LOOPBACK: Final = ipaddress.IPv4Network("127.0.0.0/8")
FIRST_HOST: Final = 2
HOSTS: Final = 250
"""Addresses that are used one after the other, from 127.0.0.2 on."""


class Translator:
    """The sockets towards ``upstream``; ``selector`` is told of them, ``opened`` counts them."""

    def __init__(self, upstream: udp.SocketAddress, selector: selectors.BaseSelector, limit: int) -> None:
        self.upstream = upstream
        self.opened = 0
        self._selector = selector
        self._limit = limit
        self._sockets: dict[Address, udp.UdpSocket] = {}
        self._local: udp.SocketAddress | None = None
        self._addresses = 0

    def towards_server(self, client: Address) -> udp.UdpSocket:
        """Return the client's socket, a new one if it has none. Raises ``OSError`` when the system has none."""
        handle = self._sockets.pop(client, None)
        if handle is None:
            handle = self._open(client)
        self._sockets[client] = handle  # the last to have sent
        return handle

    def _open(self, client: Address) -> udp.UdpSocket:
        while len(self._sockets) >= self._limit:
            self._close(next(iter(self._sockets)))
        handle = udp.UdpSocket.connect(self.upstream, local=self._local)
        handle.label = client
        self._selector.register(handle, selectors.EVENT_READ, handle)
        self.opened += 1
        return handle

    def _close(self, client: Address) -> None:
        handle = self._sockets.pop(client)
        self._selector.unregister(handle)
        handle.close()

    def change_address(self) -> None:
        """Use another local address from now on. Raises ``ValueError`` where there is only one."""
        check_addresses(self.upstream)
        self._local = (f"127.0.0.{FIRST_HOST + self._addresses % HOSTS}", 0)
        self._addresses += 1

    def forget(self) -> None:
        """Close all sockets; who sends again gets a new one."""
        for client in list(self._sockets):
            self._close(client)


def check_addresses(upstream: udp.SocketAddress) -> None:
    """Raise ``ValueError`` unless there are many addresses to talk to ``upstream`` from."""
    if ":" in upstream[0] or ipaddress.IPv4Address(upstream[0]) not in LOOPBACK:
        raise ValueError(f"only towards 127.0.0.0/8 are there other addresses, not towards {upstream[0]}")
