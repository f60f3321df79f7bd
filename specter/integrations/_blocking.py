"""The transport for blocking clients: threads wait, and the caller's thread does the work."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Coroutine, Iterator
from types import TracebackType
from typing import Any, ClassVar, Self, Unpack

from specter.client.client import Client
from specter.client.options import ConnectionOptions
from specter.client.response import Response
from specter.errors import Error
from specter.integrations._engine import Engine
from specter.integrations._library import Library
from specter.integrations._race import Beaten, Gate, Leg, Runner, starts_sending
from specter.integrations._settings import Settings
from specter.net.driver import Event
from specter.net.inline import run_inline
from specter.net.threads import ThreadEvent

__all__ = ["BlockingTransport"]


class BlockingTransport:
    """Sends over HTTP/3 where the origin offers it and it works, over TCP otherwise.

    * ``http3``: ``"auto"`` starts on TCP, hears what origins offer (Alt-Svc), and goes over to HTTP/3 with the next
      request. ``"always"`` knows nothing but HTTP/3
    * ``fallback``: the transport for TCP; by default one of the library's, with HTTP/2 where ``h2`` is installed.
      HTTP/3 goes to the server directly: not through a proxy that this one may use
    * ``limits``: the library's ``Limits``, for HTTP/3 and for TCP each
    * ``head_start``: seconds that a new HTTP/3 connection has before TCP is tried as well; whichever is connected
      first sends the request
    * ``discovery``: a :class:`specter.Discovery`, to keep what is learnt in a file, to share it, or to ask for HTTPS
      records, which let even the first request go over HTTP/3
    * ``verify``, ``cert`` and the other options of :class:`specter.Client` that concern connections; ``verify`` and
      ``cert`` count for TCP, too. With ``trust_env``, so do SSL_CERT_FILE and SSL_CERT_DIR

    A request whose way is lost before the server processed it takes another one, if its body can be sent again. Ways
    that fail are left alone for a while. ``response.http_version`` and ``response.extensions["specter"]``, an
    :class:`Outcome`, tell which way was taken and why; so does the logger ``specter.httpx``. Trailers are in
    ``response.extensions["trailers"]`` when the body has been read.

    Raises:
        ValueError, TypeError: for arguments that make no sense. Requests raise the library's exceptions.
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
        self._fallback = settings.fallback(self._library.httpx.HTTPTransport)
        self._client = Client(**settings.options)
        self._engine = Engine(
            self._library,
            _Threads(self._fallback, self._library),
            self._client.pool,
            Response,
            always=settings.always,
            head_start=head_start,
        )

    def handle_request(self, request: Any) -> Any:
        """Send ``request``; return its response with the body still to be read."""
        return run_inline(self._engine.handle(request))

    def __enter__(self) -> Self:
        if self._fallback is not None:
            self._fallback.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._client.close()
        if self._fallback is not None:
            self._fallback.__exit__(exc_type, exc_value, traceback)

    def close(self) -> None:
        """Close all connections, those of the transport for TCP too. Any number of times."""
        self._client.close()
        if self._fallback is not None:
            self._fallback.close()


class BlockingBody:
    """The body of a response that came over HTTP/3."""

    __slots__ = ("_library", "_response", "extensions")

    def __init__(self, response: Response, library: Library) -> None:
        self._response = response
        self._library = library
        self.extensions: dict[str, Any] = {}
        """Those of the library's response, for the trailers."""

    def __iter__(self) -> Iterator[bytes]:
        response = self._response
        try:
            yield from response.iter_raw()
        except Error as error:
            raise self._library.translated(error) from error
        if trailers := response.trailers.raw:
            self.extensions["trailers"] = self._library.httpx.Headers(trailers)

    def close(self) -> None:
        self._response.close()


class _Threads:
    """The engine's :class:`Host`: everything here blocks, and nothing suspends."""

    def __init__(self, transport: Any, library: Library) -> None:
        self._transport = transport
        self._library = library
        self._body = library.body(BlockingBody)
        self._traced = library.traced(transport, "HTTPTransport", "handle_request")
        self.event = ThreadEvent

    def able(self) -> bool:
        return True

    def content(self, request: Any) -> Any:
        stream = request.stream
        if isinstance(stream, self._library.byte_stream):
            return b"".join(stream) or None
        return iter(stream)

    def body(self, response: Response) -> Any:
        return self._body(response, self._library)

    async def tell(self, trace: Any, name: str, info: dict[str, Any]) -> None:
        trace(name, info)

    async def fallback(self, request: Any) -> Any:
        return self._transport.handle_request(request)

    def leg(self, request: Any, gate: Gate, decided: Event) -> Leg:
        if self._traced:
            return _ThreadLeg(self._transport, request, gate, decided)
        gate.claim(Runner.TCP)
        decided.set()
        return _InlineLeg(self._transport, request)

    def spawn(self, job: Coroutine[Any, Any, None]) -> None:
        threading.Thread(target=run_inline, args=(job,), name="specter-http3", daemon=True).start()


class _InlineLeg:
    """A leg that runs when its result is wanted: over a transport that does not tell when it starts to send."""

    def __init__(self, transport: Any, request: Any) -> None:
        self._transport = transport
        self._request = request

    async def result(self) -> Any:
        return self._transport.handle_request(self._request)

    def abandon(self) -> None:
        """There is nothing that goes on."""


class _ThreadLeg:
    """A leg in a thread of its own. One that is abandoned ends when it would send, or by its own time limits."""

    def __init__(self, transport: Any, request: Any, gate: Gate, decided: Event) -> None:
        self._transport = transport
        self._request = request
        self._gate = gate
        self._decided = decided
        self._trace = request.extensions.get("trace")
        request.extensions["trace"] = self._on_trace
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._response: Any = None
        self._error: BaseException | None = None
        self._wanted = True
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._run,), name="specter-tcp", daemon=True).start()

    def _on_trace(self, name: str, info: dict[str, Any]) -> None:
        if starts_sending(name):
            if not (self._wanted and self._gate.claim(Runner.TCP)):
                raise Beaten
            self._decided.set()
        if self._trace is not None:
            self._trace(name, info)

    def _run(self) -> None:
        try:
            self._response = self._transport.handle_request(self._request)
        except BaseException as error:
            self._error = error
        finally:
            with self._lock:
                self._done.set()
                unwanted = None if self._wanted else self._response
            self._decided.set()
            if unwanted is not None:
                unwanted.close()

    async def result(self) -> Any:
        self._done.wait()
        if self._error is not None:
            raise self._error
        response, self._response = self._response, None
        return response

    def abandon(self) -> None:
        with self._lock:
            self._wanted = False
            response, self._response = self._response, None
        if response is not None:
            response.close()
