"""What the test server serves by itself: files of a directory, and paths that behave as a test needs."""

from __future__ import annotations

import hashlib
import json
import mimetypes
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from specter.testing.content import content_chunks
from specter.testing.messages import Pause, Reply, Request

if TYPE_CHECKING:
    from specter.testing.messages import Handler

__all__ = ["Site"]

CHUNK: Final = 32_768
H3_INTERNAL_ERROR: Final = 0x0102
TEXT: Final = ("content-type", "text/plain; charset=utf-8")
BINARY: Final = ("content-type", "application/octet-stream")
JSON: Final = ("content-type", "application/json")
READING: Final = frozenset({"GET", "HEAD"})
TUNNEL_PROTOCOLS: Final = frozenset({"echo", "websocket"})
"""Upgrade tokens of extended CONNECT that the built-in paths take; the first is of our own making."""


class Site:
    """Answers what the handler passes on: files below ``directory``, then with ``test_paths`` the built-in paths.

    CONNECT goes to ``tunnel``, then with ``test_paths`` to the built-in tunnels.
    """

    def __init__(
        self,
        handler: Handler | None = None,
        *,
        tunnel: Handler | None = None,
        directory: str | Path | None = None,
        test_paths: bool = True,
    ) -> None:
        self._handler = handler
        self._tunnel = tunnel
        self._root = None if directory is None else Path(directory).resolve(strict=True)
        self._test_paths = test_paths

    @property
    def wants_bodies(self) -> bool:
        """Whether requests are to be handed in with their body complete."""
        return self._handler is not None

    def __call__(self, request: Request) -> Reply:
        if request.method == "CONNECT":
            return self._connect(request)
        reply = self._handler(request) if self._handler else None
        if reply is None and self._root is not None:
            reply = _file(self._root, request)
        if reply is None and self._test_paths:
            reply = _built_in(request)
        return _text(404, "nothing here\n") if reply is None else reply

    def _connect(self, request: Request) -> Reply:
        reply = self._tunnel(request) if self._tunnel else None
        if reply is None and self._test_paths:
            reply = built_in_tunnel(request)
        return _text(501, "no such tunnel\n") if reply is None else reply


def _text(status: int, text: str) -> Reply:
    return Reply(status, [TEXT], text.encode())


# -- files ------------------------------------------------------------------------------------------


def _file(root: Path, request: Request) -> Reply | None:
    path = _locate(root, request.path)
    if path is None:
        return None
    if request.method not in READING:
        return Reply(405, [TEXT, ("allow", "GET, HEAD")], b"only GET and HEAD\n")
    kind = mimetypes.guess_type(path.name)[0] or BINARY[1]
    size = path.stat().st_size
    headers = [("content-type", kind), ("content-length", str(size))]
    return Reply(200, headers, b"" if request.method == "HEAD" else _read(path, size))


def _locate(root: Path, target: str) -> Path | None:
    """Return the regular file that ``target`` names; nothing outside of ``root``, whatever it is written like."""
    parts = unquote(target).split("/")[1:]
    if parts and not parts[-1]:
        parts[-1] = "index.html"
    if any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts):
        return None
    try:
        path = root.joinpath(*parts).resolve(strict=True)
    except (OSError, RuntimeError):
        return None
    return path if path.is_relative_to(root) and path.is_file() else None


