"""A whole connection under loss and reordering, reduced to the digest of every datagram; run it as a program.

``python -m tests.twins.scenario DIRECTORY`` reads a credential from the directory (PEM) and prints one line per
datagram, then the backend it ran on. Same entropy and same clock: whichever backend runs it, the lines are the same.
"""

from __future__ import annotations

import hashlib
import random
import sys
from pathlib import Path
from typing import NamedTuple

import specter
from specter._backend import batch as batches
from specter._entropy import SeededEntropy
from specter.quic.config import MILLISECOND, QuicConfig
from specter.quic.connection import Connection
from specter.quic.early_data import EarlyDataStatus
from specter.quic.events import TicketReceived
from specter.quic.packet import parse_header
from specter.tls.config import ClientTlsConfig, Credential, ServerTlsConfig
from specter.tls.key_exchange import NamedGroup
from specter.tls.session import Resumption, Session
from specter.tls.tickets import TicketKeeper
from specter.tls.trust import TrustStore

DOWNLOAD = 5_000_000
UPLOAD = 2_000_000
EARLY = 20_000
LOSS = 0.01
MARKING = 0.002
CARRIED = 1420
"""The largest UDP payload that arrives."""
REBINDING = 1500
"""Datagrams after which the NAT in between gives the client another port."""
MIGRATION = 1_000_000
"""Bytes of the upload after which the client moves on its own account."""
REORDERING = 0.02
DELAY = 10 * MILLISECOND
GROUPS = (NamedGroup.X25519,)
"""ML-KEM encapsulation takes randomness of its own."""


class Transit(NamedTuple):
    """A datagram on its way; ``address`` is the one that its receiver sees."""

    time: int
    number: int
    from_client: bool
    data: bytes
    address: batches.Address
    ecn: int


