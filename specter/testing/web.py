"""An HTTP/3 client and the test server's engine on a virtual network."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from specter._entropy import SeededEntropy
from specter.h3.config import H3Config
from specter.h3.connection import H3Connection
from specter.h3.events import Headers
from specter.quic.config import QuicConfig
from specter.quic.connection import Connection
from specter.testing.endpoint import Endpoint
from specter.testing.engine import Address
from specter.testing.fetch import Fetch, FetchClient
from specter.testing.messages import Handler
from specter.testing.moving import CLIENT, MovingSimulation
from specter.testing.network import Link, Network
from specter.testing.pair import CLEAN, NAME, RESET_KEY, fixed_credential
from specter.testing.responder import Responder
from specter.testing.simulation import Host
from specter.testing.site import Site
from specter.tls.config import ClientTlsConfig, ServerTlsConfig
from specter.tls.session import Resumption
from specter.tls.tickets import TicketKeeper

__all__ = ["WebPair"]

DEFAULT_QUIC: Final = QuicConfig()
DEFAULT_H3: Final = H3Config()
SERVER_H3: Final = H3Config(enable_connect_protocol=True)


class WebPair(MovingSimulation):
    """What ``Server`` serves, in virtual time and without sockets; all of it follows from ``seed``."""

    def __init__(
        self,
        seed: int,
        to_server: Link = CLEAN,
        to_client: Link | None = None,
        *,
        handler: Handler | None = None,
        tunnel: Handler | None = None,
        directory: str | Path | None = None,
        delay: float = 0.0,
        client_config: QuicConfig = DEFAULT_QUIC,
        server_config: QuicConfig = DEFAULT_QUIC,
        client_h3: H3Config = DEFAULT_H3,
        server_h3: H3Config = SERVER_H3,
        max_body: int = 1 << 20,
        server_tls: ServerTlsConfig | None = None,
        client_tls: ClientTlsConfig | None = None,
        retry: bool = False,
        tickets: TicketKeeper | None = None,
        resumption: Resumption | None = None,
    ) -> None:
        super().__init__(Network(seed, to_server, to_client))
        self._site = Site(handler, tunnel=tunnel, directory=directory)
        self._delay = delay
        self._server_h3 = server_h3
        self._max_body = max_body
        self._client_config, self._client_h3 = client_config, client_h3
        self._client_tls = client_tls or ClientTlsConfig(server_name=NAME, verify=False)
        entropy = SeededEntropy(f"{seed} server")
        tls = server_tls or ServerTlsConfig(credentials=(fixed_credential().tls,), tickets=tickets)
        self.endpoint = Endpoint(server_config, tls, entropy, wrap=self._wrap, reset_key=RESET_KEY, retry=retry)
        self.add(self.endpoint, self.network.server)
        self.client, self.client_host = self.connect("client", CLIENT, resumption=resumption)

    @property
    def moving(self) -> Connection:
        quic = self.client.h3.quic
        if not isinstance(quic, Connection):
            raise TypeError("not a QUIC connection")
        return quic

    def connect(self, name: str, address: Address, *, resumption: Resumption | None = None) -> tuple[FetchClient, Host]:
        """Put another client on the network, at ``address``; ``name`` is part of its seed."""
        entropy = SeededEntropy(f"{self.network.seed} {name}")
        server = self.network.server
        quic = Connection.client(
            self._client_config, self._client_tls, entropy, self.now, address=server, resumption=resumption
        )
        remembered = b"" if resumption is None else resumption.session.application
        client = FetchClient(H3Connection(quic, self._client_h3, entropy=entropy, remembered=remembered), NAME)
        return client, self.add(client, address)

    def _wrap(self, connection: Connection) -> Responder:
        h3 = H3Connection(connection, self._server_h3)
        return Responder(h3, self._site, gather=self._site.wants_bodies, delay=self._delay, max_body=self._max_body)

    @property
    def responder(self) -> Responder:
        """The server's side of the newest connection."""
        engine = list(self.endpoint.peers)[-1].engine
        if not isinstance(engine, Responder):
            raise TypeError("not a responder")
        return engine

    def start(
        self,
        target: str,
        *,
        method: str = "GET",
        headers: Headers = (),
        body: bytes | Iterable[bytes] = b"",
        protocol: str = "",
    ) -> Fetch:
        """Begin a request; with ``protocol`` a tunnel (RFC 9220)."""
        fetch = self.client.fetch(target, method=method, headers=headers, body=body, protocol=protocol)
        self.flush(self.client_host)
        return fetch

    def fetch(
        self,
        target: str,
        *,
        method: str = "GET",
        headers: Headers = (),
        body: bytes | Iterable[bytes] = b"",
        protocol: str = "",
        limit: float = 60.0,
    ) -> Fetch:
        """Make a request and run until it has ended, one way or the other."""
        fetch = self.start(target, method=method, headers=headers, body=body, protocol=protocol)
        self.run(lambda: fetch.done or self.client.closed is not None, limit=limit)
        return fetch

    def close(self) -> None:
        """Close from the client and run until neither side has anything to do."""
        self.client.h3.close()
        self.client.work()
        self.flush(self.client_host)
        self.settle()
