"""httpx and httpx2 through one pair of hands, and servers over TCP for the transports to start from."""

from __future__ import annotations

import contextlib
import http.server
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from specter.testing.certificates import Credential

Fields: TypeAlias = list[tuple[str, str]]


@dataclass(frozen=True)
class Kit:
    """One library and the transport for it."""

    httpx: ModuleType
    Transport: type[Any]

    @contextlib.contextmanager
    def client(self, transport: Any, **options: Any) -> Iterator[Any]:
        with self.httpx.Client(transport=transport, **options) as client:
            yield client


@dataclass
class Seen:
    """A request as a server over TCP saw it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class TcpServer:
    """HTTPS over TCP (HTTP/1.1) on localhost, in threads; ``fields`` go with every response."""

    def __init__(self, credential: Credential | None, folder: Path, *, fields: Fields | None = None) -> None:
        self.fields: Fields = fields or []
        self.status = 200
        self.seen: list[Seen] = []
        self.stalled = threading.Event()
        """Set while new connections are left to wait: accepted by the system, answered by nobody."""
        self.delay = 0.0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                outer._answer(self)

            do_GET = do_POST = do_PUT = do_HEAD = answer

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self._server = _Threaded(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self._server.allow_reuse_address = True
        self._server.server_bind()
        self._server.server_activate()
        self.scheme = "http"
        if credential is not None:
            self.scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*credential.write(folder))
            self._server.context = context
        self._server.outer = self
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.port}"

    def _answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        body = self._body(handler)
        self.seen.append(Seen(handler.command, handler.path, {k.lower(): v for k, v in handler.headers.items()}, body))
        content = b"over tcp"
        handler.send_response(self.status)
        for name, value in self.fields:
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(content)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(content)

    @staticmethod
    def _body(handler: http.server.BaseHTTPRequestHandler) -> bytes:
        if handler.headers.get("transfer-encoding") != "chunked":
            return handler.rfile.read(int(handler.headers.get("content-length", 0)))
        pieces = []
        while size := int(handler.rfile.readline(), 16):
            pieces.append(handler.rfile.read(size))
            handler.rfile.readline()
        handler.rfile.readline()
        return b"".join(pieces)

    def close(self) -> None:
        self.stalled.clear()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Threaded(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    block_on_close = False
    context: ssl.SSLContext | None = None
    outer: TcpServer

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Shake hands in the connection's own thread, unless this server plays dead."""
        while self.outer.stalled.is_set():
            threading.Event().wait(0.02)
        try:
            if self.context is not None:
                request.settimeout(10)
                request = self.context.wrap_socket(request, server_side=True)
            super().process_request_thread(request, client_address)
        except OSError:
            self.shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class Relay:
    """A UDP path to a server that can be blocked, or be slow to open: datagrams before that are held back or lost."""

    def __init__(self, port: int) -> None:
        self.blocked = False
        self.received = 0
        self._target = ("127.0.0.1", port)
        self._front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._front.bind(("127.0.0.1", 0))
        self.port: int = self._front.getsockname()[1]
        self._backs: dict[Any, socket.socket] = {}
        self._closed = False
        self._threads = [threading.Thread(target=self._forward, daemon=True)]
        self._threads[0].start()

    def _forward(self) -> None:
        while True:
            data, client = self._front.recvfrom(65_536)
            if self._closed:
                return
            self.received += 1
            if self.blocked:
                continue
            if client not in self._backs:
                back = self._backs[client] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                back.bind(("127.0.0.1", 0))
                thread = threading.Thread(target=self._return, args=(back, client), daemon=True)
                self._threads.append(thread)
                thread.start()
            self._backs[client].sendto(data, self._target)

    def _return(self, back: socket.socket, client: Any) -> None:
        while True:
            data = back.recv(65_536)
            if self._closed:
                return
            if not self.blocked:
                with contextlib.suppress(OSError):
                    self._front.sendto(data, client)

    def close(self) -> None:
        self._closed = True
        for end in (self._front, *self._backs.values()):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
                waker.sendto(b"", ("127.0.0.1", end.getsockname()[1]))
        for thread in self._threads:
            thread.join()
        for end in (self._front, *self._backs.values()):
            end.close()


Make: TypeAlias = Callable[..., Any]
