"""Bodies with content codings, as the caller asks for them and gets them."""

from __future__ import annotations

import gzip
import importlib
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import brotli
import pytest

import specter
from specter.testing.messages import Reply, Request
from specter.testing.server import Server
from tests.client.support import MakeClient

zstd: Any = importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

MIB = 1 << 20
TEXT: Final = "".join(f"line {number}: ünï\n" for number in range(20_000))
BODY: Final = TEXT.encode()
ENCODERS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": lambda data: brotli.compress(data, quality=5),
    "zstd": zstd.compress,
}
EVERY = pytest.mark.parametrize("name", ENCODERS)
CODED: Final = {name: encode(BODY) for name, encode in ENCODERS.items()}
BOMB: Final = gzip.compress(bytes(16 * MIB))


def coded(request: Request) -> Reply | None:
    """``/coded/NAMES`` is the text with those codings one after the other; the others are broken in their ways."""
    kind, _, argument = request.path.strip("/").partition("/")
    fields = [("content-type", "text/plain; charset=utf-8"), ("content-encoding", argument)]
    if kind == "coded":
        body = BODY
        for name in argument.split(","):
            body = CODED[name] if body is BODY else ENCODERS[name](body)
        return Reply(200, fields, body)
    if kind == "claimed":
        return Reply(int(request.query.get("status", "200")), fields, b"" if "empty" in request.query else BODY)
    if kind == "cut":
        return Reply(200, fields, CODED[argument][:-5])
    if kind == "bomb":
        return Reply(200, fields, BOMB)
    return None


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(coded) as running:
        yield running


@pytest.fixture
def client(server: Server, make_client: MakeClient) -> specter.Client:
    return make_client(server, decode=True)


def sent_fields(client: specter.Client, **options: Any) -> dict[str, str]:
    return dict(client.get("/headers", **options).json()["headers"])


# -- asking -----------------------------------------------------------------------------------------------


def test_only_who_asks_for_it_gets_it(server: Server, make_client: MakeClient) -> None:
    plain = make_client(server)
    assert "accept-encoding" not in sent_fields(plain)
    response = plain.get("/coded/gzip")
    assert response.content == CODED["gzip"]
    assert plain.get("/coded/gzip", decode=True).content == BODY
    assert sent_fields(plain, decode=True)["accept-encoding"] == "gzip, deflate, br, zstd"


def test_a_request_can_do_without(client: specter.Client) -> None:
    assert sent_fields(client)["accept-encoding"] == "gzip, deflate, br, zstd"
    assert "accept-encoding" not in sent_fields(client, decode=False)
    assert client.get("/coded/gzip", decode=False).content == CODED["gzip"]


def test_the_callers_own_accept_encoding_stays(client: specter.Client) -> None:
    assert sent_fields(client, headers={"Accept-Encoding": "br"})["accept-encoding"] == "br"
    assert client.get("/coded/gzip", headers={"accept-encoding": "gzip"}).content == BODY


def test_parts_are_asked_for_as_they_are(client: specter.Client) -> None:
    assert "accept-encoding" not in sent_fields(client, headers={"range": "bytes=0-9"})
    assert client.get("/claimed/gzip?status=206").content == BODY


def test_without_a_client(server: Server) -> None:
    assert specter.get(server.url + "/coded/br", verify=server.ca_file, decode=True).text == TEXT
    with specter.stream("GET", server.url + "/coded/br", verify=server.ca_file, decode=True) as response:
        assert "".join(response.iter_text()) == TEXT
    request = specter.Request("GET", server.url + "/coded/br", decode=True)
    with specter.Client(verify=server.ca_file) as client:
        assert client.send(request).text == TEXT


# -- reading ----------------------------------------------------------------------------------------------


@EVERY
def test_as_a_whole(client: specter.Client, name: str) -> None:
    response = client.get(f"/coded/{name}")
    assert response.content == BODY
    assert response.text == TEXT
    assert response.headers["content-encoding"] == name
    assert response.headers["content-length"] == str(len(CODED[name]))
    assert list(response.iter_bytes(100_000)) == [
        BODY[start : start + 100_000] for start in range(0, len(BODY), 100_000)
    ]


@EVERY
def test_piece_by_piece(client: specter.Client, name: str) -> None:
    with client.stream("GET", f"/coded/{name}") as response:
        assert b"".join(response.iter_bytes()) == BODY
    with client.stream("GET", f"/coded/{name}") as response:
        assert {len(chunk) for chunk in list(response.iter_bytes(1000))[:-1]} == {1000}
    with client.stream("GET", f"/coded/{name}") as response:
        assert "".join(response.iter_text()) == TEXT
    with client.stream("GET", f"/coded/{name}") as response:
        assert list(response.iter_lines()) == TEXT.splitlines()


@EVERY
def test_readinto(client: specter.Client, name: str) -> None:
    with client.stream("GET", f"/coded/{name}") as response:
        buffer, whole = bytearray(70_001), bytearray()
        while count := response.readinto(buffer):
            whole += buffer[:count]
        assert whole == BODY
        assert response.readinto(buffer) == 0
        assert response.is_closed


