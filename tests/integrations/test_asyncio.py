"""``AsyncTransport``: what only tasks can do, and event loops that are not asyncio's."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from specter.integrations.httpx import Reason
from specter.testing.messages import Reply
from specter.testing.server import Server
from tests.integrations.support import Kit, Make

LOCAL = {"localhost": "127.0.0.1"}


def offer(port: int) -> list[tuple[str, str]]:
    return [("alt-svc", f'h3=":{port}"')]


def test_many_tasks_share_a_connection(async_kit: Kit, server: Server, ca_file: str) -> None:
    async def main() -> None:
        transport = async_kit.Transport(http3="always", verify=ca_file)
        async with async_kit.httpx.AsyncClient(transport=transport, base_url=server.url, timeout=20) as client:
            responses = await asyncio.gather(*(client.get(f"/bytes/{size}") for size in range(0, 60_000, 1000)))
            assert [len(response.content) for response in responses] == list(range(0, 60_000, 1000))
            ends = {response.extensions["specter"].connection.local_address for response in responses}
            assert len(ends) == 1

    asyncio.run(main())


def test_tasks_that_want_the_same_new_connection_share_the_race(
    async_kit: Kit, make_tcp: Make, server: Server, ca_file: str
) -> None:
    tcp = make_tcp(fields=offer(server.port))

    async def main() -> None:
        transport = async_kit.Transport(verify=ca_file, resolve=LOCAL, head_start=10)
        async with async_kit.httpx.AsyncClient(transport=transport, timeout=30) as client:
            await client.get(tcp.url)
            responses = await asyncio.gather(*(client.get(f"{tcp.url}/bytes/1") for _ in range(20)))
            assert {response.http_version for response in responses} == {"HTTP/3"}
            ends = {response.extensions["specter"].connection.local_address for response in responses}
            assert len(ends) == 1

    asyncio.run(main())


@pytest.mark.parametrize("path", ["/delay/20", "/drip?count=2&interval=20"])
def test_a_cancelled_task_harms_nobody(async_kit: Kit, server: Server, ca_file: str, path: str) -> None:
    async def main() -> None:
        transport = async_kit.Transport(http3="always", verify=ca_file)
        async with async_kit.httpx.AsyncClient(transport=transport, base_url=server.url, timeout=20) as client:
            first = await client.get("/bytes/1")
            task = asyncio.create_task(client.get(path))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            again = await client.get("/bytes/1")
            assert again.extensions["specter"].connection.local_address == (
                first.extensions["specter"].connection.local_address
            )

    asyncio.run(main())


def test_a_cancelled_race(async_kit: Kit, make_tcp: Make, black_hole: int, ca_file: str) -> None:
    """Whoever gives up while both run leaves nothing behind, and the connections of others alone."""
    tcp = make_tcp(fields=[*offer(black_hole), ("connection", "close")])

    async def main() -> None:
        transport = async_kit.Transport(verify=ca_file, resolve=LOCAL, head_start=0.05)
        async with async_kit.httpx.AsyncClient(transport=transport, timeout=20) as client:
            await client.get(tcp.url)
            tcp.stalled.set()
            task = asyncio.create_task(client.get(tcp.url))
            await asyncio.sleep(0.3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            tcp.stalled.clear()
            response = await client.get(tcp.url)
            assert response.extensions["specter"].reason is Reason.SLOW
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []

    asyncio.run(main())
    assert len(tcp.seen) == 2


def test_a_body_that_is_not_read_to_its_end(async_kit: Kit, server: Server, ca_file: str) -> None:
    async def main() -> None:
        transport = async_kit.Transport(http3="always", verify=ca_file)
        async with async_kit.httpx.AsyncClient(transport=transport, base_url=server.url, timeout=20) as client:
            async with client.stream("GET", "/bytes/50000000") as response:
                async for _ in response.aiter_raw():
                    break
            gc.collect()
            assert (await client.get("/bytes/1")).http_version == "HTTP/3"

    asyncio.run(main())


def test_a_slow_reader_of_an_upload_holds_up_its_writer(async_kit: Kit, make_server: Make, ca_file: str) -> None:
    server = make_server()
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 1
            yield b"x" * 65_536

    async def main() -> None:
        transport = async_kit.Transport(http3="always", verify=ca_file)
        async with async_kit.httpx.AsyncClient(transport=transport, base_url=server.url, timeout=0.5) as client:
            with pytest.raises(async_kit.httpx.WriteTimeout):
                await client.post("/delay/30", content=endless())

    asyncio.run(main())
    assert given * 65_536 < 64 << 20


def test_uvloop(async_kit: Kit, make_tcp: Make, server: Server, ca_file: str) -> None:
    uvloop = pytest.importorskip("uvloop")
    tcp = make_tcp(fields=offer(server.port))

    async def main() -> list[str]:
        transport = async_kit.Transport(verify=ca_file, resolve=LOCAL, head_start=10)
        async with async_kit.httpx.AsyncClient(transport=transport, timeout=30) as client:
            return [(await client.get(f"{tcp.url}/bytes/1")).http_version for _ in range(3)]

    assert uvloop.run(main()) == ["HTTP/1.1", "HTTP/3", "HTTP/3"]


def test_a_transport_belongs_to_its_loop(async_kit: Kit, server: Server, ca_file: str) -> None:
    transport = async_kit.Transport(http3="always", verify=ca_file)

    async def fetch() -> Any:
        return await transport.handle_async_request(async_kit.httpx.Request("GET", f"{server.url}/status/204"))

    assert asyncio.run(fetch()).status_code == 204
    with pytest.raises(async_kit.httpx.LocalProtocolError, match="loop"):
        asyncio.run(fetch())
    asyncio.run(transport.aclose())


def test_under_trio_all_goes_over_tcp(async_kit: Kit, make_tcp: Make, server: Server, ca_file: str) -> None:
    trio = pytest.importorskip("trio")
    tcp = make_tcp(fields=offer(server.port))

    async def main() -> list[Any]:
        transport = async_kit.Transport(verify=ca_file, resolve=LOCAL)
        async with async_kit.httpx.AsyncClient(transport=transport) as client:
            responses = [await client.get(tcp.url) for _ in range(2)]
        async with async_kit.httpx.AsyncClient(transport=async_kit.Transport(http3="always", verify=ca_file)) as client:
            with pytest.raises(async_kit.httpx.UnsupportedProtocol, match="asyncio"):
                await client.get(tcp.url)
        return [(response.http_version, response.extensions["specter"].reason) for response in responses]

    assert trio.run(main) == [("HTTP/1.1", Reason.NO_ASYNCIO)] * 2


def test_others_go_on_while_one_connects(async_kit: Kit, make_server: Make, black_hole: int, ca_file: str) -> None:
    server = make_server(lambda _request: Reply(200, [], b"here"))

    async def main() -> None:
        transport = async_kit.Transport(http3="always", verify=ca_file)
        async with async_kit.httpx.AsyncClient(transport=transport, timeout=1) as client:
            waiting = asyncio.create_task(client.get(f"https://127.0.0.1:{black_hole}/"))
            await asyncio.sleep(0.05)
            before = time.monotonic()
            assert (await client.get(server.url)).text == "here"
            assert time.monotonic() - before < 0.8
            with pytest.raises(async_kit.httpx.ConnectTimeout):
                await waiting

    asyncio.run(main())
