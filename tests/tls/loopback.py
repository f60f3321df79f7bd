"""A client and a server handshake back to back, with a place to meddle in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from specter._entropy import SeededEntropy
from specter.tls.alerts import TlsError
from specter.tls.client import ClientHandshake
from specter.tls.config import ClientTlsConfig, ServerTlsConfig
from specter.tls.engine import (
    Action,
    Completed,
    EarlyDataDecided,
    Handshake,
    InstallKeys,
    Level,
    PeerParameters,
    SendCrypto,
)
from specter.tls.server import ServerHandshake
from specter.tls.session import Resumption
from tests.tls import pki

CLIENT_PARAMETERS = b"client parameters"
SERVER_PARAMETERS = b"server parameters"

Meddle = Callable[[str, Level, bytes], bytes]
"""Sees (sender, level, one handshake message) and returns what arrives."""


def client_config(**changes: Any) -> ClientTlsConfig:
    values: dict[str, Any] = {"server_name": pki.NAME, "trust": pki.trust(), "verification_time": pki.NOW}
    return ClientTlsConfig(**{**values, **changes})


def server_config(**changes: Any) -> ServerTlsConfig:
    values: dict[str, Any] = {"credentials": (pki.credential(),), "verification_time": pki.NOW}
    return ServerTlsConfig(**{**values, **changes})


def split(data: bytes) -> list[bytes]:
    """Cut a flight into its messages."""
    messages = []
    while data:
        size = 4 + int.from_bytes(data[1:4], "big")
        messages.append(data[:size])
        data = data[size:]
    return messages


class Loopback:
    """Runs both sides until neither has anything to do."""

    def __init__(
        self,
        client: ClientTlsConfig | None = None,
        server: ServerTlsConfig | None = None,
        meddle: Meddle = lambda sender, level, message: message,
        seed: int = 1,
        *,
        resumption: Resumption | None = None,
        version: int = 1,
        context: bytes = b"",
    ) -> None:
        self.client = ClientHandshake(client or client_config(), SeededEntropy(seed), CLIENT_PARAMETERS, resumption)
        self.server = ServerHandshake(
            server or server_config(), SeededEntropy(seed + 1), SERVER_PARAMETERS, version, context
        )
        self.actions: dict[str, list[Action]] = {"client": [], "server": []}
        self._meddle = meddle

    def run(self) -> Loopback:
        self.client.start()
        self.server.start()
        while self._pump("client", self.client, self.server) or self._pump("server", self.server, self.client):
            pass
        return self

    def _pump(self, name: str, sender: Handshake, receiver: Handshake) -> bool:
        busy = False
        while (action := sender.next_action()) is not None:
            busy = True
            self.actions[name].append(action)
            if isinstance(action, SendCrypto):
                for message in split(action.data):
                    receiver.receive(action.level, self._meddle(name, action.level, message))
        return busy

    def keys(self, name: str) -> dict[tuple[Level, bool], tuple[int, bytes]]:
        """The keys that ``name`` installed, by level and direction."""
        installed = [action for action in self.actions[name] if isinstance(action, InstallKeys)]
        assert len({(key.level, key.writing) for key in installed}) == len(installed)
        return {(key.level, key.writing): (key.cipher_suite, key.secret) for key in installed}

    def check_agreement(self) -> None:
        """Both are complete and hold the same keys and each other's parameters."""
        assert self.client.complete
        assert self.server.complete
        ours, theirs = self.keys("client"), self.keys("server")
        if EarlyDataDecided(False) in self.actions["client"]:
            del ours[Level.EARLY_DATA, True]
        assert len(ours) == 4 + (EarlyDataDecided(True) in self.actions["client"])
        assert ours == {(level, not writing): key for (level, writing), key in theirs.items()}
        assert PeerParameters(SERVER_PARAMETERS) in self.actions["client"]
        assert PeerParameters(CLIENT_PARAMETERS) in self.actions["server"]
        assert self.actions["client"].count(Completed()) == self.actions["server"].count(Completed()) == 1
        for name in ("alpn", "cipher_suite", "group"):
            assert getattr(self.client, name) == getattr(self.server, name)


class Meddler:
    """Replaces the messages of one kind that one side sends, by passing them through ``change``."""

    def __init__(self, sender: str, kind: int, change: Callable[[bytes], bytes]) -> None:
        self.sender = sender
        self.kind = kind
        self.change = change

    def __call__(self, sender: str, level: Level, message: bytes) -> bytes:
        return self.change(message) if sender == self.sender and message[0] == self.kind else message


def failure_of(run: Callable[[], object]) -> TlsError:
    """Run until the TlsError that must come, and return it."""
    try:
        run()
    except TlsError as error:
        return error
    raise AssertionError("no TlsError")
