"""The asyncio client behind the blocking client's interface: one set of tests for both."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from io import IOBase
from typing import Any, TypeVar

import specter

T = TypeVar("T")


class LoopThread:
    """An event loop in a thread of its own; ``run`` may be called from any other."""

    def __init__(self, make_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop) -> None:
        self.loop = make_loop()
        self.complaints: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.complaints.append(context))
        self._thread = threading.Thread(target=self._main, name="the loop", daemon=True)
        self._thread.start()

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def tasks(self) -> list[str]:
        async def names() -> list[str]:
            await asyncio.sleep(0)
            me = asyncio.current_task()
            return [task.get_name() for task in asyncio.all_tasks() if task is not me]

        return self.run(names())

    def stop(self) -> None:
        """End the loop; nothing may be left in it, and nothing may have gone wrong unnoticed."""
        left = self.tasks()
        self.run(self.loop.shutdown_asyncgens())
        self.run(self.loop.shutdown_default_executor())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()
        assert not self.complaints, self.complaints
        assert not left, left


class Response:
    """An ``AsyncResponse`` with the methods of ``Response``."""

    def __init__(self, inner: specter.AsyncResponse, runner: LoopThread) -> None:
        self._inner = inner
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def read(self) -> bytes:
        return self._runner.run(self._inner.aread())

    def readinto(self, buffer: bytearray | memoryview) -> int:
        return self._runner.run(self._inner.areadinto(buffer))

    def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]:
        return self._each(self._inner.aiter_bytes(chunk_size))

    def iter_raw(self, chunk_size: int | None = None) -> Iterator[bytes]:
        return self._each(self._inner.aiter_raw(chunk_size))

    def iter_text(self, chunk_size: int | None = None) -> Iterator[str]:
        return self._each(self._inner.aiter_text(chunk_size))

    def iter_lines(self) -> Iterator[str]:
        return self._each(self._inner.aiter_lines())

    def _each(self, iterator: AsyncIterator[T]) -> Iterator[T]:
        async def step() -> list[T]:
            try:
                return [await anext(iterator)]
            except StopAsyncIteration:
                return []

        while found := self._runner.run(step()):
            yield found[0]

    def close(self) -> None:
        self._runner.run(self._inner.aclose())

    def reprioritize(self, priority: specter.Priority) -> None:
        async def work() -> None:
            self._inner.reprioritize(priority)

        self._runner.run(work())

    def raise_for_status(self) -> Response:
        self._inner.raise_for_status()
        return self

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Tunnel:
    """An ``AsyncTunnel`` with the methods of ``Tunnel``."""

    def __init__(self, inner: specter.AsyncTunnel, runner: LoopThread) -> None:
        self._inner = inner
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def send(self, data: bytes | bytearray | memoryview, *, eof: bool = False) -> None:
        self._runner.run(self._inner.send(data, eof=eof))

    def send_eof(self) -> None:
        self._runner.run(self._inner.send_eof())

    def receive(self, *arguments: Any, **options: Any) -> bytes:
        return self._runner.run(self._inner.receive(*arguments, **options))

    def receive_into(self, buffer: bytearray | memoryview, **options: Any) -> int:
        return self._runner.run(self._inner.receive_into(buffer, **options))

    def close(self) -> None:
        self._runner.run(self._inner.aclose())

    def __enter__(self) -> Tunnel:
        return self

    def __exit__(self, *details: Any) -> None:
        self._runner.run(self._inner.__aexit__(*details))


class WebSocket:
    """An ``AsyncWebSocket`` with the methods of ``WebSocket``."""

    def __init__(self, inner: specter.AsyncWebSocket, runner: LoopThread) -> None:
        self._inner = inner
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def send(self, message: Any) -> None:
        self._runner.run(self._inner.send(message))

    def receive(self, timeout: float | None = None) -> str | bytes:
        return self._runner.run(self._inner.receive(timeout))

    def ping(self, payload: bytes | None = None) -> None:
        self._runner.run(self._inner.ping(payload))

    def close(self, *arguments: Any, **options: Any) -> None:
        self._runner.run(self._inner.aclose(*arguments, **options))

    def __iter__(self) -> Iterator[str | bytes]:
        iterator = aiter(self._inner)

        async def step() -> list[str | bytes]:
            try:
                return [await anext(iterator)]
            except StopAsyncIteration:
                return []

        while found := self._runner.run(step()):
            yield found[0]

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(self, *details: Any) -> None:
        self._runner.run(self._inner.__aexit__(*details))


class Client:
    """An ``AsyncClient`` with the methods of ``Client``."""

    def __init__(self, runner: LoopThread, **options: Any) -> None:
        self._runner = runner
        self._inner = specter.AsyncClient(**options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def send(self, request: specter.Request, **options: Any) -> Response:
        return Response(self._runner.run(self._inner.send(request, **options)), self._runner)

    def request(self, method: str, url: Any, **options: Any) -> Response:
        if "content" in options:
            options["content"] = in_a_thread(options["content"])
        return Response(self._runner.run(self._inner.request(method, url, **options)), self._runner)

    def get(self, url: Any, **options: Any) -> Response:
        return self.request("GET", url, **options)

    def head(self, url: Any, **options: Any) -> Response:
        return self.request("HEAD", url, **options)

    def options(self, url: Any, **options: Any) -> Response:
        return self.request("OPTIONS", url, **options)

    def post(self, url: Any, **options: Any) -> Response:
        return self.request("POST", url, **options)

    def put(self, url: Any, **options: Any) -> Response:
        return self.request("PUT", url, **options)

    def patch(self, url: Any, **options: Any) -> Response:
        return self.request("PATCH", url, **options)

    def delete(self, url: Any, **options: Any) -> Response:
        return self.request("DELETE", url, **options)

    @contextmanager
    def stream(self, method: str, url: Any, **options: Any) -> Iterator[Response]:
        if "content" in options:
            options["content"] = in_a_thread(options["content"])
        manager = self._inner.stream(method, url, **options)
        response = Response(self._runner.run(manager.__aenter__()), self._runner)
        try:
            yield response
        except BaseException as error:
            if not self._runner.run(manager.__aexit__(type(error), error, None)):
                raise
        else:
            self._runner.run(manager.__aexit__(None, None, None))

    def tunnel(self, *arguments: Any, **options: Any) -> Tunnel:
        async def opened() -> specter.AsyncTunnel:
            return await self._inner.tunnel(*arguments, **options)

        return Tunnel(self._runner.run(opened()), self._runner)

    def websocket(self, *arguments: Any, **options: Any) -> WebSocket:
        async def opened() -> specter.AsyncWebSocket:
            return await self._inner.websocket(*arguments, **options)

        return WebSocket(self._runner.run(opened()), self._runner)

    def migrate(self, *arguments: Any, **options: Any) -> int:
        return self._runner.run(self._inner.migrate(*arguments, **options))

    def on_loop(self, function: Callable[[], T]) -> T:
        """Call ``function`` where the client is at work."""

        async def call() -> T:
            return function()

        return self._runner.run(call())

    def close(self) -> None:
        self._runner.run(self._inner.aclose())

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def in_a_thread(content: Any) -> Any:
    """Return an iterator of a test, which may well wait, as an asynchronous one that waits elsewhere."""
    if not isinstance(content, Iterator) or isinstance(content, IOBase):
        return content

    async def pieces() -> AsyncIterator[bytes]:
        try:
            while (piece := await asyncio.to_thread(next, content, None)) is not None:
                yield piece
        finally:
            close = getattr(content, "close", None)
            if close is not None:
                await asyncio.to_thread(close)

    return pieces()
