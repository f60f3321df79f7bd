"""The servers that a matrix of certificates is played on: they change what they show from one cell to the next."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cryptography import x509

import specter
from specter.testing.certificates import CertificateAuthority, Credential, to_pem
from specter.testing.endpoint import Endpoint
from specter.testing.messages import Reply, Request
from specter.testing.relay import Relay
from specter.testing.server import Server
from specter.tls.config import ServerTlsConfig
from specter.tls.tickets import TicketKeeper
from specter.tls.trust import TrustStore
from tests.client.facade import LoopThread
from tests.trust.cases import Case, house, issued, root

T = TypeVar("T")
PATIENCE = 10.0
"""Seconds; nothing here takes so long."""


def new_tickets() -> TicketKeeper:
    return TicketKeeper(os.urandom(16), lambda: time.monotonic_ns() // 1_000_000)


def server_tls(case: Case, tickets: TicketKeeper | None = None) -> ServerTlsConfig:
    """What a server shows and asks for in ``case``; one that asks for certificates gives no tickets."""
    asks = case.client != "nobody asks"
    return ServerTlsConfig(
        credentials=(issued(case).tls,),
        request_client_certificate=asks,
        require_client_certificate=asks and case.client != "optional",
        client_trust=TrustStore([root().certificate]) if asks else None,
        tickets=None if asks else tickets or new_tickets(),
    )


class Actor:
    """One server, which can be told what to show from now on; connections that are there are left alone."""

    def __init__(self, **options: Any) -> None:
        self.seen: list[Request] = []
        self.server = Server(self._answer, credential=house().issue("nobody.example"), **options)
        self.server.start()

    def _answer(self, request: Request) -> Reply:
        self.seen.append(request)
        return Reply(200, [], b"hello")

    @property
    def port(self) -> int:
        return self.server.port

    def show(self, tls: ServerTlsConfig) -> None:
        self.ask(lambda endpoint: setattr(endpoint, "_tls", tls))

    def greet(self, host: str) -> None:
        """Be a server for ``host`` that everybody in the matrix believes."""
        self.show(ServerTlsConfig(credentials=(house_credential(host).tls,), tickets=new_tickets()))

    def handshakes(self) -> int:
        """Return how many connections were begun here so far."""
        return self.ask(lambda endpoint: endpoint.stats.accepted)

    def newest_client(self) -> object:
        """Return where the newest connection's client is."""
        return self.ask(lambda endpoint: endpoint.connections[-1].address)

    def ask(self, question: Callable[[Endpoint], T]) -> T:
        """Return what ``question`` has for the server's endpoint, asked on the server's thread."""
        answers: list[T] = []
        done = threading.Event()

        def on_thread(endpoint: Endpoint) -> None:
            answers.append(question(endpoint))
            done.set()

        self.server.call(on_thread)
        assert done.wait(PATIENCE)
        return answers[0]


_credentials: dict[str, Credential] = {}


def house_credential(host: str) -> Credential:
    name = host.rstrip(".").lower()
    if name not in _credentials:
        _credentials[name] = house().issue(name)
    return _credentials[name]


class Stage:
    """Everything a path needs; its actors have seen nothing yet when a cell begins."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.origin = Actor()
        self.retrying = Actor(retry=True)
        self.alternative = Actor()
        self.relay = Relay(("127.0.0.1", self.origin.port)).start()
        self.loop = LoopThread()
        self.capture: pytest.CaptureFixture[str] | None = None
        shown = CertificateAuthority("Unknown", key=root().key)
        self._credentials = {
            "good": root().issue_client().write(folder, "good"),
            "stranger": shown.issue_client().write(folder, "stranger"),
        }

    @property
    def actors(self) -> tuple[Actor, ...]:
        return self.origin, self.retrying, self.alternative

    @property
    def seen(self) -> list[Request]:
        """The requests that came through."""
        return [request for actor in self.actors for request in actor.seen]

    def begin(self) -> None:
        for actor in self.actors:
            actor.seen.clear()

    def close(self) -> None:
        self.loop.stop()
        self.relay.stop()
        for actor in self.actors:
            actor.server.stop()

    # -- what a client is given ---------------------------------------------------------------------

    def anchors(self, case: Case) -> list[x509.Certificate | bytes]:
        return [house().certificate, *case.anchors()]

    def ca_file(self, case: Case) -> str:
        path = self.folder / "anchors.pem"
        path.write_bytes(b"".join(to_pem(anchor) for anchor in self.anchors(case) if not isinstance(anchor, bytes)))
        return str(path)

    def cert(self, case: Case) -> tuple[Path, Path] | None:
        return self._credentials.get(case.client)

    def options(self, case: Case, **more: Any) -> dict[str, Any]:
        known = {"verify": self.anchors(case), "cert": self.cert(case), "resolve": {case.host: "127.0.0.1"}}
        return {**known, **more}

    def url(self, case: Case, actor: Actor | Relay | None = None) -> str:
        host = f"[{case.host}]" if ":" in case.host else case.host
        return f"https://{host}:{(actor or self.origin).port}/"


@contextmanager
def carelessly() -> Iterator[None]:
    """Allow clients that verify nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", specter.InsecureWarning)
        yield
