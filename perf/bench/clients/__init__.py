"""HTTP/3 clients with one face, each imported in an environment of its own."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

__all__ = ["HttpClient", "make"]


class HttpClient(Protocol):
    """A client with one warm connection. Certificates are checked against ``ca_file``."""

    version: str

    def __init__(self, ca_file: str) -> None: ...

    def get(self, url: str) -> int:
        """Fetch ``url`` over HTTP/3 and return how many bytes its body had."""

    def download(self, url: str) -> int:
        """The same for a large body, which is passed through in pieces and not kept."""

    def close(self) -> None: ...


def make(name: str, ca_file: str) -> HttpClient:
    """Return a new client of a package; ``ImportError`` where it is not installed."""
    module = import_module(f"perf.bench.clients.{name}_client")
    client: HttpClient = module.Client(ca_file)
    return client
