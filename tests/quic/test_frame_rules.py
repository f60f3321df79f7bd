"""Each rule about a frame that the peer can break, broken by a scripted peer: the error code it must meet."""

from __future__ import annotations

import pytest

from specter._backend import frames
from specter._frame_types import (
    ConnectionClose,
    Crypto,
    DataBlocked,
    Datagram,
    Frame,
    HandshakeDone,
    MaxData,
    MaxStreamData,
    MaxStreams,
    NewConnectionId,
    NewToken,
    PathChallenge,
    PathResponse,
    Ping,
    ResetStream,
    RetireConnectionId,
    StopSending,
    Stream,
    StreamDataBlocked,
    StreamsBlocked,
)
from specter._wire import TransportErrorCode as Code
from specter.quic.config import QuicConfig
from specter.quic.connection import Connection
from specter.quic.events import CloseKind, ConnectionClosed, TokenReceived
from tests.quic.support import Pair

CID = bytes(range(8))
TOKEN = bytes(16)


def inject(connection: Connection, *said: Frame | bytes) -> None:
    """Make a connection say something it would never say."""
    for frame in said:
        data = frame if isinstance(frame, bytes) else frames.encode(frame)
        connection._core.packer.control.append((data, Ping()))


def server_says(*said: Frame | bytes, config: QuicConfig | None = None) -> tuple[Pair, ConnectionClosed | None]:
    pair = Pair(client_config=config or QuicConfig())
    pair.handshake()
    assert pair.server is not None
    stream = pair.client.open_stream()
    pair.client.write(stream, b"hello")
    pair.run(lambda: pair.server is not None and pair.server.readable(stream) == 5)
    inject(pair.server, *said)
    pair.settle(200_000_000)
    closed = [event for event in pair.events["client"] if isinstance(event, ConnectionClosed)]
    return pair, closed[0] if closed else None


BROKEN = [
    ("stream data on a stream we never opened", [Stream(4, 0, b"x", False)], Code.STREAM_STATE_ERROR),
    ("stream data on our send-only stream", [Stream(2, 0, b"x", False)], Code.STREAM_STATE_ERROR),
    ("reset of our send-only stream", [ResetStream(2, 0, 0)], Code.STREAM_STATE_ERROR),
    ("stop sending on the peer's own stream", [StopSending(3, 0)], Code.STREAM_STATE_ERROR),
    ("max stream data on the peer's own stream", [MaxStreamData(3, 9)], Code.STREAM_STATE_ERROR),
    ("max stream data on a stream we never opened", [MaxStreamData(4, 9)], Code.STREAM_STATE_ERROR),
    ("stream data blocked on our send-only stream", [StreamDataBlocked(2, 0)], Code.STREAM_STATE_ERROR),
    ("bidirectional stream above the limit", [Stream(1 + 4 * 100, 0, b"x", False)], Code.STREAM_LIMIT_ERROR),
    ("unidirectional stream above the limit", [Stream(3 + 4 * 100, 0, b"x", False)], Code.STREAM_LIMIT_ERROR),
    ("max stream data for a huge id", [MaxStreamData((1 << 62) - 3, 1)], Code.STREAM_LIMIT_ERROR),
    ("stream data beyond the stream window", [Stream(3, 1 << 20, b"x", False)], Code.FLOW_CONTROL_ERROR),
    ("final size changes", [Stream(3, 0, b"abc", True), Stream(3, 0, b"abcd", True)], Code.FINAL_SIZE_ERROR),
    ("data behind the final size", [Stream(3, 0, b"abc", True), Stream(3, 5, b"d", False)], Code.FINAL_SIZE_ERROR),
    ("reset below what arrived", [Stream(3, 0, b"abc", False), ResetStream(3, 0, 1)], Code.FINAL_SIZE_ERROR),
    ("reset beyond the window", [ResetStream(3, 0, 1 << 30)], Code.FLOW_CONTROL_ERROR),
    ("crypto data far ahead", [Crypto(1 << 20, b"x")], Code.CRYPTO_BUFFER_EXCEEDED),
    ("finished message once more", [Crypto(0, b"\x14\x00\x00\x20" + bytes(32))], 0x100 + 10),
    ("retire prior to above the sequence", [b"\x18\x01\x02\x08" + CID + TOKEN], Code.FRAME_ENCODING_ERROR),
    ("empty connection id", [b"\x18\x07\x00\x00" + TOKEN], Code.FRAME_ENCODING_ERROR),
    (
        "too many connection ids",
        [NewConnectionId(n, 0, bytes([n]) * 8, bytes([n]) * 16) for n in range(20, 30)],
        Code.CONNECTION_ID_LIMIT_ERROR,
    ),
    ("retirement of an id never issued", [RetireConnectionId(77)], Code.PROTOCOL_VIOLATION),
    ("retirement of the id in use", [RetireConnectionId(0)], Code.PROTOCOL_VIOLATION),
    ("empty token", [b"\x07\x00"], Code.FRAME_ENCODING_ERROR),
    ("datagram without its parameter", [Datagram(b"x")], Code.PROTOCOL_VIOLATION),
    ("max streams beyond 2^60", [b"\x12" + ((1 << 60) + 1 | 3 << 62).to_bytes(8, "big")], Code.FRAME_ENCODING_ERROR),
    ("unknown frame type", [b"\x21"], Code.FRAME_ENCODING_ERROR),
    ("long form of a frame type", [b"\x40\x01"], Code.PROTOCOL_VIOLATION),
    ("acknowledgment of what was never sent", [b"\x02\x80\x0f\xff\xff\x00\x00\x00"], Code.PROTOCOL_VIOLATION),
]


