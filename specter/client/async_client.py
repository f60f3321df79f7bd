"""The asyncio client: a method for each verb."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Unpack

from specter.client.async_response import AsyncResponse
from specter.client.async_tunnel import AsyncTunnel, Opening
from specter.client.base_client import CLIENT, BaseClient, Default, split_timeout
from specter.client.options import RequestOptions, TunnelOptions, WebSocketOptions
from specter.client.request import Request
from specter.client.timeouts import TimeoutTypes
from specter.client.url import URL
from specter.net.aio import AsyncConnection
from specter.net.aio_driver import LoopDriver

if TYPE_CHECKING:
    from specter.client.async_websocket import AsyncWebSocket

__all__ = ["AsyncClient"]


class AsyncClient(BaseClient[AsyncConnection, AsyncResponse]):
    """An HTTP/3 client for any number of tasks of one event loop; requests to one origin share one connection.

    It belongs to the loop it is first used in, asyncio's or uvloop's; in any other its methods raise
    ``LocalProtocolError``. What is cancelled resets its stream, and harms nobody else.

    It does what it is asked: no cookies, no redirects, no decompression unless a request says ``decode``.
    """

    _loop_driver: LoopDriver

    def _driver(self, keep_alive: float | None, spin: int) -> LoopDriver:
        self._loop_driver = driver = LoopDriver()
        return driver

    def attach(self) -> None:
        """Bind the client to the event loop of the calling task, which using it does as well.

        Raises:
            LocalProtocolError: it was used in another one before.
        """
        self._loop_driver.attach()

    # -- requests -----------------------------------------------------------------------------------

    async def send(
        self, request: Request, *, stream: bool = False, timeout: TimeoutTypes | Default = CLIENT
    ) -> AsyncResponse:
        """Send ``request`` and return the response, read to its end unless ``stream``; then close it yourself.

        Raises:
            Error: its kinds tell what went wrong.
        """
        self.attach()
        return await self._send(request, AsyncResponse, timeout, stream=stream)

    async def request(self, method: str, url: str | URL, **options: Unpack[RequestOptions]) -> AsyncResponse:
        """Send a request and return its response, body and all.

        The arguments are those of :meth:`Client.request`. ``content`` may also be an asynchronous iterable of bytes,
        which is sent by a task of its own; a file is read in a thread, and any other iterator holds up the loop while
        it makes a piece. ``on_informational`` may return something to await.
        """
        return await self._request(method, url, options, stream=False)

    @asynccontextmanager
    async def stream(
        self, method: str, url: str | URL, **options: Unpack[RequestOptions]
    ) -> AsyncIterator[AsyncResponse]:
        """Send a request; give its response with the body still to be read, and close it at the end.

        ::

            async with client.stream("GET", url) as response:
                async for chunk in response.aiter_bytes():
                    ...
        """
        async with await self._request(method, url, options, stream=True) as response:
            yield response

    async def _request(self, method: str, url: str | URL, options: RequestOptions, *, stream: bool) -> AsyncResponse:
        rest, timeout = split_timeout(options)
        return await self.send(self.build_request(method, url, **rest), stream=stream, timeout=timeout)

    async def get(self, url: str | URL, **options: Unpack[RequestOptions]) -> AsyncResponse:
        """GET; ``options`` are those of :meth:`request`."""
        return await self._request("GET", url, options, stream=False)

    async def head(self, url: str | URL, **options: Unpack[RequestOptions]) -> AsyncResponse:
        """HEAD; ``options`` are those of :meth:`request`."""
        return await self._request("HEAD", url, options, stream=False)

    async def options(self, url: str | URL, **options: Unpack[RequestOptions]) -> AsyncResponse:
        """OPTIONS; ``options`` are those of :meth:`request`."""
        return await self._request("OPTIONS", url, options, stream=False)

    async def post(self, url: str | URL, **options: Unpack[RequestOptions]) -> AsyncResponse:
        """POST; ``options`` are those of :meth:`request`."""
        return await self._request("POST", url, options, stream=False)

    async def put(self, url: str | URL, **options: Unpack[RequestOptions]) -> AsyncResponse:
        """PUT; ``options`` are those of :meth:`request`."""
        return await self._request("PUT", url, options, stream=False)

    async def patch(self, url: str | URL, **options: Unpack[RequestOptions]) -> AsyncResponse:
        """PATCH; ``options`` are those of :meth:`request`."""
        return await self._request("PATCH", url, options, stream=False)

    async def delete(self, url: str | URL, **options: Unpack[RequestOptions]) -> AsyncResponse:
        """DELETE; ``options`` are those of :meth:`request`."""
        return await self._request("DELETE", url, options, stream=False)

    # -- tunnels ------------------------------------------------------------------------------------

    def tunnel(
        self, url: str | URL, protocol: str | None = "websocket", **options: Unpack[TunnelOptions]
    ) -> Opening[AsyncTunnel]:
        """Open a tunnel of raw bytes, as :meth:`Client.tunnel` does::

            async with client.tunnel("https://example.com/chat", "websocket") as tunnel:
                await tunnel.send(b"...")
                data = await tunnel.receive()

        It can also be awaited, and must be closed then.
        """
        return Opening(self._open_tunnel(url, protocol, options))

    async def _open_tunnel(self, url: str | URL, protocol: str | None, options: TunnelOptions) -> AsyncTunnel:
        self.attach()
        return AsyncTunnel(*await self._tunnel(url, protocol, AsyncResponse, options))

    def websocket(self, url: str | URL, **options: Unpack[WebSocketOptions]) -> Opening[AsyncWebSocket]:
        """Open a WebSocket, as :meth:`Client.websocket` does::

            async with client.websocket("wss://example.com/chat", subprotocols=["chat"]) as socket:
                await socket.send("hello")
                async for message in socket:
                    ...

        It can also be awaited, and must be closed then.
        """
        return Opening(self._open_websocket(url, options))

    async def _open_websocket(self, url: str | URL, options: WebSocketOptions) -> AsyncWebSocket:
        from specter.client.async_websocket import AsyncWebSocket, TaskMutex

        self.attach()
        return AsyncWebSocket(*await self._websocket(url, AsyncResponse, options), (TaskMutex(), TaskMutex()))

    async def migrate(
        self,
        url: str | URL | None = None,
        *,
        local_address: str | None = None,
        timeout: TimeoutTypes | Default = CLIENT,
    ) -> int:
        """Move established connections to new local sockets, as :meth:`Client.migrate` does."""
        self.attach()
        return await self._migrate(url, local_address, timeout)

    # -- the end ------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Close all connections; requests that are under way fail with ``NetworkError``. Any number of times."""
        self._loop_driver.require_idle_or_own()
        self._pool.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
