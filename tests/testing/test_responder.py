"""What the test server answers, in virtual time: the built-in paths, files, handlers, back-pressure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from specter.h3.config import H3Config
from specter.h3.events import GoAwayReceived
from specter.h3.frames import encode_priority_update
from specter.quic.config import QuicConfig
from specter.quic.events import CloseKind
from specter.testing.content import content, content_chunks
from specter.testing.messages import Pause, Reply, Request
from specter.testing.network import Link
from specter.testing.web import WebPair

SECOND = 1_000_000_000


@pytest.fixture
def web() -> WebPair:
    return WebPair(1)


# -- built-in paths ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 1_199, 65_521, 65_522, 300_000])
def test_bytes(web: WebPair, size: int) -> None:
    fetch = web.fetch(f"/bytes/{size}")
    assert (fetch.status, fetch.header(b"content-length")) == (200, str(size).encode())
    assert bytes(fetch.body) == content(0, size)
    assert fetch.complete


def test_a_large_body_is_never_whole_in_memory(web: WebPair) -> None:
    """The server makes of its endless body only what flow control lets it send."""
    web.client.reading = False
    fetch = web.start("/bytes/1000000000000")
    web.advance(5.0)
    assert web.network.down.size < 6 << 20
    assert fetch.status == 200
    web.client.h3.cancel(fetch.stream_id)
    web.flush(web.client_host)
    web.advance(1.0)
    assert web.responder.describe().startswith("0 exchanges")


def test_echo(web: WebPair) -> None:
    body = content(5, 200_000)
    fetch = web.fetch("/echo", method="POST", body=body, headers=((b"content-type", b"text/x-test"),))
    assert bytes(fetch.body) == body
    assert fetch.header(b"content-type") == b"text/x-test"


def test_echo_streams_with_back_pressure(web: WebPair) -> None:
    """A client that does not read gets stopped sending: the server keeps no more than windows and buffers."""
    web.client.reading = False
    fetch = web.start("/echo", method="POST", body=content_chunks(50 << 20))
    web.advance(5.0)
    assert fetch.status == 200
    assert 1 << 20 <= fetch.sent < 20 << 20
    sent = fetch.sent
    web.advance(5.0)
    assert fetch.sent == sent


def test_echo_answers_before_the_request_ends(web: WebPair) -> None:
    def body() -> Iterator[bytes]:
        yield b"first"
        yield content(0, 3 << 20)

    fetch = web.start("/echo", method="PUT", body=body())
    web.run(lambda: fetch.length >= 5)
    assert fetch.sent < 3 << 20
    web.run(lambda: fetch.done)
    assert fetch.length == 5 + (3 << 20)


def test_digest(web: WebPair) -> None:
    fetch = web.fetch("/digest", method="POST", body=content_chunks(3_000_000))
    expected = hashlib.sha256(content(0, 3_000_000)).hexdigest()
    assert json.loads(bytes(fetch.body)) == {"bytes": 3_000_000, "sha256": expected}


@pytest.mark.parametrize("status", [200, 204, 304, 404, 418, 500, 599])
def test_status(web: WebPair, status: int) -> None:
    fetch = web.fetch(f"/status/{status}")
    assert (fetch.status, fetch.complete) == (status, True)


@pytest.mark.parametrize(
    "target", ["/status/99", "/status/x", "/bytes/-1", "/bytes/", "/delay/-1", "/delay/nan", "/drip?count=x"]
)
def test_nonsense_is_a_bad_request(web: WebPair, target: str) -> None:
    assert web.fetch(target).status == 400


def test_delay(web: WebPair) -> None:
    begin = web.now
    fetch = web.fetch("/delay/2.5")
    assert fetch.status == 200
    assert 2.5 * SECOND <= web.now - begin < 2.7 * SECOND


def test_headers(web: WebPair) -> None:
    fetch = web.fetch("/headers?a=1", headers=((b"x-one", b"1"), (b"x-two", b"\xe9")))
    said = json.loads(bytes(fetch.body))
    assert (said["method"], said["target"], said["authority"]) == ("GET", "/headers?a=1", "server.test")
    assert said["headers"] == [["x-one", "1"], ["x-two", "é"]]


def test_trailers(web: WebPair) -> None:
    fetch = web.fetch("/trailers")
    assert (bytes(fetch.body), fetch.trailers) == (b"with trailers\n", ((b"x-checksum", b"abc123"),))


def test_early_hints(web: WebPair) -> None:
    fetch = web.fetch("/early-hints")
    assert [status for status, _ in fetch.interim] == [103]
    assert fetch.status == 200


@pytest.mark.parametrize("target", ["/reset", "/reset/100000"])
def test_reset(web: WebPair, target: str) -> None:
    fetch = web.fetch(target)
    assert fetch.failed is not None
    assert (fetch.failed.remote, fetch.failed.error_code) == (True, 0x102)
    assert web.fetch("/bytes/5").complete


def test_goaway(web: WebPair) -> None:
    other = web.start("/delay/0.5")
    fetch = web.fetch("/goaway")
    assert fetch.complete
    web.run(lambda: any(isinstance(event, GoAwayReceived) for event in web.client.log))
    assert not web.client.h3.can_send_request()
    web.run(lambda: other.done)
    assert other.complete


def test_close(web: WebPair) -> None:
    web.fetch("/close")
    assert web.client.closed is not None
    assert (web.client.closed.kind, web.client.closed.error_code) == (CloseKind.REMOTE, 0x102)


def test_drip(web: WebPair) -> None:
    begin = web.now
    fetch = web.fetch("/drip?count=4&bytes=3&interval=0.5")
    assert bytes(fetch.body) == content(0, 12)
    assert 1.5 * SECOND <= web.now - begin < 1.7 * SECOND


def test_redirect(web: WebPair) -> None:
    assert web.fetch("/redirect/2").header(b"location") == b"/redirect/1"
    assert web.fetch("/redirect/1").header(b"location") == b"/bytes/16"


def test_nothing_here(web: WebPair) -> None:
    assert web.fetch("/nowhere").status == 404


def test_head_has_no_body(web: WebPair) -> None:
    fetch = web.fetch("/bytes/1000", method="HEAD")
    assert (fetch.status, fetch.header(b"content-length"), fetch.length) == (200, b"1000", 0)
    assert fetch.complete


def test_an_unwanted_body_is_refused_and_the_connection_goes_on(web: WebPair) -> None:
    fetch = web.fetch("/bytes/10", method="POST", body=content_chunks(30 << 20))
    assert (fetch.status, fetch.length) == (200, 10)
    web.advance(1.0)
    assert fetch.sent < 30 << 20
    assert web.responder.describe().startswith("0 exchanges")
    assert web.fetch("/bytes/10").complete


# -- files ------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "site"
    (root / "sub").mkdir(parents=True)
    (root / "index.html").write_text("<p>hello</p>")
    (root / "sub" / "data.bin").write_bytes(content(0, 100_000))
    (root / "a b.txt").write_text("space")
    (tmp_path / "secret.txt").write_text("secret")
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    return root


def test_files(folder: Path) -> None:
    web = WebPair(2, directory=folder)
    index = web.fetch("/")
    assert (bytes(index.body), index.header(b"content-type")) == (b"<p>hello</p>", b"text/html")
    assert bytes(web.fetch("/a%20b.txt").body) == b"space"
    data = web.fetch("/sub/data.bin?version=2")
    assert (data.length, data.header(b"content-length")) == (100_000, b"100000")
    head = web.fetch("/sub/data.bin", method="HEAD")
    assert (head.length, head.header(b"content-length")) == (0, b"100000")
    assert web.fetch("/index.html", method="DELETE").status == 405
    assert web.fetch("/sub").status == 404
    assert web.fetch("/sub/").status == 404


@pytest.mark.security
@pytest.mark.parametrize(
    "target",
    [
        "/../secret.txt",
        "/sub/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/sub/%2e%2e%2f%2e%2e%2fsecret.txt",
        "/..%5csecret.txt",
        "//etc/passwd",
        "/link.txt",
        "/sub//data.bin",
        "/./index.html",
        "/index.html%00.txt",
        "/" + "a" * 5_000,
    ],
)
def test_nothing_outside_the_directory(folder: Path, target: str) -> None:
    web = WebPair(3, directory=folder)
    fetch = web.fetch(target)
    assert fetch.status == 404
    assert b"secret" not in bytes(fetch.body)


# -- handlers ---------------------------------------------------------------------------------------


def test_a_handler_gets_the_whole_request() -> None:
    seen: list[Request] = []

    def handler(request: Request) -> Reply:
        seen.append(request)
        return Reply(201, [("X-Kind", "made"), ("set-cookie", "a=1"), ("set-cookie", "b=2")], b"ok")

    web = WebPair(4, handler=handler)
    fetch = web.fetch("/make?x=1&y=%20", method="POST", body=content_chunks(100_000), headers=((b"x-a", b"1"),))
    assert (fetch.status, bytes(fetch.body)) == (201, b"ok")
    assert [value for name, value in fetch.headers if name == b"set-cookie"] == [b"a=1", b"b=2"]
    (request,) = seen
    assert (request.method, request.path, request.query) == ("POST", "/make", {"x": "1", "y": " "})
    assert request.body == content(0, 100_000)
    assert (request.header("X-A"), request.header("x-b")) == ("1", None)


def test_a_handler_may_pass() -> None:
    web = WebPair(5, handler=lambda request: Reply(200, (), b"mine") if request.path == "/mine" else None)
    assert bytes(web.fetch("/mine").body) == b"mine"
    assert bytes(web.fetch("/echo", method="POST", body=b"echoed").body) == b"echoed"
    assert web.fetch("/other").status == 404


def test_a_handler_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    def body() -> Iterator[bytes]:
        yield b"some"
        raise ZeroDivisionError

    def handler(request: Request) -> Reply:
        if request.path == "/body":
            return Reply(200, (), body())
        raise KeyError("oh")

    web = WebPair(6, handler=handler)
    assert web.fetch("/now").status == 500
    assert web.fetch("/body").failed is not None
    assert web.fetch("/now").status == 500
    assert "the handler failed" in caplog.text


def test_a_body_too_large_for_a_handler() -> None:
    web = WebPair(7, handler=lambda request: Reply(200), max_body=10_000)
    assert web.fetch("/", method="POST", body=bytes(20_000)).status == 413
    assert web.fetch("/", method="POST", body=bytes(5_000)).status == 200


def test_bodies_of_pieces_and_pauses() -> None:
    def body() -> Iterator[bytes | Pause]:
        for number in range(3):
            yield str(number).encode()
            yield Pause(1.0)

    web = WebPair(8, handler=lambda request: Reply(200, (), body(), trailers=[("x-end", "yes")]))
    begin = web.now
    fetch = web.fetch("/")
    assert (bytes(fetch.body), fetch.trailers) == (b"012", ((b"x-end", b"yes"),))
    assert web.now - begin > 3 * SECOND


def test_an_abandoned_body_is_closed() -> None:
    closed: list[bool] = []

    def body() -> Iterator[bytes]:
        try:
            while True:
                yield bytes(10_000)
        finally:
            closed.append(True)

    web = WebPair(9, handler=lambda request: Reply(200, (), body()))
    fetch = web.start("/")
    web.run(lambda: fetch.length > 50_000)
    web.client.h3.cancel(fetch.stream_id)
    web.flush(web.client_host)
    web.run(lambda: bool(closed))


def test_every_reply_can_be_delayed() -> None:
    web = WebPair(10, delay=0.75)
    begin = web.now
    web.fetch("/bytes/1")
    assert web.now - begin >= 0.75 * SECOND


# -- many, and under bad conditions -----------------------------------------------------------------


def test_hundreds_of_requests_on_one_connection() -> None:
    web = WebPair(11, server_config=QuicConfig(max_streams_bidi=20))
    fetches = [web.start(f"/bytes/{number}") for number in range(400)]
    web.run(lambda: web.client.done)
    assert all(bytes(fetch.body) == content(0, number) for number, fetch in enumerate(fetches))
    assert web.responder.requests == 400
    assert web.responder.describe().startswith("0 exchanges")


@pytest.mark.parametrize("seed", range(12))
def test_http_over_a_bad_network(seed: int) -> None:
    link = Link(loss=0.08, reorder=0.1, duplicate=0.1, corrupt=0.03, jitter=5_000_000)
    patient = QuicConfig(handshake_timeout=60 * SECOND, idle_timeout=60 * SECOND)
    web = WebPair(seed, link, client_config=patient, server_config=patient)
    fetches = [
        web.start("/bytes/30000"),
        web.start("/echo", method="POST", body=content_chunks(40_000)),
        web.start("/trailers"),
        web.start("/reset/5000"),
        web.start("/early-hints"),
        web.start("/headers", headers=tuple((b"x-%d" % number, bytes([97 + number]) * 50) for number in range(20))),
    ]
    web.run(lambda: web.client.done, limit=120)
    assert [fetch.complete for fetch in fetches] == [True, True, True, False, True, True]
    assert bytes(fetches[0].body) == content(0, 30_000)
    assert bytes(fetches[1].body) == content(0, 40_000)
    assert [status for status, _ in fetches[4].interim] == [103]
    web.close()
    assert web.endpoint.peers == {}


def test_header_compression_without_a_dynamic_table() -> None:
    plain = H3Config(qpack_max_table_capacity=0, qpack_blocked_streams=0)
    web = WebPair(12, client_h3=plain, server_h3=plain)
    for _ in range(3):
        assert web.fetch("/headers", headers=((b"x-long", b"v" * 200),)).complete


# -- priorities ---------------------------------------------------------------------------------------


def urgencies(request: Request) -> Reply:
    """Say how urgent the request is, each time that changes, until it is as urgent as can be."""

    def said() -> Iterator[bytes | Pause]:
        last = -1
        while last != 0:
            if request.priority.urgency != last:
                last = request.priority.urgency
                yield b"%d" % last
            else:
                yield Pause(0.01)

    return Reply(200, body=said())


def test_priorities_are_told_and_changed() -> None:
    web = WebPair(1, handler=urgencies)
    fetch = web.start("/", headers=((b"priority", b"u=5"),))
    web.run(lambda: bytes(fetch.body) == b"5")
    for update in (b"u=1", b"u=0"):
        web.client.h3.reprioritize(fetch.stream_id, update)
        web.flush(web.client_host)
        web.advance(0.1)
    assert bytes(fetch.body) == b"510"
    assert fetch.complete


def test_a_priority_may_come_before_its_request() -> None:
    web = WebPair(1, handler=urgencies)
    first = web.start("/", headers=((b"priority", b"u=0"),))
    web.run(lambda: first.done)
    later = first.stream_id + 4
    web.client.h3._session.control_stream.push(encode_priority_update(later, b"u=0"))
    web.flush(web.client_host)
    web.advance(0.1)
    fetch = web.fetch("/", headers=((b"priority", b"u=6"),))
    assert fetch.stream_id == later
    assert bytes(fetch.body) == b"0"


@pytest.mark.security
def test_priorities_of_requests_that_never_come_are_not_gathered() -> None:
    web = WebPair(1, handler=urgencies)
    fetch = web.fetch("/", headers=((b"priority", b"u=0"),))
    for index in range(2000):
        web.client.h3._session.control_stream.push(encode_priority_update(4 * index, b"u=0"))
    web.flush(web.client_host)
    web.advance(0.5)
    assert fetch.complete
    assert len(web.responder._early_priorities) == 128
    assert web.client.closed is None
