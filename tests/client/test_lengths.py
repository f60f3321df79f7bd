"""Bodies that are not as long as content-length says, and messages that have no body at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import specter
from specter.h3.sending import Sending
from specter.testing import exchange
from specter.testing.messages import Reply, Request
from specter.testing.server import Server
from tests.client.support import MakeClient


def dishonest(request: Request) -> Reply | None:
    """``/claims/N/M`` announces N bytes and sends M, whatever HTTP says about that."""
    kind, _, argument = request.path.strip("/").partition("/")
    if kind != "claims":
        return None
    claimed, sent = (int(number) for number in argument.split("/"))
    request.method = "GET"  # so that a HEAD gets a body too
    return Reply(
        int(request.query.get("status", "200")), [("content-length", str(claimed))], iter([bytes(sent)] if sent else [])
    )


@pytest.fixture
def liar(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that checks nothing of what it sends."""

    def lenient(check: Callable[..., None]) -> Callable[..., None]:
        return lambda self, *arguments: check(self, *arguments) if self._session.is_client else None

    for name in ("_check_body", "_check_complete"):
        monkeypatch.setattr(Sending, name, lenient(getattr(Sending, name)))
    monkeypatch.setattr(exchange, "NO_BODY", frozenset())
    with Server(dishonest) as running:
        yield running


@pytest.fixture
def wary(liar: Server, make_client: MakeClient) -> specter.Client:
    return make_client(liar)


@pytest.mark.interpreted
def test_an_honest_length(wary: specter.Client) -> None:
    assert wary.get("/claims/5/5").content == bytes(5)


@pytest.mark.interpreted
@pytest.mark.parametrize(("claimed", "sent", "what"), [(5, 4, "less"), (100_000, 1, "less"), (5, 0, "less")])
def test_a_response_that_is_too_short(wary: specter.Client, claimed: int, sent: int, what: str) -> None:
    with pytest.raises(specter.RemoteProtocolError, match=f"{what} content than content-length"):
        wary.get(f"/claims/{claimed}/{sent}")
    with wary.stream("GET", f"/claims/{claimed}/{sent}") as response:
        with pytest.raises(specter.RemoteProtocolError, match=f"{what} content than content-length"):
            list(response.iter_bytes())
        assert response.is_closed
    assert wary.get("/bytes/1").timing.reused


@pytest.mark.interpreted
@pytest.mark.parametrize(("claimed", "sent"), [(0, 1), (5, 6), (5, 100_000)])
def test_a_response_that_is_too_long(wary: specter.Client, claimed: int, sent: int) -> None:
    with pytest.raises(specter.RemoteProtocolError, match="more content than content-length"):
        wary.get(f"/claims/{claimed}/{sent}")
    assert wary.get("/bytes/1").timing.reused


@pytest.mark.interpreted
@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_content_where_there_is_none(wary: specter.Client, method: str, status: int) -> None:
    with pytest.raises(specter.RemoteProtocolError, match="content in a message that has none"):
        wary.request(method, f"/claims/5/5?status={status}")
    assert wary.get("/bytes/1").timing.reused


@pytest.mark.interpreted
@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 304)])
def test_a_length_without_content(wary: specter.Client, method: str, status: int) -> None:
    response = wary.request(method, f"/claims/5/0?status={status}")
    assert response.content == b""
    assert response.headers["content-length"] == "5"


@pytest.mark.parametrize(
    ("length", "pieces"),
    [(3, [b"1"]), (3, []), (3, [b"12345"]), (3, [b"12", b"34"]), (0, [b"1"]), (3, [b"12", b"3", b"4"])],
)
def test_a_request_that_breaks_its_word(client: specter.Client, length: int, pieces: list[bytes]) -> None:
    with pytest.raises(specter.LocalProtocolError, match="content-length"):
        client.post("/echo", content=iter(pieces), headers={"content-length": str(length)})
    assert client.post("/echo", content=b"123").content == b"123"


def test_a_request_whose_content_is_not_what_its_header_says(client: specter.Client) -> None:
    for body in ({"content": b"12345"}, {"content": b""}, {"json": 1}, {"data": {"a": "b"}}):
        options: dict[str, Any] = {**body, "headers": {"content-length": "4"}}
        with pytest.raises(specter.LocalProtocolError, match="content-length"):
            client.post("/echo", **options)
    with pytest.raises(specter.LocalProtocolError, match="content-length"):
        client.get("/echo", headers={"content-length": "4"})
    assert client.get("/echo", headers={"content-length": "0"}).content == b""
