"""Field lines and message control data: what a well-formed message is (RFC 9114, sections 4.2 to 4.4).

The same rules judge what the peer sent and what our caller wants to send; ``FieldError`` says which was broken and
the caller of this module decides whose fault it is. Values lose surrounding whitespace when received
(RFC 9110, section 5.5); our own caller may not send any.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import chain
from typing import Final, NamedTuple, TypeAlias

Line: TypeAlias = tuple[bytes, bytes]
Lines: TypeAlias = Sequence[Line]
Special: TypeAlias = dict[bytes, list[bytes]]
"""The values of the lines with a special name."""

__all__ = [
    "FieldError",
    "KnownLines",
    "RequestHead",
    "ResponseHead",
    "parse_request",
    "parse_response",
    "parse_trailers",
    "section_size",
]

_NAME_CHARS: Final = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
_VALUE_CHARS: Final = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
_VISIBLE: Final = bytes(range(0x21, 0x7F))
_METHOD_CHARS: Final = _NAME_CHARS + b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"})
"""Methods that need no look at their characters; CONNECT has rules of its own."""
_PATH: Final = re.compile(rb"[!\"$-~]*")
_AUTHORITY: Final = re.compile(rb"[!-?A-~]+")
_CLEAN_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_CLEAN_VALUE: Final = re.compile(rb"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?").fullmatch
_SCHEME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*")
_CONNECTION_SPECIFIC: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
_SPECIAL: Final = _CONNECTION_SPECIFIC | {b"content-length", b"host", b"te"}
"""Names whose lines mean something to us or are forbidden."""
_REQUEST_PSEUDO: Final = frozenset({b":method", b":scheme", b":authority", b":path", b":protocol"})
_LINE_OVERHEAD: Final = 32
_BLANKS: Final = (b" ", b"\t")
_SHORT: Final = 128
_MAX_KNOWN: Final = 128


class FieldError(ValueError):
    """The message is malformed."""


KnownLines: TypeAlias = set[Line]
"""Lines found clean before, whoever sent them; none has a special name. They are few and short."""


def _learn(known: KnownLines, line: Line) -> None:
    """Add a line; a full set of 128 starts anew."""
    if len(known) >= _MAX_KNOWN:
        known.clear()
    known.add(line)


class RequestHead(NamedTuple):
    method: bytes
    scheme: bytes
    authority: bytes
    path: bytes
    protocol: bytes
    headers: tuple[Line, ...]
    content_length: int | None

    def __repr__(self) -> str:
        return f"<RequestHead {self.method!r} with {len(self.headers)} field lines>"


class ResponseHead(NamedTuple):
    status: int
    headers: tuple[Line, ...]
    content_length: int | None

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status} with {len(self.headers)} field lines>"


def section_size(lines: Lines) -> int:
    """Return the size of a field section as RFC 9114, section 4.2.2, counts it."""
    return sum(map(len, chain.from_iterable(lines))) + _LINE_OVERHEAD * len(lines)


def parse_response(lines: Lines, known: KnownLines, *, outgoing: bool = False) -> ResponseHead:
    """Return a response's control data and fields; ``FieldError`` when it is malformed."""
    if not lines or lines[0][0] != b":status":
        raise FieldError(":status does not come first")
    status = lines[0][1]
    if len(status) != 3 or not status.isdigit() or status < b"100":
        raise FieldError("bad :status")
    if status == b"101":
        raise FieldError("101 does not exist in HTTP/3")
    headers, special = _regular(lines, 1, known, outgoing)
    if b"te" in special:
        raise FieldError("te in a response")
    return ResponseHead(int(status), headers, _content_length(special))


def parse_trailers(lines: Lines, known: KnownLines, *, outgoing: bool = False) -> tuple[Line, ...]:
    """Return a trailer section's fields; ``FieldError`` when it is malformed."""
    return _regular(lines, 0, known, outgoing)[0]


def parse_request(lines: Lines, known: KnownLines, *, extended_connect: bool, outgoing: bool = False) -> RequestHead:
    """Return a request's control data and fields; ``FieldError`` when it is malformed.

    ``extended_connect``: the server announced that ``:protocol`` may be used (RFC 9220).
    """
    pseudo: dict[bytes, bytes] = {}
    for name, value in lines:
        if name not in _REQUEST_PSEUDO:
            if name[:1] == b":":
                raise FieldError(f"unknown pseudo-header {name!r}")
            break
        if name in pseudo:
            raise FieldError(f"{name.decode()} came twice")
        pseudo[name] = value
    headers, special = _regular(lines, len(pseudo), known, outgoing)
    if b"te" in special and any(value.lower() != b"trailers" for value in special[b"te"]):
        raise FieldError("te is not trailers")
    _check_target(pseudo, special, extended_connect)
    return RequestHead(
        pseudo[b":method"],
        pseudo.get(b":scheme", b""),
        pseudo.get(b":authority", b""),
        pseudo.get(b":path", b""),
        pseudo.get(b":protocol", b""),
        headers,
        _content_length(special),
    )


