"""Requests to servers that others wrote: sizes, counts, uploads, addresses, restarts."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import specter
from specter.testing.content import content, content_chunks
from tests.interop.conftest import MakeServer
from tests.interop.harness import ServerProcess, content_digest

pytestmark = pytest.mark.interop

LARGE = 100_000_000
UPLOAD = 5_000_000


def client_for(server: ServerProcess, **options: object) -> specter.Client:
    settings = {"verify": server.authority, "resolve": {"localhost": server.host}, "timeout": 20, **options}
    return specter.Client(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1, 1_000_000])
def test_get(server: ServerProcess, client: specter.Client, size: int) -> None:
    response = client.get(f"{server.url}/bytes/{size}")
    assert (response.status_code, response.http_version) == (200, "HTTP/3")
    assert response.headers["server"].lower() == server.name
    assert response.content == content(0, size)


@pytest.mark.slow
def test_large_get_is_streamed(server: ServerProcess, client: specter.Client) -> None:
    digest, size, largest = hashlib.sha256(), 0, 0
    with client.stream("GET", f"{server.url}/bytes/{LARGE}") as response:
        for piece in response.iter_bytes():
            digest.update(piece)
            size += len(piece)
            largest = max(largest, len(piece))
    assert (size, digest.hexdigest()) == (LARGE, content_digest(LARGE))
    assert largest <= 1 << 20


def test_200_requests_on_one_connection(server: ServerProcess, client: specter.Client) -> None:
    ports = set()
    for _ in range(200):
        response = client.get(f"{server.url}/bytes/1")
        assert response.content == content(0, 1)
        assert response.connection is not None
        ports.add(response.connection.local_address)
    assert len(ports) == 1


def test_50_requests_at_once(server: ServerProcess, client: specter.Client) -> None:
    def fetch(_: int) -> str:
        return hashlib.sha256(client.get(f"{server.url}/bytes/1000000").content).hexdigest()

    with ThreadPoolExecutor(50) as threads:
        digests = set(threads.map(fetch, range(50)))
    assert digests == {content_digest(1_000_000)}


@pytest.mark.parametrize("source", ["bytes", "file"])
def test_post(server: ServerProcess, client: specter.Client, source: str, tmp_path: Path) -> None:
    body = content(0, UPLOAD)
    file = tmp_path / "upload"
    file.write_bytes(body)
    with file.open("rb") as opened:
        response = client.post(f"{server.url}/digest", content=body if source == "bytes" else opened)
    assert response.json() == {"bytes": UPLOAD, "sha256": hashlib.sha256(body).hexdigest()}


def test_post_of_unknown_length(shared: Callable[[str], ServerProcess]) -> None:
    """Only aioquic: Caddy 2.6.2 takes a body without content-length for an empty one."""
    server = shared("aioquic")
    with client_for(server) as client:
        response = client.post(f"{server.url}/digest", content=content_chunks(UPLOAD))
    assert response.json()["bytes"] == UPLOAD


def test_echo(server: ServerProcess, client: specter.Client) -> None:
    body = content(0, 300_000)
    assert client.post(f"{server.url}/echo", content=body).content == body


def test_head(server: ServerProcess, client: specter.Client) -> None:
    response = client.head(f"{server.url}/bytes/1000000")
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-length"] == "1000000"
    assert client.get(f"{server.url}/bytes/1").content == content(0, 1)


def test_not_found(server: ServerProcess, client: specter.Client) -> None:
    response = client.get(f"{server.url}/nothing-here")
    assert response.status_code == 404
    with pytest.raises(specter.StatusError, match="404"):
        response.raise_for_status()


def test_a_response_that_is_not_read_to_its_end(server: ServerProcess, client: specter.Client) -> None:
    with client.stream("GET", f"{server.url}/bytes/{LARGE}") as response:
        first = next(response.iter_bytes())
    assert content(0, len(first)) == first
    again = client.get(f"{server.url}/bytes/1000000")
    assert again.content == content(0, 1_000_000)
    assert again.timing.reused


def test_ipv6(make_server: MakeServer, kind: str) -> None:
    server = make_server(kind, host="::1")
    with client_for(server) as client:
        response = client.get(f"{server.url}/bytes/1000000")
        assert response.content == content(0, 1_000_000)
        assert response.connection is not None
        assert response.connection.remote_address == ("::1", server.port)


def test_the_server_is_restarted_between_two_requests(make_server: MakeServer, kind: str) -> None:
    server = make_server(kind)
    with client_for(server) as client:
        before = client.get(f"{server.url}/bytes/1")
        server.restart()
        after = client.get(f"{server.url}/bytes/1")
        assert after.content == content(0, 1)
        assert before.connection is not None
        assert after.connection is not None
        assert before.connection.local_address != after.connection.local_address


def test_the_server_crashes_between_two_requests(make_server: MakeServer, kind: str) -> None:
    """Nobody says goodbye, and the new server knows nothing of the old connection."""
    server = make_server(kind)
    with client_for(server) as client:
        client.get(f"{server.url}/bytes/1")
        server.restart(signal.SIGKILL)
        assert client.get(f"{server.url}/bytes/1").content == content(0, 1)


def test_the_server_is_gone(make_server: MakeServer, kind: str) -> None:
    server = make_server(kind)
    with client_for(server) as client:
        client.get(f"{server.url}/bytes/1")
        server.stop(signal.SIGKILL)
        with pytest.raises(specter.Error):
            client.get(f"{server.url}/bytes/1")
        server.start()
        assert client.get(f"{server.url}/bytes/1").content == content(0, 1)


@pytest.mark.slow
def test_the_command(server: ServerProcess, tmp_path: Path) -> None:
    target = tmp_path / "100m.bin"
    words = [f"{server.url}/bytes/{LARGE}", "--cacert", server.authority, "-o", str(target), "--json-timing"]
    words += ["--resolve", f"localhost:{server.port}:{server.host}"]
    done = subprocess.run([sys.executable, "-m", "specter", *words], capture_output=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stderr)["body_bytes"] == LARGE
    with target.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == content_digest(LARGE)
