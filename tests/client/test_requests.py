"""Requests of every kind, against a real server."""

from __future__ import annotations

import gc
import hashlib
import io
import json
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import specter
from specter.testing.content import content
from specter.testing.server import Server

MIB = 1 << 20


def said(response: specter.Response) -> dict[str, Any]:
    """What the server saw, from ``/headers``."""
    value: dict[str, Any] = response.json()
    return value


def test_a_get(client: specter.Client, server: Server) -> None:
    response = client.get("/bytes/1000")
    assert response.status_code == 200
    assert response.http_version == "HTTP/3"
    assert response.content == content(0, 1000)
    assert response.headers["content-length"] == "1000"
    assert str(response.url) == server.url + "/bytes/1000"
    assert response.request.method == "GET"
    assert response.is_closed


@pytest.mark.parametrize("size", [0, 1, 1199, 1200, 65_536, 3 * MIB])
def test_sizes(client: specter.Client, size: int) -> None:
    assert client.get(f"/bytes/{size}").content == content(0, size)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
def test_methods(client: specter.Client, method: str) -> None:
    assert said(client.request(method, "/headers"))["method"] == method
    shortcut = getattr(client, method.lower(), None)
    if shortcut is not None:
        assert said(shortcut("/headers"))["method"] == method


def test_head_has_no_body(client: specter.Client, tmp_path: Path) -> None:
    response = client.head("/headers")
    assert response.status_code == 200
    assert response.content == b""


def test_what_is_sent_by_default(client: specter.Client, server: Server) -> None:
    request = said(client.get("/headers?a=b"))
    assert request["headers"] == [["accept", "*/*"], ["user-agent", f"specter/{specter.__version__}"]]
    assert request["target"] == "/headers?a=b"
    assert request["authority"] == f"127.0.0.1:{server.port}"


def test_own_headers_params_and_host(make_client: Any, server: Server) -> None:
    client = make_client(server, headers={"X-One": "1", "User-Agent": "me"}, params={"p": "1"})
    response = client.get("/headers", headers={"x-one": "2", "X-Two": "3", "host": "other.example"}, params={"q": "2"})
    request = said(response)
    assert ["x-one", "2"] in request["headers"]
    assert ["x-two", "3"] in request["headers"]
    assert ["user-agent", "me"] in request["headers"]
    assert len(request["headers"]) == 4
    assert request["target"] == "/headers?p=1&q=2"
    assert request["authority"] == "other.example"


def test_base_url(make_client: Any, server: Server) -> None:
    client = make_client(server, base_url=server.url + "/status")
    assert client.get("/201").status_code == 201
    assert client.get("202").status_code == 202
    assert client.get(server.url + "/status/203").status_code == 203
    with pytest.raises(specter.InvalidURL):
        specter.Client().get("/no-base")


def test_a_malformed_header_is_the_callers_fault(client: specter.Client) -> None:
    for headers in ({"bad name": "x"}, {"x": "a\r\nb: c"}, {"connection": "close"}, {"transfer-encoding": "chunked"}):
        with pytest.raises(specter.LocalProtocolError):
            client.get("/bytes/1", headers=headers)
    assert client.get("/bytes/1").status_code == 200


