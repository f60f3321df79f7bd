from __future__ import annotations

import codecs
import encodings
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specter.client.headers import Headers
from specter.client.request import Request
from specter.client.response import Response
from specter.client.text import LineSplitter, charset_of, is_known
from specter.client.timing import Timing
from specter.errors import (
    DecodingError,
    NetworkError,
    ResponseNotRead,
    StatusError,
    StreamClosed,
    StreamConsumed,
)
from specter.net import clock


class Pieces:
    """A body that comes in given pieces."""

    def __init__(self, *pieces: bytes, error: Exception | None = None) -> None:
        self.pieces = list(pieces)
        self.error = error
        self.closed = 0
        self.trailers: tuple[tuple[bytes, bytes], ...] = ()

    async def read(self, limit: int) -> bytes:
        if not self.pieces:
            if self.error is not None:
                raise self.error
            self.trailers = ((b"x-sum", b"1"),)
            return b""
        piece, rest = self.pieces[0][:limit], self.pieces[0][limit:]
        self.pieces[:1] = [rest] if rest else []
        return piece

    async def readinto(self, view: memoryview) -> int:
        piece = await self.read(len(view))
        view[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self.closed += 1


def make(*pieces: bytes, status: int = 200, kind: str = "", error: Exception | None = None) -> Response:
    return Response(
        status,
        headers=Headers({"content-type": kind} if kind else {}),
        request=Request("GET", "https://a.example/"),
        source=Pieces(*pieces, error=error),
        timing=Timing(clock.now()),
    )


def source_of(response: Response) -> Pieces:
    source = response._source
    assert isinstance(source, Pieces)
    return source


def test_read_as_a_whole() -> None:
    response = make(b"abc", b"def")
    with pytest.raises(ResponseNotRead):
        response.content  # noqa: B018
    assert not response.trailers
    assert response.read() == response.read() == response.content == b"abcdef"
    assert response.is_closed
    assert source_of(response).closed == 1
    assert response.trailers["x-sum"] == "1"
    assert response.timing.complete is not None
    assert response.elapsed.total_seconds() == pytest.approx(response.timing.complete, abs=1e-6)
    assert list(response.iter_bytes(4)) == [b"abcd", b"ef"]


def test_streaming_goes_once() -> None:
    response = make(b"abc", b"def")
    assert list(response.iter_bytes()) == [b"abc", b"def"]
    assert response.is_stream_consumed
    with pytest.raises(StreamConsumed):
        response.iter_bytes()
    with pytest.raises(StreamConsumed):
        response.read()


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_chunks_of_a_size(size: int) -> None:
    body = bytes(range(23))
    chunks = list(make(body[:7], body[7:8], body[8:]).iter_bytes(size))
    assert b"".join(chunks) == body
    assert all(len(chunk) == size for chunk in chunks[:-1])
    assert 0 < len(chunks[-1]) <= size


def test_a_chunk_size_is_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        make(b"").iter_bytes(0)


def test_readinto() -> None:
    response = make(b"abcdef")
    buffer = bytearray(4)
    assert response.readinto(buffer) == 4
    assert buffer == b"abcd"
    assert response.readinto(memoryview(buffer)[:2]) == 2
    assert buffer == b"efcd"
    assert response.readinto(buffer) == 0
    assert response.readinto(buffer) == 0
    assert response.is_closed


def test_closing_early() -> None:
    response = make(b"abc")
    response.close()
    response.close()
    assert source_of(response).closed == 1
    for read in (response.read, response.iter_bytes, lambda: response.readinto(bytearray(1))):
        with pytest.raises(StreamClosed):
            read()


def test_closing_in_the_middle() -> None:
    response = make(b"abc", b"def")
    iterator = response.iter_bytes()
    assert next(iterator) == b"abc"
    response.close()
    with pytest.raises(StreamClosed):
        next(iterator)


def test_a_failure_closes() -> None:
    response = make(b"abc", error=NetworkError("gone"))
    with pytest.raises(NetworkError, match="gone"):
        response.read()
    assert response.is_closed
    assert response.timing.complete is None


def test_a_context_manager_closes() -> None:
    with make(b"abc") as response:
        pass
    assert response.is_closed


@pytest.mark.parametrize(
    ("status", "phrase"), [(200, "OK"), (404, "Not Found"), (299, ""), (599, ""), (103, "Early Hints")]
)
def test_status(status: int, phrase: str) -> None:
    response = make(status=status)
    assert response.reason_phrase == phrase
    assert response.is_success == (200 <= status < 300)
    assert response.is_error == (status >= 400)
    assert response.is_client_error == (400 <= status < 500)
    assert response.is_server_error == (status >= 500)
    assert response.is_informational == (status < 200)
    assert not response.is_redirect


def test_raise_for_status() -> None:
    assert make(status=204).raise_for_status().status_code == 204
    response = make(status=404)
    with pytest.raises(StatusError, match=r"404 Not Found for GET https://a\.example/") as caught:
        response.raise_for_status()
    assert caught.value.response is response


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        ("", "ü".encode(), "ü"),
        ("text/plain", "ü".encode(), "ü"),
        ("text/plain; charset=latin-1", b"\xfc", "ü"),
        ('text/plain; boundary=x; Charset="utf-16-le"', "ü".encode("utf-16-le"), "ü"),
        ("text/plain; charset=no-such", "ü".encode(), "ü"),
        ("text/plain; charset=hex", "ü".encode(), "ü"),
        ("text/plain; charset=", b"x", "x"),
        ("text/plain; charset=utf-16", "ü€".encode("utf-16"), "ü€"),
        ("text/plain; charset=UTF_16", codecs.BOM_UTF16_BE + "ü€".encode("utf-16-be"), "ü€"),
        ("text/plain; charset=utf-16", codecs.BOM_UTF16_LE + "ü€".encode("utf-16-le"), "ü€"),
        ("text/plain; charset=utf-16", b"\0\0", "\0"),
        ("text/plain; charset=utf-16", b"x", "\ufffd"),
        ("text/plain; charset=utf-32", codecs.BOM_UTF32_BE + "ü€".encode("utf-32-be"), "ü€"),
        ("text/plain", b"\xff", "\ufffd"),
    ],
)
def test_text(kind: str, body: bytes, text: str) -> None:
    response = make(body, kind=kind)
    response.read()
    assert response.text == text
    assert "".join(make(body[:1], body[1:], kind=kind).iter_text()) == text


