"""Tunnels and WebSockets of the asyncio client where it has ways of its own: tasks, cancellation, ``async``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

import specter
from specter.quic.config import QuicConfig
from specter.testing import Pause, Reply, Server
from specter.testing.content import content
from tests.client.test_messages import frame


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def client_of(server: Server, **options: object) -> specter.AsyncClient:
    return specter.AsyncClient(verify=server.ca_file, base_url=server.url, **options)  # type: ignore[arg-type]


def test_both_ways_to_open(server: Server) -> None:
    async def main() -> None:
        async with client_of(server) as client:
            async with client.tunnel("/echo") as tunnel:
                await tunnel.send(b"one")
                assert await tunnel.receive(timeout=5) == b"one"
            tunnel = await client.tunnel("/echo")
            await tunnel.send(b"two")
            assert await tunnel.receive(timeout=5) == b"two"
            await tunnel.aclose()
            async with client.websocket("/websocket") as socket:
                await socket.send("three")
                assert await socket.receive(timeout=5) == "three"
            socket = await client.websocket("/websocket")
            await socket.aclose(1001, "bye")
            assert (socket.close_code, socket.close_reason) == (1001, "bye")

    asyncio.run(main())


def test_what_does_not_open_needs_no_end(server: Server) -> None:
    async def main() -> None:
        async with client_of(server) as client:
            with pytest.raises(specter.TunnelRefused):
                async with client.tunnel("/status/403"):
                    pass
            with pytest.raises(specter.TunnelRefused):
                await client.websocket("/status/403")

    asyncio.run(main())


def test_iteration() -> None:
    def talk() -> Iterator[bytes | Pause]:
        yield frame(1, b"one")
        yield Pause(0.05)
        yield frame(2, b"two") + frame(8, b"\x03\xe8")

    async def main(server: Server) -> None:
        async with client_of(server) as client, client.websocket("/") as socket:
            assert [message async for message in socket] == ["one", b"two"]

    with Server(tunnel=lambda request: Reply(body=talk())) as server:
        asyncio.run(main(server))


def test_a_receive_that_is_cancelled_takes_nothing_with_it(server: Server) -> None:
    async def main() -> None:
        async with client_of(server) as client, client.tunnel("/echo") as tunnel:
            for number in range(20):
                waiting = asyncio.create_task(tunnel.receive())
                await asyncio.sleep(0)
                waiting.cancel()
                data = content(number, 1_000)
                await tunnel.send(data)
                got = b""
                while len(got) < 1_000:
                    got += await tunnel.receive(timeout=5)
                assert got == data

    asyncio.run(main())


def test_cancelled_tasks_do_not_tear_messages_apart(server: Server) -> None:
    """Senders are cancelled in the middle of messages that flow control holds up: every message begun arrives whole."""
    small = QuicConfig(stream_window=65_536, stream_window_max=65_536, connection_window=131_072)

    async def main(narrow: Server) -> None:
        received: list[str | bytes] = []
        client = client_of(narrow, quic=small)
        async with client, client.websocket("/websocket", compression=False) as socket:

            async def read() -> None:
                async for message in socket:
                    if message == "the end":
                        return
                    received.append(message)
                    await asyncio.sleep(0.001)

            reader = asyncio.create_task(read())
            for number in range(60):
                sender = asyncio.create_task(socket.send(content(number, 40_000)))
                await asyncio.sleep(0.001 * (number % 3))
                sender.cancel()
            await socket.send("the end")
            await reader
        numbers = [number for number in range(60) if content(number, 40_000) in received]
        assert [content(number, 40_000) for number in numbers] == received
        assert numbers

    with Server(config=small) as narrow:
        asyncio.run(asyncio.wait_for(main(narrow), 30))


def test_many_tasks(server: Server) -> None:
    async def main() -> None:
        async with client_of(server) as client:

            async def talk(number: int) -> None:
                async with client.websocket("/websocket") as socket:
                    for turn in range(10):
                        await socket.send(f"{number} {turn}")
                        assert await socket.receive(timeout=10) == f"{number} {turn}"

            download = asyncio.create_task(client.get("/bytes/5000000", timeout=30))
            await asyncio.gather(*(talk(number) for number in range(60)))
            assert len((await download).content) == 5_000_000
            assert client.pool is not None

    asyncio.run(main())


def test_a_client_of_another_loop(server: Server) -> None:
    client = client_of(server)

    async def use() -> None:
        async with client.tunnel("/echo"):
            pass

    async def first() -> None:
        await use()
        await client.aclose()

    asyncio.run(first())
    with pytest.raises(specter.LocalProtocolError):
        asyncio.run(use())
