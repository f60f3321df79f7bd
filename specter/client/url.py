"""URLs: what an https URL says about where to connect and what to ask for (RFC 3986, RFC 9110 section 4)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import quote, quote_plus, urljoin, urlsplit

from specter.errors import InvalidURL, UnsupportedProtocol

__all__ = ["URL", "Origin", "ParamTypes", "encode_params", "with_params"]

Primitive: TypeAlias = str | bytes | int | float | bool | None
ParamTypes: TypeAlias = (
    Mapping[str, "Primitive | Iterable[Primitive]"] | Iterable[tuple[str, Primitive]] | str | bytes | None
)

HTTPS_PORT: Final = 443
MAX_LENGTH: Final = 65_536
_UNPRINTABLE: Final = re.compile(r"[\x00-\x20\x7f\ud800-\udfff]")
"""Control characters, the space, and halves of surrogate pairs, which no encoding can express."""
_LONE_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NAME: Final = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.?")
_PATH_SAFE: Final = "/:@!$&'()*+,;=~-._%"
_QUERY_SAFE: Final = "/?:@!$&'()*+,;=~-._%[]|{}^`\\"


class Origin(NamedTuple):
    """Where to connect: an ASCII host (a name or an IP address) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{_bracketed(self.host)}:{self.port}"


class URL:
    """An ``https`` URL, taken apart and in normal form. Immutable.

    ``params`` are added behind the query that the URL has.

    Raises:
        InvalidURL: it cannot be understood, or it holds a user name: credentials belong into a header.
        UnsupportedProtocol: its scheme is not ``https``.
    """

    __slots__ = ("authority", "fragment", "host", "origin", "path", "port", "query", "target")

    host: str
    """In ASCII (A-labels) and lower case; an IPv6 address without brackets."""
    port: int
    path: str
    query: str
    fragment: str
    origin: Origin
    authority: str
    """Host and port as in the URL: no default port, no IPv6 zone."""
    target: str
    """Path and query: what the server is asked for."""

    scheme: Final = "https"

    def __init__(self, url: str | URL, params: ParamTypes = None) -> None:
        if isinstance(url, URL):
            parts = {name: getattr(url, name) for name in self.__slots__}
        elif isinstance(url, str):
            parts = _parse(url)
        else:
            raise TypeError(f"a URL is text, not {type(url).__name__}")
        added = encode_params(params)
        if added:
            parts["query"] = f"{parts['query']}&{added}" if parts["query"] else added
        parts["target"] = f"{parts['path']}?{parts['query']}" if parts["query"] else parts["path"]
        for name, value in parts.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a URL does not change")

    def join(self, reference: str) -> URL:
        """Return what ``reference`` means on a page of this URL (RFC 3986, section 5.2). Raises as ``URL`` does."""
        try:
            return URL(urljoin(str(self), reference))
        except InvalidURL:
            raise
        except ValueError as error:
            raise InvalidURL(f"{reference[:100]!r}: {error}") from error

    def with_target(self, target: str) -> URL:
        """Return a URL of the same origin that asks for ``target``, which is taken as it is."""
        made = object.__new__(URL)
        path, _, query = target.partition("?")
        parts = {"host": self.host, "port": self.port, "origin": self.origin, "authority": self.authority}
        for name, value in {**parts, "path": path, "query": query, "fragment": "", "target": target}.items():
            object.__setattr__(made, name, value)
        return made

    def __str__(self) -> str:
        fragment = f"#{self.fragment}" if self.fragment else ""
        return f"https://{self.authority}{self.target}{fragment}"

    def __repr__(self) -> str:
        return f"URL({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, URL | str) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


_cached = lru_cache(maxsize=256)(URL)


def with_params(url: str | URL, params: ParamTypes = None) -> URL:
    """Return ``URL(url, params)``, which need not be a new object."""
    if params is not None:
        return URL(url, params)
    return url if isinstance(url, URL) else _cached(url)


def _parse(url: str) -> dict[str, Any]:
    """Return the parts of a URL by name."""
    if len(url) > MAX_LENGTH:
        raise InvalidURL("the URL is too long")
    if (found := _UNPRINTABLE.search(url)) is not None:
        raise InvalidURL(f"the URL has the character {found[0]!r} at position {found.start()}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidURL(f"{url[:100]!r}: {error}") from error
    _check_scheme(url, parts.scheme)
    if "@" in parts.netloc:
        raise InvalidURL("the URL holds credentials; send them in an Authorization header")
    if port == 0:
        raise InvalidURL("port 0 cannot be connected to")
    host, port = _host(parts.hostname or "", url), HTTPS_PORT if port is None else port
    plain = _bracketed(host.partition("%")[0])
    return {
        "host": host,
        "port": port,
        "origin": Origin(host, port),
        "authority": plain if port == HTTPS_PORT else f"{plain}:{port}",
        "path": _quoted(_without_dots(parts.path), _PATH_SAFE) or "/",
        "query": _quoted(parts.query, _QUERY_SAFE),
        "fragment": parts.fragment,
    }


def _check_scheme(url: str, scheme: str) -> None:
    if not scheme:
        raise InvalidURL(f"{url[:100]!r} has no scheme; did you mean https://{url[:100].lstrip('/')}?")
    if scheme != "https":
        raise UnsupportedProtocol(f"HTTP/3 serves https URLs, not {scheme}")


def _host(host: str, url: str) -> str:
    if not host:
        raise InvalidURL(f"{url[:100]!r} has no host")
    if ":" in host:
        return _ipv6(host)
    if not host.isascii():
        try:
            host = host.encode("idna").decode()
        except UnicodeError as error:
            raise InvalidURL(f"the host {host!r} is not a valid name: {error}") from error
    host = host.lower()
    if len(host) > 254 or not _NAME.fullmatch(host):
        raise InvalidURL(f"the host {host!r} is not a valid name")
    return host


def _ipv6(host: str) -> str:
    """Check an address; RFC 6874 writes its zone with ``%25``."""
    address, percent, zone = host.partition("%")
    try:
        ipaddress.IPv6Address(address)
    except ValueError as error:
        raise InvalidURL(f"the host [{host}] is not an IPv6 address") from error
    return f"{address}%{zone.removeprefix('25')}" if percent else address


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _quoted(text: str, safe: str) -> str:
    """Percent-encode what must not be there; what is encoded already stays."""
    return quote(_LONE_PERCENT.sub("%25", text), safe=safe)


def _without_dots(path: str) -> str:
    """Resolve ``.`` and ``..`` segments (RFC 3986, section 5.2.4)."""
    if "/." not in path:
        return path
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments:
        if segment == "..":
            del kept[max(1, len(kept) - 1) :]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/".join(kept)


def encode_params(params: ParamTypes) -> str:
    """Return ``params`` as a query string: a mapping (values may be lists), pairs, or text that is one already."""
    if params is None:
        return ""
    if isinstance(params, bytes):
        params = params.decode()
    if isinstance(params, str):
        return _quoted(params.removeprefix("?"), _QUERY_SAFE)
    pairs: list[str] = []
    for name, value in params.items() if isinstance(params, Mapping) else params:
        values = [value] if isinstance(value, str | bytes) or not isinstance(value, Iterable) else value
        pairs.extend(f"{quote_plus(str(name))}={quote_plus(_plain(item))}" for item in values)
    return "&".join(pairs)


def _plain(value: Primitive) -> str | bytes:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str | bytes) else str(value)
