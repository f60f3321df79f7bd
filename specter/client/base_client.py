"""What both clients have in common: arguments, defaults, and requests built from them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, Unpack, cast

from specter._version import __version__
from specter.client.base_response import BaseResponse
from specter.client.decoding import DecodeTypes, make_limits
from specter.client.discovery import Discovery
from specter.client.headers import Headers, HeaderTypes
from specter.client.limits import DEFAULT_LIMITS, Limits
from specter.client.options import BuildOptions, RequestOptions, TunnelOptions, WebSocketOptions
from specter.client.pool import Pool
from specter.client.request import Request
from specter.client.security import CertTypes, Path, Security, VerifyTypes
from specter.client.sending import exchange
from specter.client.timeouts import DEFAULT_TIMEOUTS, Timeouts, TimeoutTypes
from specter.client.tunneling import TunnelRequest, open_tunnel, secure
from specter.client.url import URL, ParamTypes, with_params
from specter.h3.config import H3Config
from specter.net import clock
from specter.net.connection import BaseConnection
from specter.net.dialing import Dialer
from specter.net.driver import Driver
from specter.net.resolver import Resolver
from specter.net.sessions import SessionCache
from specter.net.tunnel import TunnelTransfer
from specter.quic.config import QuicConfig

if TYPE_CHECKING:
    from specter.client.messages import Messages

__all__ = ["CLIENT", "BaseClient", "Default", "split_timeout"]

USER_AGENT: Final = f"specter/{__version__}"
MAX_MESSAGE: Final = 4 << 20
"""Bytes of the largest message that a WebSocket receives, unless the caller says otherwise."""
MAX_SPIN: Final = 1_000_000
"""Microseconds; who wants to wait longer than this without sleeping has made a mistake."""


class Default:
    def __repr__(self) -> str:
        return "the client's"


CLIENT: Final = Default()
"""Stands for "what the client says" where None has a meaning."""


C = TypeVar("C", bound=BaseConnection)
R = TypeVar("R", bound=BaseResponse)


class BaseClient(Generic[C, R]):
    """What a client sends with every request, and requests made with it.

    ``C`` is its kind of connections, ``R`` its kind of responses.
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
        decode: DecodeTypes = False,
        keep_alive: float | None = None,
        congestion: str | None = None,
        resolve: Mapping[str, str | Sequence[str]] | None = None,
        local_address: str | None = None,
        spin: float = 0,
        keylog: Path | None = None,
        qlog: Path | None = None,
        quic: QuicConfig | None = None,
        h3: H3Config | None = None,
        discovery: Discovery | None = None,
        session_cache: SessionCache | bool = True,
        early_data: bool = False,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """
        ``verify``, ``cert`` and ``keylog`` are those of :class:`~specter.client.security.Security`.

        * ``timeout``: :class:`Timeouts`, or what it is made from; five seconds each by default, none in total
        * ``headers``, ``params``: sent with every request
        * ``base_url``: what a URL without scheme is appended to
        * ``decode``: True asks for compressed bodies and decodes them (gzip, deflate; br and zstd with the extra
          ``compression``); :class:`DecodingLimits` does too, with limits of your own
        * ``keep_alive``: seconds after which a PING keeps an unused connection alive; None lets it go idle
        * ``congestion``: ``"cubic"`` or ``"newreno"``
        * ``resolve``: ``{"host": "address"}`` or ``{"host:port": ["address", ...]}`` in place of a name lookup
        * ``local_address``: the IP address to send from
        * ``spin``: microseconds that a thread waiting in the blocking client looks for datagrams before it sleeps.
          Saves the time that waking a thread up takes (5 to 50 us a wait, most on idle or virtual machines) and costs
          as much processor time as it waits: a whole core while a response is awaited. 0, the default, sleeps at once
        * ``qlog``: a directory that gets an event log of each connection, a ``.sqlog`` file as qvis reads them; without
          it the environment variable ``QLOGDIR`` counts. URLs and header fields are in them, credentials are not
        * ``quic``, ``h3``: configurations in full; ``keep_alive``, ``congestion`` and ``qlog`` still count
        * ``limits``: how many connections there may be; see :class:`Limits`
        * ``discovery``: where to look for HTTP/3 if not at the origin's own host and port; see :class:`Discovery`
        * ``session_cache``: where tickets are kept that let later connections resume earlier ones. True keeps them in
          memory, for this client; a :class:`SessionCache` may be shared, and may have a file; False keeps none
        * ``early_data``: GET, HEAD and OPTIONS without a body may leave along with the handshake of a resumed
          connection (0-RTT), a round trip earlier. Who records them on the way can have the server process them again
        """
        self.timeout = Timeouts.of(timeout)
        self.headers = Headers({"accept": "*/*", "user-agent": USER_AGENT})
        self.headers.update(headers)
        self._params = params
        self._base_url = URL(base_url) if base_url else None
        self._decode = make_limits(decode)
        dialer = Dialer(
            tls=Security(verify, cert, keylog).config,
            quic=_configured(quic or QuicConfig(), keep_alive, congestion, qlog),
            h3=h3 or H3Config(),
            resolver=Resolver(resolve),
            local_address=local_address,
            sessions=_sessions(session_cache),
        )
        driver = self._driver(keep_alive, _spin(spin))
        learn = verify is not False
        self._pool = Pool(dialer, driver, discovery=discovery, learn=learn, early_data=early_data, limits=limits)

    def _driver(self, keep_alive: float | None, spin: int) -> Driver[C]:
        """Return what its connections wait with."""
        raise NotImplementedError

    @property
    def is_closed(self) -> bool:
        return self._pool.closed

    def build_request(self, method: str, url: str | URL, **options: Unpack[BuildOptions]) -> Request:
        """Return a request with the client's defaults in it, for ``send``."""
        own = options.get("headers")
        options["headers"] = merged = self.headers.copy() if own else self.headers  # a request copies them
        merged.update(own)
        if self._decode is not None:
            options.setdefault("decode", self._decode)
        return Request(method, with_params(self._merged(url), self._params), **options)

    async def _tunnel(
        self, url: str | URL, protocol: str | None, respond: type[R], options: TunnelOptions
    ) -> tuple[R, TunnelTransfer]:
        """Open a tunnel with the client's defaults."""
        timeout: TimeoutTypes | Default = options.get("timeout", CLIENT)
        headers = self.headers.copy()
        headers.update(options.get("headers"))
        request = TunnelRequest(
            with_params(self._merged(secure(url)), self._params),
            protocol=protocol,
            target=options.get("target"),
            params=options.get("params"),
            headers=headers,
        )
        limits = self.timeout if isinstance(timeout, Default) else Timeouts.of(timeout)
        return await open_tunnel(self._pool, request, limits, respond)

    async def _websocket(
        self, url: str | URL, respond: type[R], options: WebSocketOptions
    ) -> tuple[R, TunnelTransfer, Messages, str | None]:
        """Open a WebSocket: return the answer, the tunnel, what makes messages of its bytes, and the subprotocol."""
        from specter.client.websocket_handshake import HandshakeOffer

        offer = HandshakeOffer(options.get("subprotocols", ()), compression=options.get("compression", True))
        wanted: TunnelOptions = {"headers": offer.merge(options.get("headers")), "params": options.get("params")}
        if "timeout" in options:
            wanted["timeout"] = options["timeout"]
        response, transfer = await self._tunnel(url, "websocket", respond, wanted)
        try:
            messages = offer.accept(response.headers, options.get("max_size", MAX_MESSAGE))
            return response, transfer, messages, offer.subprotocol(response.headers)
        except BaseException:
            transfer.close()
            raise

    async def _migrate(self, url: str | URL | None, local_address: str | None, timeout: TimeoutTypes | Default) -> int:
        """Move connections to new sockets."""
        limits = self.timeout if isinstance(timeout, Default) else Timeouts.of(timeout)
        origin = None if url is None else URL(self._merged(url)).origin
        return await self._pool.migrate(origin, local_address, limits.start())

    def _merged(self, url: str | URL) -> str | URL:
        base = self._base_url
        if base is None or isinstance(url, URL) or "://" in url.partition("?")[0]:
            return url
        path, question, query = url.partition("?")
        joined = f"{base.path.rstrip('/')}/{path.lstrip('/')}" if path else base.path
        return f"https://{base.authority}{joined}{question}{query}"

    @property
    def pool(self) -> Pool[C]:
        """Its connections, for who builds on them."""
        return self._pool

    async def _send(self, request: Request, respond: type[R], timeout: TimeoutTypes | Default, *, stream: bool) -> R:
        limits = self.timeout if isinstance(timeout, Default) else Timeouts.of(timeout)
        response = await exchange(self._pool, request, limits, respond)
        if not stream:
            try:
                await response._read()
            except BaseException:
                await response._close()
                raise
        return response


