"""curl_cffi, which is libcurl with ngtcp2 and BoringSSL; HTTP/3 without fallback."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Any

_curl: Any = import_module("curl_cffi")

HTTP3 = 30


class Client:
    """An ``HttpClient``."""

    version = version("curl_cffi")

    def __init__(self, ca_file: str) -> None:
        self._session: Any = _curl.requests.Session(http_version=_curl.CurlHttpVersion.V3ONLY, verify=ca_file)

    def get(self, url: str) -> int:
        response = self._session.get(url)
        assert response.status_code == 200
        assert response.http_version == HTTP3
        return len(response.content)

    def download(self, url: str) -> int:
        size = 0

        def count(piece: bytes) -> None:
            nonlocal size
            size += len(piece)

        response = self._session.get(url, content_callback=count)
        assert response.status_code == 200
        return size

    def close(self) -> None:
        self._session.close()
