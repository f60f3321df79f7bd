"""The handshake against another implementation, both ways."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from specter._entropy import SeededEntropy
from specter.tls.ciphers import DEFAULT_CIPHER_SUITES, CipherSuite
from specter.tls.client import ClientHandshake
from specter.tls.config import Credential
from specter.tls.engine import (
    EarlyDataDecided,
    Handshake,
    InstallKeys,
    Level,
    PeerParameters,
    SendCrypto,
    TicketReceived,
)
from specter.tls.key_exchange import NamedGroup
from specter.tls.server import ServerHandshake
from specter.tls.session import Resumption
from specter.tls.tickets import TicketKeeper
from tests.tls import pki
from tests.tls.loopback import client_config, server_config

tls = pytest.importorskip("aioquic.tls")
Buffer = pytest.importorskip("aioquic.buffer").Buffer

PARAMETERS = 0x39


class Other:
    """An aioquic TLS context, driven like one of ours."""

    def __init__(self, *, is_client: bool, credential: Credential | None = None, **options: Any) -> None:
        mode = ssl.CERT_NONE
        self.context = tls.Context(is_client, alpn_protocols=["h3"], verify_mode=mode, **options)
        self.context.handshake_extensions = [(PARAMETERS, b"theirs")]
        self.context.update_traffic_key_cb = self._on_key
        self.keys: dict[tuple[Level, bool], tuple[int, bytes]] = {}
        if credential is not None:
            self.context.certificate = credential.chain[0]
            self.context.certificate_chain = list(credential.chain[1:])
            self.context.certificate_private_key = credential.private_key

    def _on_key(self, direction: Any, epoch: Any, suite: Any, secret: bytes) -> None:
        self.keys[Level(epoch.value), direction == tls.Direction.ENCRYPT] = (int(suite), secret)

    def exchange(self, data: bytes) -> list[tuple[Level, bytes]]:
        buffers = {epoch: Buffer(capacity=16384) for epoch in tls.Epoch}
        self.context.handle_message(data, buffers)
        return [(Level(epoch.value), buffer.data) for epoch, buffer in buffers.items() if buffer.data]


def talk(ours: Handshake, other: Other, first: list[tuple[Level, bytes]]) -> list[object]:
    """Pass messages back and forth; return all of our actions."""
    actions: list[object] = []
    pending = first
    while True:
        for level, data in pending:
            ours.receive(level, data)
        pending = []
        new = []
        while (action := ours.next_action()) is not None:
            new.append(action)
            if isinstance(action, SendCrypto):
                pending += other.exchange(action.data)
        actions += new
        if not new:
            return actions


def check(ours: Handshake, other: Other, actions: list[object]) -> None:
    assert ours.complete
    assert ours.alpn == other.context.alpn_negotiated == "h3"
    assert PeerParameters(b"theirs") in actions
    installed = [action for action in actions if isinstance(action, InstallKeys)]
    keys = {(key.level, not key.writing): (int(key.cipher_suite), key.secret) for key in installed}
    assert keys == other.keys


@pytest.mark.parametrize("kind", ["p256", "rsa", "ed25519"])
@pytest.mark.parametrize("suite", DEFAULT_CIPHER_SUITES)
def test_our_client(kind: str, suite: CipherSuite) -> None:
    client = ClientHandshake(client_config(cipher_suites=(suite,)), SeededEntropy(1), b"ours")
    other = Other(is_client=False, credential=pki.credential(kind))
    client.start()
    check(client, other, talk(client, other, []))
    assert client.cipher_suite == suite
    assert (PARAMETERS, b"ours") in other.context.received_extensions


@pytest.mark.parametrize("group", [NamedGroup.X25519, NamedGroup.SECP256R1, NamedGroup.SECP384R1])
def test_our_client_with_each_group(group: NamedGroup) -> None:
    client = ClientHandshake(client_config(groups=(group,), key_shares=(group,)), SeededEntropy(1), b"ours")
    other = Other(is_client=False, credential=pki.credential())
    client.start()
    check(client, other, talk(client, other, []))
    assert client.group == group


def test_tickets_of_another_server() -> None:
    client = ClientHandshake(client_config(), SeededEntropy(1), b"ours")
    other = Other(is_client=False, credential=pki.credential(), max_early_data=0xFFFFFFFF)
    tickets: list[Any] = []
    other.context.get_session_ticket_cb = lambda label: None
    other.context.new_session_ticket_cb = tickets.append
    client.start()
    received = [action for action in talk(client, other, []) if isinstance(action, TicketReceived)]
    assert len(received) == len(tickets) == 1
    session = received[0].session
    assert (session.ticket, session.secret) == (tickets[0].ticket, tickets[0].resumption_secret)
    assert session.early_data
    assert session.age_add == tickets[0].age_add


def test_our_client_resumes() -> None:
    store: dict[bytes, Any] = {}
    first = ClientHandshake(client_config(), SeededEntropy(1), b"ours")
    other = Other(is_client=False, credential=pki.credential(), max_early_data=0xFFFFFFFF)
    other.context.get_session_ticket_cb = store.get
    other.context.new_session_ticket_cb = lambda ticket: store.update({ticket.ticket: ticket})
    first.start()
    session = next(a.session for a in talk(first, other, []) if isinstance(a, TicketReceived))
    client = ClientHandshake(client_config(), SeededEntropy(2), b"ours", Resumption(session, 0, True))
    other = Other(is_client=False, credential=pki.credential())
    other.context.get_session_ticket_cb = store.pop
    client.start()
    actions = talk(client, other, [])
    check(client, other, actions)
    assert client.resumed
    assert other.context.session_resumed
    assert EarlyDataDecided(True) in actions


def test_our_server_resumes() -> None:
    config = server_config(tickets=TicketKeeper(bytes(16), lambda: 5))
    received: list[Any] = []
    server = ServerHandshake(config, SeededEntropy(1), b"ours")
    other = Other(is_client=True, server_name=pki.NAME)
    other.context.new_session_ticket_cb = received.append
    server.start()
    for action in talk(server, other, other.exchange(b"")):
        if isinstance(action, SendCrypto) and action.level is Level.APPLICATION:
            other.exchange(action.data)
    ticket = received[0]
    server = ServerHandshake(config, SeededEntropy(2), b"ours")
    other = Other(is_client=True, server_name=pki.NAME)
    other.context.session_ticket = ticket
    server.start()
    actions = talk(server, other, other.exchange(b""))
    check(server, other, actions)
    assert server.resumed
    assert EarlyDataDecided(True) in actions


def test_our_client_certificate() -> None:
    config = client_config(client_credential=pki.client_credential())
    client = ClientHandshake(config, SeededEntropy(1), b"ours")
    other = Other(is_client=False, credential=pki.credential())
    other.context._request_client_certificate = True
    client.start()
    check(client, other, talk(client, other, []))


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa", "ed25519"])
@pytest.mark.parametrize("suite", DEFAULT_CIPHER_SUITES)
def test_our_server(kind: str, suite: CipherSuite) -> None:
    config = server_config(credentials=(pki.credential(kind),), cipher_suites=(suite,))
    server = ServerHandshake(config, SeededEntropy(1), b"ours")
    other = Other(is_client=True, server_name=pki.NAME)
    server.start()
    check(server, other, talk(server, other, other.exchange(b"")))
    assert (PARAMETERS, b"ours") in other.context.received_extensions
    assert server.server_name == pki.NAME
