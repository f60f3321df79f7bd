"""What httpx documents and a transport can break, over HTTP/3.

Cookies (several in one response, kept for the next request), redirects (with credentials stripped where the origin
changes), authentication (basic and digest, with a body sent twice), streaming both ways (raw and decoded, lines, a
response closed half-way), bodies (bytes, forms, JSON, files, multipart, generators), header fields (repetitions, order,
Host), time limits of all four kinds, event hooks, base_url, params, extensions (target, timeout, trailers), HEAD and
204, errors of the request in the words of httpx, decoding of content codings, concurrency, and closing.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from specter.testing.messages import Pause, Reply, Request
from specter.testing.server import Server
from tests.integrations.support import Kit, Make

ALWAYS = {"http3": "always"}


@pytest.fixture
def client(make_client: Make, server: Server) -> Any:
    return make_client(ALWAYS, base_url=server.url)


def said(response: Any) -> dict[str, Any]:
    """What /headers tells about a request."""
    found: dict[str, Any] = response.json()
    return found


# -- requests ---------------------------------------------------------------------------------------


def test_a_response(kit: Kit, client: Any, server: Server) -> None:
    response = client.get("/bytes/20")
    assert (response.status_code, response.reason_phrase, response.http_version) == (200, "OK", "HTTP/3")
    assert response.headers["content-type"] == "application/octet-stream"
    assert len(response.content) == 20
    assert response.elapsed.total_seconds() > 0
    assert str(response.url) == f"{server.url}/bytes/20"
    assert response.is_closed
    assert response.num_bytes_downloaded == 20


def test_params_and_base_url(make_client: Make, server: Server) -> None:
    client = make_client(ALWAYS, base_url=f"{server.url}/headers", params={"a": "1"})
    assert said(client.get("", params={"b": "ü &"}))["target"] == "/headers/?a=1&b=%C3%BC+%26"
    assert said(client.get("", params={"b": ["x", "y"]}))["target"] == "/headers/?a=1&b=x&b=y"


@pytest.mark.parametrize(
    "path",
    ["/headers/%7Ea//b/./c", "/headers/%2F%2e%2E/x", "/headers/%zz", "/headers/a;b=c,d@e:f?q=[1]|{2}", "/headers?"],
)
def test_paths_are_what_they_are_over_tcp(kit: Kit, client: Any, path: str) -> None:
    """What the library makes of a URL is what the server gets."""
    request = client.build_request("GET", path)
    assert said(client.send(request))["target"] == request.url.raw_path.decode()


def test_the_target_extension(client: Any) -> None:
    assert said(client.get("/", extensions={"target": b"/headers/%41?raw=<>"}))["target"] == "/headers/%41?raw=<>"


def test_header_fields_in_order_with_repetitions(client: Any) -> None:
    got = said(client.get("/headers", headers=[("X-One", "1"), ("x-two", "a"), ("X-Two", "b")]))["headers"]
    assert [pair for pair in got if pair[0].startswith("x-")] == [["x-one", "1"], ["x-two", "a"], ["x-two", "b"]]


def test_fields_about_the_connection_stay_behind(client: Any) -> None:
    got = said(client.get("/headers", headers={"connection": "x-hop, close", "x-hop": "1", "te": "trailers", "x": "1"}))
    names = [name for name, _ in got["headers"]]
    assert "te" in names
    assert "x" in names
    assert {"connection", "x-hop", "host"}.isdisjoint(names)


def test_the_host_field_is_the_authority(client: Any) -> None:
    assert said(client.get("/headers", headers={"host": "other.example"}))["authority"] == "other.example"


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
def test_methods(client: Any, method: str) -> None:
    assert said(client.request(method, "/headers"))["method"] == method


def test_bodies_of_every_kind(kit: Kit, client: Any) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"one "
        yield b""
        yield b"two"

    assert client.post("/echo", content=b"bytes").content == b"bytes"
    assert client.post("/echo", content="ü").text == "ü"
    assert client.post("/echo", json={"a": [1]}).json() == {"a": [1]}
    assert client.post("/echo", data={"a": "1", "b": ["x", "y"]}).content == b"a=1&b=x&b=y"
    assert client.post("/echo", content=pieces()).content == b"one two"
    assert client.post("/echo", content=io.BytesIO(b"file")).content == b"file"
    assert client.post("/echo").content == b""
    assert client.put("/digest", content=b"x" * 3_000_000).json()["bytes"] == 3_000_000


def test_multipart(client: Any) -> None:
    response = client.post("/echo", data={"field": "value"}, files={"upload": ("name.txt", io.BytesIO(b"content"))})
    assert response.headers["content-type"].startswith("multipart/form-data; boundary=")
    for part in (b'name="field"', b"value", b'filename="name.txt"', b"content"):
        assert part in response.content


def test_a_length_goes_along_where_it_is_known(client: Any) -> None:
    fields = dict(said(client.post("/headers", content=b"12345"))["headers"])
    assert fields["content-length"] == "5"
    fields = dict(said(client.post("/headers", content=iter([b"x"])))["headers"])
    assert "content-length" not in fields
    assert "transfer-encoding" not in fields


def test_an_error_of_the_body_is_the_callers_own(client: Any) -> None:
    def broken() -> Iterator[bytes]:
        yield b"x"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        client.post("/echo", content=broken())
    assert client.get("/bytes/1").content


# -- responses --------------------------------------------------------------------------------------


def test_head_and_statuses_without_a_body(client: Any) -> None:
    response = client.head("/bytes/5000")
    assert (response.headers["content-length"], response.content) == ("5000", b"")
    for status in (204, 205, 304):
        assert client.get(f"/status/{status}").content == b""
    assert client.get("/status/404").is_client_error


def test_repeated_fields_of_a_response(make_client: Make, make_server: Make) -> None:
    server = make_server(lambda _request: Reply(200, [("x-a", "1"), ("vary", "b"), ("x-a", "2")], b""))
    response = make_client(ALWAYS).get(server.url)
    assert response.headers.get_list("x-a") == ["1", "2"]
    assert [name for name, _ in response.headers.raw][:3] == [b"x-a", b"vary", b"x-a"]


def test_streams(client: Any) -> None:
    with client.stream("GET", "/bytes/300000") as response:
        assert not response.is_closed
        sizes = [len(piece) for piece in response.iter_bytes(1000)]
    assert sizes == [1000] * 300
    with client.stream("GET", "/bytes/300000") as response:
        assert sum(len(piece) for piece in response.iter_raw()) == 300_000
    with client.stream("GET", "/drip?count=3&bytes=4&interval=0.05") as response:
        assert response.read() == response.content


def test_pieces_come_when_they_are_sent(make_client: Make, make_server: Make) -> None:
    def answer(_request: Request) -> Reply:
        return Reply(200, [], iter([b"first\n", Pause(0.5), b"second\n"]))

    server = make_server(answer)
    with make_client(ALWAYS).stream("GET", server.url) as response:
        before = time.monotonic()
        lines = response.iter_lines()
        assert next(lines) == "first"
        assert time.monotonic() - before < 0.4
        assert list(lines) == ["second"]


def test_a_response_closed_half_way_cancels_the_exchange(client: Any) -> None:
    with client.stream("GET", "/bytes/50000000") as response:
        next(response.iter_bytes())
    with pytest.raises(Exception, match=r"closed|consumed|streamed"):
        response.read()
    before = time.monotonic()
    assert len(client.get("/bytes/10").content) == 10
    assert time.monotonic() - before < 2


def test_a_body_goes_up_while_the_response_comes_down(client: Any) -> None:
    """A generator that asks the response what to send next would wait for ever if one had to end before the other."""
    sent = []

    def pieces() -> Iterator[bytes]:
        for number in range(50):
            sent.append(number)
            yield b"%05d" % number * 20_000

    with client.stream("POST", "/echo", content=pieces()) as response:
        received = sum(len(piece) for piece in response.iter_raw())
    assert received == 50 * 100_000
    assert len(sent) == 50


def test_content_codings_are_the_librarys(make_client: Make, make_server: Make) -> None:
    packed = gzip.compress(b"text " * 1000)
    server = make_server(lambda _request: Reply(200, [("content-encoding", "gzip")], packed))
    client = make_client(ALWAYS)
    assert client.get(server.url).content == b"text " * 1000
    with client.stream("GET", server.url) as response:
        assert b"".join(response.iter_raw()) == packed


def test_trailers_are_an_extension(client: Any) -> None:
    with client.stream("GET", "/trailers") as response:
        assert "trailers" not in response.extensions
        response.read()
    assert response.extensions["trailers"]["x-checksum"] == "abc123"
    assert "trailers" not in client.get("/bytes/1").extensions


def test_interim_responses_are_told(client: Any) -> None:
    ((status, fields),) = client.get("/early-hints").extensions["specter"].informational
    assert status == 103
    assert "preload" in fields["link"]


# -- cookies, redirects, authentication ---------------------------------------------------------------


def test_cookies(make_client: Make, make_server: Make) -> None:
    def answer(request: Request) -> Reply:
        got = request.header("cookie") or ""
        return Reply(200, [("set-cookie", "a=1"), ("set-cookie", "b=2; Path=/")], got.encode())

    server = make_server(answer)
    client = make_client(ALWAYS)
    assert client.get(server.url).text == ""
    assert client.get(server.url).text in ("a=1; b=2", "b=2; a=1")
    assert dict(client.cookies) == {"a": "1", "b": "2"}


def test_redirects(client: Any) -> None:
    response = client.get("/redirect/3", follow_redirects=True)
    assert response.status_code == 200
    assert [r.status_code for r in response.history] == [302, 302, 302]
    assert client.get("/redirect/1").next_request.url.path == "/bytes/16"


def test_a_redirect_of_a_post_with_its_body(make_client: Make, make_server: Make) -> None:
    def answer(request: Request) -> Reply:
        if request.path == "/":
            return Reply(307, [("location", "/there")])
        return Reply(200, [], request.method.encode() + b" " + request.body)

    server = make_server(answer)
    assert make_client(ALWAYS).post(server.url, content=b"body", follow_redirects=True).text == "POST body"


@pytest.mark.security
def test_a_redirect_to_another_origin_strips_credentials(make_client: Make, make_server: Make) -> None:
    seen: list[Request] = []

    def target(request: Request) -> Reply:
        seen.append(request)
        return Reply(200, [], b"here")

    other = make_server(target)
    first = make_server(lambda _request: Reply(302, [("location", f"https://localhost:{other.port}/")]))
    client = make_client(ALWAYS, follow_redirects=True)
    client.cookies.set("session", "secret", domain="127.0.0.1")
    response = client.get(first.url, headers={"authorization": "Bearer secret"})
    assert response.text == "here"
    (request,) = seen
    assert request.authority == f"localhost:{other.port}"
    assert request.header("authorization") is None
    assert request.header("cookie") is None


def test_basic_authentication(client: Any) -> None:
    fields = dict(said(client.get("/headers", auth=("user", "pass")))["headers"])
    assert fields["authorization"] == "Basic dXNlcjpwYXNz"
    url = str(client.base_url).replace("https://", "https://me:pw@")
    fields = dict(said(client.get(f"{url}/headers"))["headers"])
    assert fields["authorization"] == "Basic bWU6cHc="


def test_digest_authentication_sends_the_body_again(kit: Kit, make_client: Make, make_server: Make) -> None:
    def answer(request: Request) -> Reply:
        sent = request.header("authorization") or ""
        if not sent.startswith("Digest "):
            return Reply(401, [("www-authenticate", 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5')])
        return Reply(200 if _digest_is_right(sent, request.method) else 403, [], request.body)

    server = make_server(answer)
    response = make_client(ALWAYS).post(server.url, content=b"body", auth=kit.httpx.DigestAuth("user", "pass"))
    assert (response.status_code, response.content) == (200, b"body")


def _digest_is_right(field: str, method: str) -> bool:
    parts = dict(item.strip().split("=", 1) for item in field.removeprefix("Digest ").split(","))
    value = {name: text.strip('"') for name, text in parts.items()}

    def digest(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()  # noqa: S324  as digest authentication has it

    first, second = digest("user:r:pass"), digest(f"{method}:{value['uri']}")
    expected = digest(f"{first}:n:{value['nc']}:{value['cnonce']}:auth:{second}")
    return value["response"] == expected


def test_event_hooks(make_client: Make, server: Server) -> None:
    heard: list[str] = []
    hooks = {
        "request": [lambda request: heard.append(f"request {request.url.path}")],
        "response": [lambda response: heard.append(f"response {response.status_code} {response.http_version}")],
    }
    make_client(ALWAYS, base_url=server.url, event_hooks=hooks).get("/redirect/1", follow_redirects=True)
    assert heard == [
        "request /redirect/1",
        "response 302 HTTP/3",
        "request /bytes/16",
        "response 200 HTTP/3",
    ]


def test_the_trace_extension(kit: Kit, client: Any) -> None:
    heard: list[tuple[str, dict[str, Any]]] = []
    extensions = {"trace": lambda name, info: heard.append((name, info))}
    client.get("/bytes/1", extensions=extensions)
    with pytest.raises(kit.httpx.ReadError):
        client.get("/close/0", extensions={"trace": lambda name, info: heard.append((name, info))})
    names = [name.removeprefix("http3.handle_request.") for name, _ in heard]
    assert names == ["started", "complete", "started", "failed"]
    assert heard[1][1]["return_value"][:2] == (b"HTTP/3", 200)


# -- limits and failures ------------------------------------------------------------------------------


def test_the_read_timeout(kit: Kit, client: Any) -> None:
    before = time.monotonic()
    with pytest.raises(kit.httpx.ReadTimeout) as caught:
        client.get("/delay/20", timeout=kit.httpx.Timeout(5, read=0.3))
    assert 0.25 < time.monotonic() - before < 2
    assert caught.value.request.url.path == "/delay/20"


def test_the_read_timeout_in_the_middle_of_a_body(kit: Kit, client: Any) -> None:
    timeout = kit.httpx.Timeout(5, read=0.3)
    response = client.send(
        client.build_request("GET", "/drip?count=2&bytes=5&interval=20", timeout=timeout), stream=True
    )
    with pytest.raises(kit.httpx.ReadTimeout):
        response.read()


def test_the_write_timeout(kit: Kit, make_client: Make, make_server: Make) -> None:
    server = make_server()
    client = make_client(ALWAYS)

    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 100_000

    with pytest.raises(kit.httpx.WriteTimeout):
        client.post(f"{server.url}/delay/30", content=endless(), timeout=kit.httpx.Timeout(20, write=0.3))


def test_the_connect_timeout(kit: Kit, make_client: Make, black_hole: int) -> None:
    before = time.monotonic()
    with pytest.raises(kit.httpx.ConnectTimeout):
        make_client(ALWAYS).get(f"https://127.0.0.1:{black_hole}/", timeout=kit.httpx.Timeout(5, connect=0.5))
    assert 0.45 < time.monotonic() - before < 1.5


def test_the_pool_timeout(kit: Kit, make_client: Make, make_server: Make) -> None:
    from specter.quic.config import QuicConfig

    server = make_server(config=QuicConfig(max_streams_bidi=1))
    client = make_client(ALWAYS)
    with client.stream("GET", f"{server.url}/drip?count=100&interval=0.2"), pytest.raises(kit.httpx.PoolTimeout):
        client.get(f"{server.url}/bytes/1", timeout=kit.httpx.Timeout(20, pool=0.3))


def test_no_timeout_and_one_of_zero(kit: Kit, client: Any) -> None:
    assert client.get("/delay/0.1", timeout=None).status_code == 200
    with pytest.raises(kit.httpx.TimeoutException):
        client.get("/delay/5", timeout=0)


def test_nobody_listens(kit: Kit, make_client: Make) -> None:
    with pytest.raises(kit.httpx.ConnectError, match="refused"):
        make_client(ALWAYS).get("https://127.0.0.1:1/")


def test_the_certificate_is_checked(kit: Kit, make_client: Make, server: Server) -> None:
    with pytest.raises(kit.httpx.ConnectError, match="certificate"):
        make_client({**ALWAYS, "verify": True}).get(server.url)


def test_a_name_that_is_none(kit: Kit, make_client: Make) -> None:
    with pytest.raises(kit.httpx.ConnectError, match="look up"):
        make_client(ALWAYS).get("https://nowhere.invalid/")


def test_a_reset_body_is_not_a_short_one(kit: Kit, client: Any) -> None:
    with pytest.raises(kit.httpx.RemoteProtocolError, match="H3_INTERNAL_ERROR"):
        client.get("/reset/5000")
    with pytest.raises((kit.httpx.RemoteProtocolError, kit.httpx.ReadError)):
        client.get("/close/5000")
    assert client.get("/bytes/1").status_code == 200


@pytest.mark.parametrize("url", ["http://localhost/", "ftp://localhost/", "wss://localhost/"])
def test_other_schemes(kit: Kit, make_client: Make, url: str) -> None:
    with pytest.raises(kit.httpx.UnsupportedProtocol):
        make_client(ALWAYS).get(url)


def test_a_field_that_cannot_be_sent(kit: Kit, client: Any) -> None:
    with pytest.raises(kit.httpx.LocalProtocolError):
        client.get("/headers", headers={"x": b"a\nb"})
    assert client.get("/bytes/1").status_code == 200


def test_a_closed_client(kit: Kit, server: Server, ca_file: str) -> None:
    client = kit.open(kit.Transport(http3="always", verify=ca_file))
    response = client.send(client.build_request("GET", f"{server.url}/bytes/50000000"), stream=True)
    transport = client._transport
    if kit.asynchronous:
        client.run(transport.aclose())
    else:
        transport.close()
    with pytest.raises(kit.httpx.ReadError):
        response.read()
    with pytest.raises(kit.httpx.ReadError):
        client.get(server.url)
    client.close()


def test_many_threads_share_a_connection(blocking_kit: Kit, server: Server, ca_file: str) -> None:
    with blocking_kit.client(blocking_kit.Transport(http3="always", verify=ca_file), base_url=server.url) as client:
        _fetch_in_threads(client)


def _fetch_in_threads(client: Any) -> None:
    first = client.get("/bytes/1").extensions["specter"].connection
    sizes: list[int] = []

    def fetch(number: int) -> None:
        response = client.get(f"/bytes/{number * 1000}")
        assert response.extensions["specter"].connection.local_address == first.local_address
        sizes.append(len(response.content))

    threads = [threading.Thread(target=fetch, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sizes) == [number * 1000 for number in range(12)]


# -- arguments ----------------------------------------------------------------------------------------


def test_arguments_that_make_no_sense(kit: Kit) -> None:
    import ssl

    with pytest.raises(ValueError, match="http3 is one of"):
        kit.Transport(http3="never")
    with pytest.raises(ValueError, match="head_start"):
        kit.Transport(head_start=-1)
    with pytest.raises(ValueError, match="no fallback"):
        kit.Transport(http3="always", fallback=kit.httpx.MockTransport(lambda _request: None))
    with pytest.raises(TypeError, match="SSLContext"):
        kit.Transport(verify=ssl.create_default_context())


def test_the_environment_may_name_the_authorities(
    kit: Kit, server: Server, make_tcp: Make, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    with kit.client(kit.Transport(http3="always")) as client:
        assert client.get(server.url).status_code == 404
    with kit.client(kit.Transport(http3="always", trust_env=False)) as client, pytest.raises(kit.httpx.ConnectError):
        client.get(server.url)
    with kit.client(kit.Transport()) as client:
        assert client.get(make_tcp().url).http_version == "HTTP/1.1"


@pytest.mark.parametrize("form", ["path", "pem", "list"])
def test_what_is_trusted_is_trusted_on_both_sides(
    kit: Kit, make_tcp: Make, server: Server, ca_file: str, form: str
) -> None:
    from pathlib import Path

    from cryptography import x509

    pem = Path(ca_file).read_bytes()
    verify = {"path": Path(ca_file), "pem": pem, "list": [x509.load_pem_x509_certificate(pem)]}[form]
    tcp = make_tcp(fields=[("alt-svc", f'h3=":{server.port}"')])
    transport = kit.Transport(verify=verify, resolve={"localhost": "127.0.0.1"}, head_start=10)
    with kit.client(transport, timeout=30) as client:
        versions = [client.get(tcp.url).http_version for _ in range(2)]
    assert versions == ["HTTP/1.1", "HTTP/3"]


def test_limits_count_for_http3(kit: Kit, make_client: Make, make_server: Make, server: Server) -> None:
    other = make_server()
    client = make_client({**ALWAYS, "limits": kit.httpx.Limits(max_connections=1, keepalive_expiry=0)})
    with client.stream("GET", f"{server.url}/drip?count=100&interval=0.2"), pytest.raises(kit.httpx.PoolTimeout):
        client.get(other.url, timeout=kit.httpx.Timeout(10, pool=0.2))
    assert client.get(other.url).http_version == "HTTP/3"
    first = client.get(other.url).extensions["specter"].connection.local_address
    time.sleep(0.05)
    assert client.get(other.url).extensions["specter"].connection.local_address != first


def test_limits_reach_the_transport_for_tcp(kit: Kit, make_client: Make, make_tcp: Make) -> None:
    tcp = make_tcp()
    client = make_client({"limits": kit.httpx.Limits(max_connections=1)})
    with client.stream("GET", tcp.url), pytest.raises(kit.httpx.PoolTimeout):
        client.get(tcp.url, timeout=kit.httpx.Timeout(5, pool=0.1))
