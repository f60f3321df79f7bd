"""The client: connections, defaults, and a method for each verb."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Unpack, cast

from specter._version import __version__
from specter.client.headers import Headers, HeaderTypes
from specter.client.options import BuildOptions, RequestOptions
from specter.client.pool import Pool
from specter.client.request import Request
from specter.client.response import Response
from specter.client.security import CertTypes, Path, Security, VerifyTypes
from specter.client.sending import exchange
from specter.client.timeouts import DEFAULT_TIMEOUTS, Timeouts, TimeoutTypes
from specter.client.url import URL, ParamTypes, with_params
from specter.h3.config import H3Config
from specter.net import clock
from specter.net.dialing import Dialer
from specter.net.resolver import Resolver
from specter.quic.config import QuicConfig

__all__ = ["Client"]

USER_AGENT: Final = f"specter/{__version__}"


class _Default:
    def __repr__(self) -> str:
        return "the client's"


CLIENT: Final = _Default()
"""Stands for "what the client says" where None has a meaning."""


class Client:
    """An HTTP/3 client for any number of threads; requests to one origin share one connection.

    ``verify``, ``cert`` and ``keylog`` are those of :class:`~specter.client.security.Security`.

    * ``timeout``: :class:`Timeouts`, or what it is made from; five seconds each by default, none in total
    * ``headers``, ``params``: sent with every request
    * ``base_url``: what a URL without scheme is appended to
    * ``keep_alive``: seconds after which a PING keeps an unused connection alive; None lets it go idle
    * ``congestion``: ``"cubic"`` or ``"newreno"``
    * ``resolve``: ``{"host": "address"}`` or ``{"host:port": ["address", ...]}`` in place of a name lookup
    * ``local_address``: the IP address to send from
    * ``quic``, ``h3``: configurations in full; ``keep_alive`` and ``congestion`` still count

    It does what it is asked: no cookies, no redirects, no decompression.
    """

    def __init__(
        self,
        *,
        verify: VerifyTypes = True,
        cert: CertTypes = None,
        timeout: TimeoutTypes = DEFAULT_TIMEOUTS,
        headers: HeaderTypes | None = None,
        params: ParamTypes = None,
        base_url: str | URL = "",
        keep_alive: float | None = None,
        congestion: str | None = None,
        resolve: Mapping[str, str | Sequence[str]] | None = None,
        local_address: str | None = None,
        keylog: Path | None = None,
        quic: QuicConfig | None = None,
        h3: H3Config | None = None,
    ) -> None:
        self.timeout = Timeouts.of(timeout)
        self.headers = Headers({"accept": "*/*", "user-agent": USER_AGENT})
        self.headers.update(headers)
        self._params = params
        self._base_url = URL(base_url) if base_url else None
        dialer = Dialer(
            tls=Security(verify, cert, keylog).config,
            quic=_configured(quic or QuicConfig(), keep_alive, congestion),
            h3=h3 or H3Config(),
            resolver=Resolver(resolve),
            local_address=local_address,
        )
        self._pool = Pool(dialer, keep_alive=keep_alive)

    # -- requests -----------------------------------------------------------------------------------

    def build_request(self, method: str, url: str | URL, **options: Unpack[BuildOptions]) -> Request:
        """Return a request with the client's defaults in it, for ``send``."""
        own = options.get("headers")
        options["headers"] = merged = self.headers.copy() if own else self.headers  # a request copies them
        merged.update(own)
        return Request(method, with_params(self._merged(url), self._params), **options)

    def _merged(self, url: str | URL) -> str | URL:
        base = self._base_url
        if base is None or isinstance(url, URL) or "://" in url.partition("?")[0]:
            return url
        path, question, query = url.partition("?")
        joined = f"{base.path.rstrip('/')}/{path.lstrip('/')}" if path else base.path
        return f"https://{base.authority}{joined}{question}{query}"

    def send(self, request: Request, *, stream: bool = False, timeout: TimeoutTypes | _Default = CLIENT) -> Response:
        """Send ``request`` and return the response, read to its end unless ``stream``; then close it yourself.

        Raises:
            Error: its kinds tell what went wrong.
        """
        limits = self.timeout if isinstance(timeout, _Default) else Timeouts.of(timeout)
        response = exchange(self._pool, request, limits)
        if not stream:
            response.read()
        return response

    def request(self, method: str, url: str | URL, **options: Unpack[RequestOptions]) -> Response:
        """Send a request and return its response, body and all.

        ``params`` are appended to the URL's query. The body is one of ``content`` (bytes, text, a file or an iterable
        of bytes), ``data`` (a form) and ``json``. ``headers`` replace the client's by name, ``timeout`` its limits.
        """
        return self._send(method, url, options, stream=False)

    @contextmanager
    def stream(self, method: str, url: str | URL, **options: Unpack[RequestOptions]) -> Iterator[Response]:
        """Send a request; give its response with the body still to be read, and close it at the end.

        ::

            with client.stream("GET", url) as response:
                for chunk in response.iter_bytes():
                    ...
        """
        with self._send(method, url, options, stream=True) as response:
            yield response

    def _send(self, method: str, url: str | URL, options: RequestOptions, *, stream: bool) -> Response:
        limits: TimeoutTypes | _Default = options.pop("timeout", CLIENT)
        return self.send(self.build_request(method, url, **cast(BuildOptions, options)), stream=stream, timeout=limits)

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

    # -- the end ------------------------------------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        return self._pool.closed

    def close(self) -> None:
        """Close all connections; requests that are under way fail with ``NetworkError``. Any number of times."""
        self._pool.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _configured(config: QuicConfig, keep_alive: float | None, congestion: str | None) -> QuicConfig:
    from dataclasses import replace

    changes: dict[str, Any] = {}
    if keep_alive is not None:
        if not keep_alive > 0:
            raise ValueError("keep_alive is a number of seconds above 0")
        changes["keep_alive"] = int(keep_alive * clock.SECOND)
    if congestion is not None:
        changes["congestion"] = congestion
    return replace(config, **changes) if changes else config