@pytest.mark.parametrize(("said", "code"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_a_broken_rule_closes_with_its_code(said: list[Frame | bytes], code: int) -> None:
    pair, closed = server_says(*said)
    assert closed is not None, "the client went on"
    assert (closed.kind, closed.error_code) == (CloseKind.LOCAL, code)
    told = [event for event in pair.events["server"] if isinstance(event, ConnectionClosed)]
    assert (told[0].kind, told[0].error_code) == (CloseKind.REMOTE, code)


ALLOWED = [
    ("blocked frames", [DataBlocked(1), StreamsBlocked(1, True), StreamDataBlocked(0, 1)]),
    ("handshake done again", [HandshakeDone()]),
    ("limits that do not rise", [MaxData(0), MaxStreamData(0, 0), MaxStreams(0, False)]),
    ("unexpected path response", [PathResponse(bytes(8))]),
    ("data again after the end", [Stream(3, 0, b"abc", True), Stream(3, 0, b"abc", True)]),
    ("reset after the end", [Stream(3, 0, b"abc", True), ResetStream(3, 1, 3)]),
    ("connection id repeated", [NewConnectionId(9, 0, CID, TOKEN), NewConnectionId(9, 0, CID, TOKEN)]),
]


@pytest.mark.parametrize("said", [case[1] for case in ALLOWED], ids=[case[0] for case in ALLOWED])
def test_what_is_allowed_changes_nothing(said: list[Frame | bytes]) -> None:
    if isinstance(said[0], NewConnectionId):
        config = QuicConfig(active_connection_id_limit=16)
        _, closed = server_says(*said, config=config)
    else:
        _, closed = server_says(*said)
    assert closed is None


@pytest.mark.parametrize("said", [HandshakeDone(), NewToken(b"token")])
def test_a_client_must_not_say_what_only_servers_say(said: Frame) -> None:
    pair = Pair()
    pair.handshake()
    inject(pair.client, said)
    pair.run(lambda: any(isinstance(event, ConnectionClosed) for event in pair.events["server"]))
    closed = next(event for event in pair.events["server"] if isinstance(event, ConnectionClosed))
    assert closed.error_code == Code.PROTOCOL_VIOLATION


def test_a_packet_without_frames_is_a_violation() -> None:
    pair = Pair()
    pair.handshake()
    core = pair.server._core  # type: ignore[union-attr]
    start = core.batch.begin()
    keys = core.packer.keys
    assert keys is not None
    slab = core.batch.slab
    slab[start] = 0x40 | (3)
    slab[start + 1 : start + 9] = core.packer.dcid
    slab[start + 9 : start + 13] = core.app.sent.next_pn.to_bytes(4, "big")
    end = keys.seal(core.batch.view, start, start + 9, 4, start + 13, core.app.sent.next_pn)
    core.app.sent.record(core.app.sent.next_pn, pair.now, end - start, False, False)
    core.batch.commit(end, None)
    pair.run(lambda: any(isinstance(event, ConnectionClosed) for event in pair.events["client"]))
    closed = next(event for event in pair.events["client"] if isinstance(event, ConnectionClosed))
    assert closed.error_code == Code.PROTOCOL_VIOLATION


def test_tokens_are_handed_on() -> None:
    pair, closed = server_says(NewToken(b"for next time"))
    assert closed is None
    assert TokenReceived(b"for next time") in pair.events["client"]


def test_path_challenges_are_answered_in_full_datagrams() -> None:
    pair = Pair()
    pair.handshake()
    assert pair.server is not None
    core = pair.server._core
    core.paths.validate(core.path, pair.now)
    before = len(pair.log)
    pair.run(lambda: core.path.validator.state.value == "validated")
    sizes = [len(data) for from_client, data in pair.log[before:] if from_client]
    assert 1200 in sizes


def test_a_flood_of_path_challenges_is_answered_within_bounds() -> None:
    pair, closed = server_says(*[PathChallenge(n.to_bytes(8, "big")) for n in range(2000)])
    assert closed is None
    assert len(pair.client._core.packer.control) <= 16


@pytest.mark.parametrize(
    ("said", "kind", "code"),
    [
        (ConnectionClose(0x0A, 0x06, b"gone", False), CloseKind.REMOTE, 0x0A),
        (ConnectionClose(0x100, 0, b"bye", True), CloseKind.REMOTE, 0x100),
    ],
)
def test_the_peers_close_ends_in_silence(said: ConnectionClose, kind: CloseKind, code: int) -> None:
    pair = Pair()
    pair.handshake()
    assert pair.server is not None
    inject(pair.server, said)
    pair.run(lambda: any(isinstance(event, ConnectionClosed) for event in pair.events["client"]))
    closed = next(event for event in pair.events["client"] if isinstance(event, ConnectionClosed))
    assert (closed.kind, closed.error_code, closed.reason) == (kind, code, bytes(said.reason).decode())
    assert not len(pair.client.send(pair.now))
