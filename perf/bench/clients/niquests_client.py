"""niquests, which speaks HTTP/3 through urllib3-future and qh3; the older protocols are switched off."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_niquests: Any = import_module("niquests")

HTTP3 = 30
PIECE = 1 << 16


class Client:
    """An ``HttpClient``."""

    version: str = _niquests.__version__

    def __init__(self, ca_file: str) -> None:
        self._session: Any = _niquests.Session(disable_http1=True, disable_http2=True)
        self._ca_file = ca_file

    def get(self, url: str) -> int:
        response = self._session.get(url, verify=self._ca_file)
        assert response.status_code == 200
        assert response.http_version == HTTP3
        return len(response.content)

    def download(self, url: str) -> int:
        response = self._session.get(url, verify=self._ca_file, stream=True)
        assert response.status_code == 200
        return sum(len(piece) for piece in response.iter_content(PIECE))

    def close(self) -> None:
        self._session.close()
