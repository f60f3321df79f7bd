"""The keyword arguments of requests and clients, for type checkers and editors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from specter.client.body import ContentTypes
    from specter.client.decoding import DecodeTypes
    from specter.client.discovery import Discovery
    from specter.client.extras import InformationalHook, TrailerTypes
    from specter.client.headers import HeaderTypes
    from specter.client.priority import Priority
    from specter.client.security import CertTypes, Path, VerifyTypes
    from specter.client.timeouts import TimeoutTypes
    from specter.client.url import ParamTypes
    from specter.h3.config import H3Config
    from specter.net.sessions import SessionCache
    from specter.quic.config import QuicConfig

__all__ = ["BuildOptions", "ConnectionOptions", "RequestOptions", "SingleRequestOptions", "TunnelOptions"]


class BuildOptions(TypedDict, total=False):
    """What :meth:`Client.build_request` takes besides method and URL."""

    params: ParamTypes
    headers: HeaderTypes | None
    content: ContentTypes | None
    data: ParamTypes
    json: Any
    decode: DecodeTypes
    priority: Priority | None
    trailers: TrailerTypes
    expect_continue: bool | float
    on_informational: InformationalHook | None


class RequestOptions(BuildOptions, total=False):
    """What :meth:`Client.request` takes besides method and URL."""

    timeout: TimeoutTypes


class TunnelOptions(TypedDict, total=False):
    """What :meth:`Client.tunnel` takes besides URL and protocol."""

    target: str | None
    params: ParamTypes
    headers: HeaderTypes | None
    timeout: TimeoutTypes


class WebSocketOptions(TypedDict, total=False):
    """What :meth:`Client.websocket` takes besides the URL."""

    subprotocols: Sequence[str]
    compression: bool
    max_size: int | None
    params: ParamTypes
    headers: HeaderTypes | None
    timeout: TimeoutTypes


class ConnectionOptions(TypedDict, total=False):
    """What :class:`Client` takes to make connections."""

    verify: VerifyTypes
    cert: CertTypes
    keep_alive: float | None
    congestion: str | None
    resolve: Mapping[str, str | Sequence[str]] | None
    local_address: str | None
    spin: float
    keylog: Path | None
    qlog: Path | None
    quic: QuicConfig | None
    h3: H3Config | None
    discovery: Discovery | None
    session_cache: SessionCache | bool
    early_data: bool


class SingleRequestOptions(RequestOptions, ConnectionOptions, total=False):
    """What a request without a client takes."""
