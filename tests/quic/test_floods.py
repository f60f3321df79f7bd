"""Any frame, again and again, with every acknowledgment withheld: memory stays where it was.

``SPECTER_FLOOD`` says how many (10,000).
"""

from __future__ import annotations

import gc
import os
import tracemalloc
from collections.abc import Callable

import pytest

from specter._frame_types import (
    Ack,
    Crypto,
    DataBlocked,
    Frame,
    HandshakeDone,
    MaxData,
    MaxStreamData,
    MaxStreams,
    NewConnectionId,
    NewToken,
    Padding,
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
from tests.quic.scripted import Scripted, connected
from tests.quic.support import Pair

FLOOD = int(os.environ.get("SPECTER_FLOOD") or 10_000)
FIRST = 2_000
PER_PACKET = 100
ROOM = 256 << 10
"""Bytes that memory may move between the first frames and the last: a window of packets not acknowledged, and noise."""


def cid(n: int) -> bytes:
    return n.to_bytes(8, "big")


def token(n: int) -> bytes:
    return n.to_bytes(16, "big")


FLOODS: dict[str, Callable[[int], Frame | bytes]] = {
    "padding": lambda n: Padding(1 + n % 7),
    "ping": lambda n: Ping(),
    "ack": lambda n: Ack(((0, n % 3),), n),
    "crypto, always the same": lambda n: Crypto(0, b"\x04\x00\x00\x01"),
    "crypto, one byte and a gap": lambda n: Crypto(2 * n + 1, b"x"),
    "tokens": lambda n: NewToken(token(n)),
    "stream data in order": lambda n: Stream(3, n, b"x", False),
    "stream data with gaps": lambda n: Stream(3 + 4 * (n % 50), 2 * (n // 50) + 1, b"x", False),
    "the same stream data": lambda n: Stream(3, 5, b"xyz", False),
    "streams opened and ended": lambda n: Stream(3 + 4 * n, 0, b"x", True),
    "streams opened and reset": lambda n: ResetStream(3 + 4 * n, n, 0),
    "resets of one stream": lambda n: ResetStream(3, n, 0),
    "stop sending everywhere": lambda n: StopSending(1 + 4 * (n % 100), n),
    "stop sending on our stream": lambda n: StopSending(0, n),
    "max data": lambda n: MaxData((1 << 40) + n),
    "max stream data": lambda n: MaxStreamData(0, (1 << 40) + n),
    "max stream data of many": lambda n: MaxStreamData(1 + 4 * (n % 100), n),
    "max streams": lambda n: MaxStreams(100 + n, bool(n & 1)),
    "data blocked": lambda n: DataBlocked(n),
    "stream data blocked": lambda n: StreamDataBlocked(3 + 4 * (n % 100), n),
    "streams blocked": lambda n: StreamsBlocked(n, bool(n & 1)),
    "new connection ids that retire the last": lambda n: NewConnectionId(n + 10, n + 10, cid(n), token(n)),
    "new connection ids, far apart": lambda n: NewConnectionId(10 + 100 * n, 10 + 100 * n, cid(n), token(n)),
    "old connection ids that are retired already": lambda n: NewConnectionId(n % 3, 0, cid(n), token(n)),
    "one connection id for ever": lambda n: NewConnectionId(4, 0, cid(4), token(4)),
    "retirements": lambda n: RetireConnectionId(1 + n % 3),
    "path challenges": lambda n: PathChallenge(cid(n)),
    "path responses": lambda n: PathResponse(cid(n)),
    "handshake done": lambda n: HandshakeDone(),
}


def flood(peer: Scripted, make: Callable[[int], Frame | bytes], start: int, count: int) -> None:
    for first in range(start, start + count, PER_PACKET):
        if peer.target.closing:
            return
        peer.say(*[make(n) for n in range(first, first + PER_PACKET)])
        peer.events.clear()
        for stream_id in list(peer.target._core.streams.by_id):
            peer.target.read(stream_id)
        peer.pair.now += 1_000_000
        if peer.target.next_deadline() <= peer.pair.now:
            peer.target.handle_deadline(peer.pair.now)


@pytest.mark.security
@pytest.mark.parametrize("name", FLOODS)
def test_any_frame_again_and_again(name: str) -> None:
    """The pattern behind most of the advisories: a queue that the peer fills and our window drains."""
    peer = connected(Pair(client_config=QuicConfig(idle_timeout=0)))
    peer.target.write(peer.target.open_stream(), b"hello")
    peer.target._core.streams._budget.limit = 1000
    flood(peer, FLOODS[name], 0, FIRST)
    gc.collect()
    tracemalloc.start()
    try:
        flood(peer, FLOODS[name], FIRST, FLOOD - FIRST)
        gc.collect()
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < ROOM
    if not peer.target.closing:
        assert len(peer.target._core.packer.control) < 400


@pytest.mark.security
def test_new_connection_ids_with_a_collapsed_window() -> None:
    """quic-go CVE-2024-22189; quiche CVE-2024-1410: retirements that cannot leave end the connection."""
    peer = connected()
    peer.target._core.recovery.controller.window = 0
    flood(peer, FLOODS["new connection ids that retire the last"], 0, 400)
    assert peer.closed is None or peer.closed.error_code == Code.CONNECTION_ID_LIMIT_ERROR
    assert peer.target.closing
    assert len(peer.target._core.remote_cids._queued) <= peer.target._core.remote_cids.retirement_limit


@pytest.mark.security
def test_retired_connection_ids_again_and_again() -> None:
    """quinn RUSTSEC-2026-0339; OpenSSL CVE-2026-107494: old sequence numbers and duplicates are not answered again."""
    peer = connected()
    core = peer.target._core
    peer.say(NewConnectionId(10, 10, cid(10), token(10)))
    sent = core.app.sent.next_pn
    for _ in range(200):
        peer.say(*[NewConnectionId(n % 4, 0, cid(n % 4), token(n % 4)) for n in range(PER_PACKET)])
    assert peer.closed is None
    assert len(core.remote_cids._queued) + len(core.remote_cids._in_flight) <= core.remote_cids.retirement_limit
    assert core.app.sent.ack_eliciting_in_flight <= sent
