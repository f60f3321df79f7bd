"""What is special about the asyncio client. Everything else it shares with the blocking one, and its tests too."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import pytest

import specter
from specter.testing.content import content
from specter.testing.server import Server
from tests.loops import Run


def make_client(server: Server, **options: Any) -> specter.AsyncClient:
    return specter.AsyncClient(**{"verify": server.ca_file, "base_url": server.url, **options})


def test_every_verb(run: Run, server: Server) -> None:
    async def main() -> None:
        async with make_client(server) as client:
            for verb in ("get", "options", "post", "put", "patch", "delete"):
                response = await getattr(client, verb)("/headers")
                assert response.json()["method"] == verb.upper()
            assert (await client.head("/bytes/10")).headers["content-length"] == "10"
            request = client.build_request("GET", "/bytes/3")
            assert (await client.send(request)).content == content(0, 3)
        assert client.is_closed
        with pytest.raises(specter.NetworkError, match="closed"):
            await client.get("/bytes/1")

    run(main())


def test_many_tasks_on_one_connection(run: Run, server: Server) -> None:
    async def main() -> None:
        async with make_client(server) as client:
            sizes = range(0, 60_000, 977)
            responses = await asyncio.gather(*(client.get(f"/bytes/{size}") for size in sizes))
            assert [response.content for response in responses] == [content(0, size) for size in sizes]
            assert len({response.connection.local_address for response in responses if response.connection}) == 1

    run(main())


def test_every_way_to_read(run: Run, server: Server) -> None:
    async def main() -> None:
        async with make_client(server) as client:
            async with client.stream("GET", "/bytes/100000") as response:
                assert await response.aread() == response.content == content(0, 100_000)
                assert [len(piece) async for piece in response.aiter_bytes(60_000)] == [60_000, 40_000]
            async with client.stream("GET", "/bytes/100000") as response:
                sizes = [len(piece) async for piece in response.aiter_bytes(30_000)]
            assert sizes == [30_000, 30_000, 30_000, 10_000]
            async with client.stream("GET", "/bytes/100000") as response:
                assert b"".join([piece async for piece in response.aiter_raw()]) == content(0, 100_000)
            async with client.stream("POST", "/echo", content="one\ntwo\nthree", headers={"a": "b"}) as response:
                assert [line async for line in response.aiter_lines()] == ["one", "two", "three"]
            async with client.stream("POST", "/echo", content="größer") as response:
                assert "".join([text async for text in response.aiter_text()]) == "größer"
            async with client.stream("GET", "/bytes/5000") as response:
                buffer, read = bytearray(5000), 0
                while count := await response.areadinto(memoryview(buffer)[read:]):
                    read += count
                assert buffer == content(0, 5000)

    run(main())


async def pieces(count: int, size: int = 10_000) -> AsyncIterator[bytes]:
    for index in range(count):
        await asyncio.sleep(0)
        yield content(index * size, size)


def test_every_kind_of_content(run: Run, server: Server) -> None:
    body = content(0, 300_000)

    async def main(file: Any) -> None:
        async with make_client(server) as client:
            for sent in (body, bytearray(body), iter([body[:1000], body[1000:]]), pieces(30), file):
                assert (await client.post("/echo", content=sent)).content == body
            assert (await client.post("/echo", content="text")).text == "text"
            assert (await client.post("/echo", json={"a": 1})).json() == {"a": 1}
            assert (await client.post("/echo", data={"a": "1"})).text == "a=1"

    with tempfile.TemporaryFile() as file:
        file.write(body)
        file.seek(0)
        run(main(file))


def test_an_asynchronous_body_in_the_blocking_client(server: Server) -> None:
    with specter.Client(verify=server.ca_file) as client, pytest.raises(TypeError, match="AsyncClient"):
        client.post(server.url + "/echo", content=pieces(1))
