"""curl_cffi: libcurl with ngtcp2, told to speak HTTP/3 and nothing else.

Through its ``Curl`` handles: its sessions open a new connection for each streamed response, and say only at the end
when the headers came.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.metadata import version
from typing import Any

from perf.peers.adapter import Adapter, Sample, expect, now

_curl_cffi: Any = import_module("curl_cffi")
_const: Any = import_module("curl_cffi.const")
_Option: Any = _const.CurlOpt

HTTP3 = 30


class Handle:
    """One handle of libcurl and its connection."""

    def __init__(self, ca_file: str) -> None:
        self._curl = _curl_cffi.Curl()
        self._ca_file = ca_file
        self.headers = self.first = self.size = 0

    def perform(self, url: str, upload: int = -1) -> Sample:
        begin = now()
        self.headers = self.first = self.size = 0
        curl = self._curl
        for option, value in (
            (_Option.URL, url.encode()),
            (_Option.HTTP_VERSION, _const.CurlHttpVersion.V3ONLY),
            (_Option.CAINFO, self._ca_file.encode()),
            (_Option.HEADERFUNCTION, self._on_header),
            (_Option.WRITEFUNCTION, self._on_body),
        ):
            curl.setopt(option, value)
        if upload >= 0:
            self._offer(upload)
        curl.perform(clear_headers=False)
        end = now()
        status = curl.getinfo(_const.CurlInfo.RESPONSE_CODE)
        expect(200 <= status < 300 or status == 404, f"status {status}")
        expect(curl.getinfo(_const.CurlInfo.HTTP_VERSION) == HTTP3, "not HTTP/3")
        return begin, self.headers or end, self.first or end, end, self.size

    def _offer(self, size: int) -> None:
        left = size

        def read(limit: int) -> bytes:
            nonlocal left
            piece = bytes(min(limit, left))
            left -= len(piece)
            return piece

        self._curl.setopt(_Option.UPLOAD, 1)
        self._curl.setopt(_Option.CUSTOMREQUEST, b"POST")
        self._curl.setopt(_Option.INFILESIZE_LARGE, size)
        self._curl.setopt(_Option.READFUNCTION, read)

    def _on_header(self, line: bytes) -> int:
        if line == b"\r\n":
            self.headers = now()
        return len(line)

    def _on_body(self, piece: bytes) -> int:
        if not self.first:
            self.first = now()
        self.size += len(piece)
        return len(piece)

    def close(self) -> None:
        self._curl.close()


class Client(Adapter):
    version = version("curl_cffi")

    def __init__(self, options: dict[str, Any]) -> None:
        del options
        self._own = threading.local()
        self._handles: list[Handle] = []

    def connect(self, url: str, ca_file: str) -> None:
        self._url, self._ca_file = url, ca_file
        self._handle().perform(url + "/health")

    def _handle(self) -> Handle:
        """Return the handle of this thread: a handle is for one request at a time."""
        if not hasattr(self._own, "handle"):
            self._own.handle = Handle(self._ca_file)
            self._handles.append(self._own.handle)
        handle: Handle = self._own.handle
        return handle

    def stream(self, path: str, count: int) -> Sequence[Sample]:
        handle = self._handle()
        return [handle.perform(self._url + path) for _ in range(count)]

    def many(self, path: str, count: int, at_once: int) -> Sequence[Sample]:
        if at_once == 1:
            return self.stream(path, count)
        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(lambda _: self._handle().perform(self._url + path), range(count)))

    def upload(self, path: str, size: int) -> Sequence[Sample]:
        handle = Handle(self._ca_file)
        handle.perform(self._url + "/health")
        begin, *_ = handle.perform(self._url + path, size)
        end = now()
        handle.close()
        return [(begin, end, end, end, size)]

    def handshakes(self, path: str, count: int) -> Sequence[Sample]:
        samples = []
        for _ in range(count):
            begin = now()
            handle = Handle(self._ca_file)
            _, headers, first, _, size = handle.perform(self._url + path)
            handle.close()
            samples.append((begin, headers, first, now(), size))
        return samples

    def close(self) -> None:
        for handle in self._handles:
            handle.close()
