"""Real HTTP/3 servers as child processes, on free ports, with certificates of a test authority."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from specter.testing.certificates import CertificateAuthority, Credential
from specter.testing.content import content_chunks
from tests.interop.servers.upstream import Upstream

SCRIPTS = Path(__file__).parent / "servers"
REPOSITORY = Path(__file__).parents[2]
START_LIMIT = 15.0
SIZES = (1, 1_000_000, 2_000_000, 5_000_000, 20_000_000, 100_000_000)
SMALL_FILES = 2_000
PAGE = "".join(f"<p>Paragraph {number} of a page that compresses well, too.</p>\n" for number in range(20_000))


def content_digest(size: int) -> str:
    """Return the SHA-256 of ``/bytes/size``."""
    digest = hashlib.sha256()
    for piece in content_chunks(size, 1 << 20):
        digest.update(piece)
    return digest.hexdigest()


def small_file(number: int) -> bytes:
    """Return what is in ``/small/number``, unlike any other."""
    return f"small file {number}\n".encode()


def write_content(root: Path) -> None:
    """Write the files that every server serves as ``/bytes/N`` and ``/small/N``."""
    (root / "bytes").mkdir(parents=True)
    for size in SIZES:
        with (root / "bytes" / str(size)).open("wb") as file:
            file.writelines(content_chunks(size, 1 << 20))
    (root / "small").mkdir()
    for number in range(SMALL_FILES):
        (root / "small" / str(number)).write_bytes(small_file(number))
    (root / "pages").mkdir()
    (root / "pages" / "page.html").write_text(PAGE)


def free_port(host: str) -> int:
    """Return a port that is free for UDP and TCP on ``host``."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(50):
        with socket.socket(family, socket.SOCK_DGRAM) as udp, socket.socket(family, socket.SOCK_STREAM) as tcp:
            udp.bind((host, 0))
            port: int = udp.getsockname()[1]
            try:
                tcp.bind((host, port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port on {host}")


def find_caddy() -> str | None:
    """Return the Caddy to test with: $SPECTER_CADDY, the one on the path, or what ci/caddy unpacked."""
    unpacked = REPOSITORY / ".cache" / "caddy" / "usr" / "bin" / "caddy"
    named = os.environ.get("SPECTER_CADDY") or shutil.which("caddy")
    return named or (str(unpacked) if unpacked.exists() else None)


class ServerProcess:
    """A server that can be stopped, killed and started again on the same port."""

    name: str

    def __init__(self, folder: Path, root: Path, authority: Path, credential: Credential, host: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.root = root
        self.authority = str(authority)
        self.cert, self.key = credential.write(folder)
        self.host = host
        self.port = free_port(host)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"https://[{self.host}]:{self.port}" if ":" in self.host else f"https://localhost:{self.port}"

    def url_for(self, name: str) -> str:
        return f"https://{name}:{self.port}"

    def start(self) -> None:
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, cwd=self.folder)
        deadline = time.monotonic() + START_LIMIT
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{self.name} did not start:\n{(self.folder / 'log').read_text()[-3000:]}")
            time.sleep(0.03)

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is None:
            return
        self.process.send_signal(number)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def restart(self, number: int = signal.SIGTERM) -> None:
        self.stop(number)
        self.start()

    def command(self) -> list[str]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        raise NotImplementedError


class AioquicServer(ServerProcess):
    name = "aioquic"

    def __init__(
        self,
        *arguments: Any,
        retry: bool = False,
        cipher: str | None = None,
        versions: str = "",
        tickets: bool = False,
    ) -> None:
        super().__init__(*arguments)
        self.retry = retry
        self.cipher = cipher
        self.versions = versions
        self.tickets = tickets

    def command(self) -> list[str]:
        options = ["--host", self.host, "--port", str(self.port), "--root", str(self.root)]
        options += ["--cert", str(self.cert), "--key", str(self.key)]
        options += ["--retry"] if self.retry else []
        options += ["--cipher", self.cipher] if self.cipher else []
        options += ["--versions", self.versions] if self.versions else []
        options += ["--tickets"] if self.tickets else []
        return [sys.executable, str(SCRIPTS / "aioquic_server.py"), *options]

    def is_ready(self) -> bool:
        return (self.folder / "log").read_text().startswith("ready")


ENCODINGS: dict[str, Any] = {"gzip": {}, "zstd": {}}


class CaddyServer(ServerProcess):
    name = "caddy"

    def __init__(self, *arguments: Any, program: str, upstream: Upstream) -> None:
        super().__init__(*arguments)
        self.program = program
        self.upstream = upstream

    def command(self) -> list[str]:
        file = self.folder / "caddy.json"
        file.write_text(json.dumps(self.configuration()))
        return [self.program, "run", "--config", str(file)]

    def configuration(self) -> dict[str, Any]:
        listen = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        proxied = {"handler": "reverse_proxy", "upstreams": [{"dial": self.upstream.address}]}
        server = {
            "listen": [listen],
            "protocols": ["h1", "h2", "h3"],
            "automatic_https": {"disable": True},
            "tls_connection_policies": [{"certificate_selection": {"any_tag": ["test"]}}],
            "routes": [
                {"match": [{"path": ["/digest", "/echo"]}], "handle": [proxied]},
                {"match": [{"path": ["/pages/*"]}], "handle": [{"handler": "encode", "encodings": ENCODINGS}]},
                {"handle": [{"handler": "file_server", "root": str(self.root)}]},
            ],
        }
        files = [{"certificate": str(self.cert), "key": str(self.key), "tags": ["test"]}]
        return {
            "admin": {"disabled": True, "config": {"persist": False}},
            "storage": {"module": "file_system", "root": str(self.folder / "storage")},
            "apps": {"http": {"servers": {"test": server}}, "tls": {"certificates": {"load_files": files}}},
        }

    def is_ready(self) -> bool:
        """Caddy opens TCP and UDP together; a finished TLS handshake on TCP says that both are there."""
        context = ssl.create_default_context(cafile=self.authority)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            with socket.create_connection((self.host, self.port), 1) as plain, context.wrap_socket(plain):
                return True
        except OSError:
            return False


def make_authority(path: Path) -> CertificateAuthority:
    """Write a new authority's certificate to ``path`` and return the authority."""
    authority = CertificateAuthority("Specter interop authority")
    authority.write(path)
    return authority
