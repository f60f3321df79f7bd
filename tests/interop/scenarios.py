"""The scenarios of the QUIC interop runner: servers that others wrote, at the end of a bad path.

These pairs have no test, because the server cannot do its part:

| scenario | server | why |
|---|---|---|
| chacha20 | Caddy | TLS 1.3 cipher suites cannot be configured, and it prefers AES |
| Retry | Caddy 2.6 | it sends one only under heavy load |
| key update asked for | Caddy 2.6 | it updates keys after 100,000 packets, and not when told to |
| port and address rebinding, connection migration | Caddy 2.6 | its QUIC stack answers to the first address only |
| the round trip that 0-RTT saves | Caddy 2.6 | it drops a first flight's second datagram, where the request is |
| QUIC version 2 | Caddy 2.6 | it has version 1 and drafts |
| ECN marks that are counted | aioquic, Caddy 2.6 | they report no counts; that marking then ends is tested |
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import specter
from specter.quic.config import QuicConfig
from specter.testing import Link, Relay
from specter.testing.network import Transit
from tests.interop.harness import ServerProcess, content_digest

MS = 1_000_000
LINE = Link(delay=15 * MS, bandwidth=10_000_000, queue=50_000)
"""The interop runner's: 10 Mbit/s, 15 ms each way."""
NEAR = Link(delay=5 * MS)
MEGABYTE = 1_000_000
PATIENCE = 60.0


@dataclass
class Path:
    """A relay in front of a server, for clients that know only the relay; ``clients`` are the addresses it met."""

    server: ServerProcess
    relay: Relay
    clients: set[Any] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Where the server seems to be."""
        return f"https://localhost:{self.relay.port}"

    def options(self, **options: Any) -> dict[str, Any]:
        """Return what a client needs on this path."""
        quic = options.pop("quic", QuicConfig())
        settings = {"verify": self.server.authority, "resolve": {"localhost": self.relay.host}, "timeout": PATIENCE}
        settings["quic"] = replace(quic, handshake_timeout=int(PATIENCE) * 1000 * MS)
        return {"base_url": self.url, **settings, **options}

    def client(self, **options: Any) -> specter.Client:
        return specter.Client(**self.options(**options))

    def note(self, transit: Transit) -> None:
        if transit.to_server:
            self.clients.add(transit.source)


@contextmanager
def path_to(
    server: ServerProcess, link: Link, back: Link | None = None, *, taps: Any = (), **options: Any
) -> Iterator[Path]:
    """Lead to ``server`` over such links."""
    relay = Relay((server.host, server.port), link, back, **options)
    path = Path(server, relay)
    relay.taps.extend([path.note, *taps])
    with relay:
        yield path


def check(response: specter.Response, size: int) -> specter.ConnectionInfo:
    """Make sure that these are the bytes of ``/bytes/size``; return what the response tells of the connection."""
    assert (response.status_code, response.http_version) == (200, "HTTP/3")
    assert hashlib.sha256(response.content).hexdigest() == content_digest(size)
    assert response.connection is not None
    return response.connection


def download(client: specter.Client, size: int) -> specter.ConnectionInfo:
    return check(client.get(f"/bytes/{size}"), size)
