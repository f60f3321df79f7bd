"""httpx and httpx2 over our transport, against Caddy with HTTP/1.1, HTTP/2 and HTTP/3 on one port."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.interop.harness import ServerProcess, content_digest

pytestmark = pytest.mark.interop


@pytest.fixture
def caddy(shared: Callable[[str], ServerProcess]) -> ServerProcess:
    return shared("caddy")


@pytest.fixture(params=["httpx", "httpx2"])
def client(request: pytest.FixtureRequest, caddy: ServerProcess) -> Iterator[Any]:
    library = importlib.import_module(request.param)
    transport = importlib.import_module(f"specter.integrations.{request.param}").Transport
    made = transport(verify=caddy.authority, resolve={"localhost": caddy.host}, head_start=10)
    with library.Client(transport=made, base_url=caddy.url, timeout=20) as client:
        yield client


def test_from_http2_to_http3(client: Any) -> None:
    responses = [client.get("/bytes/1") for _ in range(3)]
    assert [response.http_version for response in responses] == ["HTTP/2", "HTTP/3", "HTTP/3"]
    assert len({response.content for response in responses}) == 1
    assert responses[1].extensions["specter"].connection.alpn == "h3"


def test_transfers_both_ways(client: Any) -> None:
    client.get("/bytes/1")
    digest = hashlib.sha256()
    with client.stream("GET", "/bytes/1000000") as response:
        assert response.http_version == "HTTP/3"
        for piece in response.iter_bytes():
            digest.update(piece)
    assert digest.hexdigest() == content_digest(1_000_000)
    sent = client.post("/digest", content=b"x" * 1_000_000)
    assert sent.http_version == "HTTP/3"
    assert sent.json()["bytes"] == 1_000_000


@pytest.mark.parametrize("name", ["httpx", "httpx2"])
def test_in_an_event_loop(caddy: ServerProcess, name: str) -> None:
    library = importlib.import_module(name)
    kind = importlib.import_module(f"specter.integrations.{name}").AsyncTransport

    async def main() -> list[str]:
        transport = kind(verify=caddy.authority, resolve={"localhost": caddy.host}, head_start=10)
        async with library.AsyncClient(transport=transport, base_url=caddy.url, timeout=20) as client:
            first = await client.get("/bytes/1")
            others = await asyncio.gather(*(client.get("/bytes/1000000") for _ in range(5)))
            digests = {hashlib.sha256(response.content).hexdigest() for response in others}
            assert digests == {content_digest(1_000_000)}
            return [response.http_version for response in (first, *others)]

    assert asyncio.run(main()) == ["HTTP/2", *["HTTP/3"] * 5]


def test_a_restarted_server(make_server: Callable[..., ServerProcess]) -> None:
    """The connection is dead and says nothing about it: the next request finds its way."""
    import httpx

    from specter.integrations.httpx import Transport

    server = make_server("caddy")
    transport = Transport(verify=server.authority, resolve={"localhost": server.host}, head_start=10)
    with httpx.Client(transport=transport, base_url=server.url, timeout=20) as client:
        assert [client.get("/bytes/1").http_version for _ in range(2)] == ["HTTP/2", "HTTP/3"]
        server.restart()
        assert client.get("/bytes/1").status_code == 200
        assert client.get("/bytes/1").http_version == "HTTP/3"
