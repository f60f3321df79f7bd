"""Waiting without sleeping, for callers who would rather spend processor time than be late."""

from __future__ import annotations

from specter._backend import udp
from specter.net import clock

__all__ = ["spin_then_wait"]


def spin_then_wait(socket: udp.UdpSocket, timeout: int, wake_fd: int, spin: int) -> int:
    """Do what ``socket.wait`` does, the first ``spin`` ns of it without sleeping."""
    wait = socket.wait
    if timeout >= 0:
        spin = min(spin, timeout)
    end = clock.now() + spin
    while True:
        if ready := wait(0, wake_fd):
            return ready
        if clock.now() >= end:
            return wait(timeout if timeout < 0 else timeout - spin, wake_fd)