def _check_target(pseudo: dict[bytes, bytes], special: Special, extended_connect: bool) -> None:
    method = pseudo.get(b":method", b"")
    if method not in _METHODS and (not method or method.translate(None, _METHOD_CHARS)):
        raise FieldError("no valid :method")
    if b":protocol" in pseudo:
        if method != b"CONNECT" or not extended_connect:
            raise FieldError(":protocol is not allowed here")
        if not pseudo[b":protocol"] or pseudo[b":protocol"].translate(None, _METHOD_CHARS):
            raise FieldError("bad :protocol")
    elif method == b"CONNECT":
        if b":scheme" in pseudo or b":path" in pseudo:
            raise FieldError("CONNECT with :scheme or :path")
        if not _visible(pseudo.get(b":authority", b"")):
            raise FieldError("CONNECT without a valid :authority")
        return
    scheme = pseudo.get(b":scheme", b"")
    web = scheme in (b"https", b"http")
    if not web and not _SCHEME.fullmatch(scheme):
        raise FieldError("no valid :scheme")
    _check_path(pseudo, method, web)
    _check_authority(pseudo, special, web)


def _visible(value: bytes) -> bool:
    return bool(value) and not value.translate(None, _VISIBLE)


def _check_path(pseudo: dict[bytes, bytes], method: bytes, web: bool) -> None:
    path = pseudo.get(b":path")
    if path is None or not _PATH.fullmatch(path):
        raise FieldError("no valid :path")
    if web and path[:1] != b"/" and not (path == b"*" and method == b"OPTIONS"):
        raise FieldError(":path does not begin with a slash")


def _check_authority(pseudo: dict[bytes, bytes], special: Special, web: bool) -> None:
    authority = pseudo.get(b":authority")
    hosts: Collection[bytes] = () if authority is None else (authority,)
    if b"host" in special:
        hosts = {*hosts, *special[b"host"]}
    if len(hosts) > 1:
        raise FieldError("host and :authority differ")
    for host in hosts:
        if not (_AUTHORITY.fullmatch(host) if web else _visible(host)):
            raise FieldError("bad :authority or host, or user information in it")
    if web and not hosts:
        raise FieldError("neither :authority nor host")


def _regular(lines: Lines, start: int, known: KnownLines, outgoing: bool) -> tuple[tuple[Line, ...], Special]:
    """Check the lines from ``start`` on; return them, and the values of those with a special name.

    Known lines need no look; new ones get a quick one, and if that finds anything strange a thorough one.
    """
    headers = tuple(lines[start:])
    special: Special = {}
    for line in [line for line in headers if line not in known]:
        name, value = line
        short = len(name) + len(value) <= _SHORT
        if not (_CLEAN_NAME(name) and _CLEAN_VALUE(value) if short else _is_clean(name, value)):
            return _thorough(headers, outgoing)
        if name in _SPECIAL:
            special.setdefault(name, []).append(value)
        elif short:
            _learn(known, line)
    if special and not _CONNECTION_SPECIFIC.isdisjoint(special):
        raise FieldError("connection-specific field")
    return headers, special


def _thorough(lines: Lines, outgoing: bool) -> tuple[tuple[Line, ...], Special]:
    headers = tuple([_check_line(name, value, outgoing) for name, value in lines])
    special: Special = {}
    for name, value in headers:
        if name in _SPECIAL:
            special.setdefault(name, []).append(value)
    if not _CONNECTION_SPECIFIC.isdisjoint(special):
        raise FieldError("connection-specific field")
    return headers, special


def _is_clean(name: bytes, value: bytes) -> bool:
    """Judge a long line, of which a regular expression would make long work."""
    if not name or name.translate(None, _NAME_CHARS) or value.translate(None, _VALUE_CHARS):
        return False
    return value[:1] not in _BLANKS and value[-1:] not in _BLANKS


def _check_line(name: bytes, value: bytes, outgoing: bool) -> Line:
    if name[:1] == b":":
        raise FieldError(f"pseudo-header {name!r} is not allowed here")
    if not name or name.translate(None, _NAME_CHARS):
        raise FieldError(f"bad field name {name!r}")
    if b"\0" in value or b"\r" in value or b"\n" in value:
        raise FieldError(f"bad value of {name.decode()}")
    if outgoing and (value.translate(None, _VALUE_CHARS) or value != value.strip(b" \t")):
        raise FieldError(f"bad value of {name.decode()}")
    return name, value.strip(b" \t")


def _content_length(special: Special) -> int | None:
    values = special.get(b"content-length")
    if values is None:
        return None
    value = values[0]
    if (len(values) > 1 and values.count(value) != len(values)) or not value.isdigit() or len(value) > 19:
        raise FieldError("bad content-length")
    return int(value)
