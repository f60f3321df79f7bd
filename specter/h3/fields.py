"""Field lines and message control data: what a well-formed message is (RFC 9114, sections 4.2 to 4.4).

The same rules judge what the peer sent and what our caller wants to send; ``FieldError`` says which was broken and
the caller of this module decides whose fault it is. Values lose surrounding whitespace when received
(RFC 9110, section 5.5); our own caller may not send any.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final, NamedTuple, TypeAlias

Line: TypeAlias = tuple[bytes, bytes]
Lines: TypeAlias = Sequence[Line]

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
_SCHEME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*")
_CONNECTION_SPECIFIC: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
_SPECIAL: Final = _CONNECTION_SPECIFIC | {b"content-length", b"host", b"te"}
"""Names whose lines mean something to us or are forbidden."""
_REQUEST_PSEUDO: Final = frozenset({b":method", b":scheme", b":authority", b":path", b":protocol"})
_LINE_OVERHEAD: Final = 32
_MAX_KNOWN: Final = 128
_MAX_KNOWN_SIZE: Final = 128


class FieldError(ValueError):
    """The message is malformed."""


class KnownLines(set[Line]):
    """Lines found well-formed before, whoever sent them; none of them has a special name.

    It holds at most 128 lines of 128 bytes: when it is full it starts anew.
    """

    __slots__ = ()

    def learn(self, lines: Iterable[Line]) -> None:
        for line in lines:
            if len(line[0]) + len(line[1]) <= _MAX_KNOWN_SIZE and line[0] not in _SPECIAL:
                if len(self) >= _MAX_KNOWN:
                    self.clear()
                self.add(line)


class RequestHead(NamedTuple):
    method: bytes
    scheme: bytes
    authority: bytes
    path: bytes
    protocol: bytes
    headers: tuple[Line, ...]
    content_length: int | None


class ResponseHead(NamedTuple):
    status: int
    headers: tuple[Line, ...]
    content_length: int | None


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
    if not special:
        return ResponseHead(int(status), headers, None)
    if _values(special, b"te"):
        raise FieldError("te in a response")
    return ResponseHead(int(status), headers, _content_length(special))


def parse_trailers(lines: Lines, known: KnownLines, *, outgoing: bool = False) -> tuple[Line, ...]:
    """Return a trailer section's fields; ``FieldError`` when it is malformed."""
    return _regular(lines, 0, known, outgoing)[0]


def parse_request(
    lines: Lines, known: KnownLines, *, extended_connect: bool, outgoing: bool = False
) -> RequestHead:
    """Return a request's control data and fields; ``FieldError`` when it is malformed.

    ``extended_connect``: the server announced that ``:protocol`` may be used (RFC 9220).
    """
    pseudo: dict[bytes, bytes] = {}
    for name, value in lines:
        if name[:1] != b":":
            break
        if name not in _REQUEST_PSEUDO:
            raise FieldError(f"unknown pseudo-header {name!r}")
        if name in pseudo:
            raise FieldError(f"{name.decode()} came twice")
        pseudo[name] = value
    headers, special = _regular(lines, len(pseudo), known, outgoing)
    if special and any(value.lower() != b"trailers" for value in _values(special, b"te")):
        raise FieldError("te is not trailers")
    _check_target(pseudo, special, extended_connect)
    return RequestHead(
        pseudo[b":method"],
        pseudo.get(b":scheme", b""),
        pseudo.get(b":authority", b""),
        pseudo.get(b":path", b""),
        pseudo.get(b":protocol", b""),
        headers,
        _content_length(special) if special else None,
    )


def _check_target(pseudo: dict[bytes, bytes], special: Lines, extended_connect: bool) -> None:
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


def _check_authority(pseudo: dict[bytes, bytes], special: Lines, web: bool) -> None:
    authority = pseudo.get(b":authority")
    hosts = _values(special, b"host") if special else set()
    if authority is not None:
        hosts.add(authority)
    if len(hosts) > 1:
        raise FieldError("host and :authority differ")
    for host in hosts:
        if not _visible(host):
            raise FieldError("bad :authority or host")
        if web and b"@" in host:
            raise FieldError("user information in :authority")
    if web and not hosts:
        raise FieldError("neither :authority nor host")


def _regular(lines: Lines, start: int, known: KnownLines, outgoing: bool) -> tuple[tuple[Line, ...], list[Line]]:
    """Check the lines from ``start`` on; return them, and those of them that have a special name.

    Known lines need no look. The names, and the values, of the others are judged in one pass over their
    concatenation; only a suspicious section is looked at line by line.
    """
    headers = tuple(lines[start:])
    fresh = [line for line in headers if line not in known]
    if not fresh:
        return headers, fresh
    names = [name for name, _ in fresh]
    values = b"\n".join([b"", *[value for _, value in fresh], b""])
    if (
        b"" in names
        or b"".join(names).translate(None, _NAME_CHARS)
        or len(values.translate(None, _VALUE_CHARS)) != len(names) + 1
        or b" \n" in values
        or b"\n " in values
        or b"\t\n" in values
        or b"\n\t" in values
    ):
        headers = tuple([_check_line(name, value, outgoing) for name, value in headers])
        return headers, _special(headers)
    known.learn(fresh)
    return headers, _special(fresh)


def _special(lines: Lines) -> list[Line]:
    special = [line for line in lines if line[0] in _SPECIAL]
    for name, _ in special:
        if name in _CONNECTION_SPECIFIC:
            raise FieldError("connection-specific field")
    return special


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


def _values(special: Lines, wanted: bytes) -> set[bytes]:
    return {value for name, value in special if name == wanted}


def _content_length(special: Lines) -> int | None:
    found = _values(special, b"content-length")
    if not found:
        return None
    value = found.pop()
    if found or not value.isdigit() or len(value) > 19:
        raise FieldError("bad content-length")
    return int(value)