class Scenario:
    """Client and server with a lossy line between them, on a clock that only moves here."""

    def __init__(self, directory: Path, resumption: Resumption | None = None) -> None:
        credential = Credential.load(directory / "server.pem", directory / "server.key")
        trust = TrustStore.load(directory / "ca.pem")
        self.random = random.Random(20261122)
        self.now = 1_000_000_000
        self.lines: list[str] = []
        self.wire: list[Transit] = []
        self.count = 0
        self.port = 1
        client = ClientTlsConfig(server_name="localhost", trust=trust, groups=GROUPS, key_shares=GROUPS)
        entropy = SeededEntropy("client")
        self.client = Connection.client(QuicConfig(), client, entropy, self.now, resumption=resumption)
        self.server: Connection | None = None
        tickets = TicketKeeper(bytes(16), lambda: 0)
        self.server_tls = ServerTlsConfig(credentials=(credential,), groups=GROUPS, tickets=tickets)

    def ends(self) -> list[Connection]:
        return [self.client] if self.server is None else [self.client, self.server]

    def flush(self, connection: Connection) -> None:
        while len(batch := connection.send(self.now)):
            for datagram, address, ecn in batch:
                data = bytes(datagram)
                origin = "client" if connection.is_client else "server"
                self.lines.append(f"{self.now} {origin} {address} {ecn} {len(data)} {hashlib.sha256(data).hexdigest()}")
                self._transmit(connection.is_client, data, address, ecn)

    def _transmit(self, from_client: bool, data: bytes, address: batches.Address, ecn: int) -> None:
        """Carry a datagram: marked or lost now and then, lost when it is large, from an address that a NAT changes."""
        self.count += 1
        if self.count % REBINDING == 0:
            self.port += 1
        if self.random.random() < LOSS or len(data) > CARRIED:
            return
        late = 3 * MILLISECOND if self.random.random() < REORDERING else 0
        ecn = 3 if ecn and self.random.random() < MARKING else ecn
        if from_client:
            address = address or ("nat", self.port)
        elif address is not None and address[0] == "nat":
            address = None
        self.wire.append(Transit(self.now + DELAY + late, self.count, from_client, data, address, ecn))

    def step(self) -> None:
        for connection in self.ends():
            self.flush(connection)
        times = [entry[0] for entry in self.wire] + [connection.next_deadline() for connection in self.ends()]
        self.now = max(self.now, min(times))
        arrived = sorted(entry for entry in self.wire if entry[0] <= self.now)
        self.wire = [entry for entry in self.wire if entry[0] > self.now]
        for from_client in (True, False):
            self._deliver(from_client, [entry for entry in arrived if entry.from_client is from_client])
        for connection in self.ends():
            if connection.next_deadline() <= self.now:
                connection.handle_deadline(self.now)

    def _deliver(self, from_client: bool, datagrams: list[Transit]) -> None:
        if not datagrams:
            return
        if from_client and self.server is None:
            self.server = self._accept(datagrams[0].data)
        target = self.server if from_client else self.client
        assert target is not None
        for start in range(0, len(datagrams), 32):
            batch = batches.ReceiveBatch()
            for transit in datagrams[start : start + 32]:
                batch.append(transit.data, transit.address, transit.ecn)
            target.receive(batch, self.now)

    def _accept(self, data: bytes) -> Connection:
        header = parse_header(data, 0, len(data), 8)
        ids = {"original_dcid": header.dcid, "client_cid": header.scid}
        address = ("nat", self.port)
        return Connection.server(
            QuicConfig(), self.server_tls, SeededEntropy("server"), self.now, address=address, **ids
        )

    def transfer(self) -> None:
        """Bring 5 MB down and 2 MB up at once, then close."""
        down = hashlib.shake_128(b"down").digest(DOWNLOAD)
        up = hashlib.shake_128(b"up").digest(UPLOAD)
        while not self.client.handshake_complete:
            self.step()
        stream = self.client.open_stream()
        sent_up = sent_down = 0
        got_up, got_down = bytearray(), bytearray()
        while len(got_up) < UPLOAD or len(got_down) < DOWNLOAD:
            if sent_up < UPLOAD:
                sent_up += self.client.write(stream, memoryview(up)[sent_up:], fin=True)
            if self.server is not None and self.server.handshake_complete and sent_down < DOWNLOAD and got_up:
                sent_down += self.server.write(stream, memoryview(down)[sent_down:], fin=True)
            if self.server is not None:
                got_up += self.server.read(stream)
            got_down += self.client.read(stream)
            self.step()
            if len(got_up) > MIGRATION and self.client.address is None and not self.client.paths.others:
                self.client.paths.migrate(("own", 1), self.now)
        assert bytes(got_up) == up
        assert bytes(got_down) == down
        assert self.client.stats.datagram_size > 1400
        assert self.client.address == ("own", 1)
        self.client.update_keys()
        self.client.close(0x100, "done")
        self.flush(self.client)

    def session(self) -> Session:
        """Return what the server's first ticket told."""
        while (event := self.client.next_event()) is not None:
            if isinstance(event, TicketReceived):
                return event.session
        raise AssertionError("no ticket came")

    def early(self) -> None:
        """Send a little over what fits into the first flight, and close."""
        data = hashlib.shake_128(b"early").digest(EARLY)
        stream = self.client.open_stream()
        assert self.client.write(stream, data, fin=True) == EARLY
        got = bytearray()
        while len(got) < EARLY or not self.client.confirmed:
            self.step()
            if self.server is not None:
                got += self.server.read(stream)
        assert bytes(got) == data
        assert self.client.early_data is EarlyDataStatus.ACCEPTED
        self.client.close(0x100, "done")
        self.flush(self.client)


def main() -> None:
    scenario = Scenario(Path(sys.argv[1]))
    scenario.transfer()
    resumed = Scenario(Path(sys.argv[1]), Resumption(scenario.session(), 0, early_data=True))
    resumed.early()
    print("\n".join(scenario.lines + resumed.lines))
    kinds = {value for name, value in specter.backend().items() if name not in ("libcrypto", "layers")}
    print("backend", *sorted(kinds))


if __name__ == "__main__":
    main()
