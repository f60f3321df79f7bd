"""Any frame, over and over, from a peer that never acknowledges: memory and time stay bounded.

Most advisories against QUIC stacks are one mistake: a queue that the peer fills and our congestion window drains.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from specter._backend import batch as batches
from specter._backend import frames
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
from specter._wire import TransportErrorCode
from specter.quic.connection import Connection
from specter.quic.events import CloseKind, ConnectionClosed
from specter.testing.pair import Pair

FRAMES_PER_PACKET = 40
PACKETS = 300
GROWTH_LIMIT = 400_000
"""Bytes of lasting growth; 12,000 frames that each left 33 bytes would be as much."""

SEGMENTS = ("CRYPTO with gaps", "STREAM with gaps", "STREAM reversed")
SEGMENTS_LIMIT = 5_000_000
"""16,384 segments may wait; the pure-Python twin takes some 230 bytes for each."""

Frames = Callable[[int, int], Frame]
"""Makes the n-th frame; the second argument is the first bidirectional stream id of the attacker."""


def new_id(number: int, retire: int) -> NewConnectionId:
    return NewConnectionId(number, retire, number.to_bytes(8, "big"), number.to_bytes(16, "big"))


FLOODS: dict[str, Frames] = {
    "PING": lambda n, s: Ping(),
    "PADDING": lambda n, s: Padding(20),
    "ACK": lambda n, s: Ack(((0, 0),), 0),
    "MAX_DATA": lambda n, s: MaxData(n),
    "MAX_DATA growing": lambda n, s: MaxData(1_000_000_000 + n),
    "MAX_STREAM_DATA": lambda n, s: MaxStreamData(s, 1_000_000_000 + n),
    "MAX_STREAMS": lambda n, s: MaxStreams(1_000 + n, bool(n & 1)),
    "DATA_BLOCKED": lambda n, s: DataBlocked(n),
    "STREAM_DATA_BLOCKED": lambda n, s: StreamDataBlocked(s, n),
    "STREAMS_BLOCKED": lambda n, s: StreamsBlocked(n, bool(n & 1)),
    "NEW_CONNECTION_ID retiring": lambda n, s: new_id(n + 10, n + 10),
    "NEW_CONNECTION_ID old": lambda n, s: new_id(10, 10) if n == 0 else new_id(1 + n % 9, 0),
    "NEW_CONNECTION_ID repeated": lambda n, s: new_id(10, 10),
    "NEW_CONNECTION_ID sparse": lambda n, s: new_id(10 + 1_000 * n, 10 + 1_000 * n),
    "RETIRE_CONNECTION_ID": lambda n, s: RetireConnectionId(3),
    "PATH_CHALLENGE": lambda n, s: PathChallenge(n.to_bytes(8, "big")),
    "PATH_RESPONSE": lambda n, s: PathResponse(n.to_bytes(8, "big")),
    "NEW_TOKEN": lambda n, s: NewToken(n.to_bytes(20, "big")),
    "HANDSHAKE_DONE": lambda n, s: HandshakeDone(),
    "CRYPTO far ahead": lambda n, s: Crypto(1 << 20, b"x"),
    "CRYPTO with gaps": lambda n, s: Crypto(100 + 2 * n, b"x"),
    "CRYPTO garbage": lambda n, s: Crypto(n, b"\x04"),
    "STREAM repeated": lambda n, s: Stream(s, 0, b"hello", False),
    "STREAM with gaps": lambda n, s: Stream(s, 10 + 2 * n, b"x", False),
    "STREAM reversed": lambda n, s: Stream(s, 2 * (FRAMES_PER_PACKET * PACKETS - n), b"x", False),
    "STREAM opening all": lambda n, s: Stream(s + 4 * n, 0, b"x", True),
    "STREAM empty": lambda n, s: Stream(s + 4 * (n % 100), 0, b"", False),
    "STREAM at the top of the window": lambda n, s: Stream(s + 4 * (n % 100), (1 << 20) - 1, b"x", False),
    "RESET_STREAM": lambda n, s: ResetStream(s + 4 * (n % 100), 1, 0),
    "RESET_STREAM opening all": lambda n, s: ResetStream(s + 4 * n, 1, 0),
    "RESET_STREAM of unidirectional streams": lambda n, s: ResetStream((s | 2) + 4 * n, 1, 0),
    "STOP_SENDING": lambda n, s: StopSending(s + 4 * (n % 100), 1),
    "STOP_SENDING opening all": lambda n, s: StopSending(s + 4 * n, 1),
    "open and give up": lambda n, s: ResetStream(s + 2 * (n - 1), 1, 0) if n & 1 else StopSending(s + 2 * n, 1),
}


class Attack:
    """A victim after its handshake, and forged packets that it believes; its answers go nowhere."""

    def __init__(self, *, victim_is_client: bool) -> None:
        pair = Pair(1)
        pair.run(lambda: pair.client.connection.confirmed)
        pair.advance(1.0)
        ends = pair.client.connection, pair.server.connection
        self.victim: Connection = ends[0] if victim_is_client else ends[1]
        self.attacker: Connection = ends[1] if victim_is_client else ends[0]
        self.first_stream = 1 if victim_is_client else 0
        self.address = self.victim.address
        self.now = pair.now
        self.sent = 0
        self.closed: ConnectionClosed | None = None
        self._numbers = count(self.attacker._core.app.sent.next_pn + 10)
        self._batch = batches.ReceiveBatch()

    def packet(self, payload: bytes) -> bytes:
        core = self.attacker._core
        keys, dcid = core.app.sealer, core.packer.dcid
        assert keys is not None
        number = next(self._numbers)
        head = bytes([0x43 | (keys.key_phase << 2)]) + dcid + (number & 0xFFFFFFFF).to_bytes(4, "big")
        buffer = bytearray(head + payload + bytes(16))
        keys.seal(memoryview(buffer), 0, 1 + len(dcid), 4, len(head) + len(payload), number)
        return bytes(buffer)

    def deliver(self, payload: bytes) -> None:
        """Hand one packet to the victim, let it answer into the void, and let 50 microseconds pass."""
        self.now += 50_000
        self._batch.clear()
        self._batch.append(self.packet(payload), self.address, 0)
        self.victim.receive(self._batch, self.now)
        if self.victim.next_deadline() <= self.now:
            self.victim.handle_deadline(self.now)
        while len(sent := self.victim.send(self.now)):
            self.sent += len(sent)
        while (event := self.victim.next_event()) is not None:
            if isinstance(event, ConnectionClosed):
                self.closed = event


def payloads(make: Frames, first_stream: int) -> Iterator[bytes]:
    for packet in range(PACKETS):
        numbers = range(packet * FRAMES_PER_PACKET, (packet + 1) * FRAMES_PER_PACKET)
        yield b"".join(frames.encode(make(number, first_stream)) for number in numbers)


@pytest.mark.security
@pytest.mark.parametrize("name", FLOODS)
@pytest.mark.parametrize("victim_is_client", [True, False], ids=["client", "server"])
def test_a_flood_of(name: str, victim_is_client: bool) -> None:
    attack = Attack(victim_is_client=victim_is_client)
    flood = list(payloads(FLOODS[name], attack.first_stream))
    for payload in flood[: PACKETS // 10]:
        attack.deliver(payload)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for payload in flood[PACKETS // 10 :]:
        if attack.closed is None:
            attack.deliver(payload)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < (SEGMENTS_LIMIT if name in SEGMENTS else GROWTH_LIMIT)
    assert attack.sent <= 3 * PACKETS
    assert attack.victim.stats.packets_dropped == 0
    if attack.closed is not None:
        assert attack.closed.kind is CloseKind.LOCAL
        assert attack.closed.error_code != TransportErrorCode.INTERNAL_ERROR or attack.closed.reason == "too many gaps"


@pytest.mark.security
@pytest.mark.parametrize("name", ["STREAM reversed", "PATH_CHALLENGE", "NEW_CONNECTION_ID old", "STOP_SENDING", "PING"])
def test_the_time_of_a_flood_is_linear(name: str) -> None:
    attack = Attack(victim_is_client=True)
    flood = list(payloads(FLOODS[name], attack.first_stream))
    times: list[float] = []
    for half in (flood[: PACKETS // 2], flood[PACKETS // 2 :]):
        begin = time.perf_counter()
        for payload in half:
            attack.deliver(payload)
        times.append(time.perf_counter() - begin)
    assert times[1] < 4 * times[0] + 0.2


@pytest.mark.security
def test_every_other_packet_lost_for_ever() -> None:
    """aioquic#549: thousands of ACK ranges do not overflow our own ACK frame."""
    attack = Attack(victim_is_client=True)
    for _ in range(10_000):
        next(attack._numbers)
        attack.deliver(b"\x01")
        assert attack.closed is None


@pytest.mark.security
def test_acknowledgments_that_nobody_acknowledges() -> None:
    """OpenSSL CVE-2026-63075: what we remember of ACK-only packets is bounded."""
    attack = Attack(victim_is_client=True)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(10_000):
        attack.deliver(b"\x01")
    assert tracemalloc.get_traced_memory()[0] - before < 300_000
    tracemalloc.stop()
