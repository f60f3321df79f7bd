"""Caddy as the server: a real HTTP/3 stack that nobody here wrote, with files to fetch."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from perf.kit import cores
from perf.kit.build import ROOT
from specter.testing.certificates import CertificateAuthority

START_LIMIT: Final = 15.0
HOST: Final = "127.0.0.1"


class CaddyMissing(RuntimeError):
    """There is no Caddy here, or it does not start."""


def find() -> str:
    """Return the Caddy of ``SPECTER_CADDY``, of the path, or the one that ``ci/caddy`` unpacked.

    Raises:
        CaddyMissing: there is none.
    """
    unpacked = ROOT / ".cache" / "caddy" / "usr" / "bin" / "caddy"
    named = os.environ.get("SPECTER_CADDY") or shutil.which("caddy")
    if named:
        return named
    if unpacked.exists():
        return str(unpacked)
    raise CaddyMissing("no Caddy here; ci/caddy fetches one")


class Caddy:
    """Serves ``/bytes/N``, sparse files of ``sizes`` bytes, on the servers' core."""

    def __init__(self, sizes: Iterable[int]) -> None:
        self._program = find()
        self._folder = tempfile.TemporaryDirectory(prefix="specter-bench-")
        folder = Path(self._folder.name)
        self.ca_file = str(folder / "ca.pem")
        self._log = folder / "log"
        authority = CertificateAuthority("Specter benchmark authority")
        authority.write(self.ca_file)
        self._cert, self._key = authority.issue("localhost", HOST).write(folder)
        self._root = folder / "root"
        (self._root / "bytes").mkdir(parents=True)
        (self._root / "health").write_text("ok")
        for size in sizes:
            with (self._root / "bytes" / str(size)).open("wb") as file:
                file.truncate(size)
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def __enter__(self) -> Caddy:
        file = self._root.parent / "caddy.json"
        file.write_text(json.dumps(self._configuration()))
        command = cores.pinned(cores.SERVER, [self._program, "run", "--config", str(file)])
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._root.parent)
        deadline = time.monotonic() + START_LIMIT
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = self._log.read_text(errors="replace")[-500:]
                self._stop()
                raise CaddyMissing(f"Caddy did not start: {said.strip().splitlines()[-1:]}")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        self._folder.cleanup()

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _ready(self) -> bool:
        """Caddy opens TCP and UDP together; a finished TLS handshake on TCP says that both are there."""
        context = ssl.create_default_context(cafile=self.ca_file)
        try:
            plain = socket.create_connection((HOST, self.port), 1)
            with plain, context.wrap_socket(plain, server_hostname="localhost"):
                return True
        except OSError:
            return False

    def _configuration(self) -> dict[str, Any]:
        server = {
            "listen": [f"{HOST}:{self.port}"],
            "protocols": ["h1", "h2", "h3"],
            "automatic_https": {"disable": True},
            "tls_connection_policies": [{"certificate_selection": {"any_tag": ["bench"]}}],
            "routes": [{"handle": [{"handler": "file_server", "root": str(self._root)}]}],
        }
        files = [{"certificate": str(self._cert), "key": str(self._key), "tags": ["bench"]}]
        return {
            "admin": {"disabled": True, "config": {"persist": False}},
            "logging": {"logs": {"default": {"level": "ERROR"}}},
            "storage": {"module": "file_system", "root": str(self._root.parent / "storage")},
            "apps": {"http": {"servers": {"bench": server}}, "tls": {"certificates": {"load_files": files}}},
        }


def _free_port() -> int:
    """Return a port that is free for UDP and TCP."""
    for _ in range(50):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind((HOST, 0))
            port: int = udp.getsockname()[1]
            try:
                tcp.bind((HOST, port))
            except OSError:
                continue
            return port
    raise CaddyMissing("no free port")