@pytest.mark.parametrize("name", ["idna", "punycode", "undefined", "unicode_escape", "raw-unicode-escape"])
def test_encodings_that_are_not_for_documents_are_not_used(name: str) -> None:
    body = b"\\xfc\xff-\\q"
    response = make(body, kind=f"text/plain; charset={name}")
    response.read()
    assert response.text == "\\xfc\ufffd-\\q"
    assert list(make(body, kind=f"text/plain; charset={name}").iter_lines()) == [response.text]
    with pytest.raises(ValueError, match="not a text encoding"):
        response.encoding = name


def test_encoding_can_be_set() -> None:
    response = make(b"\xfc")
    response.encoding = "latin-1"
    response.read()
    assert response.text == "ü"
    with pytest.raises(ValueError, match="no-such"):
        response.encoding = "no-such"


def test_json() -> None:
    response = make(b'{"a": ', b"[1, 2]}")
    response.read()
    assert response.json() == {"a": [1, 2]}
    response = make(b"<html>")
    response.read()
    with pytest.raises(DecodingError, match="not JSON"):
        response.json()


def test_lines() -> None:
    assert list(make(b"a\r", b"\nb\n\n", b"c").iter_lines()) == ["a", "b", "", "c"]


@given(st.text(alphabet="ab\r\n\u2028\x0b", max_size=30), st.lists(st.integers(0, 30), max_size=6))
def test_lines_do_not_depend_on_the_pieces(text: str, cuts: list[int]) -> None:
    splitter = LineSplitter()
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    lines = [line for start, end in pairwise(edges) for line in splitter.feed(text[start:end])]
    lines += splitter.finish()
    assert lines == text.splitlines()


def test_charsets() -> None:
    assert charset_of("text/html; charset=UTF-8") == "UTF-8"
    assert charset_of("text/html") is None
    assert is_known("utf-8")
    assert not is_known("base64")
    assert not is_known("\0")


def test_long_names_of_charsets_are_not_remembered() -> None:
    name = "x" * 10_000
    assert not is_known(name)
    assert name not in encodings._cache  # type: ignore[attr-defined]


def test_representation() -> None:
    assert repr(make(status=404)) == "<Response [404 Not Found]>"
    assert repr(Request("GET", "https://a.example/")) == "<Request GET https://a.example/>"
