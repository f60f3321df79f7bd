"""httpx and httpx2 through one pair of hands, and servers over TCP for the transports to start from."""

from __future__ import annotations

import contextlib
import http.server
import socket
import socketserver
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from specter.testing.certificates import Credential
from tests.client.facade import LoopThread

Fields: TypeAlias = list[tuple[str, str]]


@dataclass(frozen=True)
class Kit:
    """One library, the transport for it, and whether clients block or run in an event loop."""

    httpx: ModuleType
    Transport: type[Any]
    asynchronous: bool

    def open(self, transport: Any, **options: Any) -> Any:
        """Return a client that blocks, whatever it is inside."""
        if self.asynchronous:
            return AsyncSession(self.httpx, transport, options)
        return self.httpx.Client(transport=transport, **options)

    @contextlib.contextmanager
    def client(self, transport: Any, **options: Any) -> Iterator[Any]:
        with self.open(transport, **options) as client:
            yield client


class AsyncSession:
    """An ``AsyncClient`` in an event loop that runs in a thread, used as if it were a ``Client``."""

    def __init__(self, library: ModuleType, transport: Any, options: dict[str, Any]) -> None:
        if "event_hooks" in options:
            hooks = options["event_hooks"]
            options["event_hooks"] = {name: [_awaitable(hook) for hook in hooks[name]] for name in hooks}
        self._library = library
        self._client = library.AsyncClient(transport=transport, **options)
        self._loop = LoopThread()
        self.run = self._loop.run

    def request(self, method: str, url: str, **options: Any) -> Any:
        if "content" in options:
            options["content"] = _unblocked(options["content"])
        if "trace" in options.get("extensions", {}):
            options["extensions"]["trace"] = _awaitable(options["extensions"]["trace"])
        return self.run(self._client.request(method, url, **options))

    def __getattr__(self, name: str) -> Any:
        if name in ("get", "post", "put", "head"):
            return partial(self.request, name.upper())
        return getattr(self._client, name)

    @contextlib.contextmanager
    def stream(self, method: str, url: str, **options: Any) -> Iterator[Any]:
        if "content" in options:
            options["content"] = _unblocked(options["content"])
        request = self._client.build_request(method, url, **options)
        with contextlib.closing(self.send(request, stream=True)) as response:
            yield response

    def send(self, request: Any, *, stream: bool = False) -> Any:
        response = self.run(self._client.send(request, stream=stream))
        return AsyncAnswer(self, response) if stream else response

    def close(self) -> None:
        """Close the client and end the loop, in which nothing may be left."""
        if not self._loop.loop.is_closed():
            self.run(self._client.aclose())
            self._loop.stop()

    def __enter__(self) -> AsyncSession:
        self.run(self._client.__aenter__())
        return self

    def __exit__(self, *error: object) -> None:
        if not self._loop.loop.is_closed():
            self.run(self._client.__aexit__(None, None, None))
            self.close()


class AsyncAnswer:
    """A streamed response of an ``AsyncClient``, used as if it were one of a ``Client``."""

    def __init__(self, session: AsyncSession, response: Any) -> None:
        self._session = session
        self._response = response

    def __getattr__(self, name: str) -> Any:
        if name.startswith("iter_"):
            return partial(self._pieces, name)
        return getattr(self._response, name)

    def _pieces(self, name: str, *arguments: Any) -> Iterator[Any]:
        pieces = getattr(self._response, f"a{name}")(*arguments)
        while True:
            try:
                yield self._session.run(anext(pieces))
            except StopAsyncIteration:
                return

    def read(self) -> bytes:
        content: bytes = self._session.run(self._response.aread())
        return content

    def close(self) -> None:
        self._session.run(self._response.aclose())


def _awaitable(function: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*arguments: Any) -> None:
        function(*arguments)

    return call


def _unblocked(content: Any) -> Any:
    """What an ``AsyncClient`` takes for a body."""
    if isinstance(content, bytes | str):
        return content

    async def pieces() -> AsyncIterator[bytes]:
        for piece in content:
            yield piece

    return pieces()


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
        self.connections = 0
        """Those that were established."""
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
            self.outer.connections += 1
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
