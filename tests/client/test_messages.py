"""Messages to frames and back (RFC 6455): a client's end against a server's, byte by byte, and against broken peers."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate

from specter.client.messages import Message, Messages
from specter.errors import WebSocketClosed


def ends(max_size: int | None = 1 << 20, *, deflate: bool = False) -> tuple[Messages, Messages]:
    made = []
    for client in (True, False):
        extensions = [PerMessageDeflate(False, False, 15, 15)] if deflate else []
        made.append(Messages(client=client, max_size=max_size, extensions=extensions))
    return made[0], made[1]


def wire(messages: Messages) -> bytes:
    """Take all that waits to be sent."""
    data = b""
    while frame := messages.current:
        data += frame
        messages.sent(len(frame))
    return data


def put(messages: Messages, message: str | bytes | Iterable[str] | Iterable[bytes]) -> bytes:
    return b"".join(wire(messages) for _ in messages.encode(message))


def received(messages: Messages) -> list[Message]:
    return list(iter(messages.next, None))  # type: ignore[arg-type]


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bool = False) -> bytes:
    """Return a server's frame of less than 64 KiB, masked with zeros if ``mask``."""
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
    head = bytes([fin << 7 | rsv << 4 | opcode, length[0] | mask << 7]) + length[1:]
    return head + (bytes(4) if mask else b"") + payload


MESSAGES = st.one_of(st.text(max_size=300), st.binary(max_size=300))


@given(st.lists(MESSAGES, max_size=8), st.integers(1, 50), st.booleans())
def test_round_trip_in_pieces(sent: list[str | bytes], step: int, deflate: bool) -> None:
    client, server = ends(deflate=deflate)
    for source, target in ((client, server), (server, client)):
        data = b"".join(put(source, message) for message in sent)
        for start in range(0, len(data), step):
            target.feed(data[start : start + step])
        assert received(target) == sent
        assert target.is_open


@given(st.lists(st.text(max_size=20), max_size=10), st.booleans())
def test_fragments(parts: list[str], deflate: bool) -> None:
    client, server = ends(deflate=deflate)
    server.feed(put(client, parts))
    server.feed(put(client, [part.encode() for part in parts]))
    text, data = "".join(parts), "".join(parts).encode()
    assert received(server) == [text if parts else b"", data]


@pytest.mark.parametrize("message", ["text", b"bytes", ["a", "b"]])
def test_a_client_masks_every_frame_with_a_new_key(message: str | bytes | list[str]) -> None:
    client, server = ends()
    first, second = put(client, message), put(client, message)
    assert first[1] & 0x80
    assert first != second
    assert not put(server, message)[1] & 0x80


def test_compressed_messages_are_smaller() -> None:
    client, server = ends(deflate=True)
    data = put(client, b"again and " * 1_000)
    assert len(data) < 200
    server.feed(data)
    assert received(server) == [b"again and " * 1_000]


@pytest.mark.parametrize("wrong", [5, ["text", b"bytes"], [b"bytes", "text"], [1], {"a": 1}.values()])
def test_what_is_no_message(wrong: object) -> None:
    client, _ = ends()
    with pytest.raises(TypeError):
        put(client, wrong)  # type: ignore[arg-type]
    assert client.is_open == (wrong not in (["text", b"bytes"], [b"bytes", "text"]))


def test_a_message_that_nobody_can_finish() -> None:
    def fragments() -> Iterable[bytes]:
        yield b"one"
        yield b"two"
        raise RuntimeError("no three")

    client, server = ends()
    with pytest.raises(RuntimeError):
        put(client, fragments())
    server.feed(wire(client))
    assert server.over
    assert server.closed().code == 1011
    with pytest.raises(WebSocketClosed):
        put(client, "more")


# -- control frames -----------------------------------------------------------------------------------


def test_ping_and_pong() -> None:
    client, server = ends()
    client.ping(b"are you there")
    server.feed(wire(client))
    client.feed(wire(server))
    assert list(client.pongs) == [b"are you there"]
    with pytest.raises(ValueError, match="125"):
        client.ping(bytes(126))


@pytest.mark.security
def test_only_the_last_ping_is_answered() -> None:
    """Pings that come faster than pongs can leave do not fill the memory."""
    client, server = ends()
    for number in range(10_000):
        client.feed(frame(9, number.to_bytes(4, "big")))
    data = wire(client)
    assert len(data) == 2 + 4 + 4
    server.feed(data)
    assert list(server.pongs) == [(9_999).to_bytes(4, "big")]


def test_a_pong_does_not_get_into_the_middle_of_a_frame() -> None:
    client, server = ends()
    for _ in client.encode(b"x" * 1_000):
        head = bytes(client.current[:10])
        client.sent(10)
        client.feed(frame(9, b"ping"))
        server.feed(head + wire(client))
    assert received(server) == [b"x" * 1_000]
    assert list(server.pongs) == [b"ping"]


def test_control_frames_between_fragments() -> None:
    client, _ = ends()
    client.feed(frame(1, b"one ", fin=False) + frame(9, b"p") + frame(10, b"q") + frame(0, b"two"))
    assert received(client) == ["one two"]
    assert list(client.pongs) == [b"q"]


