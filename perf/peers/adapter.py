"""What the benchmarks ask of a client. Only the standard library: it runs in the environments of other clients."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol, TypeAlias

Sample: TypeAlias = tuple[int, int, int, int, int]
"""``request_ns`` before the request is built, ``headers_ns`` response headers seen by the caller, ``first_body_ns``,
``complete_ns`` when the caller holds the last byte (CLOCK_MONOTONIC), and the bytes that came."""

NAP: Final = 0.001
FIRST_NAP: Final = 0.025
"""Seconds the slow reader of ``mixed`` sleeps before each read, and once at first."""
PIECE: Final = 1 << 16

now = time.monotonic_ns


class Unsupported(Exception):
    """The client cannot do this; the text says why."""


class Adapter:
    """A client with one warm connection to one server. Certificates are checked against ``ca_file``.

    Each workload does ``count`` of something and returns a sample each. Those not overridden are not supported.
    """

    version = "?"
    lacks = "not in this client"

    def __init__(self, options: dict[str, Any]) -> None:
        del options

    def details(self) -> dict[str, Any]:
        """Return what else identifies this build."""
        return {}

    def connect(self, url: str, ca_file: str) -> None:
        """Make the connection and show that it works with ``GET /health``."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the connection."""

    def stream(self, path: str, count: int) -> Sequence[Sample]:
        """GETs one after the other, bodies read as they come."""
        raise Unsupported(self.lacks)

    def many(self, path: str, count: int, at_once: int) -> Sequence[Sample]:
        """GETs, ``at_once`` of them open at any time."""
        raise Unsupported(self.lacks)

    def upload(self, path: str, size: int) -> Sequence[Sample]:
        """One POST of ``size`` bytes that come in pieces."""
        raise Unsupported(self.lacks)

    def handshakes(self, path: str, count: int) -> Sequence[Sample]:
        """New connections, each with a full handshake, the chain check, one GET and the goodbye."""
        raise Unsupported(self.lacks)

    def echo(self, path: str, count: int, size: int) -> Sequence[Sample]:
        """Round trips of ``size`` bytes on one warm tunnel (RFC 9220)."""
        raise Unsupported("no raw tunnels (RFC 9220) in this client")

    def close_fin(self, path: str, count: int, size: int) -> Sequence[Sample]:
        """Open a tunnel, send ``size`` bytes and FIN, until both are back."""
        raise Unsupported("no raw tunnels (RFC 9220) in this client")

    def mixed(self, path: str, tunnel: str, count: int, size: int, writes: int) -> Sequence[Sample]:
        """GET and a tunnel with ``writes`` x ``size`` bytes from one start, read by somebody slow.

        The sample's headers and first body are those of the GET; it is complete when both are.
        """
        raise Unsupported("no raw tunnels (RFC 9220) in this client")


class Response(Protocol):
    """A response whose headers are there."""

    status: int

    def pieces(self) -> Iterator[bytes]: ...


class Tunnel(Protocol):
    """An open tunnel of a blocking client."""

    def send(self, data: bytes, fin: bool) -> None: ...

    def receive(self) -> bytes:
        """Return bytes, ``b""`` at the end."""

    def close(self) -> None: ...


class BlockingAdapter(Adapter):
    """The workloads of a client that blocks, from three calls."""

    def open(self, path: str) -> AbstractContextManager[Response]:
        """Send a GET; return when the response's headers are there."""
        raise NotImplementedError

    def post(self, path: str, body: Iterable[bytes], size: int) -> int:
        """Send a POST, return the length of the response's body."""
        raise Unsupported(self.lacks)

    def tunnel(self, path: str) -> Tunnel:
        """Open a tunnel; return when the server has agreed to it."""
        raise Unsupported("no raw tunnels (RFC 9220) in this client")

    def stream(self, path: str, count: int) -> Sequence[Sample]:
        return [self._get(path) for _ in range(count)]

    def _get(self, path: str) -> Sample:
        begin = now()
        with self.open(path) as response:
            headers = now()
            first = size = 0
            for piece in response.pieces():
                first = first or now()
                size += len(piece)
            end = now()
            expect(response.status == 200, f"status {response.status}")
        return begin, headers, first or end, end, size

    def many(self, path: str, count: int, at_once: int) -> Sequence[Sample]:
        if at_once == 1:
            return self.stream(path, count)
        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(lambda _: self._get(path), range(count)))

    def upload(self, path: str, size: int) -> Sequence[Sample]:
        begin = now()
        self.post(path, zeros(size), size)
        end = now()
        return [(begin, end, end, end, size)]

    def handshakes(self, path: str, count: int) -> Sequence[Sample]:
        return [self._handshake(path) for _ in range(count)]

    def fresh(self) -> BlockingAdapter:
        """Return a client like this one without a connection."""
        raise Unsupported(self.lacks)

    def _handshake(self, path: str) -> Sample:
        begin = now()
        other = self.fresh()
        try:
            _, headers, first, _, size = other._get(path)
        finally:
            other.close()
        return begin, headers, first, now(), size

    def echo(self, path: str, count: int, size: int) -> Sequence[Sample]:
        tunnel, data = self.tunnel(path), bytes(size)
        try:
            return [self._echo(tunnel, data) for _ in range(count)]
        finally:
            tunnel.close()

    def _echo(self, tunnel: Tunnel, data: bytes) -> Sample:
        begin = now()
        tunnel.send(data, False)
        got = len(tunnel.receive())
        first = now()
        while got < len(data):
            got += len(tunnel.receive())
        return begin, first, first, now(), got

    def close_fin(self, path: str, count: int, size: int) -> Sequence[Sample]:
        return [self._close_fin(path, bytes(size)) for _ in range(count)]

    def _close_fin(self, path: str, data: bytes) -> Sample:
        begin = now()
        tunnel = self.tunnel(path)
        opened = now()
        tunnel.send(data, True)
        first = got = 0
        while piece := tunnel.receive():
            first = first or now()
            got += len(piece)
        end = now()
        tunnel.close()
        return begin, opened, first or end, end, got

    def mixed(self, path: str, tunnel: str, count: int, size: int, writes: int) -> Sequence[Sample]:
        return [self._mixed(path, tunnel, bytes(size), writes) for _ in range(count)]

    def _mixed(self, path: str, target: str, data: bytes, writes: int) -> Sample:
        with ThreadPoolExecutor(1) as pool:
            begin = now()
            slow = pool.submit(self._slow, target, data, writes)
            _, headers, first, end, size = self._get(path)
            got = slow.result()
        return begin, headers, first, max(end, now()), size + got

    def _slow(self, target: str, data: bytes, writes: int) -> int:
        tunnel, got = self.tunnel(target), 0
        for index in range(writes):
            tunnel.send(data, index == writes - 1)
        time.sleep(FIRST_NAP)
        while True:
            time.sleep(NAP)
            piece = tunnel.receive()
            if not piece:
                tunnel.close()
                return got
            got += len(piece)


def zeros(size: int) -> Iterator[bytes]:
    """Give ``size`` bytes in pieces."""
    piece = bytes(PIECE)
    for begin in range(0, size, PIECE):
        yield piece[: min(PIECE, size - begin)]


def expect(condition: bool, text: str) -> None:
    """Raise ``RuntimeError`` unless ``condition``."""
    if not condition:
        raise RuntimeError(text)
