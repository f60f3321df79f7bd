"""Two connections wired back to back, without network: every datagram arrives, at once or after ``delay``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from specter._backend import batch as batches
from specter._entropy import SeededEntropy
from specter._wire import NEVER
from specter.quic.config import QuicConfig
from specter.quic.connection import Connection
from specter.quic.events import Event
from specter.quic.packet import parse_header
from specter.testing.certificates import CertificateAuthority
from specter.tls.config import ClientTlsConfig, KeyLog, ServerTlsConfig
from specter.tls.session import Resumption
from specter.tls.tickets import TicketKeeper
from specter.tls.trust import TrustStore

START = 1_000_000_000
AUTHORITY = CertificateAuthority()
CREDENTIAL = AUTHORITY.issue("localhost").tls
TRUST = TrustStore([AUTHORITY.certificate])


def client_tls(key_log: KeyLog | None = None) -> ClientTlsConfig:
    return ClientTlsConfig(server_name="localhost", trust=TRUST, alpn=("h3",), key_log=key_log)


def server_tls(tickets: TicketKeeper | None = None) -> ServerTlsConfig:
    return ServerTlsConfig(credentials=(CREDENTIAL,), alpn=("h3",), tickets=tickets)


@dataclass
class Pair:
    """A client and its server; ``filter`` may drop or change datagrams on their way."""

    client_config: QuicConfig = field(default_factory=QuicConfig)
    server_config: QuicConfig = field(default_factory=QuicConfig)
    delay: int = 5_000_000
    seed: int = 1
    filter: Callable[[bool, bytes], bytes | None] = lambda from_client, data: data
    tickets: TicketKeeper | None = None
    resumption: Resumption | None = None

    def __post_init__(self) -> None:
        self.now = START
        self.secrets: dict[str, bytes] = {}
        """What the client's key log says."""
        self.client = Connection.client(
            self.client_config,
            client_tls(self._note_secret),
            SeededEntropy(f"c{self.seed}"),
            self.now,
            resumption=self.resumption,
        )
        self.server: Connection | None = None
        self.wire: list[tuple[int, bool, bytes]] = []
        self.log: list[tuple[bool, bytes]] = []
        self.events: dict[str, list[Event]] = {"client": [], "server": []}

    def _note_secret(self, line: str) -> None:
        label, _, secret = line.split()
        self.secrets[label] = bytes.fromhex(secret)

    def flush(self, connection: Connection, from_client: bool) -> None:
        while True:
            batch = connection.send(self.now)
            if not len(batch):
                return
            for datagram, _, _ in batch:
                data = bytes(datagram)
                self.log.append((from_client, data))
                kept = self.filter(from_client, data)
                if kept is not None:
                    self.wire.append((self.now + self.delay, from_client, kept))

    def _accept(self, data: bytes) -> Connection:
        header = parse_header(data, 0, len(data), 8)
        return Connection.server(
            self.server_config,
            server_tls(self.tickets),
            SeededEntropy(f"s{self.seed}"),
            self.now,
            original_dcid=header.dcid,
            client_cid=header.scid,
            version=header.version,
        )

    def step(self) -> bool:
        """Move to the next thing that happens; return False when nothing will."""
        self._flush_all()
        upcoming = self.upcoming()
        if upcoming == NEVER:
            return False
        self.now = max(self.now, upcoming)
        arrived = [entry for entry in self.wire if entry[0] <= self.now]
        self.wire = [entry for entry in self.wire if entry[0] > self.now]
        for from_client in (True, False):
            self._deliver(from_client, [data for _, origin, data in arrived if origin is from_client])
        for connection in self._ends():
            if connection.next_deadline() <= self.now:
                connection.handle_deadline(self.now)
        self._flush_all()
        return True

    def upcoming(self) -> int:
        """Return when the next thing happens."""
        times = [when for when, _, _ in self.wire]
        return min(times + [connection.next_deadline() for connection in self._ends()], default=NEVER)

    def _deliver(self, from_client: bool, datagrams: list[bytes]) -> None:
        if not datagrams:
            return
        if from_client and self.server is None:
            self.server = self._accept(datagrams[0])
        target = self.server if from_client else self.client
        assert target is not None
        batch = batches.ReceiveBatch()
        for data in datagrams:
            if batch.full:
                target.receive(batch, self.now)
                batch.clear()
            batch.append(data)
        target.receive(batch, self.now)

    def _ends(self) -> list[Connection]:
        return [self.client] if self.server is None else [self.client, self.server]

    def _flush_all(self) -> None:
        self.flush(self.client, True)
        self._collect("client", self.client)
        if self.server is not None:
            self.flush(self.server, False)
            self._collect("server", self.server)

    def _collect(self, name: str, connection: Connection) -> None:
        while (event := connection.next_event()) is not None:
            self.events[name].append(event)

    def run(self, until: Callable[[], bool], limit: int = 60_000_000_000, steps: int = 200_000) -> None:
        """Step until a condition holds; AssertionError when it does not within ``limit`` nanoseconds."""
        end = self.now + limit
        for _ in range(steps):
            self._flush_all()
            if until():
                return
            assert self.step(), "nothing more will happen"
            assert self.now <= end, "time is up"
        raise AssertionError("too many steps")

    def settle(self, duration: int) -> None:
        """Let everything happen that happens within ``duration`` nanoseconds."""
        end = self.now + duration
        self._flush_all()
        while self.upcoming() <= end:
            self.step()

    def handshake(self) -> None:
        self.run(lambda: self.client.confirmed and self.server is not None and self.server.confirmed)
