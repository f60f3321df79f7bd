from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from specter.client.body import Body
from specter.client.priority import Priority
from specter.client.request import Request
from specter.errors import StreamConsumed

URL = "https://a.example/p"


def sent(body: Body | None) -> bytes:
    assert body is not None
    return b"".join(body.pieces())


def test_the_header_section() -> None:
    request = Request("get", "https://a.example:444/p?q=1#f", headers={"X-A": "1"})
    assert request.fields() == [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", b"a.example:444"),
        (b":path", b"/p?q=1"),
        (b"x-a", b"1"),
    ]


def test_a_priority_is_a_header_field() -> None:
    assert Request("GET", URL, priority=Priority(1, True)).headers["priority"] == "u=1, i"
    assert Request("GET", URL, priority=Priority()).headers["priority"] == "u=3"
    assert Request("GET", URL, headers={"Priority": "u=6"}, priority=Priority(1)).headers.get_list("priority") == [
        "u=6"
    ]
    assert "priority" not in Request("GET", URL).headers


def test_a_host_field_is_the_authority() -> None:
    request = Request("GET", URL, headers={"Host": "b.example"})
    assert (b":authority", b"b.example") in request.fields()
    assert b"host" not in dict(request.fields())
    assert request.url.host == "a.example"


@pytest.mark.parametrize("method", ["", "GE T", "GET\r\n", "GÉT"])
def test_what_is_no_method(method: str) -> None:
    with pytest.raises(ValueError, match="method"):
        Request(method, URL)


@pytest.mark.parametrize(
    ("options", "kind", "body"),
    [
        ({"content": b"raw"}, None, b"raw"),
        ({"content": bytearray(b"raw")}, None, b"raw"),
        ({"content": memoryview(b"raw")}, None, b"raw"),
        ({"content": "tëxt"}, "text/plain; charset=utf-8", "tëxt".encode()),
        ({"data": {"a": "1 2", "b": ["x", "y"]}}, "application/x-www-form-urlencoded", b"a=1+2&b=x&b=y"),
        ({"data": [("a", "1"), ("a", "2")]}, "application/x-www-form-urlencoded", b"a=1&a=2"),
        ({"json": {"ü": [1, None]}}, "application/json", '{"ü":[1,null]}'.encode()),
    ],
)
def test_bodies(options: dict[str, Any], kind: str | None, body: bytes) -> None:
    request = Request("POST", URL, **options)
    assert request.headers.get("content-type") == kind
    assert request.headers["content-length"] == str(len(body))
    assert sent(request.body) == sent(request.body) == body
    assert request.replayable


def test_own_header_fields_stay() -> None:
    request = Request("POST", URL, json=1, headers={"Content-Type": "application/problem+json"})
    assert request.headers.get_list("content-type") == ["application/problem+json"]


@pytest.mark.parametrize(("method", "length"), [("POST", "0"), ("PUT", "0"), ("GET", None), ("DELETE", None)])
def test_no_body(method: str, length: str | None) -> None:
    request = Request(method, URL)
    assert request.body is None
    assert request.headers.get("content-length") == length


def test_an_iterable_goes_once_and_without_length() -> None:
    def pieces() -> Iterator[bytes]:
        yield b"a"
        yield b""
        yield b"b"

    request = Request("POST", URL, content=pieces())
    assert "content-length" not in request.headers
    assert request.body is not None
    assert request.replayable
    assert list(request.body.pieces()) == [b"a", b"b"]
    assert not request.replayable
    with pytest.raises(StreamConsumed):
        request.body.pieces()


def test_a_file_goes_from_where_it_stands_again_and_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789" * 20_000)
    with path.open("rb") as file:
        file.seek(5)
        request = Request("PUT", URL, content=file)
        assert request.headers["content-length"] == "199995"
        whole = path.read_bytes()[5:]
        assert sent(request.body) == whole
        assert sent(request.body) == whole


def test_a_file_that_grows_is_sent_as_announced() -> None:
    file = io.BytesIO(b"12345")
    request = Request("PUT", URL, content=file)
    file.getbuffer().release()
    file.seek(0, 2)
    file.write(b"678")
    file.seek(0)
    assert sent(request.body) == b"12345"


def test_a_pipe_has_no_length() -> None:
    class Pipe:
        def __init__(self) -> None:
            self.left = [b"a", b"b", b""]

        def read(self, size: int = -1) -> bytes:
            return self.left.pop(0)

    request = Request("PUT", URL, content=Pipe())
    assert "content-length" not in request.headers
    assert sent(request.body) == b"ab"
    assert not request.replayable


def test_wrong_types_are_refused() -> None:
    with pytest.raises(TypeError, match="int"):
        Request("POST", URL, content=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="form"):
        Request("POST", URL, data=b"raw")
    with pytest.raises(ValueError, match="only one"):
        Request("POST", URL, content=b"", json={})
    with pytest.raises(TypeError, match="'rb'"):
        sent(Request("POST", URL, content=io.StringIO("text")).body)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="bytes"):
        sent(Request("POST", URL, content=["text"]).body)  # type: ignore[list-item]
    with pytest.raises(ValueError, match="JSON"):
        Request("POST", URL, json=float("nan"))


def test_json_has_no_surprises() -> None:
    value = {"a": [1, 2.5, "é", True, None]}
    assert json.loads(sent(Request("POST", URL, json=value).body)) == value
