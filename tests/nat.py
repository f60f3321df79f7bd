"""A network address translator on loopback, for tests with real sockets."""

from __future__ import annotations

import socket
import threading


class Nat:
    """A relay at ``host`` for one client, which gets a new port towards ``server`` whenever ``forget`` is called."""

    def __init__(self, server: tuple[str, int], host: str = "127.0.0.1") -> None:
        self.server = server
        self._inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._inside.bind((host, 0))
        self.address = self._inside.getsockname()
        self._client: tuple[str, int] | None = None
        self._outside = self._open()
        self.bindings = 1
        self._stopping = False
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._outward, self._inward)]
        for thread in self._threads:
            thread.start()

    def _open(self) -> socket.socket:
        outside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        outside.settimeout(0.05)
        outside.connect(self.server)
        return outside

    def _outward(self) -> None:
        self._inside.settimeout(0.05)
        while not self._stopping:
            try:
                data, self._client = self._inside.recvfrom(65_536)
                self._outside.send(data)
            except (TimeoutError, ConnectionError):
                continue

    def _inward(self) -> None:
        while not self._stopping:
            try:
                data = self._outside.recv(65_536)
            except (TimeoutError, OSError):
                continue
            if self._client is not None:
                self._inside.sendto(data, self._client)

    def forget(self) -> None:
        old, self._outside = self._outside, self._open()
        self.bindings += 1
        old.close()

    def close(self) -> None:
        self._stopping = True
        for thread in self._threads:
            thread.join()
        self._inside.close()
        self._outside.close()