def _read(path: Path, size: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        while size > 0 and (chunk := file.read(min(size, CHUNK))):
            size -= len(chunk)
            yield chunk


# -- built-in paths and tunnels ---------------------------------------------------------------------------------


def built_in_tunnel(request: Request) -> Reply | None:
    """Answer a CONNECT: the built-in paths in both directions, and the echo service (RFC 862) of any host."""
    if not request.protocol:
        return Reply(body=_echoed(request)) if request.authority.endswith(":7") else _text(502, "only port 7\n")
    if request.protocol == "websocket" and request.path == "/websocket":
        from specter.testing.websocketing import websocket

        return websocket(request, lambda message: [message], subprotocols=("echo",))
    return _built_in(request) if request.protocol in TUNNEL_PROTOCOLS else None


def _built_in(request: Request) -> Reply | None:
    name, _, argument = request.path.strip("/").partition("/")
    route = _ROUTES.get(name)
    if route is None:
        return None
    try:
        return route(request, argument)
    except ValueError as error:
        return _text(400, f"{error}\n")


def _bytes(_request: Request, argument: str) -> Reply:
    size = int(argument)
    if size < 0:
        raise ValueError("a size is not negative")
    return Reply(200, [BINARY, ("content-length", str(size))], content_chunks(size, CHUNK))


def _echo(request: Request, _argument: str) -> Reply:
    kind = request.header("content-type") or BINARY[1]
    length = request.header("content-length")
    return Reply(200, [("content-type", kind), *([("content-length", length)] if length else [])], _echoed(request))


def _echoed(request: Request) -> Iterator[bytes]:
    while (piece := request.stream.read(CHUNK)) is not None:
        yield piece


def _digest(request: Request, _argument: str) -> Reply:
    return Reply(200, [JSON], _digested(request))


def _digested(request: Request) -> Iterator[bytes]:
    total, digest = 0, hashlib.sha256()
    while (piece := request.stream.read(CHUNK)) is not None:
        total += len(piece)
        digest.update(piece)
        if not piece:
            yield b""
    yield json.dumps({"bytes": total, "sha256": digest.hexdigest()}).encode()


def _status(_request: Request, argument: str) -> Reply:
    status = int(argument)
    if not 200 <= status <= 599:
        raise ValueError("a final status is 200 to 599")
    return Reply(status) if status in (204, 205, 304) else _text(status, f"{status}\n")


def _delay(_request: Request, argument: str) -> Reply:
    reply = _text(200, "late\n")
    reply.delay = _seconds(argument)
    return reply


def _headers(request: Request, _argument: str) -> Reply:
    fields = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.headers]
    named = {"method": request.method, "authority": request.authority, "target": request.target}
    said = named | {"headers": fields, "early_data": request.early_data}
    return Reply(200, [JSON], json.dumps(said).encode())


def _too_early(request: Request, _argument: str) -> Reply:
    return _text(425, "not as early data\n") if request.early_data else _text(200, "in time\n")


def _trailers(_request: Request, _argument: str) -> Reply:
    return Reply(200, [TEXT, ("trailer", "x-checksum")], b"with trailers\n", trailers=[("x-checksum", "abc123")])


def _early_hints(_request: Request, _argument: str) -> Reply:
    reply = _text(200, "hinted\n")
    reply.interim = [(103, [("link", "</style.css>; rel=preload; as=style")])]
    return reply


def _reset(_request: Request, argument: str) -> Reply:
    body = content_chunks(int(argument)) if argument else b""
    return Reply(200, [BINARY], body, reset=H3_INTERNAL_ERROR)


def _goaway(_request: Request, _argument: str) -> Reply:
    reply = _text(200, "going away\n")
    reply.goaway = True
    return reply


def _close(_request: Request, argument: str) -> Reply:
    return Reply(200, [BINARY], content_chunks(int(argument or 0)), close=H3_INTERNAL_ERROR)


def _redirect(_request: Request, argument: str) -> Reply:
    left = int(argument or 1)
    return Reply(302, [("location", f"/redirect/{left - 1}" if left > 1 else "/bytes/16")])


def _drip(request: Request, _argument: str) -> Reply:
    query = request.query
    count, size = int(query.get("count", "5")), int(query.get("bytes", "1"))
    return Reply(200, [BINARY], _dripping(count, size, _seconds(query.get("interval", "0.05"))))


def _dripping(count: int, size: int, interval: float) -> Iterator[bytes | Pause]:
    for index in range(count):
        if index:
            yield Pause(interval)
        yield from content_chunks(size, offset=index * size)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= 3600:
        raise ValueError("seconds are 0 to 3600")
    return seconds


_ROUTES: Final[dict[str, Callable[[Request, str], Reply]]] = {
    "bytes": _bytes,
    "close": _close,
    "delay": _delay,
    "digest": _digest,
    "drip": _drip,
    "early-hints": _early_hints,
    "echo": _echo,
    "goaway": _goaway,
    "headers": _headers,
    "redirect": _redirect,
    "reset": _reset,
    "status": _status,
    "too-early": _too_early,
    "trailers": _trailers,
}
