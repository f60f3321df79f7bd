"""Specter's blocking client."""

from __future__ import annotations

import specter


class Client:
    """An ``HttpClient``."""

    version = specter.__version__

    def __init__(self, ca_file: str) -> None:
        self._client = specter.Client(verify=ca_file)

    def get(self, url: str) -> int:
        response = self._client.get(url)
        assert response.status_code == 200
        return len(response.content)

    def download(self, url: str) -> int:
        with self._client.stream("GET", url) as response:
            assert response.status_code == 200
            return sum(len(piece) for piece in response.iter_bytes())

    def close(self) -> None:
        self._client.close()
