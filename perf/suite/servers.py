"""The servers: our own, Caddy (quic-go), aioquic. Each on the servers' core, with a certificate of our making."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from perf.bench.caddy import Caddy, CaddyMissing
from perf.gate.runner import FIXTURE
from perf.kit import cores
from perf.kit.venvs import VenvUnavailable, python_of
from perf.peers.process import Process, ProcessFailed
from specter.testing.certificates import CertificateAuthority

STREAMS: Final = 1_100
HOST: Final = "127.0.0.1"


class ServerMissing(RuntimeError):
    """The server cannot be had here; the text says why."""


@dataclass(frozen=True, slots=True)
class Where:
    """Where a server is, and whom to trust."""

    url: str
    ca_file: str


@contextmanager
def fixture(_sizes: Sequence[int]) -> Iterator[Where]:
    """Specter's engine in the server's role."""
    with tempfile.TemporaryDirectory(prefix="specter-suite-") as folder:
        command = [*FIXTURE, str(Path(folder, "ledger")), "--streams", str(STREAMS)]
        with _process(command) as running:
            yield Where(running.greeting["url"], running.greeting["ca_file"])


@contextmanager
def caddy(sizes: Sequence[int]) -> Iterator[Where]:
    try:
        with Caddy(sizes) as running:
            yield Where(running.url, running.ca_file)
    except CaddyMissing as error:
        raise ServerMissing(str(error)) from error


@contextmanager
def aioquic(_sizes: Sequence[int]) -> Iterator[Where]:
    with tempfile.TemporaryDirectory(prefix="specter-suite-") as name:
        folder = Path(name)
        authority = CertificateAuthority("Specter benchmark authority")
        authority.write(folder / "ca.pem")
        certificate, key = authority.issue("localhost", HOST).write(folder)
        port = _free_port()
        try:
            python = python_of("aioquic")
        except VenvUnavailable as error:
            raise ServerMissing(str(error)) from error
        command = [str(python), "-m", "perf.suite.aioquic_server", str(certificate), str(key), str(port)]
        with _process(command):
            yield Where(f"https://localhost:{port}", str(folder / "ca.pem"))


@contextmanager
def _process(command: list[str]) -> Iterator[Process]:
    try:
        process = Process(command, cores.SERVER)
    except ProcessFailed as error:
        raise ServerMissing(str(error)) from error
    with process:
        yield process


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind((HOST, 0))
        port: int = found.getsockname()[1]
        return port


SERVERS: Final[Mapping[str, Callable[[Sequence[int]], AbstractContextManager[Where]]]] = {
    "fixture": fixture,
    "caddy": caddy,
    "aioquic": aioquic,
}
TITLES: Final = {"fixture": "our own server", "caddy": "Caddy (quic-go)", "aioquic": "aioquic"}
