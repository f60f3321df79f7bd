"""Trailers, Expect: 100-continue, interim responses as they come, and priorities that change."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import specter
from specter.testing.content import content
from specter.testing.messages import Pause, Reply, Request
from specter.testing.server import Server
from tests.client.support import MakeClient, StartServer


def handle(request: Request) -> Reply | None:
    kind = request.path.strip("/")
    if kind == "trailers-back":
        fields = [[name.decode(), value.decode()] for name, value in request.trailers]
        return Reply(200, body=json.dumps({"size": len(request.body), "trailers": fields}).encode())
    if kind == "hints":
        hints = [(103, [("link", f"</{number}>")]) for number in range(3)]
        return Reply(200, [], b"hinted", interim=[hints[0], Pause(0.2), hints[1], hints[2], Pause(0.2)])
    if kind == "urgency":
        return Reply(200, body=urgencies(request))
    if kind == "size":
        return Reply(200, body=b"%d" % len(request.body))
    return None


def urgencies(request: Request) -> Iterator[bytes | Pause]:
    """Say the priority whenever it changes, until nothing is more urgent."""
    said: specter.Priority | None = None
    while said is None or said.urgency > 0:
        if request.priority == said:
            yield Pause(0.005)
        else:
            said = request.priority
            yield f"{said}\n".encode()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(handle) as running:
        yield running


# -- trailers -------------------------------------------------------------------------------------------


def received(client: specter.Client, **options: Any) -> Any:
    return client.post("/trailers-back", **options).json()


@pytest.mark.parametrize("size", [0, 1, 500_000])
def test_trailers_after_a_body(client: specter.Client, size: int) -> None:
    said = received(client, content=content(0, size), trailers={"X-Sum": "abc", "x-two": "2"})
    assert said == {"size": size, "trailers": [["x-sum", "abc"], ["x-two", "2"]]}
    assert client.get("/bytes/1").timing.reused


def test_trailers_repeat_and_keep_their_order(client: specter.Client) -> None:
    pairs = [("b", "1"), ("a", "2"), ("b", "3")]
    assert received(client, content=b"x", trailers=pairs)["trailers"] == [list(pair) for pair in pairs]
    assert received(client, content=b"x", trailers=specter.Headers(pairs))["trailers"] == [list(pair) for pair in pairs]


def test_trailers_that_are_known_when_the_body_was_sent(client: specter.Client) -> None:
    total = 0

    def pieces() -> Iterator[bytes]:
        nonlocal total
        for number in range(5):
            total += number
            yield bytes(number)

    said = received(client, content=pieces(), trailers=lambda: {"x-total": str(total)})
    assert said == {"size": 10, "trailers": [["x-total", "10"]]}


def test_trailers_without_a_body(client: specter.Client) -> None:
    response = client.get("/trailers-back", trailers={"x-a": "b"})
    assert response.json() == {"size": 0, "trailers": [["x-a", "b"]]}


def test_no_trailers_after_all(client: specter.Client) -> None:
    assert received(client, content=b"x", trailers={}) == {"size": 1, "trailers": []}
    assert received(client, content=b"x", trailers=dict) == {"size": 1, "trailers": []}


@pytest.mark.parametrize("name", ["content-length", "Host", "te", "trailer", "connection", ":path", "bad name", ""])
def test_fields_that_are_no_trailers(client: specter.Client, name: str) -> None:
    for trailers in ({name: "1"}, lambda: {name: "1"}):
        with pytest.raises(specter.LocalProtocolError):
            client.post("/trailers-back", content=b"x", trailers=trailers)
    assert client.get("/bytes/1").timing.reused


def test_trailers_do_not_make_a_short_body_whole(client: specter.Client) -> None:
    with pytest.raises(specter.LocalProtocolError, match="content-length"):
        client.post("/trailers-back", content=iter([b"x"]), headers={"content-length": "2"}, trailers={"a": "b"})


def test_trailers_that_fail_end_the_request(client: specter.Client) -> None:
    def fail() -> dict[str, str]:
        raise RuntimeError("no sum")

    with pytest.raises(RuntimeError, match="no sum"):
        client.post("/trailers-back", content=b"x", trailers=fail)
    assert client.get("/bytes/1").timing.reused


def test_trailers_in_both_directions(start_server: StartServer, make_client: MakeClient) -> None:
    def echo(request: Request) -> Reply:
        return Reply(200, body=request.body, trailers=[(name, value) for name, value in request.trailers])

    client = make_client(start_server(echo))
    response = client.post("/", content=b"body", trailers={"x-a": "1"})
    assert response.content == b"body"
    assert response.trailers == specter.Headers({"x-a": "1"})


# -- Expect: 100-continue -------------------------------------------------------------------------------


class Watched:
    """A body that tells when it was asked for."""

    def __init__(self) -> None:
        self.asked_at = 0.0

    def __iter__(self) -> Iterator[bytes]:
        self.asked_at = time.monotonic()
        yield b"12345"


def test_the_body_waits_until_it_is_wanted(client: specter.Client) -> None:
    body, start = Watched(), time.monotonic()
    response = client.post("/size", content=body, expect_continue=True)
    assert response.text == "5"
    assert [status for status, _ in response.informational] == [100]
    assert body.asked_at - start < 0.9
    assert dict(client.post("/headers", content=b"x", expect_continue=5).json()["headers"])["expect"] == "100-continue"


@pytest.mark.parametrize("status", [307, 401, 413, 417, 500])
def test_a_body_that_is_not_wanted_is_not_sent(start_server: StartServer, make_client: MakeClient, status: int) -> None:
    server = start_server(handle, expectation=lambda request: Reply(status, body=b"no"))
    client, body = make_client(server), Watched()
    response = client.post("/size", content=body, expect_continue=True)
    assert (response.status_code, response.text) == (status, "no")
    assert not body.asked_at
    response = client.post("/size", content=bytes(5_000_000), expect_continue=True)
    assert response.status_code == status
    assert client.get("/bytes/1").timing.reused


def test_a_server_that_says_nothing_gets_the_body_after_a_while(
    start_server: StartServer, make_client: MakeClient
) -> None:
    server = start_server(handle, expectation=lambda request: Reply(200, body=b"late", delay=1.0))
    client, body = make_client(server), Watched()
    start = time.monotonic()
    assert client.post("/size", content=body, expect_continue=0.2).text == "late"
    assert 0.2 <= body.asked_at - start < 0.9


def test_a_success_without_100_takes_the_body_too(client: specter.Client) -> None:
    """A server that answers while it reads, and never said that it would."""
    with Server() as server, specter.Client(verify=server.ca_file) as own:
        response = own.post(server.url + "/echo", content=content(0, 300_000), expect_continue=30)
        assert response.content == content(0, 300_000)


def test_without_a_body_there_is_nothing_to_expect(client: specter.Client) -> None:
    sent = dict(client.get("/headers", expect_continue=True).json()["headers"])
    assert "expect" not in sent


def test_time_runs_out_while_the_body_waits(start_server: StartServer, make_client: MakeClient) -> None:
    server = start_server(handle, expectation=lambda request: Reply(200, delay=5.0))
    client = make_client(server, timeout=specter.Timeouts(5, total=0.3))
    start = time.monotonic()
    with pytest.raises(specter.TotalTimeout):
        client.post("/size", content=b"x", expect_continue=60)
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_time_to_wait_is_above_zero(client: specter.Client, value: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        client.post("/size", content=b"x", expect_continue=value)


def test_a_connection_that_dies_while_the_body_waits(start_server: StartServer, make_client: MakeClient) -> None:
    server: Server

    def vanish(request: Request) -> Reply:
        server.call(lambda endpoint: endpoint.close(0x0102, "gone"))
        return Reply(200, delay=5.0)

    server = start_server(handle, expectation=vanish)
    with pytest.raises(specter.NetworkError, match="gone"):
        make_client(server).post("/size", content=iter([b"x"]), expect_continue=30)


# -- interim responses ------------------------------------------------------------------------------------


def test_interim_responses_are_told_as_they_come(client: specter.Client) -> None:
    told: list[tuple[int, str, float]] = []

    def tell(status: int, headers: specter.Headers) -> None:
        told.append((status, headers["link"], time.monotonic()))

    client.get("/bytes/1")
    response = client.get("/hints", on_informational=tell)
    end = time.monotonic()
    assert [entry[:2] for entry in told] == [(103, "</0>"), (103, "</1>"), (103, "</2>")]
    assert told[1][2] - told[0][2] > 0.1
    assert end - told[2][2] > 0.1
    assert [headers["link"] for _, headers in response.informational] == ["</0>", "</1>", "</2>"]


def test_interim_responses_during_an_upload(client: specter.Client) -> None:
    told: list[int] = []
    response = client.post(
        "/size",
        content=Watched(),
        expect_continue=True,
        on_informational=lambda status, headers: told.append(status),
        trailers={"x-a": "b"},
    )
    assert response.text == "5"
    assert told == [100]


def test_a_hook_that_raises_ends_the_request(client: specter.Client) -> None:
    def fail(status: int, headers: specter.Headers) -> None:
        raise RuntimeError(f"no {status}")

    with pytest.raises(RuntimeError, match="no 103"):
        client.get("/hints", on_informational=fail)
    assert client.get("/bytes/1").timing.reused


def test_a_hook_that_nobody_calls(client: specter.Client) -> None:
    told: list[int] = []
    response = client.get("/bytes/5", on_informational=lambda status, headers: told.append(status))
    assert response.content == content(0, 5)
    assert told == []
    with pytest.raises(specter.ReadTimeout):
        client.get("/delay/3", on_informational=lambda status, headers: None, timeout=0.2)


# -- priorities -------------------------------------------------------------------------------------------


def test_a_priority_and_another(client: specter.Client) -> None:
    with client.stream("GET", "/urgency", priority=specter.Priority(5)) as response:
        lines = response.iter_lines()
        assert next(lines) == "u=5"
        response.reprioritize(specter.Priority(2, incremental=True))
        assert next(lines) == "u=2, i"
        response.reprioritize(specter.Priority(0))
        assert list(lines) == ["u=0"]
    response.reprioritize(specter.Priority(1))
    assert client.get("/bytes/1").timing.reused


def test_a_priority_of_a_connection_that_is_gone(start_server: StartServer, make_client: MakeClient) -> None:
    client = make_client(start_server(handle))
    with client.stream("GET", "/urgency") as response:
        assert next(response.iter_bytes()) == b"u=3\n"
        client.close()
        response.reprioritize(specter.Priority(1))


def test_priorities_from_another_thread(client: specter.Client) -> None:
    import threading

    with client.stream("GET", "/urgency", timeout=10) as response:
        lines = response.iter_lines()
        assert next(lines) == "u=3"
        changer = threading.Timer(0.1, response.reprioritize, [specter.Priority(0)])
        changer.start()
        assert list(lines) == ["u=0"]
        changer.join()


# -- what only an asyncio client does -----------------------------------------------------------------------


def test_what_may_be_awaited(server: Server) -> None:
    """A hook that is a coroutine function, and a body that is an asynchronous iterator, with all of the extras."""
    told: list[tuple[int, str]] = []

    async def tell(status: int, headers: specter.Headers) -> None:
        await asyncio.sleep(0.01)
        told.append((status, headers.get("link", "")))

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5):
            await asyncio.sleep(0.01)
            yield bytes(1000)

    async def main() -> None:
        async with specter.AsyncClient(verify=server.ca_file, base_url=server.url) as client:
            response = await client.post(
                "/trailers-back",
                content=pieces(),
                trailers=lambda: {"x-a": "1"},
                expect_continue=True,
                on_informational=tell,
            )
            assert response.json() == {"size": 5000, "trailers": [["x-a", "1"]]}
            assert told == [(100, "")]
            await client.get("/hints", on_informational=tell)
            assert told[1:] == [(103, f"</{number}>") for number in range(3)]
            async with client.stream("GET", "/urgency") as response:
                lines = response.aiter_lines()
                assert await anext(lines) == "u=3"
                response.reprioritize(specter.Priority(0))
                assert [line async for line in lines] == ["u=0"]

    asyncio.run(main())


def test_an_awaited_body_that_is_not_wanted_is_not_begun(start_server: StartServer) -> None:
    server = start_server(handle, expectation=lambda request: Reply(413))
    begun = False

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal begun
        begun = True
        yield b"x"

    async def main() -> None:
        async with specter.AsyncClient(verify=server.ca_file) as client:
            response = await client.post(server.url + "/size", content=pieces(), expect_continue=True)
            assert response.status_code == 413

    asyncio.run(main())
    assert not begun


def test_a_hook_is_cancelled_with_its_request(server: Server) -> None:
    async def for_ever(status: int, headers: specter.Headers) -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        async with specter.AsyncClient(verify=server.ca_file) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await client.get(server.url + "/hints", on_informational=for_ever)
            assert (await client.get(server.url + "/bytes/1")).timing.reused

    asyncio.run(main())
