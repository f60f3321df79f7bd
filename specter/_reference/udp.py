"""UDP for QUIC: bursts in and out of one socket that never blocks.

What the network refuses is counted, never raised: a datagram that does not leave is a lost datagram, and
the engine above recovers from loss. Only opening a socket raises.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import sys
from typing import Final, TypeAlias

from specter._reference.batch import Address, ReceiveBatch, SendBatch

__all__ = ["READABLE", "WOKEN", "WRITABLE", "SocketAddress", "UdpSocket"]

SocketAddress: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
"""What to connect or bind to; the host is an IP address."""

READABLE: Final = 1
WRITABLE: Final = 2
WOKEN: Final = 4

BUFFER_SIZE: Final = 4 << 20
"""Bytes of socket buffer asked for; the system may give less."""

_ANCILLARY_SPACE: Final = 128
_FAULTS_PER_DRAIN: Final = 16
_FINE_WAIT: Final = 2_000_000
"""Waits shorter than this (ns) do not bear being rounded up to milliseconds."""
_SELECT_LIMIT: Final = 1024
_FOREVER: Final = (1 << 31) * 1_000_000

_LINUX: Final = sys.platform.startswith("linux")
_DARWIN: Final = sys.platform == "darwin"
_HAS_RECVMSG: Final = hasattr(socket.socket, "recvmsg_into")
_TOS_TYPES: Final = frozenset({1, getattr(socket, "IP_RECVTOS", 13)})
_TCLASS_TYPE: Final = getattr(socket, "IPV6_TCLASS", 67)

# What the socket module does not name on every version: IP_MTU_DISCOVER and friends.
_DO_NOT_FRAGMENT: Final[dict[tuple[str, int], tuple[int, int]]] = {
    ("linux", socket.AF_INET): (10, 3),
    ("linux", socket.AF_INET6): (23, 3),
    ("darwin", socket.AF_INET): (28, 1),
    ("darwin", socket.AF_INET6): (62, 1),
    ("win32", socket.AF_INET): (14, 1),
    ("win32", socket.AF_INET6): (14, 1),
}

# IP_MTU and IPV6_MTU, which the socket module does not name either; and what IP and UDP headers take of a packet.
_MTU_OPTION: Final[dict[int, int]] = {socket.AF_INET: 14, socket.AF_INET6: 24}
_HEADERS: Final[dict[int, int]] = {socket.AF_INET: 28, socket.AF_INET6: 48}
_LARGEST_PAYLOAD: Final = 65_507


def _level(family: int) -> int:
    return socket.IPPROTO_IPV6 if family == socket.AF_INET6 else socket.IPPROTO_IP


def _prepare(handle: socket.socket, buffer_size: int) -> None:
    """Set what helps and may be refused: large buffers, no fragmentation, ECN marks of what arrives."""
    family = handle.family
    wanted = [(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_size), (socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_size)]
    platform = "linux" if _LINUX else sys.platform
    if (platform, family) in _DO_NOT_FRAGMENT:
        wanted.append((_level(family), *_DO_NOT_FRAGMENT[platform, family]))
    if _LINUX or _DARWIN:
        wanted.append((socket.IPPROTO_IP, getattr(socket, "IP_RECVTOS", 13), 1))
        if family == socket.AF_INET6:
            wanted.append((socket.IPPROTO_IPV6, getattr(socket, "IPV6_RECVTCLASS", 66), 1))
    for level, option, value in wanted:
        with contextlib.suppress(OSError):
            handle.setsockopt(level, option, value)


def _open(address: SocketAddress, buffer_size: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    handle = socket.socket(family, socket.SOCK_DGRAM)
    handle.setblocking(False)
    _prepare(handle, buffer_size)
    return handle


def connected_handle(address: SocketAddress, local: SocketAddress | None, buffer_size: int) -> socket.socket:
    """Return a prepared socket for :meth:`UdpSocket.connect`."""
    handle = _open(address, buffer_size)
    try:
        if local is not None:
            handle.bind(local)
        handle.connect(address)
    except BaseException:
        handle.close()
        raise
    return handle


def bound_handle(address: SocketAddress, buffer_size: int) -> socket.socket:
    """Return a prepared socket for :meth:`UdpSocket.bind`."""
    handle = _open(address, buffer_size)
    try:
        handle.bind(address)
    except BaseException:
        handle.close()
        raise
    return handle


def payload_limit(handle: socket.socket) -> int:
    """Return the largest UDP payload that the interface towards the peer carries, as far as the system tells."""
    if not _LINUX:
        return _LARGEST_PAYLOAD
    try:
        mtu = handle.getsockopt(_level(handle.family), _MTU_OPTION[handle.family])
    except OSError:  # not connected
        return _LARGEST_PAYLOAD
    return min(mtu - _HEADERS[handle.family], _LARGEST_PAYLOAD)


class UdpSocket:
    """A socket towards one peer (``connect``), or towards everyone (``bind``).

    ``refused`` counts ICMP "port unreachable" answers, ``dropped`` datagrams that the system would not send
    (``failure`` is the last reason), ``unsent`` those that wait until the socket takes more. ``faults`` counts all
    that went wrong. ``too_large`` is the size of the last datagram that was too large for the interface, else 0.
    ``label`` is the address that what a connected socket receives is given, to tell it from that of other sockets.
    """

    __slots__ = (
        "_handle",
        "_marking",
        "_poll",
        "_poll_key",
        "_unsent",
        "connected",
        "dropped",
        "failure",
        "faults",
        "label",
        "refused",
        "too_large",
    )

    def __init__(self, handle: socket.socket, *, connected: bool) -> None:
        self._handle = handle
        self._marking = 0
        self._unsent: list[tuple[bytes, Address, int]] = []
        self._poll: select.poll | None = None
        self._poll_key = (-1, False)
        self.connected = connected
        self.refused = 0
        self.dropped = 0
        self.faults = 0
        self.too_large = 0
        self.label: Address = None
        self.failure: OSError | None = None

    @classmethod
    def connect(
        cls, address: SocketAddress, *, local: SocketAddress | None = None, buffer_size: int = BUFFER_SIZE
    ) -> UdpSocket:
        """Return a socket that talks to ``address`` only, from ``local`` if given.

        Raises:
            OSError: the system cannot; no route, for example.
        """
        return cls(connected_handle(address, local, buffer_size), connected=True)

    @classmethod
    def bind(cls, address: SocketAddress, *, buffer_size: int = BUFFER_SIZE) -> UdpSocket:
        """Return a socket that listens on ``address`` (port 0: any free port).

        Raises:
            OSError: the system cannot; the port is taken, for example.
        """
        return cls(bound_handle(address, buffer_size), connected=False)

    # -- receiving --------------------------------------------------------------------------------

    def receive(self, batch: ReceiveBatch) -> int:
        """Move what has arrived into ``batch`` until nothing is left or it is full; return how many."""
        count = faults = 0
        while not batch.full and faults < _FAULTS_PER_DRAIN:
            try:
                length, address, ecn = self._read(batch.room())
            except (BlockingIOError, InterruptedError):
                break
            except ConnectionError:
                self.refused += 1
                faults += 1
            except OSError as error:
                self.failure = error
                faults += 1
            else:
                batch.commit(length, self.label if self.connected else address, ecn)
                count += 1
        self.faults += faults
        return count

    def _read(self, room: memoryview) -> tuple[int, Address, int]:
        if not _HAS_RECVMSG:
            length, address = self._handle.recvfrom_into(room)
            return length, address, 0
        length, ancillary, _flags, address = self._handle.recvmsg_into([room], _ANCILLARY_SPACE)
        return length, address, _codepoint(ancillary) if ancillary else 0

    # -- sending ----------------------------------------------------------------------------------

    @property
    def unsent(self) -> int:
        return len(self._unsent)

    def send(self, batch: SendBatch) -> int:
        """Send a burst; return how many of its datagrams wait for ``flush`` because the socket is full."""
        waiting = self._unsent
        for data, address, ecn in batch:
            if waiting or not self._transmit(data, address, ecn):
                waiting.append((bytes(data), address, ecn))
        return len(waiting)

    def flush(self) -> int:
        """Send what waits; return how many datagrams still do."""
        done = 0
        for data, address, ecn in self._unsent:
            if not self._transmit(data, address, ecn):
                break
            done += 1
        del self._unsent[:done]
        return len(self._unsent)

    def _transmit(self, data: bytes | memoryview, address: Address, ecn: int) -> bool:
        """Return False when the socket is full; whatever else goes wrong loses the datagram."""
        if ecn != self._marking:
            self._mark(ecn)
        too_large = 0
        for _ in range(2):
            try:
                if self.connected:
                    self._handle.send(data)
                elif address is not None:
                    self._handle.sendto(data, address)
                return True
            except (BlockingIOError, InterruptedError):
                return False
            except ConnectionError:  # the answer to an earlier datagram; this one has not been tried
                self.faults += 1
                self.refused += 1
            except OSError as error:
                self.faults += 1
                self.failure = error
                if error.errno != errno.EMSGSIZE:
                    break
                too_large += 1  # or that is an answer as well, even a forged one: what counts is saying it twice
        if too_large == 2:
            self.too_large = len(data)
        self.dropped += 1
        return True

    def _mark(self, ecn: int) -> None:
        self._marking = ecn
        option = _TCLASS_TYPE if self._handle.family == socket.AF_INET6 else socket.IP_TOS
        with contextlib.suppress(OSError):
            self._handle.setsockopt(_level(self._handle.family), option, ecn)

    # -- waiting ----------------------------------------------------------------------------------

    def wait(self, timeout: int, wake_fd: int = -1) -> int:
        """Sleep until the socket or ``wake_fd`` is ready, at most ``timeout`` ns (negative: no limit).

        Returns a sum of ``READABLE``, ``WRITABLE`` (only looked for while datagrams wait) and ``WOKEN``; 0
        when the time is up. One thread at a time.
        """
        writing = bool(self._unsent)
        fine = 0 < timeout < _FINE_WAIT and max(self._handle.fileno(), wake_fd) < _SELECT_LIMIT
        if fine or not hasattr(select, "poll"):
            return self._select(timeout, wake_fd, writing)
        poll = self._poller(wake_fd, writing)
        milliseconds = None if timeout < 0 else -(-min(timeout, _FOREVER) // 1_000_000)
        ready = 0
        for descriptor, mask in poll.poll(milliseconds):
            if descriptor == wake_fd:
                ready |= WOKEN
            else:
                ready |= (WRITABLE if mask & select.POLLOUT else 0) | (READABLE if mask & ~select.POLLOUT else 0)
        return ready

    def _poller(self, wake_fd: int, writing: bool) -> select.poll:
        key = (wake_fd, writing)
        if self._poll is None or key != self._poll_key:
            self._poll, self._poll_key = select.poll(), key
            self._poll.register(self._handle.fileno(), select.POLLIN | (select.POLLOUT if writing else 0))
            if wake_fd >= 0:
                self._poll.register(wake_fd, select.POLLIN)
        return self._poll

    def _select(self, timeout: int, wake_fd: int, writing: bool) -> int:
        reading = [self._handle.fileno()] + ([wake_fd] if wake_fd >= 0 else [])
        seconds = None if timeout < 0 else min(timeout, _FOREVER) / 1e9
        readable, writable, _ = select.select(reading, reading[:1] if writing else [], [], seconds)
        woken = WOKEN if wake_fd >= 0 and wake_fd in readable else 0
        return woken | (READABLE if reading[0] in readable else 0) | (WRITABLE if writable else 0)

    # -- the rest ---------------------------------------------------------------------------------

    @property
    def local_address(self) -> SocketAddress:
        address: SocketAddress = self._handle.getsockname()
        return address

    @property
    def peer_address(self) -> Address:
        """The connected peer; None on a bound socket."""
        if not self.connected:
            return None
        address: Address = self._handle.getpeername()
        return address

    @property
    def max_payload(self) -> int:
        """The largest UDP payload that the interface carries, as far as the system tells."""
        return payload_limit(self._handle)

    def fileno(self) -> int:
        """Return the descriptor, -1 once closed."""
        return self._handle.fileno()

    def close(self) -> None:
        self._unsent.clear()
        self._poll = None
        self._handle.close()


def _codepoint(ancillary: list[tuple[int, int, bytes]]) -> int:
    """Return the ECN codepoint among the control messages of a datagram."""
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind in _TOS_TYPES and data:
            return data[0] & 3
        if level == socket.IPPROTO_IPV6 and kind == _TCLASS_TYPE and data:
            return int.from_bytes(data[:4], sys.byteorder) & 3
    return 0