def split_timeout(options: RequestOptions) -> tuple[BuildOptions, TimeoutTypes | Default]:
    """Tell what a request is built of from how long it may take."""
    timeout: TimeoutTypes | Default = options.pop("timeout", CLIENT)
    return cast(BuildOptions, options), timeout


def _sessions(cache: SessionCache | bool) -> SessionCache | None:
    if isinstance(cache, bool):
        return SessionCache() if cache else None
    return cache


def _spin(microseconds: float) -> int:
    if not 0 <= microseconds <= MAX_SPIN:
        raise ValueError(f"spin is a number of microseconds from 0 to {MAX_SPIN:,}")
    return int(microseconds * 1000)


def _configured(config: QuicConfig, keep_alive: float | None, congestion: str | None, qlog: Path | None) -> QuicConfig:
    from dataclasses import replace

    changes: dict[str, Any] = {}
    if keep_alive is not None:
        if not keep_alive > 0:
            raise ValueError("keep_alive is a number of seconds above 0")
        changes["keep_alive"] = int(keep_alive * clock.SECOND)
    if congestion is not None:
        changes["congestion"] = congestion
    directory = qlog or os.environ.get("QLOGDIR")
    if directory:
        from specter.net.qlog import QlogDirectory

        changes["qlog"] = QlogDirectory(directory)
    return replace(config, **changes) if changes else config
