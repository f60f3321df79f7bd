"""A descriptor that one thread makes readable to end the sleep of another."""

from __future__ import annotations

import contextlib
import os
import socket


class Waker:
    """An eventfd, or a pair of sockets where there is none. ``wake`` may be called from any thread."""

    __slots__ = ("_pair", "fd")

    def __init__(self) -> None:
        self._pair: tuple[socket.socket, socket.socket] | None = None
        if hasattr(os, "eventfd"):
            self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            self._pair = socket.socketpair()
            for end in self._pair:
                end.setblocking(False)
            self.fd = self._pair[0].fileno()

    def wake(self) -> None:
        """Make ``fd`` readable until ``clear``."""
        with contextlib.suppress(OSError):  # already full, or closed meanwhile
            if self._pair is not None:
                self._pair[1].send(b"\0")
            elif self.fd >= 0:
                os.eventfd_write(self.fd, 1)

    def clear(self) -> None:
        with contextlib.suppress(OSError):
            if self._pair is not None:
                self._pair[0].recv(4096)
            elif self.fd >= 0:
                os.eventfd_read(self.fd)

    def close(self) -> None:
        fd, self.fd = getattr(self, "fd", -1), -1
        pair = getattr(self, "_pair", None)
        if pair is not None:
            for end in pair:
                end.close()
        elif fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()
