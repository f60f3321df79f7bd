"""warpsock's blocking client: its responses are there when their bodies are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from typing import Any

from perf.peers.adapter import BlockingAdapter, expect

_warpsock: Any = import_module("warpsock")


class Response:
    def __init__(self, response: Any) -> None:
        expect("3" in response.http_version, f"not HTTP/3 but {response.http_version}")
        self.status = response.status
        self._body = response.bytes

    def pieces(self) -> Iterator[bytes]:
        yield self._body()


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

    def post(self, path: str, body: Iterable[bytes], size: int) -> int:
        request = self._client.post(self._url + path)
        request.version(_warpsock.HttpVersion.Http3Only)
        request.body(b"".join(body))
        response = Response(request.send())
        expect(response.status < 300, f"status {response.status}")
        return sum(map(len, response.pieces()))
