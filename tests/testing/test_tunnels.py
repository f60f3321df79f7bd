"""Tunnels through the test server, in virtual time: CONNECT and extended CONNECT (RFC 9114, 4.4; RFC 9220)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import pytest

from specter.errors import LocalProtocolError
from specter.h3.config import H3Config
from specter.h3.events import SettingsReceived
from specter.testing.content import content, content_chunks
from specter.testing.fetch import Fetch
from specter.testing.messages import HalfClose, Pause, Reply, Request
from specter.testing.network import Link
from specter.testing.web import WebPair

BAD = Link(loss=0.05, duplicate=0.05, reorder=0.1, jitter=2_000_000)


@pytest.fixture
def web() -> WebPair:
    return WebPair(1)


def ends(web: WebPair, *tunnels: Fetch) -> None:
    web.run(lambda: all(tunnel.done for tunnel in tunnels))


@pytest.mark.parametrize("size", [1, 1_024, 1_000_000])
def test_echo(web: WebPair, size: int) -> None:
    tunnel = web.fetch("/echo", protocol="websocket", body=content(0, size))
    assert tunnel.status == 200
    assert bytes(tunnel.body) == content(0, size)
    assert tunnel.complete


def test_what_a_tunnel_asks_for_comes_after_the_settings(web: WebPair) -> None:
    web.fetch("/echo", protocol="websocket", body=b"data")
    (settings,) = [event for event in web.client.log if isinstance(event, SettingsReceived)]
    assert (8, 1) in settings.settings


def test_the_server_sees_the_protocol() -> None:
    seen: list[Request] = []

    def tunnel(request: Request) -> Reply:
        seen.append(request)
        return Reply(body=b"hello")

    web = WebPair(2, tunnel=tunnel)
    answer = web.fetch("/chat?room=1", protocol="websocket", body=b"ignored", headers=((b"origin", b"https://a.test"),))
    assert bytes(answer.body) == b"hello"
    assert answer.header(b"content-length") is None
    (request,) = seen
    assert (request.method, request.protocol, request.target) == ("CONNECT", "websocket", "/chat?room=1")
    assert (request.scheme, request.authority, request.header("origin")) == ("https", "server.test", "https://a.test")


def test_a_handler_for_requests_does_not_hold_up_tunnels() -> None:
    """Requests are gathered for it; a tunnel has no end to wait for."""
    web = WebPair(3, handler=lambda request: Reply(body=request.body))
    body = iter([b"first", b"second"])
    tunnel = web.start("/echo", protocol="echo", body=body)
    web.run(lambda: tunnel.length == 11)
    assert bytes(web.fetch("/post", method="POST", body=b"posted").body) == b"posted"


def test_the_client_ends_its_direction_first(web: WebPair) -> None:
    data = content(7, 300_000)
    tunnel = web.fetch("/digest", protocol="websocket", body=data)
    assert json.loads(bytes(tunnel.body)) == {"bytes": 300_000, "sha256": hashlib.sha256(data).hexdigest()}


def test_the_server_ends_its_direction_first() -> None:
    counted: list[int] = []

    def talk(request: Request) -> Iterator[bytes | HalfClose]:
        yield b"that is all"
        yield HalfClose()
        total = 0
        while (piece := request.stream.read()) is not None:
            total += len(piece)
            if not piece:
                yield b""
        counted.append(total)

    web = WebPair(4, BAD, tunnel=lambda request: Reply(body=talk(request)))
    tunnel = web.start("/", protocol="echo", body=content_chunks(500_000))
    web.run(lambda: tunnel.done and bool(counted))
    assert bytes(tunnel.body) == b"that is all"
    assert counted == [500_000]
    web.advance(1.0)
    assert web.responder.describe().startswith("0 exchanges")


def test_the_server_talks_unasked() -> None:
    def talk(_request: Request) -> Iterator[bytes | Pause]:
        for number in range(3):
            yield Pause(0.5)
            yield b"%d" % number

    web = WebPair(5, tunnel=lambda request: Reply(body=talk(request)))
    tunnel = web.fetch("/", protocol="websocket", body=b"x")
    assert bytes(tunnel.body) == b"012"


@pytest.mark.parametrize(
    ("target", "protocol", "status"),
    [
        ("/nowhere", "websocket", 501),
        ("/echo", "connect-udp", 501),
        ("/status/403", "websocket", 403),
        ("host.test:443", "", 502),
    ],
)
def test_a_refused_tunnel_is_an_ordinary_response(web: WebPair, target: str, protocol: str, status: int) -> None:
    tunnel = web.fetch(target, method="CONNECT", protocol=protocol, body=b"early")
    assert tunnel.status == status
    assert tunnel.header(b"content-length") == str(tunnel.length).encode()
    assert tunnel.complete


def test_plain_connect(web: WebPair) -> None:
    tunnel = web.fetch("host.test:7", method="CONNECT", body=content(0, 100_000))
    assert (tunnel.status, bytes(tunnel.body)) == (200, content(0, 100_000))


def test_a_reset_ends_both_directions(web: WebPair) -> None:
    tunnel = web.start("/reset/1000", protocol="websocket", body=content_chunks(100 << 20))
    ends(web, tunnel)
    assert tunnel.failed is not None
    assert tunnel.failed.remote
    web.advance(1.0)
    assert web.responder.describe().startswith("0 exchanges")


def test_the_client_resets(web: WebPair) -> None:
    tunnel = web.start("/echo", protocol="websocket", body=content_chunks(100 << 20))
    web.run(lambda: tunnel.length > 100_000)
    web.client.h3.cancel(tunnel.stream_id)
    web.flush(web.client_host)
    web.advance(1.0)
    assert web.responder.describe().startswith("0 exchanges")


def test_a_slow_reader_stops_the_echo() -> None:
    web = WebPair(6)
    web.client.reading = False
    tunnel = web.start("/echo", protocol="websocket", body=content_chunks(50 << 20))
    web.advance(5.0)
    assert 1 << 20 <= tunnel.sent < 20 << 20
    sent = tunnel.sent
    web.advance(5.0)
    assert tunnel.sent == sent


def test_tunnels_and_a_download_on_a_bad_network() -> None:
    web = WebPair(7, BAD)
    download = web.start("/bytes/3000000")
    tunnels = [web.start("/echo", protocol="websocket", body=content(number, 20_000)) for number in range(90)]
    ends(web, download, *tunnels)
    assert download.length == 3_000_000
    for number, tunnel in enumerate(tunnels):
        assert bytes(tunnel.body) == content(number, 20_000)
    web.advance(2.0)
    assert web.responder.describe().startswith("0 exchanges")


def test_no_path_mtu_probe_gets_in_the_way_of_an_echo() -> None:
    """Round trips of 16 KB make the path look worth a search: its probes leave in the pauses between them."""
    web = WebPair(9, Link(delay=200_000, mtu=1500))
    web.fetch("/bytes/1")
    h3, received = web.client.h3, 0
    fields = [
        (b":method", b"CONNECT"),
        (b":protocol", b"echo"),
        (b":scheme", b"https"),
        (b":authority", b"server.test"),
    ]
    stream_id = h3.send_request([*fields, (b":path", b"/echo")], fin=False)
    sent: list[tuple[int, int]] = []
    web.network.taps.append(lambda transit: sent.append((transit.time, len(transit.data) * transit.to_server)))

    def echoed(expected: int) -> bool:
        nonlocal received
        while piece := h3.read_body(stream_id):
            received += len(piece)
        return received >= expected

    echoes: list[tuple[int, int]] = []
    for turn in range(1, 201):
        begin = web.now
        assert h3.send_body(stream_id, bytes(16_000)) == 16_000
        web.flush(web.client_host)
        web.run(lambda turn=turn: echoed(16_000 * turn))  # type: ignore[misc]
        echoes.append((begin, web.now))
        if turn % 10 == 0:
            web.advance(0.01)
    largest, probes = 1200, []
    for time, size in sent:
        if size > largest:
            largest = size
            probes.append(time)
    assert probes
    assert not [probe for probe in probes if any(begin <= probe <= end for begin, end in echoes)]


def test_a_server_that_does_not_offer_extended_connect() -> None:
    web = WebPair(8, server_h3=H3Config())
    with pytest.raises(LocalProtocolError, match=":protocol is not allowed"):
        web.fetch("/echo", protocol="websocket", body=b"x")
