"""Network paths with servers that others wrote: migration, sizes and marks of datagrams, a NAT that forgets."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import threading
import time
from collections.abc import Iterator

import pytest

import specter
from specter.testing import Relay
from specter.testing.content import content
from tests.interop.harness import ServerProcess, content_digest

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="all of 127/8 is local on Linux only"),
]

LARGE = 20_000_000


def digest_of(client: specter.Client, url: str, between: list[float]) -> str:
    """Download ``url``; note when pieces come."""
    digest = hashlib.sha256()
    with client.stream("GET", url) as response:
        for piece in response.iter_bytes():
            digest.update(piece)
            between.append(time.monotonic())
    return digest.hexdigest()


def path_of(client: specter.Client, server: ServerProcess) -> specter.PathInfo:
    response = client.get(f"{server.url}/bytes/1")
    assert response.connection is not None
    return response.connection.path


@pytest.fixture
def mobile(server: ServerProcess, client: specter.Client) -> specter.Client:
    """A connected client of a server that lets its clients move: Caddy does not before quic-go 0.51."""
    path_of(client, server)
    if not move(client, server):
        assert path_of(client, server).changes == 0
        pytest.skip(f"{server.name} forbids migration")
    return client


def move(client: specter.Client, server: ServerProcess, address: str | None = None) -> bool:
    """Move, as soon as the server gave a connection id for it; return False if it wants its clients to stay."""
    for _ in range(100):
        try:
            return client.migrate(server.url, local_address=address, timeout=10) > 0
        except specter.LocalProtocolError as error:
            if "does not want" in str(error):
                return False
        time.sleep(0.05)
    raise TimeoutError("no connection id came")


@pytest.mark.parametrize("moves", ["ports", "addresses"])
def test_active_migration_during_a_download(server: ServerProcess, mobile: specter.Client, moves: str) -> None:
    client = mobile
    url = f"{server.url}/bytes/{LARGE}"
    results: list[str] = []
    worker = threading.Thread(target=lambda: results.append(digest_of(client, url, [])))
    worker.start()
    moved = 0
    while worker.is_alive() and moved < 4:
        address = f"127.0.0.{20 + moved}" if moves == "addresses" else None
        moved += move(client, server, address)
    worker.join()
    assert results == [content_digest(LARGE)]
    path = path_of(client, server)
    assert path.changes == moved + 1 >= 2
    if moves == "addresses":
        assert path.local_address[0] == f"127.0.0.{19 + moved}"


def test_active_migration_during_an_upload(server: ServerProcess, mobile: specter.Client) -> None:
    client = mobile
    body = content(0, 5_000_000)
    results: list[str] = []
    worker = threading.Thread(
        target=lambda: results.append(client.post(f"{server.url}/digest", content=body).json()["sha256"])
    )
    worker.start()
    assert move(client, server)
    worker.join()
    assert results == [hashlib.sha256(body).hexdigest()]
    assert path_of(client, server).changes == 2


@pytest.mark.usefixtures("mobile")
def test_an_idle_connection_migrates_with_asyncio(server: ServerProcess) -> None:
    async def main() -> None:
        async with specter.AsyncClient(
            verify=server.authority, resolve={"localhost": server.host}, timeout=20
        ) as client:
            for changes in range(3):
                response = await client.get(f"{server.url}/bytes/1")
                assert response.content == content(0, 1)
                assert response.connection is not None
                assert response.connection.path.changes == changes
                await client.migrate()
                await asyncio.sleep(0.2)

    asyncio.run(main())


def test_datagrams_grow_and_marks_are_settled(server: ServerProcess, client: specter.Client) -> None:
    """A server that does not count marks, like aioquic and older releases of Caddy, gets none after its first ACK."""
    client.post(f"{server.url}/digest", content=content(0, 3_000_000))
    path = path_of(client, server)
    assert path.datagram_size > 1400
    assert path.ecn in ("capable", "failed")


@pytest.fixture
def nat(server: ServerProcess) -> Iterator[Relay]:
    with Relay((server.host, server.port)) as relay:
        yield relay


@pytest.mark.usefixtures("mobile")
def test_a_nat_that_forgets_costs_no_byte(server: ServerProcess, nat: Relay) -> None:
    """Port rebinding: the server finds out and validates the path; the client only answers."""
    host, port = nat.address
    with specter.Client(verify=server.authority, resolve={"localhost": host}, timeout=20) as client:
        assert client.get(f"https://localhost:{port}/bytes/1").content == content(0, 1)
        url = f"https://localhost:{port}/bytes/{LARGE}"
        results: list[str] = []
        worker = threading.Thread(target=lambda: results.append(digest_of(client, url, [])))
        worker.start()
        while worker.is_alive():
            time.sleep(0.2)
            if worker.is_alive() and nat.bindings < 5:
                nat.rebind()
        worker.join()
        assert results == [content_digest(LARGE)]
    assert nat.bindings >= 2
