"""A local HTTP/3 server: one thread, one UDP socket, the client's own engine in the server's role."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import shutil
import socket
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final

from specter._backend import batch as batches
from specter._backend import udp
from specter._wire import NEVER
from specter.h3.config import H3Config
from specter.h3.connection import H3Connection
from specter.net.entropy import SystemEntropy
from specter.quic.config import QuicConfig
from specter.quic.connection import Connection
from specter.testing.certificates import CertificateAuthority, Credential, to_pem
from specter.testing.endpoint import Endpoint, Peer
from specter.testing.messages import Handler
from specter.testing.responder import Responder
from specter.testing.site import Site
from specter.tls.config import ServerTlsConfig
from specter.tls.tickets import TicketKeeper

__all__ = ["Server"]

H3_NO_ERROR: Final = 0x0100
GOODBYE: Final = 0.25
"""Seconds that a stopping server goes on answering with CONNECTION_CLOSE."""

logger = logging.getLogger("specter.testing")


class Server:
    """Serves HTTP/3 on ``host`` and ``port`` (0: any free one) from a thread of its own.

    ::

        with Server(directory="site") as server:
            specter.get(server.url + "/index.html", verify=server.ca_file)

    ``handler`` answers first; what it returns ``None`` for goes to the files of ``directory`` and then, with
    ``test_paths``, to the built-in paths (``/bytes/N``, ``/echo``, ``/status/N``, ``/delay/SECONDS``, ``/headers``,
    ``/trailers``, ``/early-hints``, ``/digest``, ``/drip?count=&bytes=&interval=``, ``/redirect/N``, ``/reset``,
    ``/close``, ``/goaway``). Handlers run on the server's thread, so a slow one holds up everybody.

    ``tunnel`` answers CONNECT, plain and extended (RFC 9220), as soon as it comes: with a 2xx reply whose body reads
    ``request.stream`` and yields what goes back, or with a refusal. After it come the built-in paths, as tunnels of the
    protocols ``websocket`` (raw bytes, no frames) and ``echo``, ``/websocket``, which echoes messages, and an echo for
    plain CONNECT to any host's port 7.

    A client that asks first (``Expect: 100-continue``) may send the body for ``handler``, unless ``expectation``
    returns a reply to the header section.

    ``delay`` seconds pass before each reply. ``retry`` makes every client show its address first. Without a
    ``credential`` a new authority issues one for ``host``, ``localhost`` and the loopback addresses. A stopped
    server can be started again; it keeps its port and certificate, and resumes sessions from before.

    Each connection is given tickets for two others; ``resumption`` off gives none. They allow early data (0-RTT)
    unless ``early_data`` is off; ``Request.early_data`` tells a handler what came so.
    """

    def __init__(
        self,
        handler: Handler | None = None,
        *,
        tunnel: Handler | None = None,
        expectation: Handler | None = None,
        directory: str | Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        retry: bool = False,
        delay: float = 0.0,
        resumption: bool = True,
        early_data: bool = True,
        credential: Credential | None = None,
        config: QuicConfig | None = None,
        h3_config: H3Config | None = None,
        tls: ServerTlsConfig | None = None,
        test_paths: bool = True,
    ) -> None:
        self.host = host
        self.port = port
        self.retry = retry
        self.delay = delay
        self.config = config or QuicConfig()
        self.h3_config = h3_config or H3Config(enable_connect_protocol=True)
        self.authority = None if credential else CertificateAuthority()
        self.credential = credential or _issue(self.authority, host)
        self.tls = tls or _server_tls(self.credential, resumption=resumption, early_data=early_data)
        self.endpoint: Endpoint | None = None
        self._site = Site(handler, tunnel=tunnel, directory=directory, test_paths=test_paths)
        self._expectation = expectation
        self._reset_key = os.urandom(32)
        self._thread: threading.Thread | None = None
        self._socket: udp.UdpSocket | None = None
        self._wakers: tuple[socket.socket, socket.socket] | None = None
        self._calls: list[Callable[[Endpoint], None]] = []
        self._stopping: str | None = None
        self._folder_lock = threading.Lock()
        self._folder: str | None = None

    # -- what a client needs to know ----------------------------------------------------------------

    @property
    def url(self) -> str:
        """The origin, without a slash at the end."""
        return f"https://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def ca_pem(self) -> bytes:
        """The certificate to trust: the authority's, or the last of the chain that was given."""
        return self.authority.pem if self.authority is not None else to_pem(self.credential.chain[-1])

    @property
    def ca_file(self) -> str:
        """The path of a file with ``ca_pem``; it is there as long as this object, or until the ``with`` block ends."""
        with self._folder_lock:
            if self._folder is None:
                self._folder = tempfile.mkdtemp(prefix="specter-")
                self._forget_folder = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
                Path(self._folder, "ca.pem").write_bytes(self.ca_pem)
            return str(Path(self._folder, "ca.pem"))

    # -- running ------------------------------------------------------------------------------------

    def start(self) -> Server:
        """Bind and serve. Raises ``OSError`` when the address is taken, ``RuntimeError`` when it runs already."""
        if self._thread is not None:
            raise RuntimeError("the server runs already")
        if self.tls.tickets is not None:
            self.tls.tickets.context = repr(self.h3_config).encode()
        self._socket = udp.UdpSocket.bind((self.host, self.port))
        self.port = self._socket.local_address[1]
        self.endpoint = Endpoint(
            self.config, self.tls, SystemEntropy(), retry=self.retry, wrap=self._wrap, reset_key=self._reset_key
        )
        self.endpoint.on_failure = _report
        self._stopping = None
        self._wakers = socket.socketpair()
        for waker in self._wakers:
            waker.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="specter-server", daemon=True)
        self._thread.start()
        return self

    def stop(self, *, abrupt: bool = False) -> None:
        """Close all connections and end the thread; ``abrupt`` vanishes without a word, as a crash does."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._stopping = "abrupt" if abrupt else "polite"
        self._wake()
        thread.join()
        wakers, self._wakers = self._wakers, None
        for waker in wakers or ():
            waker.close()

    def call(self, function: Callable[[Endpoint], None]) -> None:
        """Run ``function`` on the server's thread soon; connections it works with are woken afterwards.

        Raises ``RuntimeError`` when the server does not run.
        """
        if self._thread is None:
            raise RuntimeError("the server does not run")
        self._calls.append(function)
        self._wake()

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._folder is not None:
            self._forget_folder()
            self._folder = None

    # -- the thread ---------------------------------------------------------------------------------

    def _wrap(self, connection: Connection) -> Responder:
        h3 = H3Connection(connection, self.h3_config, entropy=SystemEntropy())
        gather, expectation = self._site.wants_bodies, self._expectation
        return Responder(h3, self._site, gather=gather, delay=self.delay, expectation=expectation)

    def _run(self) -> None:
        endpoint, handle = self.endpoint, self._socket
        if endpoint is None or handle is None or self._wakers is None:
            return
        self._wake_fd = self._wakers[0].fileno()
        try:
            batch = batches.ReceiveBatch()
            while self._stopping is None:
                self._turn(endpoint, handle, batch)
            if self._stopping == "polite":
                self._say_goodbye(endpoint, handle, batch)
        finally:
            handle.close()

    def _turn(self, endpoint: Endpoint, handle: udp.UdpSocket, batch: batches.ReceiveBatch, limit: int = NEVER) -> None:
        """Sleep until something is due (``limit`` at the latest), then do it and send what came of it."""
        now = time.monotonic_ns()
        due = min(endpoint.next_deadline(), limit)
        ready = handle.wait(-1 if due == NEVER else max(0, due - now), self._wake_fd)
        if ready & udp.WOKEN:
            self._answer_calls(endpoint)
        now = time.monotonic_ns()
        if ready & udp.READABLE:
            batch.clear()
            handle.receive(batch)
            endpoint.receive(batch, now)
        if endpoint.next_deadline() <= now:
            endpoint.handle_deadline(now)
        self._flush(endpoint, handle, now)

    @staticmethod
    def _flush(endpoint: Endpoint, handle: udp.UdpSocket, now: int) -> None:
        """Send all there is, unless the socket is full: then what waits goes first, the next time round."""
        if handle.unsent and handle.flush():
            return
        while len(outbox := endpoint.send(now)):
            for outgoing in outbox.batches:
                handle.send(outgoing)
            if handle.unsent:
                return

    def _answer_calls(self, endpoint: Endpoint) -> None:
        if self._wakers is not None:
            with contextlib.suppress(BlockingIOError):
                self._wakers[0].recv(4096)
        calls, self._calls = self._calls, []
        for function in calls:
            try:
                function(endpoint)
            except Exception:
                logger.exception("a call on the server's thread failed")
        if calls:
            for peer in list(endpoint.peers):
                endpoint.touch(peer)

    def _say_goodbye(self, endpoint: Endpoint, handle: udp.UdpSocket, batch: batches.ReceiveBatch) -> None:
        now = time.monotonic_ns()
        endpoint.close(H3_NO_ERROR, "the server stops")
        self._flush(endpoint, handle, now)
        end = now + int(GOODBYE * 1e9)
        while handle.unsent and time.monotonic_ns() < end:
            self._turn(endpoint, handle, batch, end)

    def _wake(self) -> None:
        if self._wakers is not None:
            with contextlib.suppress(BlockingIOError):
                self._wakers[1].send(b"\0")


def _issue(authority: CertificateAuthority | None, host: str) -> Credential:
    if authority is None:
        raise ValueError("there is no authority")
    names = dict.fromkeys([host, "localhost", "127.0.0.1", "::1"])
    return authority.issue(*(name for name in names if not _is_unspecified(name)))


def _is_unspecified(host: str) -> bool:
    """Whether a server there listens at every address the machine has: no name for a certificate."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _server_tls(credential: Credential, *, resumption: bool, early_data: bool) -> ServerTlsConfig:
    keeper = TicketKeeper(os.urandom(16), _milliseconds, early_data=early_data) if resumption else None
    return ServerTlsConfig(credentials=(credential.tls,), tickets=keeper)


def _milliseconds() -> int:
    return time.monotonic_ns() // 1_000_000


def _report(peer: Peer, error: Exception) -> None:
    logger.error("the connection from %s failed", peer.address, exc_info=error)