# -- closing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client_first", [True, False])
@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "going"), (3000, "x" * 100), (4999, "\u00e4")])
def test_the_closing_handshake(client_first: bool, code: int, reason: str) -> None:
    first, second = ends() if client_first else reversed(ends())
    first.close(code, reason)
    second.feed(wire(first))
    assert second.over
    assert not second.is_open
    assert not first.over
    first.feed(wire(second))
    assert first.over
    assert (first.closed().code, first.closed().reason, first.closed().remote) == (code, reason, False)
    assert (second.closed().code, second.closed().reason, second.closed().remote) == (code, reason, True)
    second.close(1000, "")
    assert wire(second) == b""


def test_both_close_at_once() -> None:
    client, server = ends()
    client.close(1000, "mine")
    server.close(1001, "theirs")
    ours, theirs = wire(client), wire(server)
    client.feed(theirs)
    server.feed(ours)
    assert client.over
    assert server.over
    assert client.closed().reason == "mine"


def test_a_close_frame_without_a_code() -> None:
    client, _ = ends()
    client.feed(frame(8))
    assert (client.closed().code, client.closed().remote) == (1005, True)


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1100, 2999, 5000, 70_000])
def test_codes_that_cannot_be_sent(code: int) -> None:
    client, _ = ends()
    with pytest.raises(ValueError, match=r"code"):
        client.close(code, "")
    assert client.is_open


def test_a_reason_that_is_too_long() -> None:
    client, _ = ends()
    with pytest.raises(ValueError, match="123"):
        client.close(1000, "\u00e4" * 62)


def test_an_end_without_a_close_frame() -> None:
    client, _ = ends()
    client.feed(frame(2, b"half", fin=False))
    client.feed(b"")
    assert client.over
    assert (client.closed().code, client.closed().remote) == (1006, True)
    assert not client.failed


def test_what_comes_after_close_is_dropped() -> None:
    client, _ = ends()
    client.feed(frame(8, b"\x03\xe8") + frame(1, b"late"))
    client.feed(frame(1, b"later"))
    client.feed(b"")
    assert received(client) == []


# -- broken peers ---------------------------------------------------------------------------------------


BROKEN = {
    "masked frame from a server": (frame(1, b"x", mask=True), 1002),
    "reserved bit": (frame(1, b"x", rsv=4), 1002),
    "reserved bit 2": (frame(2, b"x", rsv=2), 1002),
    "reserved opcode": (frame(3, b"x"), 1002),
    "reserved control opcode": (frame(11), 1002),
    "fragmented ping": (frame(9, fin=False), 1002),
    "long ping": (frame(9, bytes(126)), 1002),
    "continuation of nothing": (frame(0, b"x"), 1002),
    "message within a message": (frame(1, b"x", fin=False) + frame(1, b"y"), 1002),
    "close with one byte": (frame(8, b"\x03"), 1002),
    "close with code 999": (frame(8, b"\x03\xe7"), 1002),
    "close with code 1006": (frame(8, b"\x03\xee"), 1002),
    "close with a reason that is no text": (frame(8, b"\x03\xe8\xff"), 1007),
    "text that is no UTF-8": (frame(1, b"\xc3\x28"), 1007),
    "text cut inside of a character": (frame(1, b"\xe2\x82"), 1007),
    "surrogates": (frame(1, b"\xed\xa0\x80"), 1007),
    "text that is none over two fragments": (frame(1, b"\xe2", fin=False) + frame(0, b"\x28\xa1"), 1007),
    "too large": (frame(2, bytes(2_001)), 1009),
    "too large in fragments": (frame(2, bytes(1_500), fin=False) + frame(0, bytes(501)), 1009),
    "an announced length of 2^63": (b"\x82\x7f" + b"\x80" + bytes(7), 1009),
}


@pytest.mark.security
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_peer(name: str) -> None:
    data, code = BROKEN[name]
    client, server = ends(2_000)
    client.feed(data)
    assert client.failed
    assert client.over
    assert received(client) == []
    assert (client.closed().code, client.closed().remote) == (code, False)
    server.feed(wire(client))
    assert server.closed().code == code
    client.feed(frame(1, b"more"))
    client.feed(b"")
    assert received(client) == []


def deflated(data: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    return (deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.security
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(2, deflated(bytes(20_000_000)), rsv=4), 1009),
        (frame(2, deflated(bytes(1_500)), rsv=4, fin=False) + frame(0, deflated(bytes(5_000_000))), 1009),
        (frame(2, b"\xff\xff\xff", rsv=4), 1002),
        (frame(9, b"x", rsv=4), 1002),
        (frame(2, deflated(b"x"), rsv=4, fin=False) + frame(0, b"x", rsv=4), 1002),
    ],
)
def test_broken_compression(data: bytes, code: int) -> None:
    """A small frame that unpacks to much more than the limit is noticed before it is unpacked."""
    client, _ = ends(2_000, deflate=True)
    client.feed(data)
    assert client.failed
    assert client.closed().code == code
    assert received(client) == []


@pytest.mark.security
def test_empty_fragments_without_end() -> None:
    client, _ = ends(2_000)
    client.feed(frame(1, b"x", fin=False))
    for _ in range(2_000):
        client.feed(frame(0, fin=False) * 10)
    client.feed(frame(0))
    assert received(client) == ["x"]


@pytest.mark.security
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes(data: bytes, deflate: bool) -> None:
    client, _ = ends(100, deflate=deflate)
    client.feed(data)
    client.feed(b"")
    assert client.over
    assert all(len(message) <= 100 for message in received(client))
    assert isinstance(client.closed(), WebSocketClosed)
