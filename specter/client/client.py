"""The blocking client: a method for each verb."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Unpack

from specter.client.base_client import CLIENT, BaseClient, Default, split_timeout
from specter.client.options import RequestOptions, TunnelOptions, WebSocketOptions
from specter.client.request import Request
from specter.client.response import Response
from specter.client.timeouts import TimeoutTypes
from specter.client.tunnel import Tunnel
from specter.client.url import URL
from specter.net.blocking import BlockingConnection
from specter.net.inline import run_inline
from specter.net.threads import ThreadDriver

if TYPE_CHECKING:
    from specter.client.websocket import WebSocket

__all__ = ["Client"]


class Client(BaseClient[BlockingConnection, Response]):
    """An HTTP/3 client for any number of threads; requests to one origin share one connection.

    It does what it is asked: no cookies, no redirects, no decompression unless with ``decode``.
    """

    def _driver(self, keep_alive: float | None, spin: int) -> ThreadDriver:
        return ThreadDriver(keep_alive=keep_alive, spin=spin)

    # -- requests -----------------------------------------------------------------------------------

    def send(self, request: Request, *, stream: bool = False, timeout: TimeoutTypes | Default = CLIENT) -> Response:
        """Send ``request`` and return the response, read to its end unless ``stream``; then close it yourself.

        Raises:
            Error: its kinds tell what went wrong.
        """
        if request.body is not None and request.body.asynchronous:
            raise TypeError("an asynchronous iterable can only be sent by an AsyncClient")
        return run_inline(self._send(request, Response, timeout, stream=stream))

    def request(self, method: str, url: str | URL, **options: Unpack[RequestOptions]) -> Response:
        """Send a request and return its response, body and all.

        ``params`` are appended to the URL's query. The body is one of ``content`` (bytes, text, a file or an iterable
        of bytes), ``data`` (a form) and ``json``. ``headers`` replace the client's by name, ``timeout`` its limits,
        ``decode`` what it says about content codings. ``priority`` tells the server how urgent it is (RFC 9218).

        * ``trailers``: fields to send after the body, or a function without arguments that returns them when the body
          has been sent
        * ``expect_continue``: True or a number of seconds (1 for True) makes the body wait for the server to ask for
          it (``Expect: 100-continue``), so long at most; after an error or a redirect it is not sent at all
        * ``on_informational``: called with status and :class:`Headers` of each interim response (1xx) as it comes,
          103 Early Hints for example; its exceptions end the request
        """
        return self._request(method, url, options, stream=False)

    @contextmanager
    def stream(self, method: str, url: str | URL, **options: Unpack[RequestOptions]) -> Iterator[Response]:
        """Send a request; give its response with the body still to be read, and close it at the end.

        ::

            with client.stream("GET", url) as response:
                for chunk in response.iter_bytes():
                    ...
        """
        with self._request(method, url, options, stream=True) as response:
            yield response

    def _request(self, method: str, url: str | URL, options: RequestOptions, *, stream: bool) -> Response:
        rest, timeout = split_timeout(options)
        return self.send(self.build_request(method, url, **rest), stream=stream, timeout=timeout)

    def get(self, url: str | URL, **options: Unpack[RequestOptions]) -> Response:
        """GET; ``options`` are those of :meth:`request`."""
        return self.request("GET", url, **options)

    def head(self, url: str | URL, **options: Unpack[RequestOptions]) -> Response:
        """HEAD; ``options`` are those of :meth:`request`."""
        return self.request("HEAD", url, **options)

    def options(self, url: str | URL, **options: Unpack[RequestOptions]) -> Response:
        """OPTIONS; ``options`` are those of :meth:`request`."""
        return self.request("OPTIONS", url, **options)

    def post(self, url: str | URL, **options: Unpack[RequestOptions]) -> Response:
        """POST; ``options`` are those of :meth:`request`."""
        return self.request("POST", url, **options)

    def put(self, url: str | URL, **options: Unpack[RequestOptions]) -> Response:
        """PUT; ``options`` are those of :meth:`request`."""
        return self.request("PUT", url, **options)

    def patch(self, url: str | URL, **options: Unpack[RequestOptions]) -> Response:
        """PATCH; ``options`` are those of :meth:`request`."""
        return self.request("PATCH", url, **options)

    def delete(self, url: str | URL, **options: Unpack[RequestOptions]) -> Response:
        """DELETE; ``options`` are those of :meth:`request`."""
        return self.request("DELETE", url, **options)

    def tunnel(self, url: str | URL, protocol: str | None = "websocket", **options: Unpack[TunnelOptions]) -> Tunnel:
        """Open a tunnel of raw bytes to ``url`` (extended CONNECT, RFC 9220). Close it at the end.

        ::

            with client.tunnel("https://example.com/chat", "websocket") as tunnel:
                tunnel.send(b"...")
                data = tunnel.receive()

        Without a protocol it is a plain CONNECT through the proxy at ``url`` to ``target``, ``"host:port"``.
        ``params``, ``headers`` and ``timeout`` are those of :meth:`request`; the total limit counts until the tunnel
        is open.

        Raises:
            TunnelRefused: the server answered with another status than 2xx.
            TunnelUnsupported: it does not offer extended CONNECT.
        """
        return Tunnel(*run_inline(self._tunnel(url, protocol, Response, options)))

    def websocket(self, url: str | URL, **options: Unpack[WebSocketOptions]) -> WebSocket:
        """Open a WebSocket (RFC 6455) to an ``https`` or ``wss`` URL over HTTP/3 (RFC 9220). Close it at the end.

        ::

            with client.websocket("wss://example.com/chat", subprotocols=["chat"]) as socket:
                socket.send("hello")
                for message in socket:
                    ...

        * ``subprotocols``: those to offer, the favourite first; ``socket.subprotocol`` is the server's choice
        * ``compression``: offer to compress messages (RFC 7692), which is so unless it is False
        * ``max_size``: bytes of the largest message that is received (4 MiB; None: no limit); a larger one closes the
          WebSocket with code 1009
        * ``params``, ``headers``, ``timeout``: those of :meth:`request`; the total limit counts until it is open

        It needs the extra ``websocket``.

        Raises:
            TunnelRefused: the server answered with another status than 2xx.
            TunnelUnsupported: it does not offer WebSockets over HTTP/3.
        """
        from specter.client.websocket import ThreadMutex, WebSocket

        opened = run_inline(self._websocket(url, Response, options))
        return WebSocket(*opened, (ThreadMutex(), ThreadMutex()))

    def migrate(
        self,
        url: str | URL | None = None,
        *,
        local_address: str | None = None,
        timeout: TimeoutTypes | Default = CLIENT,
    ) -> int:
        """Move established connections to new local sockets, while requests run (RFC 9000, section 9).

        For a client that has a better network now, or wants another port. The connections to the origin of ``url``
        move, without ``url`` all; to ``local_address`` (an IP address) if that is given, else to where the system, or
        the client's own ``local_address``, has it. Returns how many there were.

        The new path is tried first, so what fails leaves a connection where it is. After a change of the network that
        takes away the address of a socket, connections move by themselves.

        Raises:
            LocalProtocolError: a server does not want its clients to move, or has no connection id left for it.
            ConnectError: there is no such local address, or the new path was not ready within the connect timeout.
            NetworkError: a server cannot be reached by the new path.
        """
        return run_inline(self._migrate(url, local_address, timeout))

    # -- the end ------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close all connections; requests that are under way fail with ``NetworkError``. Any number of times."""
        self._pool.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
