"""Tunnels through the client's public face: extended CONNECT (RFC 9220) and plain CONNECT."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator

import pytest

import specter
from specter.h3.config import H3Config
from specter.h3.session import Session
from specter.quic.config import SECOND, QuicConfig
from specter.testing import HalfClose, Pause, Reply, Request, Server
from specter.testing.content import content, content_chunks
from specter.testing.endpoint import Endpoint
from specter.testing.responder import Responder
from tests.client.support import MakeClient, StartServer


def receive_all(tunnel: specter.Tunnel, timeout: float = 10) -> bytes:
    pieces = []
    while piece := tunnel.receive(timeout=timeout):
        pieces.append(piece)
    return b"".join(pieces)


def receive_exactly(tunnel: specter.Tunnel, size: int, timeout: float = 10) -> bytes:
    data = b""
    while len(data) < size:
        piece = tunnel.receive(size - len(data), timeout=timeout)
        assert piece, "the tunnel ended"
        data += piece
    return data


# -- round trips ------------------------------------------------------------------------------------


def test_echo(client: specter.Client) -> None:
    with client.tunnel("/echo") as tunnel:
        for size in (1, 1_024, 70_000, 0, 5):
            tunnel.send(content(size, size))
            assert receive_exactly(tunnel, size) == content(size, size)
        tunnel.send_eof()
        assert tunnel.receive(timeout=5) == b""
        assert tunnel.receive(timeout=5) == b""
    assert tunnel.is_closed


def test_what_the_answer_says(client: specter.Client) -> None:
    with client.tunnel("/echo", "echo") as tunnel:
        response = tunnel.response
        assert (response.status_code, response.content, response.is_success) == (200, b"", True)
        assert response.connection is not None
        assert response.connection.alpn == "h3"
        assert "content-length" not in response.headers
        assert str(response.url).endswith("/echo")


def test_the_request_as_the_server_sees_it(start_server: StartServer, make_client: MakeClient) -> None:
    seen: list[Request] = []

    def tunnel(request: Request) -> Reply:
        seen.append(request)
        return Reply(body=b"")

    server = start_server(tunnel=tunnel)
    client = make_client(server, headers={"x-client": "1"}, params={"a": "b"})
    client.tunnel("/chat", "chat-protocol", headers={"origin": "https://a.test"}, params={"c": "d"}).close()
    (request,) = seen
    assert (request.method, request.protocol, request.target) == ("CONNECT", "chat-protocol", "/chat?a=b&c=d")
    assert (request.header("x-client"), request.header("origin")) == ("1", "https://a.test")
    assert request.scheme == "https"


def test_wss_is_https(client: specter.Client, server: Server) -> None:
    with client.tunnel(server.url.replace("https:", "wss:") + "/echo") as tunnel:
        tunnel.send(b"hello")
        assert tunnel.receive(timeout=5) == b"hello"
    with pytest.raises(specter.UnsupportedProtocol):
        client.tunnel(server.url.replace("https:", "ws:") + "/echo")


def test_plain_connect(client: specter.Client) -> None:
    with client.tunnel("/", None, target="echo.test:7") as tunnel:
        tunnel.send(content(0, 50_000))
        tunnel.send_eof()
        assert receive_all(tunnel) == content(0, 50_000)
    with pytest.raises(specter.TunnelRefused) as caught:
        client.tunnel("/", None, target="[::1]:80")
    assert (caught.value.response.status_code, caught.value.response.content) == (502, b"only port 7\n")


@pytest.mark.parametrize(
    ("protocol", "target"),
    [(None, None), ("websocket", "a:1"), ("web socket", None), ("", None), (None, "a"), (None, "a:b"), (None, "a b:1")],
)
def test_arguments_that_are_no_tunnel(client: specter.Client, protocol: str | None, target: str | None) -> None:
    with pytest.raises(ValueError, match=r"protocol|target|host"):
        client.tunnel("/echo", protocol, target=target)


def test_receiving_into_a_buffer(client: specter.Client) -> None:
    data = content(3, 200_000)
    buffer = bytearray(len(data))
    with client.tunnel("/echo") as tunnel:
        sender = threading.Thread(target=lambda: (tunnel.send(data), tunnel.send_eof()))
        sender.start()
        count, view = 0, memoryview(buffer)
        while more := tunnel.receive_into(view[count:] or bytearray(1), timeout=10):
            count += more
        sender.join()
    assert count == len(data)
    assert buffer == data
    assert tunnel.is_closed


def test_full_duplex_with_flow_control(start_server: StartServer, make_client: MakeClient) -> None:
    """Windows far smaller than what goes through, both ways at once."""
    small = QuicConfig(stream_window=65_536, stream_window_max=65_536, connection_window=131_072)
    client = make_client(start_server(config=small), quic=small)
    expected = hashlib.sha256(content(0, 5_000_000)).digest()
    digest = hashlib.sha256()
    with client.tunnel("/echo") as tunnel:

        def send() -> None:
            for piece in content_chunks(5_000_000, 100_000):
                tunnel.send(piece)
            tunnel.send_eof()

        sender = threading.Thread(target=send)
        sender.start()
        while piece := tunnel.receive(timeout=10):
            digest.update(piece)
        sender.join()
    assert digest.digest() == expected


# -- ends -------------------------------------------------------------------------------------------


def test_the_client_ends_its_direction(client: specter.Client) -> None:
    with client.tunnel("/digest") as tunnel:
        tunnel.send(b"some data")
        tunnel.send_eof()
        tunnel.send_eof()
        with pytest.raises(specter.LocalProtocolError, match="ended"):
            tunnel.send(b"more")
        assert json.loads(receive_all(tunnel))["bytes"] == 9


@pytest.mark.parametrize("size", [0, 10, 5_000_000])
def test_data_and_the_end_in_one_call(client: specter.Client, size: int) -> None:
    with client.tunnel("/digest") as tunnel:
        tunnel.send(bytes(size), eof=True)
        with pytest.raises(specter.LocalProtocolError, match="ended"):
            tunnel.send(b"more")
        tunnel.send_eof()
        assert json.loads(receive_all(tunnel))["bytes"] == size


def test_the_server_ends_its_direction(start_server: StartServer, make_client: MakeClient) -> None:
    got = threading.Event()
    received = bytearray()

    def talk(request: Request) -> Iterator[bytes | HalfClose]:
        yield b"bye"
        yield HalfClose()
        while (piece := request.stream.read()) is not None:
            received.extend(piece)
            if not piece:
                yield b""
        got.set()

    client = make_client(start_server(tunnel=lambda request: Reply(body=talk(request))))
    with client.tunnel("/") as tunnel:
        assert receive_all(tunnel) == b"bye"
        tunnel.send(b"but I have ")
        tunnel.send(b"more to say")
        tunnel.send_eof()
        assert got.wait(10)
    assert received == b"but I have more to say"
    assert not client._pool._connections[next(iter(client._pool._connections))].busy


def test_a_reset_by_the_server(start_server: StartServer, make_client: MakeClient) -> None:
    def talk() -> Iterator[bytes | Pause]:
        yield b"first"
        yield Pause(0.2)

    client = make_client(start_server(tunnel=lambda request: Reply(body=talk(), reset=0x0102)))
    with client.tunnel("/") as tunnel:
        assert tunnel.receive(timeout=5) == b"first"
        with pytest.raises(specter.StreamReset) as caught:
            tunnel.receive(timeout=5)
        assert caught.value.code == 0x0102
        with pytest.raises(specter.StreamReset):
            tunnel.send(b"x")
        with pytest.raises(specter.StreamReset):
            tunnel.receive(timeout=5)
    assert client.get("/bytes/1").status_code == 200


def test_a_server_that_stops_reading(start_server: StartServer, make_client: MakeClient) -> None:
    """The test server wants no more of a request whose answer is complete."""
    client = make_client(start_server(tunnel=lambda request: Reply(body=b"done")))

    def send_on() -> None:
        for _ in range(100):
            tunnel.send(bytes(100_000))

    with client.tunnel("/") as tunnel:
        assert receive_all(tunnel) == b"done"
        with pytest.raises(specter.StreamReset, match=r"reads no more.*H3_NO_ERROR"):
            send_on()


def test_a_tunnel_outlives_goaway(client: specter.Client) -> None:
    with client.tunnel("/echo") as tunnel:
        tunnel.send(b"before")
        assert tunnel.receive(timeout=5) == b"before"
        assert client.get("/goaway").text == "going away\n"
        assert client.get("/bytes/1").status_code == 200
        tunnel.send(b"after")
        assert tunnel.receive(timeout=5) == b"after"


def test_a_connection_that_is_lost(start_server: StartServer, make_client: MakeClient) -> None:
    server = start_server()
    client = make_client(server)
    with client.tunnel("/echo") as tunnel:
        tunnel.send(b"x")
        assert tunnel.receive(timeout=5) == b"x"
        server.stop()
        with pytest.raises(specter.NetworkError):
            tunnel.receive(timeout=10)
        with pytest.raises(specter.NetworkError):
            tunnel.send(b"y")


def test_a_server_that_vanishes(start_server: StartServer, make_client: MakeClient) -> None:
    server = start_server()
    client = make_client(server, quic=QuicConfig(idle_timeout=SECOND))
    with client.tunnel("/echo") as tunnel:
        server.stop(abrupt=True)
        with pytest.raises(specter.NetworkError):
            tunnel.receive(timeout=10)


def test_a_client_that_is_closed(client: specter.Client, make_client: MakeClient, server: Server) -> None:
    other = make_client(server)
    tunnel = other.tunnel("/echo")
    other.close()
    with pytest.raises(specter.NetworkError, match="the client closed"):
        tunnel.receive(timeout=5)
    tunnel.close()


def test_a_tunnel_that_is_closed(client: specter.Client) -> None:
    tunnel = client.tunnel("/echo")
    tunnel.close()
    tunnel.close()
    for use in (tunnel.receive, tunnel.send_eof, lambda: tunnel.send(b"x"), lambda: tunnel.receive_into(bytearray(1))):
        with pytest.raises(specter.StreamClosed):
            use()


def test_closing_wakes_a_thread_that_receives(client: specter.Client) -> None:
    tunnel = client.tunnel("/echo")
    ended: list[BaseException] = []

    def receive() -> None:
        try:
            tunnel.receive()
        except specter.Error as error:
            ended.append(error)

    thread = threading.Thread(target=receive)
    thread.start()
    time.sleep(0.1)
    tunnel.close()
    thread.join(10)
    (error,) = ended
    assert isinstance(error, specter.StreamClosed)


def test_closing_cancels_at_the_server(start_server: StartServer, make_client: MakeClient) -> None:
    server = start_server()
    client = make_client(server)
    client.tunnel("/echo").close()
    client.get("/bytes/1")
    told: list[str] = []
    server.call(lambda endpoint: told.append(endpoint.describe()))
    deadline = time.monotonic() + 5
    while not told and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "0 exchanges, 2 requests" in told[0]


# -- refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "protocol", "status"), [("/status/403", "websocket", 403), ("/", "connect-udp", 501)])
def test_a_refusal(client: specter.Client, path: str, protocol: str, status: int) -> None:
    with pytest.raises(specter.TunnelRefused, match=str(status)) as caught:
        client.tunnel(path, protocol)
    response = caught.value.response
    assert response.status_code == status
    assert response.text
    assert client.get("/bytes/1").status_code == 200


def test_a_long_refusal(start_server: StartServer, make_client: MakeClient) -> None:
    """Only its beginning is read: a server cannot make a client swallow what it never asked for."""
    client = make_client(start_server(tunnel=lambda request: Reply(403, body=content_chunks(1 << 40))))
    with pytest.raises(specter.TunnelRefused) as caught:
        client.tunnel("/")
    assert caught.value.response.content == content(0, 65_536)


def test_a_redirect_is_a_refusal(client: specter.Client) -> None:
    with pytest.raises(specter.TunnelRefused) as caught:
        client.tunnel("/redirect/1")
    assert caught.value.response.headers["location"] == "/bytes/16"


@pytest.mark.parametrize("config", [H3Config(), H3Config(settings=((8, 0),))])
def test_a_server_without_extended_connect(
    config: H3Config, start_server: StartServer, make_client: MakeClient
) -> None:
    client = make_client(start_server(h3_config=config))
    with pytest.raises(specter.TunnelUnsupported, match="does not allow extended CONNECT"):
        client.tunnel("/echo")
    assert client.get("/bytes/1").status_code == 200
    with client.tunnel("/", None, target="echo.test:7") as tunnel:
        tunnel.send(b"plain")
        assert tunnel.receive(timeout=5) == b"plain"


@pytest.mark.interpreted
def test_a_server_that_never_sends_its_settings(
    start_server: StartServer, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Session.open_critical_streams
    monkeypatch.setattr(Session, "open_critical_streams", lambda self: self.is_client and real(self))
    client = make_client(start_server())
    with pytest.raises(specter.PoolTimeout, match="has not sent its SETTINGS"):
        client.tunnel("/echo", timeout=specter.Timeouts(5, pool=0.2))
    assert client.get("/bytes/1").status_code == 200


@pytest.mark.interpreted
def test_tunnels_wait_for_the_settings(
    start_server: StartServer, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come late, when the server has seen two requests."""
    real, refused = Session.open_critical_streams, []

    def late(self: Session) -> bool:
        if self.is_client or len(refused) >= 2:
            return real(self)
        refused.append(self)
        return False

    monkeypatch.setattr(Session, "open_critical_streams", late)
    server = start_server(lambda request: server.call(open_now) or Reply())  # type: ignore[func-returns-value]

    def open_now(endpoint: Endpoint) -> None:
        for peer in endpoint.peers:
            assert isinstance(peer.engine, Responder)
            peer.engine.h3._start()

    client = make_client(server)
    echoed: list[bytes] = []

    def talk() -> None:
        with client.tunnel("/echo") as tunnel:
            tunnel.send(b"hello")
            echoed.append(tunnel.receive(timeout=5))

    threads = [threading.Thread(target=talk) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    assert echoed == []
    for _ in range(2):
        client.get("/")
    for thread in threads:
        thread.join(10)
    assert echoed == [b"hello"] * 3


def test_the_header_fields_of_http_1_do_not_pass(client: specter.Client) -> None:
    for name in ("connection", "upgrade"):
        with pytest.raises(specter.LocalProtocolError, match="connection-specific"):
            client.tunnel("/echo", headers={name: "websocket"})


# -- time -------------------------------------------------------------------------------------------


def test_time_limits(start_server: StartServer, make_client: MakeClient) -> None:
    def talk(request: Request) -> Iterator[bytes | Pause]:
        yield Pause(0.3)
        yield b"late"

    client = make_client(start_server(tunnel=lambda request: Reply(body=talk(request))))
    with client.tunnel("/", timeout=specter.Timeouts(5, read=0.1, total=0.2)) as tunnel:
        with pytest.raises(specter.ReadTimeout):
            tunnel.receive(timeout=0.02)
        with pytest.raises(specter.ReadTimeout):
            tunnel.receive(timeout=0)
        assert tunnel.receive() == b"late"
        with pytest.raises(ValueError, match="negative"):
            tunnel.receive(timeout=-1)


def test_opening_takes_too_long(start_server: StartServer, make_client: MakeClient) -> None:
    client = make_client(start_server(delay=1.0))
    with pytest.raises(specter.ReadTimeout):
        client.tunnel("/echo", timeout=0.1)


def test_a_send_that_is_not_taken(start_server: StartServer, make_client: MakeClient) -> None:
    def deaf(request: Request) -> Iterator[bytes | Pause]:
        yield Pause(10)

    client = make_client(start_server(tunnel=lambda request: Reply(body=deaf(request))))
    with client.tunnel("/", timeout=specter.Timeouts(5, write=0.1)) as tunnel, pytest.raises(specter.WriteTimeout):
        tunnel.send(bytes(64 << 20))


def test_an_open_tunnel_keeps_the_connection_alive(start_server: StartServer, make_client: MakeClient) -> None:
    def talk(request: Request) -> Iterator[bytes | Pause]:
        yield Pause(1.5)
        yield b"still here"

    config = QuicConfig(idle_timeout=SECOND // 2)
    client = make_client(start_server(tunnel=lambda request: Reply(body=talk(request)), config=config))
    with client.tunnel("/") as tunnel:
        assert tunnel.receive() == b"still here"


# -- many -------------------------------------------------------------------------------------------


def test_a_hundred_tunnels_at_once(client: specter.Client) -> None:
    tunnels = [client.tunnel("/echo") for _ in range(99)]
    for number, tunnel in enumerate(tunnels):
        tunnel.send(content(number, 2_000))
    for number, tunnel in reversed(list(enumerate(tunnels))):
        assert receive_exactly(tunnel, 2_000) == content(number, 2_000)
    assert len(client.get("/bytes/10000").content) == 10_000
    for tunnel in tunnels:
        tunnel.close()


def test_more_tunnels_than_the_server_allows(start_server: StartServer, make_client: MakeClient) -> None:
    client = make_client(start_server(config=QuicConfig(max_streams_bidi=2)))
    first, second = client.tunnel("/echo"), client.tunnel("/echo")
    with pytest.raises(specter.PoolTimeout, match="no more streams"):
        client.tunnel("/echo", timeout=specter.Timeouts(5, pool=0.1))
    first.close()
    with client.tunnel("/echo") as third:
        third.send(b"x")
        assert third.receive(timeout=5) == b"x"
    second.close()


def test_tunnels_in_many_threads_beside_a_download(client: specter.Client) -> None:
    failures: list[BaseException] = []

    def talk(number: int) -> None:
        try:
            with client.tunnel("/echo") as tunnel:
                for turn in range(20):
                    data = content(number * 1000 + turn, 1_024)
                    tunnel.send(data)
                    assert receive_exactly(tunnel, 1_024) == data
        except BaseException as error:
            failures.append(error)

    def download() -> None:
        try:
            assert len(client.get("/bytes/20000000", timeout=30).content) == 20_000_000
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(10)]
    threads.append(threading.Thread(target=download))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []


def test_a_slow_reader_holds_up_its_own_tunnel_only(client: specter.Client) -> None:
    slow = client.tunnel("/bytes/50000000")
    try:
        assert slow.receive(1_000, timeout=5) == content(0, 1_000)
        for _ in range(20):
            assert client.get("/bytes/100000").status_code == 200
        buffered = client._pool._connections[next(iter(client._pool._connections))].channel.quic.readable(
            slow._transfer.exchange.stream_id
        )
        assert buffered < 4 << 20
        assert slow.receive(1_000, timeout=5) == content(1_000, 1_000)
    finally:
        slow.close()
