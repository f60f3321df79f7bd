"""A client and a server on a virtual network, ready to transfer: what most simulations need."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from functools import cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ed25519

from specter._entropy import SeededEntropy
from specter.quic.config import QuicConfig
from specter.quic.connection import Connection
from specter.testing.certificates import CertificateAuthority, Credential
from specter.testing.endpoint import Endpoint
from specter.testing.engine import Engine
from specter.testing.moving import CLIENT, MovingSimulation
from specter.testing.network import Link, Network
from specter.testing.simulation import START, Host
from specter.testing.transfers import Order, TransferClient, TransferServer
from specter.tls.config import ClientTlsConfig, ServerTlsConfig
from specter.tls.session import Resumption

__all__ = ["ALPN", "Pair", "fixed_credential"]

ALPN: Final = ("specter-test",)
NAME: Final = "server.test"
CLEAN: Final = Link()
RESET_KEY: Final = bytes(range(32))


@cache
def fixed_credential() -> Credential:
    """Return a certificate that is the same in every process, so that a seed means the same datagram sizes.

    Its Ed25519 signatures are not what public authorities make: the simulated clients do not verify chains.
    """
    begin, end = (datetime.datetime(year, 1, 1, tzinfo=datetime.UTC) for year in (2020, 2120))
    root_key, leaf_key = (ed25519.Ed25519PrivateKey.from_private_bytes(bytes([fill]) * 32) for fill in (1, 2))
    root = CertificateAuthority(key=root_key, not_before=begin, not_after=end, serial=1)
    return root.issue(NAME, key=leaf_key, not_before=begin, not_after=end, serial=2)


class Pair(MovingSimulation):
    """One client with ``orders`` against an endpoint that carries them out; all of it follows from ``seed``."""

    def __init__(
        self,
        seed: int,
        to_server: Link = CLEAN,
        to_client: Link | None = None,
        *,
        orders: Iterable[Order] = (),
        client_config: QuicConfig | None = None,
        server_config: QuicConfig | None = None,
        server_tls: ServerTlsConfig | None = None,
        retry: bool = False,
        versions: tuple[int, ...] = (),
        start: bool = True,
        resumption: Resumption | None = None,
    ) -> None:
        super().__init__(Network(seed, to_server, to_client))
        self.client_config = client_config or QuicConfig()
        self.server_config = server_config or QuicConfig()
        self.server_tls = server_tls or ServerTlsConfig(credentials=(fixed_credential().tls,), alpn=ALPN)
        self.retry = retry
        self.versions = versions
        self.endpoint = self.new_endpoint()
        self.server_host = self.add(self.endpoint, self.network.server)
        self.client = self.new_client(orders, resumption=resumption)
        self.client_host = Host(CLIENT, self.client)
        if start:
            self.client_host = self.add(self.client, CLIENT)

    def new_endpoint(self, name: str = "server") -> Endpoint:
        """Return an endpoint that knows no connection but has the same reset key."""
        return Endpoint(
            self.server_config,
            self.server_tls,
            SeededEntropy(f"{self.network.seed} {name}"),
            retry=self.retry,
            wrap=TransferServer,
            versions=self.versions,
            reset_key=RESET_KEY,
        )

    def new_client(
        self,
        orders: Iterable[Order] = (),
        *,
        name: str = "client",
        token: bytes = b"",
        resumption: Resumption | None = None,
    ) -> TransferClient:
        """Return a client that is not on the network yet."""
        tls = ClientTlsConfig(server_name=NAME, verify=False, alpn=ALPN)
        entropy = SeededEntropy(f"{self.network.seed} {name}")
        now = getattr(self, "now", START)
        connection = Connection.client(
            self.client_config, tls, entropy, now, token=token, address=self.network.server, resumption=resumption
        )
        return TransferClient(connection, orders)

    @property
    def server(self) -> TransferServer:
        """The newest connection's server side."""
        peer = list(self.endpoint.peers)[-1]
        return _transfer_server(peer.engine)

    @property
    def applications(self) -> list[TransferServer]:
        """The server's sides of all connections that are not gone yet, the newest first."""
        return [_transfer_server(peer.engine) for peer in reversed(list(self.endpoint.peers))]

    @property
    def moving(self) -> Connection:
        return self.client.connection

    def transfer(self, count: int | None = None, *, limit: float = 60.0) -> None:
        """Run until ``count`` of the client's orders, or all, are carried out; ``Stalled`` when it closes before."""

        def reached() -> bool:
            client = self.client
            return client.done or client.closed is not None or (count is not None and len(client.finished) >= count)

        self.run(reached, limit=limit)
        if self.client.closed is not None:
            raise self.stalled("the connection ended before the orders were carried out")

    def close(self, *, limit: float = 60.0) -> None:
        """Close from the client and run until neither side has anything to do."""
        self.client.connection.close(0, "done")
        self.client.work()
        self.flush(self.client_host)
        self.settle(limit=limit)

    def poke(self) -> None:
        """Let both sides send after a test worked with them directly."""
        for peer in self.endpoint.peers:
            self.endpoint.touch(peer)
        for host in self.hosts:
            self.flush(host)


def _transfer_server(engine: Engine) -> TransferServer:
    if not isinstance(engine, TransferServer):
        raise TypeError("not a transfer server")
    return engine
