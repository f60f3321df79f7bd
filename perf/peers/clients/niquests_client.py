"""niquests, which speaks HTTP/3 through urllib3-future and qh3; the older protocols are switched off."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from typing import Any

from perf.peers.adapter import PIECE, BlockingAdapter, expect

_niquests: Any = import_module("niquests")

HTTP3 = 30


class Response:
    def __init__(self, response: Any) -> None:
        expect(response.http_version == HTTP3, "not HTTP/3")
        self.status = response.status_code
        self._response = response

    def pieces(self) -> Iterator[bytes]:
        return iter(self._response.iter_content(PIECE))


class Client(BlockingAdapter):
    version = f"{version('niquests')} (qh3 {version('qh3')})"

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._session: Any = None

    def connect(self, url: str, ca_file: str) -> None:
        self._url, self._ca_file = url, ca_file
        self._session = _niquests.Session(disable_http1=True, disable_http2=True)
        with self.open("/health") as response:
            expect(response.status in (200, 404), "no health")
            list(response.pieces())

    def fresh(self) -> Client:
        other = Client(self._options)
        other._url, other._ca_file = self._url, self._ca_file
        other._session = _niquests.Session(disable_http1=True, disable_http2=True)
        return other

    @contextmanager
    def open(self, path: str) -> Iterator[Response]:
        response = self._session.get(self._url + path, verify=self._ca_file, stream=True)
        yield Response(response)

    def post(self, path: str, body: Iterable[bytes], size: int) -> int:
        headers = {"content-length": str(size)}
        response = self._session.post(self._url + path, data=body, headers=headers, verify=self._ca_file)
        expect(response.status_code < 300, f"status {response.status_code}")
        return len(response.content)

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
