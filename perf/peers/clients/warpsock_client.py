"""warpsock's blocking client: its responses are there when their bodies are."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from typing import Any

from perf.peers import asynchronous
from perf.peers.adapter import BlockingAdapter, Sample, Unsupported, expect

_warpsock: Any = import_module("warpsock")


class Response:
    def __init__(self, response: Any) -> None:
        expect("3" in response.http_version, f"not HTTP/3 but {response.http_version}")
        self.status = response.status
        self._body = response.bytes

    def pieces(self) -> Iterator[bytes]:
        yield self._body()


class Tunnel:
    def __init__(self, tunnel: Any) -> None:
        self._tunnel = tunnel

    async def send(self, data: bytes, fin: bool) -> None:
        await self._tunnel.send_bytes(data, fin)

    async def receive(self) -> bytes:
        return bytes(await self._tunnel.recv_bytes() or b"")

    async def close(self) -> None:
        """There is nothing to call: it ends with its object."""


class Client(BlockingAdapter):
    version = version("warpsock")

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._client: Any = None

    def _new(self) -> Any:
        builder = _warpsock.SyncClient.builder()
        builder.with_platform_roots(True)
        builder.localhost_allows_invalid_certs(False)
        builder.total_timeout(120.0)
        return builder.build()

    def connect(self, url: str, ca_file: str) -> None:
        self._url = url
        os.environ["SSL_CERT_FILE"] = ca_file  # its platform's roots are the only ones it takes
        self._client = self._new()
        with self.open("/health") as response:
            expect(response.status in (200, 404), "no health")

    def fresh(self) -> Client:
        other = Client(self._options)
        other._url, other._client = self._url, self._new()
        return other

    @contextmanager
    def open(self, path: str) -> Iterator[Response]:
        request = self._client.get(self._url + path)
        request.version(_warpsock.HttpVersion.Http3Only)
        yield Response(request.send())

    def _opener(self, path: str) -> asynchronous.Open:
        """Tunnels are for asyncio only, and on connections of their own."""
        builder = _warpsock.Client.builder()
        builder.with_platform_roots(True)
        builder.localhost_allows_invalid_certs(False)
        client = builder.build()

        async def open_tunnel() -> Tunnel:
            return Tunnel(await client.websocket_h3(self._url.replace("https:", "wss:") + path).connect())

        return open_tunnel

    def echo(self, path: str, count: int, size: int) -> Sequence[Sample]:
        return asyncio.run(asynchronous.echo(self._opener(path), count, size))

    def close_fin(self, path: str, count: int, size: int) -> Sequence[Sample]:
        return asyncio.run(asynchronous.close_fin(self._opener(path), count, size))

    def mixed(self, path: str, tunnel: str, count: int, size: int, writes: int) -> Sequence[Sample]:
        raise Unsupported("its blocking client has no tunnels, and its asyncio client keeps no connection")

    def post(self, path: str, body: Iterable[bytes], size: int) -> int:
        request = self._client.post(self._url + path)
        request.version(_warpsock.HttpVersion.Http3Only)
        request.body(b"".join(body))
        response = Response(request.send())
        expect(response.status < 300, f"status {response.status}")
        return sum(map(len, response.pieces()))
