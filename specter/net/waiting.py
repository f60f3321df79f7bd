"""Sleeping until one of several sockets has something to say."""

from __future__ import annotations

import select
from collections.abc import Sequence

from specter._backend import udp
from specter.net import clock

__all__ = ["wait_for_any"]


def wait_for_any(sockets: Sequence[udp.UdpSocket], wake_fd: int, timeout: int) -> int:
    """Sleep until one of ``sockets`` or ``wake_fd`` is readable, at most ``timeout`` ns (negative: no limit).

    A socket with datagrams that wait to leave is looked at for room as well. Returns ``udp.WOKEN`` if that was it.
    """
    reading = [socket.fileno() for socket in sockets] + [wake_fd]
    writing = [socket.fileno() for socket in sockets if socket.unsent]
    if not hasattr(select, "poll"):
        seconds = None if timeout < 0 else timeout / clock.SECOND
        return udp.WOKEN if wake_fd in select.select(reading, writing, [], seconds)[0] else 0
    poll = select.poll()
    for descriptor in reading:
        poll.register(descriptor, select.POLLIN | (select.POLLOUT if descriptor in writing else 0))
    found = poll.poll(None if timeout < 0 else -(-timeout // 1_000_000))
    return udp.WOKEN if any(descriptor == wake_fd for descriptor, _ in found) else 0