@EVERY
def test_as_it_was_sent(client: specter.Client, name: str) -> None:
    with client.stream("GET", f"/coded/{name}") as response:
        assert b"".join(response.iter_raw()) == CODED[name]
    with client.stream("GET", f"/coded/{name}") as response:
        assert b"".join(response.iter_raw(100)) == CODED[name]
    with pytest.raises(specter.StreamConsumed, match="decoded"):
        client.get(f"/coded/{name}").iter_raw()


def test_codings_on_top_of_each_other(client: specter.Client) -> None:
    assert client.get("/coded/gzip,br,zstd").content == BODY


def test_json_and_trailers(client: specter.Client) -> None:
    assert client.get("/headers").json()["method"] == "GET"
    assert client.get("/trailers").trailers["x-checksum"] == "abc123"


@pytest.mark.parametrize("status", [204, 304])
def test_responses_without_a_body(client: specter.Client, status: int) -> None:
    assert client.get(f"/claimed/gzip?empty&status={status}").content == b""
    assert client.head("/coded/gzip").content == b""
    assert client.head("/coded/gzip").headers["content-length"] == str(len(CODED["gzip"]))
    assert client.get("/claimed/gzip?empty").content == b""


# -- what goes wrong --------------------------------------------------------------------------------------


@EVERY
def test_a_body_that_is_something_else(client: specter.Client, name: str) -> None:
    with pytest.raises(specter.DecodingError, match=rf"not valid {name}|cut off: its {name}"):
        client.get(f"/claimed/{name}")
    assert client.get("/bytes/1").timing.reused


@EVERY
def test_a_body_that_is_cut_off(client: specter.Client, name: str) -> None:
    with pytest.raises(specter.DecodingError, match=f"cut off: its {name}"):
        client.get(f"/cut/{name}")
    with client.stream("GET", f"/cut/{name}") as response, pytest.raises(specter.DecodingError, match="cut off"):
        list(response.iter_lines())


def test_an_unknown_coding(client: specter.Client) -> None:
    with pytest.raises(specter.DecodingError, match="'compress', which cannot be undone"):
        client.get("/claimed/compress")
    with client.stream("GET", "/claimed/compress") as response:
        assert b"".join(response.iter_raw()) == BODY


def test_a_failure_while_reading_into_a_buffer_is_not_an_end(client: specter.Client) -> None:
    with client.stream("GET", "/cut/gzip") as response:
        buffer = bytearray(10_000)
        with pytest.raises(specter.DecodingError, match="cut off"):
            all(response.readinto(buffer) for _ in range(1000))
        assert response.is_closed
        with pytest.raises(specter.StreamClosed):
            response.readinto(buffer)


@pytest.mark.security
def test_a_bomb_on_every_way_to_read(client: specter.Client) -> None:
    """urllib3 GHSA-mf9v-mfxr-j63j and GHSA-38jv-5279-wg99: the limits hold however the body is read."""
    ways: list[Callable[[specter.Response], object]] = [
        lambda response: response.read(),
        lambda response: list(response.iter_bytes()),
        lambda response: list(response.iter_bytes(10_000)),
        lambda response: list(response.iter_text()),
        lambda response: list(response.iter_lines()),
        lambda response: all(response.readinto(bytearray(100_000)) for _ in range(1000)),
    ]
    for read in ways:
        with client.stream("GET", "/bomb/gzip") as response:
            with pytest.raises(specter.DecodingError, match="decompression bomb"):
                read(response)
            assert response.is_closed
    assert client.get("/bytes/1").timing.reused


@pytest.mark.security
def test_the_bomb_of_a_redirect_is_not_touched(client: specter.Client) -> None:
    """urllib3 GHSA-38jv-5279-wg99: nobody reads the body of a redirect that is on its way elsewhere."""
    with client.stream("GET", "/bomb/gzip") as response:
        pass
    assert response.is_closed
    assert client.get("/bytes/1").timing.reused


@pytest.mark.security
def test_limits_of_ones_own(server: Server, make_client: MakeClient) -> None:
    limits = specter.DecodingLimits(max_size=1000, max_codings=1)
    client = make_client(server, decode=limits)
    with pytest.raises(specter.DecodingError, match="more than 1000 bytes"):
        client.get("/coded/zstd")
    with pytest.raises(specter.DecodingError, match="2 times over, at most 1"):
        client.get("/coded/gzip,br")
    assert client.get("/coded/gzip,br", decode=True).content == BODY
    freer = specter.DecodingLimits(max_ratio=None)
    assert len(client.get("/bomb/gzip", decode=freer).content) == 16 * MIB


@pytest.mark.security
def test_memory_is_flat_while_a_body_is_decoded(server: Server, make_client: MakeClient) -> None:
    client = make_client(server, decode=specter.DecodingLimits(max_ratio=None))
    client.get("/coded/gzip")
    tracemalloc.start()
    with client.stream("GET", "/bomb/gzip") as response:
        total = sum(len(chunk) for chunk in response.iter_bytes())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 16 * MIB
    assert peak < 2 * MIB
