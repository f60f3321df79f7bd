"""Specter's blocking client, through its public face. ``spin`` (microseconds) is ``Client(spin=)``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import specter
from perf.kit.identity import specter_build
from perf.peers.adapter import BlockingAdapter, expect


class Response:
    def __init__(self, response: specter.Response) -> None:
        self.status = response.status_code
        self.pieces = response.iter_bytes


class Tunnel:
    def __init__(self, tunnel: specter.Tunnel) -> None:
        self._tunnel = tunnel
        self.receive = tunnel.receive
        self.close = tunnel.close

    def send(self, data: bytes, fin: bool) -> None:
        self._tunnel.send(data, eof=fin)


class Client(BlockingAdapter):
    version = specter.__version__

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._client: specter.Client | None = None

    def details(self) -> dict[str, Any]:
        return specter_build()

    def connect(self, url: str, ca_file: str) -> None:
        self._address = (url, ca_file)
        self._client = specter.Client(verify=ca_file, base_url=url, **self._options)
        expect(self._client.get("/health").status_code in (200, 404), "no health")

    def fresh(self) -> Client:
        other = Client(self._options)
        url, ca_file = self._address
        other._client = specter.Client(verify=ca_file, base_url=url, **self._options)
        return other

    @contextmanager
    def open(self, path: str) -> Iterator[Response]:
        assert self._client is not None
        with self._client.stream("GET", path) as response:
            yield Response(response)

    def post(self, path: str, body: Iterable[bytes], size: int) -> int:
        assert self._client is not None
        response = self._client.post(path, content=body, headers={"content-length": str(size)})
        expect(response.status_code < 300, f"status {response.status_code}")
        return len(response.content)

    def tunnel(self, path: str) -> Tunnel:
        assert self._client is not None
        return Tunnel(self._client.tunnel(path))

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
