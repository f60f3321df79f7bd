"""The transport for asyncio clients: tasks wait. Under another event loop it leaves all to the one for TCP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from types import TracebackType
from typing import Any, ClassVar, Self, Unpack

from specter.client.async_client import AsyncClient
from specter.client.async_response import AsyncResponse
from specter.client.options import ConnectionOptions
from specter.errors import Error
from specter.integrations._engine import Engine
from specter.integrations._library import Library
from specter.integrations._race import Beaten, Gate, Leg, Runner, starts_sending
from specter.integrations._settings import Settings
from specter.net.aio_driver import LoopEvent
from specter.net.driver import Event

__all__ = ["AsyncioTransport"]


class AsyncioTransport:
    """The same as ``Transport`` for asynchronous clients, with the same arguments.

    It needs asyncio (or uvloop), and one transport for each event loop. Under trio everything goes over TCP, or fails
    with ``http3="always"``.
    """

    _library: ClassVar[Library]

    def __init__(
        self,
        *,
        http3: str = "auto",
        fallback: Any = None,
        limits: Any = None,
        trust_env: bool = True,
        head_start: float = 0.3,
        **options: Unpack[ConnectionOptions],
    ) -> None:
        settings = Settings(self._library, http3, fallback, limits, trust_env, head_start, options)
        self._fallback = settings.fallback(self._library.httpx.AsyncHTTPTransport)
        self._client = AsyncClient(**settings.options)
        self._tasks = _Tasks(self._fallback, self._library, self._client)
        self._engine = Engine(
            self._library,
            self._tasks,
            self._client.pool,
            AsyncResponse,
            always=settings.always,
            head_start=head_start,
        )

    async def handle_async_request(self, request: Any) -> Any:
        """Send ``request``; return its response with the body still to be read."""
        return await self._engine.handle(request)

    async def __aenter__(self) -> Self:
        if self._fallback is not None:
            await self._fallback.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._close_own()
        if self._fallback is not None:
            await self._fallback.__aexit__(exc_type, exc_value, traceback)

    async def aclose(self) -> None:
        """Close all connections, those of the transport for TCP too. Any number of times."""
        await self._close_own()
        if self._fallback is not None:
            await self._fallback.aclose()

    async def _close_own(self) -> None:
        await self._client.aclose()
        await self._tasks.finish()


class AsyncioBody:
    """The body of a response that came over HTTP/3."""

    __slots__ = ("_library", "_response", "extensions")

    def __init__(self, response: AsyncResponse, library: Library) -> None:
        self._response = response
        self._library = library
        self.extensions: dict[str, Any] = {}
        """Those of the library's response, for the trailers."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Pieces(self._response, self._library, self.extensions)

    async def aclose(self) -> None:
        await self._response.aclose()


class _Pieces:
    """A body as it comes. No generator: whoever stops half-way leaves nothing that the loop has to finish."""

    __slots__ = ("_extensions", "_library", "_next", "_response")

    def __init__(self, response: AsyncResponse, library: Library, extensions: dict[str, Any]) -> None:
        self._response = response
        self._library = library
        self._extensions = extensions
        self._next = response.aiter_raw().__anext__

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._next()
        except StopAsyncIteration:
            if trailers := self._response.trailers.raw:
                self._extensions["trailers"] = self._library.httpx.Headers(trailers)
            raise
        except Error as error:
            raise self._library.translated(error) from error


class _Tasks:
    """The engine's :class:`Host`: who waits suspends its task."""

    def __init__(self, transport: Any, library: Library, client: AsyncClient) -> None:
        self._transport = transport
        self._library = library
        self._client = client
        self._body = library.body(AsyncioBody)
        self._traced = library.traced(transport, "AsyncHTTPTransport", "handle_async_request")
        self._running: set[asyncio.Task[Any]] = set()

    def able(self) -> bool:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return False
        self._client.attach()
        return True

    def content(self, request: Any) -> Any:
        stream = request.stream
        if isinstance(stream, self._library.byte_stream):
            return b"".join(stream) or None
        return stream

    def body(self, response: AsyncResponse) -> Any:
        return self._body(response, self._library)

    async def tell(self, trace: Any, name: str, info: dict[str, Any]) -> None:
        await trace(name, info)

    async def fallback(self, request: Any) -> Any:
        return await self._transport.handle_async_request(request)

    def leg(self, request: Any, gate: Gate, decided: Event) -> Leg:
        if self._traced:
            return _TaskLeg(self, self._transport, request, gate, decided)
        gate.claim(Runner.TCP)
        decided.set()
        return _InlineLeg(self._transport, request)

    def event(self) -> LoopEvent:
        return LoopEvent(asyncio.get_running_loop())

    def spawn(self, job: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(job)
        self._running.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # who wants to know has asked

    async def finish(self) -> None:
        """Wait for what runs in the background; nobody needs it any more."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.gather(*self._running, return_exceptions=True)


class _InlineLeg:
    """A leg that runs when its result is wanted: over a transport that does not tell when it starts to send."""

    def __init__(self, transport: Any, request: Any) -> None:
        self._transport = transport
        self._request = request

    async def result(self) -> Any:
        return await self._transport.handle_async_request(self._request)

    def abandon(self) -> None:
        """There is nothing that goes on."""


class _TaskLeg:
    """A leg in a task of its own.

    One that is abandoned before it sends goes on until it would: a connection in the making is better kept than
    torn, which loses its socket in the library.
    """

    def __init__(self, tasks: _Tasks, transport: Any, request: Any, gate: Gate, decided: Event) -> None:
        self._tasks = tasks
        self._gate = gate
        self._decided = decided
        self._trace = request.extensions.get("trace")
        request.extensions["trace"] = self._on_trace
        self._wanted = True
        self._sending = False
        self._taken = False
        self._task = tasks.spawn(transport.handle_async_request(request))
        self._task.add_done_callback(self._done)

    async def _on_trace(self, name: str, info: dict[str, Any]) -> None:
        if starts_sending(name):
            if not (self._wanted and self._gate.claim(Runner.TCP)):
                raise Beaten
            self._sending = True
            self._decided.set()
        if self._trace is not None:
            await self._trace(name, info)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._decided.set()
        if not self._wanted and not task.cancelled() and task.exception() is None:
            self._tasks.spawn(task.result().aclose())

    async def result(self) -> Any:
        response = await asyncio.shield(self._task)
        self._taken = True
        return response

    def abandon(self) -> None:
        if self._taken:
            return
        self._wanted = False
        if self._task.done():
            self._done(self._task)
        elif self._sending:
            self._task.cancel()
