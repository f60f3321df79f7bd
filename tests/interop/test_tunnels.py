"""Tunnels and WebSockets with aioquic; the WebSocket frames at its end are made by wsproto."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

import specter
from specter.testing.content import content
from tests.interop.harness import ServerProcess

pytestmark = pytest.mark.interop


@pytest.fixture
def kind() -> str:
    return "aioquic"


def receive_exactly(tunnel: specter.Tunnel, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = tunnel.receive(timeout=10)
        assert piece
        data += piece
    return data


def test_a_raw_tunnel(server: ServerProcess, client: specter.Client) -> None:
    with client.tunnel(f"{server.url}/raw") as tunnel:
        for size in (1, 1_024, 300_000):
            tunnel.send(content(size, size))
            assert receive_exactly(tunnel, size) == content(size, size)
        tunnel.send_eof()
        assert tunnel.receive(timeout=10) == b""
    assert client.get(f"{server.url}/bytes/1").status_code == 200


@pytest.mark.parametrize("compression", [True, False])
def test_messages(server: ServerProcess, client: specter.Client, compression: bool) -> None:
    url = f"{server.url}/messages".replace("https:", "wss:")
    with client.websocket(url, subprotocols=["one", "two"], compression=compression) as socket:
        assert socket.subprotocol == "two"
        assert ("sec-websocket-extensions" in socket.response.headers) == compression
        for message in ("text \u20ac", b"bytes", "", content(0, 1_000_000), "y" * 200_000):
            socket.send(message)
            assert socket.receive(timeout=20) == message
        socket.send(["in ", "three ", "pieces"])
        assert socket.receive(timeout=10) == "in three pieces"
        socket.ping()
        socket.send("after the ping")
        socket.receive(timeout=10)
        assert socket.latency is not None
    assert (socket.close_code, socket.close_reason) == (1000, "")


def test_the_server_closes(server: ServerProcess, client: specter.Client) -> None:
    with client.websocket(f"{server.url}/messages") as socket:
        socket.send("goodbye")
        with pytest.raises(specter.WebSocketClosed) as caught:
            socket.receive(timeout=10)
        assert (caught.value.code, caught.value.reason, caught.value.remote) == (4001, "as you like", True)


@pytest.mark.parametrize(("path", "protocol", "status"), [("/nowhere", "websocket", 404), ("/raw", "other", 501)])
def test_refusals(server: ServerProcess, client: specter.Client, path: str, protocol: str, status: int) -> None:
    with pytest.raises(specter.TunnelRefused) as caught:
        client.tunnel(server.url + path, protocol)
    assert caught.value.response.status_code == status


def test_the_server_goes_away(make_server: Callable[..., ServerProcess]) -> None:
    server = make_server("aioquic")
    client = specter.Client(verify=server.authority, resolve={"localhost": server.host})
    with client, client.websocket(f"{server.url}/messages") as socket:
        server.stop()
        with pytest.raises(specter.NetworkError):
            socket.receive(timeout=10)


def test_asyncio(server: ServerProcess) -> None:
    async def main() -> None:
        async with specter.AsyncClient(verify=server.authority, resolve={"localhost": server.host}) as client:

            async def talk(number: int) -> None:
                async with client.websocket(f"{server.url}/messages") as socket:
                    for turn in range(5):
                        await socket.send(f"{number} {turn}")
                        assert await socket.receive(timeout=10) == f"{number} {turn}"

            download = asyncio.create_task(client.get(f"{server.url}/bytes/1000000", timeout=20))
            await asyncio.gather(*(talk(number) for number in range(20)))
            assert (await download).content == content(0, 1_000_000)

    asyncio.run(main())


def test_a_server_that_does_not_offer_them(shared: Callable[[str], ServerProcess]) -> None:
    server = shared("caddy")
    with specter.Client(verify=server.authority, resolve={"localhost": server.host}) as client:
        with pytest.raises(specter.TunnelUnsupported):
            client.websocket(f"{server.url}/messages")
        assert client.get(f"{server.url}/bytes/1").status_code == 200
