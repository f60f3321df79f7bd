"""WebSockets over HTTP/3 through the client's public face (RFC 6455, RFC 9220)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

import specter
from specter.h3.config import H3Config
from specter.quic.config import QuicConfig
from specter.testing import Pause, Reply, Request, Server, websocket
from specter.testing.content import content
from tests.client.support import MakeClient, StartServer
from tests.client.test_messages import BROKEN, frame

Fields = Sequence[tuple[str, str]]


def raw(*pieces: bytes | Pause, headers: Fields = (), then_read: bool = True) -> Callable[[Request], Reply]:
    """Return a handler that sends these bytes, and reads on until the client ends its direction."""

    def talk(request: Request) -> Iterator[bytes | Pause]:
        yield from pieces
        while then_read and (piece := request.stream.read()) is not None:
            if not piece:
                yield b""

    return lambda request: Reply(headers=headers, body=talk(request))


# -- messages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [True, False])
def test_echo(client: specter.Client, compression: bool) -> None:
    with client.websocket("/websocket", compression=compression) as socket:
        for message in ("hello", b"bytes", "", b"", "\u00e4\u20ac\U0001f600", content(0, 1_000_000), "x" * 1_000_000):
            socket.send(message)
            assert socket.receive(timeout=10) == message
        assert socket.is_open
    assert not socket.is_open
    assert (socket.close_code, socket.close_reason) == (1000, "")


def test_fragments_and_other_bytes(client: specter.Client) -> None:
    with client.websocket("/websocket") as socket:
        socket.send(["one ", "two ", "three"])
        socket.send(bytes([number]) for number in range(3))
        socket.send(bytearray(b"array"))
        socket.send(memoryview(b"view"))
        assert [socket.receive(timeout=5) for _ in range(4)] == ["one two three", b"\0\1\2", b"array", b"view"]
        with pytest.raises(TypeError):
            socket.send(5)  # type: ignore[arg-type]
        socket.send("still works")
        assert socket.receive(timeout=5) == "still works"


def test_what_the_server_sees(start_server: StartServer, make_client: MakeClient) -> None:
    seen: list[Request] = []

    def accept(request: Request) -> Reply:
        seen.append(request)
        return websocket(request, lambda message: [], subprotocols=("chat", "other"))

    client = make_client(start_server(tunnel=accept))
    url = f"{client._base_url}chat?room=1".replace("https://", "wss://")
    with client.websocket(url, subprotocols=["superchat", "chat"], headers={"origin": "https://a.test"}) as socket:
        assert socket.subprotocol == "chat"
        assert socket.response.status_code == 200
        assert "permessage-deflate" in socket.response.headers["sec-websocket-extensions"]
    (request,) = seen
    assert (request.method, request.protocol, request.target) == ("CONNECT", "websocket", "/chat?room=1")
    assert request.header("sec-websocket-version") == "13"
    assert request.header("sec-websocket-protocol") == "superchat, chat"
    assert request.header("sec-websocket-extensions") == "permessage-deflate; client_max_window_bits"
    assert request.header("origin") == "https://a.test"
    assert not {b"sec-websocket-key", b"connection", b"upgrade", b"host"} & {name for name, _ in request.headers}


def test_neither_subprotocol_nor_compression(client: specter.Client) -> None:
    with client.websocket("/websocket", compression=False) as socket:
        assert socket.subprotocol is None
        assert "sec-websocket-extensions" not in socket.response.headers
        assert "sec-websocket-protocol" not in socket.response.headers


def test_ping(client: specter.Client) -> None:
    with client.websocket("/websocket") as socket:
        assert socket.latency is None
        socket.ping()
        socket.ping(b"payload")
        socket.send("x")
        socket.receive(timeout=5)
        assert socket.latency is not None
        assert 0 < socket.latency < 5
        with pytest.raises(ValueError, match="125"):
            socket.ping(bytes(126))


def test_iteration(start_server: StartServer, make_client: MakeClient) -> None:
    pieces = [frame(1, b"one"), Pause(0.05), frame(2, b"two") + frame(9, b"ping") + frame(1, b"three")]
    client = make_client(start_server(tunnel=raw(*pieces, frame(8, b"\x03\xe9done"))))
    with client.websocket("/") as socket:
        assert list(socket) == ["one", b"two", "three"]
        assert (socket.close_code, socket.close_reason) == (1001, "done")
        assert list(socket) == []


def test_iteration_ends_in_an_error_for_a_bad_reason(start_server: StartServer, make_client: MakeClient) -> None:
    client = make_client(start_server(tunnel=raw(frame(1, b"one") + frame(8, b"\x03\xf3broken"))))
    with client.websocket("/") as socket:
        messages = iter(socket)
        assert next(messages) == "one"
        with pytest.raises(specter.WebSocketClosed) as caught:
            next(messages)
        assert (caught.value.code, caught.value.reason, caught.value.remote) == (1011, "broken", True)


def test_pings_are_answered(start_server: StartServer, make_client: MakeClient) -> None:
    answered = threading.Event()
    got = bytearray()

    def talk(request: Request) -> Iterator[bytes]:
        yield frame(9, b"ping!")
        while (piece := request.stream.read()) is not None:
            got.extend(piece)
            if len(got) >= 11:
                answered.set()
                yield frame(1, b"thanks") + frame(8)
            if not piece:
                yield b""

    client = make_client(start_server(tunnel=lambda request: Reply(body=talk(request))))
    with client.websocket("/") as socket:
        assert socket.receive(timeout=5) == "thanks"
    assert answered.is_set()
    assert got[0] == 0x8A
    assert bytes(byte ^ got[2 + at % 4] for at, byte in enumerate(got[6:11])) == b"ping!"


# -- closing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "bye"), (4000, "\u00e4" * 50)])
def test_closing(client: specter.Client, code: int, reason: str) -> None:
    socket = client.websocket("/websocket")
    socket.send("never read")
    socket.close(code, reason)
    socket.close()
    assert (socket.close_code, socket.close_reason) == (code, reason)
    for use in (lambda: socket.send("x"), socket.receive, socket.ping):
        with pytest.raises(specter.WebSocketClosed) as caught:
            use()
        assert (caught.value.code, caught.value.reason, caught.value.remote) == (code, reason, False)


def test_closing_leaves_nothing_at_the_server(start_server: StartServer, make_client: MakeClient) -> None:
    server = start_server()
    client = make_client(server)
    client.websocket("/websocket").close()
    client.get("/bytes/1")
    told: list[str] = []
    server.call(lambda endpoint: told.append(endpoint.describe()))
    deadline = time.monotonic() + 5
    while not told and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "0 exchanges, 2 requests" in told[0]
    assert not client._pool._connections[next(iter(client._pool._connections))].busy


@pytest.mark.parametrize("code", [999, 1005, 1006, 1015, 5000])
def test_codes_that_cannot_be_sent(client: specter.Client, code: int) -> None:
    with client.websocket("/websocket") as socket:
        with pytest.raises(ValueError, match="code"):
            socket.close(code)
        socket.send("open still")
        assert socket.receive(timeout=5) == "open still"


def test_a_server_that_never_says_close(start_server: StartServer, make_client: MakeClient) -> None:
    client = make_client(start_server(tunnel=raw(Pause(30))))
    socket = client.websocket("/")
    start = time.monotonic()
    socket.close(timeout=0.2)
    assert 0.1 < time.monotonic() - start < 5
    with pytest.raises(specter.WebSocketClosed):
        socket.receive()
    assert client.get("/bytes/1").status_code == 200


def test_an_exception_does_not_wait_for_the_server(start_server: StartServer, make_client: MakeClient) -> None:
    client = make_client(start_server(tunnel=raw(Pause(30))))
    start = time.monotonic()
    with pytest.raises(RuntimeError), client.websocket("/"):
        raise RuntimeError
    assert time.monotonic() - start < 3


def test_an_end_without_a_close_frame(start_server: StartServer, make_client: MakeClient) -> None:
    client = make_client(start_server(tunnel=raw(frame(1, b"bye"), then_read=False)))
    with client.websocket("/") as socket:
        assert socket.receive(timeout=5) == "bye"
        with pytest.raises(specter.WebSocketClosed) as caught:
            socket.receive(timeout=5)
        assert caught.value.code == 1006


def test_a_reset(start_server: StartServer, make_client: MakeClient) -> None:
    def talk() -> Iterator[bytes | Pause]:
        yield frame(1, b"first")
        yield Pause(0.2)

    client = make_client(start_server(tunnel=lambda request: Reply(body=talk(), reset=0x10C)))
    with client.websocket("/") as socket:
        assert socket.receive(timeout=5) == "first"
        for _ in range(2):
            with pytest.raises(specter.StreamReset) as caught:
                socket.receive(timeout=5)
            assert caught.value.code == 0x10C
        with pytest.raises(specter.StreamReset):
            socket.send("x")


def test_a_connection_that_is_lost(start_server: StartServer, make_client: MakeClient) -> None:
    server = start_server()
    client = make_client(server)
    with client.websocket("/websocket") as socket:
        server.stop()
        with pytest.raises(specter.NetworkError):
            socket.receive(timeout=10)
        with pytest.raises(specter.NetworkError):
            socket.send("x")


# -- broken servers ---------------------------------------------------------------------------------------


@pytest.mark.security
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_server(name: str, start_server: StartServer, make_client: MakeClient) -> None:
    data, code = BROKEN[name]
    client = make_client(start_server(tunnel=raw(frame(1, b"fine") + data)))
    with client.websocket("/", max_size=2_000) as socket:
        assert socket.receive(timeout=5) == "fine"
        for _ in range(2):
            with pytest.raises(specter.WebSocketClosed) as caught:
                socket.receive(timeout=5)
            assert (caught.value.code, caught.value.remote) == (code, False)
    assert client.get("/bytes/1").status_code == 200


@pytest.mark.security
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ([("sec-websocket-protocol", "other")], "subprotocol"),
        ([("sec-websocket-protocol", "chat"), ("sec-websocket-protocol", "chat")], "subprotocol"),
        ([("sec-websocket-protocol", "chat, chat2")], "subprotocol"),
        ([("sec-websocket-extensions", "x-unknown")], "extensions"),
        ([("sec-websocket-extensions", "permessage-deflate; server_max_window_bits=99")], "extensions"),
        ([("sec-websocket-extensions", "permessage-deflate, permessage-deflate")], "extensions"),
        ([("sec-websocket-extensions", "permessage-deflate; nonsense")], "extensions"),
        ([("sec-websocket-extensions", ";;=")], "extensions"),
    ],
)
def test_answers_that_were_not_asked_for(
    fields: Fields, words: str, start_server: StartServer, make_client: MakeClient
) -> None:
    client = make_client(start_server(tunnel=raw(headers=fields)))
    with pytest.raises(specter.RemoteProtocolError, match=words):
        client.websocket("/", subprotocols=["chat"])
    assert not client._pool._connections[next(iter(client._pool._connections))].busy


def test_compression_that_was_not_offered(start_server: StartServer, make_client: MakeClient) -> None:
    client = make_client(start_server(tunnel=raw(headers=[("sec-websocket-extensions", "permessage-deflate")])))
    with pytest.raises(specter.RemoteProtocolError, match="not offered"):
        client.websocket("/", compression=False)


def test_a_message_that_is_too_large(client: specter.Client) -> None:
    with client.websocket("/websocket", max_size=1_000) as socket:
        socket.send(bytes(1_000))
        assert socket.receive(timeout=5) == bytes(1_000)
        socket.send(bytes(1_001))
        with pytest.raises(specter.WebSocketClosed) as caught:
            socket.receive(timeout=5)
        assert caught.value.code == 1009


# -- refusals and arguments -----------------------------------------------------------------------------------


def test_a_refusal(client: specter.Client) -> None:
    with pytest.raises(specter.TunnelRefused) as caught:
        client.websocket("/status/401")
    assert caught.value.response.status_code == 401


def test_a_server_without_websockets(start_server: StartServer, make_client: MakeClient) -> None:
    client = make_client(start_server(h3_config=H3Config()))
    with pytest.raises(specter.TunnelUnsupported):
        client.websocket("/websocket")


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"Sec-WebSocket-Key": "x"}},
        {"headers": {"sec-websocket-protocol": "chat"}},
        {"subprotocols": "chat"},
        {"subprotocols": ["chat", "chat"]},
    ],
)
def test_arguments_that_make_no_sense(client: specter.Client, options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"sec-websocket|subprotocols"):
        client.websocket("/websocket", **options)  # type: ignore[arg-type]


def test_a_subprotocol_that_is_no_token(client: specter.Client) -> None:
    with pytest.raises(ValueError, match="subprotocol"):
        client.websocket("/websocket", subprotocols=["a b"])


# -- time and threads -----------------------------------------------------------------------------------------


def test_waiting_for_a_message(client: specter.Client) -> None:
    with client.websocket("/websocket") as socket:
        for timeout in (0, 0.05):
            with pytest.raises(specter.ReadTimeout):
                socket.receive(timeout=timeout)
        socket.send("x")
        assert socket.receive(timeout=5) == "x"


def test_a_send_that_is_not_taken_leaves_with_the_next(start_server: StartServer, make_client: MakeClient) -> None:
    """A write timeout does not tear a frame apart: the rest waits."""
    resume = threading.Event()

    def accept(request: Request) -> Reply:
        reply = websocket(request, lambda message: [str(len(message))], max_size=None)
        body = reply.body

        def slowly() -> Iterator[bytes | Pause]:
            while not resume.is_set():
                yield Pause(0.01)
            assert not isinstance(body, bytes)
            yield from body  # type: ignore[misc]

        reply.body = slowly()
        return reply

    config = QuicConfig(stream_window=65_536, stream_window_max=65_536)
    client = make_client(start_server(tunnel=accept, config=config))
    with client.websocket("/", compression=False, timeout=specter.Timeouts(5, write=0.1)) as socket:
        with pytest.raises(specter.WriteTimeout):
            socket.send(bytes(3_000_000))
        with pytest.raises(specter.WriteTimeout):
            socket.send("not even begun")
        resume.set()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.send("next")
                break
            except specter.WriteTimeout:
                continue
        assert [socket.receive(timeout=5) for _ in range(2)] == ["3000000", "4"]


def test_both_sides_send_a_lot_before_they_read(start_server: StartServer, make_client: MakeClient) -> None:
    """The echo blocks for want of a reader while the client sends: only reading at the same time gets through."""
    small = QuicConfig(stream_window=65_536, stream_window_max=65_536, connection_window=131_072)
    client = make_client(start_server(config=small), quic=small)
    with client.websocket("/websocket", compression=False) as socket:
        received: list[str | bytes] = []
        reader = threading.Thread(target=lambda: received.extend(socket.receive(timeout=20) for _ in range(40)))
        reader.start()
        for number in range(40):
            socket.send(content(number, 50_000))
            if number % 10 == 0:
                socket.ping()
        reader.join(30)
        assert received == [content(number, 50_000) for number in range(40)]


def test_many_threads_send(client: specter.Client) -> None:
    with client.websocket("/websocket") as socket:
        threads = [
            threading.Thread(target=lambda number=number: [socket.send(f"{number} {turn}") for turn in range(50)])
            for number in range(8)
        ]
        for thread in threads:
            thread.start()
        messages = [str(socket.receive(timeout=10)) for _ in range(400)]
        for thread in threads:
            thread.join()
    assert sorted(messages) == sorted(f"{number} {turn}" for number in range(8) for turn in range(50))
    for number in range(8):
        assert [m for m in messages if m.startswith(f"{number} ")] == [f"{number} {turn}" for turn in range(50)]


def test_closing_while_another_thread_receives(client: specter.Client) -> None:
    socket = client.websocket("/websocket")
    ended: list[BaseException] = []

    def receive() -> None:
        try:
            socket.receive()
        except specter.Error as error:
            ended.append(error)

    thread = threading.Thread(target=receive)
    thread.start()
    time.sleep(0.1)
    socket.close()
    thread.join(10)
    (error,) = ended
    assert isinstance(error, specter.WebSocketClosed)
    assert (error.code, error.remote) == (1000, False)


def test_closing_without_an_answer_while_another_thread_receives(
    start_server: StartServer, make_client: MakeClient
) -> None:
    client = make_client(start_server(tunnel=raw(Pause(30))))
    socket = client.websocket("/")
    ended: list[BaseException] = []

    def receive() -> None:
        try:
            socket.receive()
        except specter.Error as error:
            ended.append(error)

    thread = threading.Thread(target=receive)
    thread.start()
    time.sleep(0.1)
    socket.close(timeout=0.2)
    thread.join(10)
    (error,) = ended
    assert isinstance(error, specter.WebSocketClosed)
    assert error.code == 1000


def test_websockets_beside_a_download(client: specter.Client, server: Server) -> None:
    sockets = [client.websocket("/websocket") for _ in range(20)]
    sizes: list[int] = []
    download = threading.Thread(target=lambda: sizes.append(len(client.get("/bytes/20000000", timeout=30).content)))
    download.start()
    for turn in range(20):
        for number, socket in enumerate(sockets):
            socket.send(f"{turn} {number}")
        for number, socket in enumerate(sockets):
            assert socket.receive(timeout=10) == f"{turn} {number}"
    download.join(60)
    for socket in sockets:
        socket.close()
    assert sizes == [20_000_000]
