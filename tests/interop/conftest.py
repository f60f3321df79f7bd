"""Servers for the interop tests; each runs once a session unless a test asks for one of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

import specter
from specter.testing.certificates import CertificateAuthority
from tests.interop.harness import (
    AioquicServer,
    CaddyServer,
    ServerProcess,
    find_caddy,
    make_authority,
    write_content,
)
from tests.interop.servers.upstream import Upstream

NAMES = ("localhost", "127.0.0.1", "::1")
KINDS = ("aioquic", "caddy")


@dataclass
class Workshop:
    """Makes servers: content, certificates, and whatever else they share."""

    folder: Path
    authority: CertificateAuthority
    upstream: Upstream
    serial: Iterator[int] = field(default_factory=count)

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    def make(
        self,
        kind: str,
        *,
        host: str = "127.0.0.1",
        names: tuple[str, ...] = NAMES,
        key: str = "p256",
        retry: bool = False,
        cipher: str | None = None,
        versions: str = "",
        tickets: bool = False,
    ) -> ServerProcess:
        """Return a server that is not started yet; ``retry`` and what comes after it are for aioquic."""
        own = self.folder / f"{kind}-{next(self.serial)}"
        common = (own, self.folder / "root", self.ca_file, self.authority.issue(*names, key=key), host)
        if kind == "aioquic":
            return AioquicServer(*common, retry=retry, cipher=cipher, versions=versions, tickets=tickets)
        return CaddyServer(*common, program=require_caddy(), upstream=self.upstream)


def require_caddy() -> str:
    """Return the path of Caddy; without one the test is skipped, or fails where CI insists."""
    program = find_caddy()
    if program is not None:
        return program
    if os.environ.get("SPECTER_REQUIRE_INTEROP"):
        pytest.fail("SPECTER_REQUIRE_INTEROP is set and there is no Caddy; run ci/caddy", pytrace=False)
    pytest.skip("NO CADDY: run ci/caddy, or set SPECTER_CADDY")


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    folder = tmp_path_factory.mktemp("interop")
    write_content(folder / "root")
    upstream = Upstream()
    yield Workshop(folder, make_authority(folder / "ca.pem"), upstream)
    upstream.close()


MakeServer = Callable[..., ServerProcess]


@pytest.fixture
def make_server(workshop: Workshop) -> Iterator[MakeServer]:
    """Return a function that starts a server of this test's own."""
    started: list[ServerProcess] = []

    def make(kind: str, **options: object) -> ServerProcess:
        server = workshop.make(kind, **options)  # type: ignore[arg-type]
        server.start()
        started.append(server)
        return server

    yield make
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def shared(workshop: Workshop) -> Iterator[Callable[[str], ServerProcess]]:
    """Return a function that gives the session's server of a kind."""
    running: dict[str, ServerProcess] = {}

    def get(kind: str) -> ServerProcess:
        if kind not in running:
            server = workshop.make(kind)
            server.start()
            running[kind] = server
        return running[kind]

    yield get
    for server in running.values():
        server.stop()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Which server the test runs against."""
    name: str = request.param
    return name


@pytest.fixture
def server(kind: str, shared: Callable[[str], ServerProcess]) -> ServerProcess:
    return shared(kind)


@pytest.fixture
def client(server: ServerProcess) -> Iterator[specter.Client]:
    with specter.Client(verify=server.authority, resolve={"localhost": server.host}, timeout=20) as made:
        yield made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A missing server is easily overlooked among skipped tests: say it once more, loudly."""
    if find_caddy() is None:
        terminalreporter.write_line(
            "NO CADDY: the interop tests against it did not run (see ci/caddy)", red=True, bold=True
        )
