"""Specter: an HTTP/3 client, with a QUIC and TLS 1.3 stack of its own.

::

    import specter

    response = specter.get("https://example.com/")
    response.http_version  # "HTTP/3"

    with specter.Client() as client:
        client.post("https://example.com/form", data={"name": "value"})

Names are loaded when they are first used, so that the import itself stays cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from specter._version import __version__
from specter.errors import (
    CertificateError,
    ConnectError,
    ConnectTimeout,
    DecodingError,
    Error,
    HandshakeError,
    InvalidURL,
    LocalProtocolError,
    NetworkError,
    PoolTimeout,
    ProtocolError,
    ReadTimeout,
    RemoteProtocolError,
    ResponseNotRead,
    StatusError,
    StreamClosed,
    StreamConsumed,
    StreamReset,
    Timeout,
    TotalTimeout,
    TunnelError,
    TunnelRefused,
    TunnelUnsupported,
    UnsupportedProtocol,
    WebSocketClosed,
    WriteTimeout,
)

if TYPE_CHECKING:
    from specter._backend import backend
    from specter.client.altsvc_cache import AltSvcCache
    from specter.client.api import delete, get, head, options, patch, post, put, request, stream
    from specter.client.async_client import AsyncClient
    from specter.client.async_response import AsyncResponse
    from specter.client.async_tunnel import AsyncTunnel
    from specter.client.async_websocket import AsyncWebSocket
    from specter.client.client import Client
    from specter.client.decoding import DecodingLimits
    from specter.client.discovery import Discovery
    from specter.client.headers import Headers
    from specter.client.limits import Limits
    from specter.client.priority import Priority
    from specter.client.request import Request
    from specter.client.response import Response
    from specter.client.security import InsecureWarning
    from specter.client.timeouts import Timeouts
    from specter.client.timing import Timing
    from specter.client.tunnel import Tunnel
    from specter.client.url import URL
    from specter.client.websocket import WebSocket
    from specter.net.https_records import HttpsRecords
    from specter.net.info import ConnectionInfo, PathInfo
    from specter.net.sessions import SessionCache

__all__ = [
    "URL",
    "AltSvcCache",
    "AsyncClient",
    "AsyncResponse",
    "AsyncTunnel",
    "AsyncWebSocket",
    "CertificateError",
    "Client",
    "ConnectError",
    "ConnectTimeout",
    "ConnectionInfo",
    "DecodingError",
    "DecodingLimits",
    "Discovery",
    "Error",
    "HandshakeError",
    "Headers",
    "HttpsRecords",
    "InsecureWarning",
    "InvalidURL",
    "Limits",
    "LocalProtocolError",
    "NetworkError",
    "PathInfo",
    "PoolTimeout",
    "Priority",
    "ProtocolError",
    "ReadTimeout",
    "RemoteProtocolError",
    "Request",
    "Response",
    "ResponseNotRead",
    "SessionCache",
    "StatusError",
    "StreamClosed",
    "StreamConsumed",
    "StreamReset",
    "Timeout",
    "Timeouts",
    "Timing",
    "TotalTimeout",
    "Tunnel",
    "TunnelError",
    "TunnelRefused",
    "TunnelUnsupported",
    "UnsupportedProtocol",
    "WebSocket",
    "WebSocketClosed",
    "WriteTimeout",
    "__version__",
    "backend",
    "delete",
    "get",
    "head",
    "options",
    "patch",
    "post",
    "put",
    "request",
    "stream",
]

_HOMES = {
    "specter._backend": ("backend",),
    "specter.client.api": ("delete", "get", "head", "options", "patch", "post", "put", "request", "stream"),
    "specter.client.altsvc_cache": ("AltSvcCache",),
    "specter.client.async_client": ("AsyncClient",),
    "specter.client.async_response": ("AsyncResponse",),
    "specter.client.async_tunnel": ("AsyncTunnel",),
    "specter.client.async_websocket": ("AsyncWebSocket",),
    "specter.client.client": ("Client",),
    "specter.client.decoding": ("DecodingLimits",),
    "specter.client.discovery": ("Discovery",),
    "specter.client.headers": ("Headers",),
    "specter.client.limits": ("Limits",),
    "specter.client.priority": ("Priority",),
    "specter.client.request": ("Request",),
    "specter.client.response": ("Response",),
    "specter.client.security": ("InsecureWarning",),
    "specter.client.timeouts": ("Timeouts",),
    "specter.client.timing": ("Timing",),
    "specter.client.tunnel": ("Tunnel",),
    "specter.client.url": ("URL",),
    "specter.client.websocket": ("WebSocket",),
    "specter.net.https_records": ("HttpsRecords",),
    "specter.net.info": ("ConnectionInfo", "PathInfo"),
    "specter.net.sessions": ("SessionCache",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'specter' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
