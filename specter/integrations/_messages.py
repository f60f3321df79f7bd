"""A request of httpx's as one of Specter's."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from specter.client.headers import Headers
from specter.client.request import Request
from specter.client.timeouts import Timeouts
from specter.client.url import URL

__all__ = ["convert", "obstacle", "timeouts", "url_of"]

_HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"te", b"http2-settings"}
)
"""Fields that are about one connection of HTTP/1.1; HTTP/3 forbids them (RFC 9114, section 4.2)."""
_INSTANT: Final = 1e-6
"""Seconds; stands for a limit of zero."""


def obstacle(request: Any) -> str:
    """Return what keeps HTTP/3 from carrying an https ``request``, empty for nothing."""
    if request.method == "CONNECT":
        return "CONNECT"
    if request.extensions.get("sni_hostname"):
        return "the extension sni_hostname"
    if "upgrade" in request.headers and "upgrade" in request.headers.get("connection", "").lower():
        return "Upgrade"
    return ""


def url_of(request: Any) -> URL:
    """Return the URL, with path and query as httpx has them. Raises ``InvalidURL``."""
    url = request.url
    target = request.extensions.get("target") or url.raw_path
    return _base(url.raw_host.decode("ascii"), url.port).with_target(target.decode("ascii"))


@lru_cache(maxsize=256)
def _base(host: str, port: int | None) -> URL:
    authority = f"[{host}]" if ":" in host else host
    return URL(f"https://{authority}" if port is None else f"https://{authority}:{port}")


def convert(request: Any, url: URL, content: Any) -> Request:
    """Return ``request`` for a client of Specter's; its body is ``content``, which need not be replayable."""
    return Request(request.method, url, headers=Headers.from_wire(_fields(request.headers.raw)), content=content)


def _fields(lines: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the field lines in lower case, without those that are about the connection (RFC 9110, section 7.6.1)."""
    fields = []
    named = _HOP_BY_HOP
    for name, value in lines:
        name = name.lower()
        if name == b"connection" and value.lower() not in (b"keep-alive", b"close"):
            named = named | {option.strip().lower() for option in value.split(b",")}
        if name not in _HOP_BY_HOP or (name == b"te" and value.strip().lower() == b"trailers"):
            fields.append((name, value.strip(b" \t")))
    return fields if named is _HOP_BY_HOP else [line for line in fields if line[0] not in named or line[0] == b"te"]


def timeouts(extension: dict[str, float | None]) -> Timeouts:
    """Return the limits of the extension ``timeout``; what is not there is not limited."""
    get = extension.get
    return _timeouts(get("connect"), get("read"), get("write"), get("pool"))


@lru_cache(maxsize=64)
def _timeouts(*seconds: float | None) -> Timeouts:
    connect, read, write, pool = (None if limit is None else max(limit, _INSTANT) for limit in seconds)
    return Timeouts(connect=connect, read=read, write=write, pool=pool)
