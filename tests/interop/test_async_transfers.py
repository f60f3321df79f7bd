"""The asyncio client with servers that others wrote, in both kinds of loop."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import specter
from specter.testing.content import content
from tests.interop.conftest import MakeServer
from tests.interop.harness import ServerProcess, content_digest
from tests.loops import Run

pytestmark = pytest.mark.interop

LARGE = 100_000_000
HEAVY = pytest.mark.parametrize(("run", "kind"), [("asyncio", "aioquic"), ("uvloop", "caddy")], indirect=["run"])
UPLOAD = 5_000_000


def client_for(server: ServerProcess) -> specter.AsyncClient:
    return specter.AsyncClient(verify=server.authority, resolve={"localhost": server.host}, timeout=20)


@pytest.mark.parametrize("size", [1, 1_000_000])
def test_get(run: Run, server: ServerProcess, size: int) -> None:
    async def main() -> None:
        async with client_for(server) as client:
            response = await client.get(f"{server.url}/bytes/{size}")
            assert (response.status_code, response.http_version) == (200, "HTTP/3")
            assert response.content == content(0, size)

    run(main())


@HEAVY
def test_50_requests_at_once(run: Run, server: ServerProcess) -> None:
    async def main() -> None:
        async with client_for(server) as client:
            responses = await asyncio.gather(*(client.get(f"{server.url}/bytes/1000000") for _ in range(50)))
        assert {hashlib.sha256(response.content).hexdigest() for response in responses} == {content_digest(1_000_000)}
        assert len({response.connection.local_address for response in responses if response.connection}) == 1

    run(main())


@HEAVY
@pytest.mark.slow
def test_large_get_is_streamed(run: Run, server: ServerProcess) -> None:
    async def main() -> None:
        digest, size = hashlib.sha256(), 0
        async with (
            client_for(server) as client,
            client.stream("GET", f"{server.url}/bytes/{LARGE}") as response,
        ):
            async for piece in response.aiter_bytes():
                digest.update(piece)
                size += len(piece)
        assert (size, digest.hexdigest()) == (LARGE, content_digest(LARGE))

    run(main())


@pytest.mark.parametrize("source", ["bytes", "file", "pieces"])
def test_post(run: Run, server: ServerProcess, source: str, tmp_path: Path) -> None:
    body = content(0, UPLOAD)
    file = tmp_path / "upload"
    file.write_bytes(body)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, UPLOAD, 100_000):
            await asyncio.sleep(0)
            yield body[start : start + 100_000]

    async def main() -> None:
        with file.open("rb") as opened:
            sent = {"bytes": body, "file": opened, "pieces": pieces()}[source]
            length = {"content-length": str(UPLOAD)}  # Caddy 2.6.2 takes a body without one for an empty one
            async with client_for(server) as client:
                response = await client.post(f"{server.url}/digest", content=sent, headers=length)
        assert response.json() == {"bytes": UPLOAD, "sha256": hashlib.sha256(body).hexdigest()}

    run(main())


def test_an_echo_is_read_while_it_is_sent(run: Run, server: ServerProcess) -> None:
    body = content(0, 300_000)

    async def main() -> None:
        async with client_for(server) as client:
            assert (await client.post(f"{server.url}/echo", content=body)).content == body

    run(main())


@HEAVY
def test_what_is_cancelled_harms_nobody(run: Run, server: ServerProcess) -> None:
    async def main() -> None:
        async with client_for(server) as client:
            await client.get(f"{server.url}/bytes/1")
            for _ in range(5):
                tasks = [asyncio.create_task(client.get(f"{server.url}/bytes/{LARGE}")) for _ in range(3)]
                await asyncio.sleep(0.03)
                for task in tasks:
                    task.cancel()
                assert (await client.get(f"{server.url}/bytes/1")).timing.reused
                await asyncio.wait(tasks)
            again = await client.get(f"{server.url}/bytes/1000000")
            assert again.content == content(0, 1_000_000)
            assert again.timing.reused

    run(main())


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_server_is_restarted_between_two_requests(
    run: Run, make_server: MakeServer, kind: str, how: signal.Signals
) -> None:
    server = make_server(kind)

    async def main() -> None:
        async with client_for(server) as client:
            before = await client.get(f"{server.url}/bytes/1")
            await asyncio.to_thread(server.restart, how)
            after = await client.get(f"{server.url}/bytes/1")
            assert after.content == content(0, 1)
            assert before.connection is not None
            assert after.connection is not None
            assert before.connection.local_address != after.connection.local_address

    run(main())
