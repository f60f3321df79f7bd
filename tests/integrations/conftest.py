from __future__ import annotations

import importlib
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from specter.testing.certificates import CertificateAuthority, Credential
from specter.testing.server import Server
from tests.integrations.support import Kit, Make, Relay, TcpServer


def make_kit(library: str, *, asynchronous: bool) -> Kit:
    integration = importlib.import_module(f"specter.integrations.{library}")
    transport = integration.AsyncTransport if asynchronous else integration.Transport
    return Kit(importlib.import_module(library), transport, asynchronous)


@pytest.fixture(params=["httpx", "httpx2", "httpx-asyncio", "httpx2-asyncio"])
def kit(request: pytest.FixtureRequest) -> Kit:
    library, _, kind = request.param.partition("-")
    return make_kit(library, asynchronous=bool(kind))


@pytest.fixture(params=["httpx", "httpx2"])
def blocking_kit(request: pytest.FixtureRequest) -> Kit:
    return make_kit(request.param, asynchronous=False)


@pytest.fixture(params=["httpx", "httpx2"])
def async_kit(request: pytest.FixtureRequest) -> Kit:
    return make_kit(request.param, asynchronous=True)


@pytest.fixture(scope="session")
def authority() -> CertificateAuthority:
    return CertificateAuthority("Specter transport tests")


@pytest.fixture(scope="session")
def credential(authority: CertificateAuthority) -> Credential:
    return authority.issue("localhost", "127.0.0.1")


@pytest.fixture(scope="session")
def ca_file(authority: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.write(path)
    return str(path)


@pytest.fixture(scope="session")
def server(credential: Credential) -> Iterator[Server]:
    """A server over HTTP/3 with nothing but its built-in paths."""
    with Server(credential=credential) as running:
        yield running


@pytest.fixture
def make_server(credential: Credential) -> Iterator[Make]:
    """Servers over HTTP/3 of a test's own: ``make_server(handler)``."""
    with ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(Server(*args, **{"credential": credential, **options}))


@pytest.fixture
def make_tcp(credential: Credential, tmp_path: Path) -> Iterator[Make]:
    """Servers over TCP: ``make_tcp(fields=...)``."""
    with ExitStack() as stack:

        def make(credential: Credential | None = credential, **options: object) -> TcpServer:
            made = TcpServer(credential, tmp_path, **options)  # type: ignore[arg-type]
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def make_relay() -> Iterator[Make]:
    """UDP paths to a port: ``make_relay(port)``."""
    with ExitStack() as stack:

        def make(port: int) -> Relay:
            relay = Relay(port)
            stack.callback(relay.close)
            return relay

        yield make


@pytest.fixture
def make_client(kit: Kit, ca_file: str) -> Iterator[Make]:
    """The library's clients over our transport; ``transport`` holds options of ours."""
    with ExitStack() as stack:

        def make(transport: dict[str, object] | None = None, **options: object) -> object:
            patient = {"head_start": 10}  # on a busy machine a handshake takes its time
            ours = {"verify": ca_file, "resolve": {"localhost": "127.0.0.1"}, **patient, **(transport or {})}
            return stack.enter_context(kit.client(kit.Transport(**ours), **{"timeout": 30, **options}))

        yield make


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port on which nobody answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        yield silent.getsockname()[1]
