"""A UDP relay between real sockets, with the impairments of the virtual network and a NAT that forgets."""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from types import TracebackType
from typing import Final, Literal, TypeAlias, TypeVar

from specter._backend import batch as batches
from specter._backend import udp
from specter._wire import NEVER
from specter.testing.link import Link, LinkStats
from specter.testing.network import Filter, Network, Transit
from specter.testing.translator import Translator, check_addresses

__all__ = ["Binding", "Relay"]

Binding: TypeAlias = Literal["port", "address"]
"""What a rebinding changes of where the server sees its client."""

T = TypeVar("T")

ETHERNET: Final = 1472
"""UDP payload of an Ethernet frame over IPv4."""
DIRECT: Final = Link(delay=0, mtu=ETHERNET)
LARGEST: Final = 1500
"""Larger datagrams never pass: what is received has slots of a little more than this."""
SECOND: Final = 1_000_000_000

logger = logging.getLogger("specter.testing")


class Relay:
    """Stands between clients and the server at ``upstream``, an IP address and a port, and does what paths do.

    ::

        with Server() as server, Relay((server.host, server.port), Link(loss=0.02), seed=7) as relay:
            specter.get(f"https://127.0.0.1:{relay.port}/bytes/100000", verify=server.ca_file)

    ``to_server`` and ``to_client`` (None: the same) are the links each way, those of :class:`Network`; unlike there,
    the default adds no delay. For each direction ``seed`` and the datagrams' order decide what happens to them; the
    order of the two directions is up to the system. Datagrams of more than 1,500 bytes never pass. ECN marks do.

    The relay listens on ``host`` (None: the loopback address of ``upstream``'s kind) and ``port`` (0: any free one); a
    thread of its own does the work. Each client gets a socket of its own towards the server; all share the links. Every
    ``rebind_every`` seconds, or when :meth:`rebind` is called, the relay forgets who had which socket, and clients that
    send get another one, of another port or of another address (``rebinding``).

    Memory is bounded: ``max_datagrams`` and ``max_bytes`` limit what is under way, ``max_clients`` the sockets; the
    client that was silent the longest loses its own to a new one. All methods may be called by any thread.
    """

    def __init__(
        self,
        upstream: udp.SocketAddress,
        to_server: Link = DIRECT,
        to_client: Link | None = None,
        *,
        seed: int = 0,
        host: str | None = None,
        port: int = 0,
        rebind_every: float = 0.0,
        rebinding: Binding = "port",
        max_clients: int = 128,
        max_datagrams: int = 20_000,
        max_bytes: int = 32 << 20,
    ) -> None:
        self._network = Network(
            seed,
            _fitting(to_server),
            _fitting(to_server if to_client is None else to_client),
            server=upstream,
            max_datagrams=max_datagrams,
            max_bytes=max_bytes,
        )
        self.host = host or ("::1" if ":" in upstream[0] else "127.0.0.1")
        self.port = port
        self._upstream = upstream
        self.rebind_every = rebind_every
        self.rebinding = rebinding
        self._max_clients = max_clients
        self._calls: deque[Callable[[], None]] = deque()
        self._calls_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._check_addresses(upstream)

    def _check_addresses(self, upstream: udp.SocketAddress) -> None:
        if self.rebind_every > 0 and self.rebinding == "address":
            check_addresses(upstream)

    # -- what clients need to know ------------------------------------------------------------------

    @property
    def address(self) -> tuple[str, int]:
        """Where clients send to."""
        return self.host, self.port

    @property
    def taps(self) -> list[Callable[[Transit], object]]:
        """Functions that are called with every datagram, on the relay's thread; add to them before it starts."""
        return self._network.taps

    @property
    def filters(self) -> list[Filter]:
        """Functions that are called with every datagram and return False to drop it, on the relay's thread."""
        return self._network.filters

    @property
    def up(self) -> LinkStats:
        """What happened so far to datagrams on their way to the server, a copy."""
        return replace(self._network.up)

    @property
    def down(self) -> LinkStats:
        """What happened so far to datagrams on their way to clients, a copy."""
        return replace(self._network.down)

    @property
    def bindings(self) -> int:
        """How many sockets towards the server there have been: one for each client, and more with each rebinding."""
        return self._translator.opened

    # -- running ------------------------------------------------------------------------------------

    def start(self) -> Relay:
        """Listen. Raises ``OSError`` when the address is taken, ``RuntimeError`` when the relay runs already."""
        if self._thread is not None:
            raise RuntimeError("the relay runs already")
        self._inside = udp.UdpSocket.bind((self.host, self.port))
        self.port = self._inside.local_address[1]
        self._selector = selectors.DefaultSelector()
        self._wakers = socket.socketpair()
        for waker in self._wakers:
            waker.setblocking(False)
        self._selector.register(self._wakers[0], selectors.EVENT_READ, None)
        self._selector.register(self._inside, selectors.EVENT_READ, self._inside)
        self._translator = Translator(self._upstream, self._selector, self._max_clients)
        self._incoming = batches.ReceiveBatch()
        self._outgoing = batches.SendBatch()
        self._sender: udp.UdpSocket | None = None
        self._rebind_at = self._next_rebinding(time.monotonic_ns())
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="specter-relay", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """End the thread and close all sockets; what is under way is lost."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        with self._calls_lock:
            self._stopping = True
        self._wake()
        thread.join()
        for waker in self._wakers:
            waker.close()

    def __enter__(self) -> Relay:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- changes while it runs ----------------------------------------------------------------------

    def set_links(self, to_server: Link | None = None, to_client: Link | None = None) -> None:
        """Change the path from now on; what is under way is not touched.

        Raises:
            RuntimeError: the relay does not run.
        """
        links = [None if link is None else _fitting(link) for link in (to_server, to_client)]
        self._call(lambda: self._network.set_links(*links))

    def blackhole(self, seconds: float, *, after: float = 0.0) -> None:
        """Let nothing in, in either direction, for ``seconds``, starting ``after`` so many. One at a time.

        Raises:
            RuntimeError: the relay does not run.
        """
        start = time.monotonic_ns() + int(after * SECOND)
        self._call(lambda: self._network.blackhole(start, start + int(seconds * SECOND)))

    def rebind(self, what: Binding | None = None) -> None:
        """Give clients another port or address towards the server as soon as they send (None: ``rebinding`` tells).

        Raises:
            ValueError: the server is not at 127.0.0.0/8, where there are other addresses.
            RuntimeError: the relay does not run.
        """
        self._call(lambda: self._rebind(what or self.rebinding))

    def redirect(self, upstream: udp.SocketAddress) -> None:
        """Lead clients to another server address from now on.

        Raises:
            ValueError: the relay rebinds addresses, and there is only one towards that server.
            RuntimeError: the relay does not run.
        """
        self._check_addresses(upstream)
        self._call(lambda: self._redirect(upstream))

    def _redirect(self, upstream: udp.SocketAddress) -> None:
        self._upstream = self._network.server = self._translator.upstream = upstream
        self._translator.forget()

    def _rebind(self, what: Binding) -> None:
        if what == "address":
            self._translator.change_address()
        self._translator.forget()

    def _call(self, function: Callable[[], T]) -> T:
        """Run ``function`` on the relay's thread, and wait until it is done."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(function())
            except Exception as error:
                future.set_exception(error)

        with self._calls_lock:
            if self._thread is None or self._stopping:
                raise RuntimeError("the relay does not run")
            self._calls.append(run)
        self._wake()
        return future.result()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wakers[1].send(b"\0")

    # -- the thread ---------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._turn()
            self._answer_calls()
        finally:
            self._translator.forget()
            self._selector.close()
            self._inside.close()

    def _turn(self) -> None:
        """Sleep until something arrives or is due, then pass on what there is."""
        due = min(self._network.next_arrival(), self._rebind_at)
        timeout = None if due == NEVER else max(0, due - time.monotonic_ns()) / SECOND
        for key, _ in self._selector.select(timeout):
            if key.data is None:
                self._answer_calls()
            else:
                self._receive(key.data)
        now = time.monotonic_ns()
        if now >= self._rebind_at:
            self._rebind_at = self._next_rebinding(now)
            self._rebind(self.rebinding)
        self._deliver(now)

    def _next_rebinding(self, now: int) -> int:
        return now + int(self.rebind_every * SECOND) if self.rebind_every > 0 else NEVER

    def _answer_calls(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wakers[0].recv(4096)
        while self._calls:
            self._calls.popleft()()

    def _receive(self, handle: udp.UdpSocket) -> None:
        """Take what came for one of the sockets; one that was closed a moment ago has nothing."""
        if handle.fileno() < 0:
            return
        batch, network = self._incoming, self._network
        outward = handle is self._inside
        stats = network.up if outward else network.down
        batch.clear()
        dropped = handle.dropped
        handle.receive(batch)
        stats.sent += handle.dropped - dropped  # too large for the slots of a batch
        stats.too_big += handle.dropped - dropped
        now = time.monotonic_ns()
        for index in range(len(batch)):
            start, end = batch.span(index)
            client = batch.address(index)
            if outward and client is not None and client[:2] == self._upstream[:2]:
                continue  # for a port that was ours until a rebinding, or somebody's before
            source, destination = (client, network.server) if outward else (network.server, client)
            try:
                network.send(source, destination, bytes(batch.view[start:end]), batch.ecn(index), now)
            except Exception:  # of a tap or a filter
                logger.exception("a datagram is lost")

    def _deliver(self, now: int) -> None:
        """Send on what is due, in order."""
        for transits in self._network.arrivals(now).values():
            for transit in transits:
                handle = self._outlet(transit)
                if handle is not None:
                    self._gather(handle, transit)
        self._flush()

    def _outlet(self, transit: Transit) -> udp.UdpSocket | None:
        if not transit.to_server:
            return self._inside
        try:
            return self._translator.towards_server(transit.source)
        except OSError:  # too many files are open, for example
            logger.exception("a datagram is lost")
            return None

    def _gather(self, handle: udp.UdpSocket, transit: Transit) -> None:
        """Put a datagram where others for the same socket are."""
        batch = self._outgoing
        if handle is not self._sender or batch.full:
            self._flush()
            self._sender = handle
        start = batch.begin()
        end = start + len(transit.data)
        batch.view[start:end] = transit.data
        batch.commit(end, transit.destination, transit.ecn)

    def _flush(self) -> None:
        """What the socket does not take has to wait for the next time; while it waits, more is lost."""
        handle, self._sender = self._sender, None
        if handle is None:
            return
        if not (handle.unsent and handle.flush()):
            handle.send(self._outgoing)
        self._outgoing.clear()


def _fitting(link: Link) -> Link:
    return replace(link, mtu=min(link.mtu, LARGEST))