def test_bodies(client: specter.Client, tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_bytes(content(0, 100_000))
    assert client.post("/echo", content=b"raw bytes").content == b"raw bytes"
    assert client.post("/echo", content="tëxt").text == "tëxt"
    assert client.post("/echo", json={"a": [1]}).json() == {"a": [1]}
    assert client.post("/echo", data={"a": "1 2"}).text == "a=1+2"
    assert client.post("/echo", content=b"").content == b""
    with path.open("rb") as file:
        assert client.put("/echo", content=file).content == path.read_bytes()


def test_an_upload_from_a_generator(client: specter.Client) -> None:
    def pieces() -> Iterator[bytes]:
        for start in range(0, 3 * MIB, 50_000):
            yield content(start, min(50_000, 3 * MIB - start))

    result = client.post("/digest", content=pieces()).json()
    assert result == {"bytes": 3 * MIB, "sha256": hashlib.sha256(content(0, 3 * MIB)).hexdigest()}


def test_a_generator_that_fails_cancels_the_request(client: specter.Client) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"x" * 1000
        raise RuntimeError("out of data")

    with pytest.raises(RuntimeError, match="out of data"):
        client.post("/digest", content=pieces())
    assert client.get("/bytes/1").status_code == 200


def test_a_body_that_breaks_its_word_is_the_callers_fault(client: specter.Client) -> None:
    for pieces in ([b"12345"], [b"1"]):
        with pytest.raises(specter.LocalProtocolError, match="content-length"):
            client.post("/echo", content=iter(pieces), headers={"content-length": "3"})
    assert client.get("/bytes/1").status_code == 200


@pytest.mark.parametrize("status", [200, 204, 304, 400, 404, 500, 599])
def test_status_codes(client: specter.Client, status: int) -> None:
    response = client.get(f"/status/{status}")
    assert response.status_code == status
    if status >= 400:
        with pytest.raises(specter.StatusError):
            response.raise_for_status()


def test_redirects_are_not_followed(client: specter.Client) -> None:
    response = client.get("/redirect/2")
    assert response.status_code == 302
    assert response.is_redirect
    assert client.get(response.url.join(response.headers["location"])).status_code == 302


def test_trailers_and_interim_responses(client: specter.Client) -> None:
    response = client.get("/trailers")
    assert response.trailers["x-checksum"] == "abc123"
    response = client.get("/early-hints")
    ((status, headers),) = response.informational
    assert status == 103
    assert "rel=preload" in headers["link"]


def test_streaming(client: specter.Client) -> None:
    with client.stream("GET", "/bytes/300000") as response:
        with pytest.raises(specter.ResponseNotRead):
            response.text  # noqa: B018
        assert b"".join(response.iter_bytes()) == content(0, 300_000)
    with client.stream("GET", "/bytes/300000") as response:
        assert [len(chunk) for chunk in response.iter_bytes(100_000)] == [100_000] * 3
    with client.stream("GET", "/bytes/300000") as response:
        buffer, whole = bytearray(70_000), b""
        while count := response.readinto(buffer):
            whole += buffer[:count]
        assert whole == content(0, 300_000)
    with client.stream("GET", "/bytes/30") as response:
        assert response.read() == content(0, 30)
        assert response.content == content(0, 30)
    with client.stream("GET", "/headers") as response:
        assert json.loads("".join(response.iter_lines()))["method"] == "GET"


def test_leaving_a_stream_early_costs_only_that_stream(client: specter.Client, server: Server) -> None:
    for _ in range(3):
        with client.stream("GET", f"/bytes/{50 * MIB}") as response:
            assert len(next(response.iter_bytes())) > 0
    with pytest.raises(specter.StreamConsumed):
        response.read()
    assert client.get("/bytes/10").content == content(0, 10)
    assert client.get("/bytes/10").timing.reused


def test_memory_is_flat_while_data_flows(client: specter.Client) -> None:
    client.get("/bytes/1000000")
    tracemalloc.start()
    with client.stream("GET", f"/bytes/{6 * MIB}") as response:
        total = sum(len(chunk) for chunk in response.iter_bytes())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 6 * MIB
    assert peak < 5 * MIB  # server and client together, windows included


def test_timing_and_connection(client: specter.Client, server: Server) -> None:
    first, second = client.get("/bytes/10"), client.get("/bytes/10")
    assert not first.timing.reused
    assert second.timing.reused
    assert second.timing.looked_up is second.timing.answered is second.timing.secured is None
    made = first.timing
    assert made.looked_up is not None
    assert made.answered is not None
    assert made.secured is not None
    assert made.connected is not None
    assert 0 <= made.looked_up < made.answered <= made.secured <= made.connected
    for timing in (first.timing, second.timing):
        assert timing.connected is not None
        assert timing.headers is not None
        assert timing.complete is not None
        assert 0 <= timing.connected <= timing.headers <= timing.complete < 5
    info = first.connection
    assert info is not None
    assert info.remote_address == ("127.0.0.1", server.port)
    assert info.local_address[0] == "127.0.0.1"
    assert info.alpn == "h3"
    assert info.tls_version == "TLSv1.3"
    assert info.cipher_suite.startswith("TLS_")
    assert info.key_exchange
    assert info.peer_certificates[0] == server.credential.certificate


def test_without_a_client(server: Server) -> None:
    options: dict[str, Any] = {"verify": server.ca_file}
    for name in ("get", "post", "put", "patch", "delete", "options"):
        assert said(getattr(specter, name)(server.url + "/headers", **options))["method"] == name.upper()
    assert specter.head(server.url + "/headers", **options).status_code == 200
    assert specter.request("GET", server.url + "/bytes/5", params={"a": 1}, **options).content == content(0, 5)
    with specter.stream("GET", server.url + "/bytes/500000", **options) as response:
        assert len(b"".join(response.iter_bytes())) == 500_000


def test_a_closed_client_says_so(server: Server) -> None:
    client = specter.Client(verify=server.ca_file)
    assert not client.is_closed
    client.close()
    client.close()
    assert client.is_closed
    with pytest.raises(specter.NetworkError, match="closed"):
        client.get(server.url + "/bytes/1")


def test_only_https(client: specter.Client) -> None:
    with pytest.raises(specter.UnsupportedProtocol):
        client.get("http://127.0.0.1/")


def test_bad_options() -> None:
    with pytest.raises(ValueError, match="keep_alive"):
        specter.Client(keep_alive=0)
    with pytest.raises(ValueError, match="congestion"):
        specter.Client(congestion="magic")
    with pytest.raises(ValueError, match="IP addresses"):
        specter.Client(resolve={"a.example": "b.example"})


def test_congestion_controllers(make_client: Any, server: Server) -> None:
    for name in ("cubic", "newreno"):
        assert len(make_client(server, congestion=name).get("/bytes/200000").content) == 200_000


def test_an_upload_of_a_file_object_without_a_name(client: specter.Client) -> None:
    assert client.post("/echo", content=io.BytesIO(b"in memory")).content == b"in memory"


def test_the_figures_of_a_connection_are_live(make_client: Any, server: Server) -> None:
    client = make_client(server)
    response = client.get("/bytes/10")
    info = response.connection
    assert info is not None
    assert not info.reused
    assert 0 < info.round_trip_time < 1
    sent, received = info.bytes_sent, info.bytes_received
    assert sent > 1200  # a ClientHello is padded
    assert received > 1200
    again = client.post("/echo", content=bytes(500_000)).connection
    assert again is not None
    assert again.reused
    assert again.local_address == info.local_address
    assert info == replace(again, reused=False)
    assert info.bytes_sent > sent + 500_000
    assert info.bytes_received > received + 500_000
    assert info.packets_lost < 100
    client.close()
    assert info.bytes_sent > sent + 500_000


def test_what_is_known_of_a_connection_does_not_keep_it(server: Server) -> None:
    with specter.Client(verify=server.ca_file) as client:
        info = client.get(server.url + "/bytes/10").connection
        (connection,) = client._pool._connections.values()
        referrers = gc.get_referrers(connection, connection.channel, connection.channel.quic)
        assert not any(referrer is info for referrer in referrers)
    assert info is not None
    assert info.bytes_received > 1200
    assert 0 < info.round_trip_time < 1


class EitherWay:
    """A body that can be iterated over with and without a loop, like httpx's multipart forms."""

    def __iter__(self) -> Iterator[bytes]:
        yield from (b"in ", b"turn")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in (b"awaited ", b"in turn"):
            yield piece


def test_an_upload_of_what_can_be_awaited_and_need_not_be(client: specter.Client, kind: str) -> None:
    expected = b"in turn" if kind == "blocking" else b"awaited in turn"
    assert client.post("/echo", content=EitherWay()).content == expected


def test_header_fields_keep_their_order_and_repetitions(make_client: Any, server: Server) -> None:
    fields = [("x-b", "1"), ("x-a", "2"), ("X-B", "3"), ("accept", "text/html"), ("x-b", "1")]
    sent = said(make_client(server, headers=[("x-c", "4"), ("x-c", "5")]).get("/headers", headers=fields))["headers"]
    expected = [[name.lower(), value] for name, value in fields]
    assert [field for field in sent if field[0] in ("x-a", "x-b", "accept")] == expected
    assert [field[1] for field in sent if field[0] == "x-c"] == ["4", "5"]
