"""Packets stay where they belong and leave nothing behind: not a byte, not a reference.

``SPECTER_PACKETS`` says how many (200,000).
"""

from __future__ import annotations

import ctypes
import gc
import os
import random
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from specter._frame_types import (
    Ack,
    ConnectionClose,
    Crypto,
    Datagram,
    EcnCounts,
    MaxStreamData,
    NewConnectionId,
    NewToken,
    PathChallenge,
    Ping,
    ResetStream,
    Stream,
)
from specter._wire import TransportError
from tests.twins.compare import outcome, resident, same

NAMES = ("protection", "frames", "reassembly", "acks", "sent", "sendbuffer", "batch", "datapath")
PACKETS = int(os.environ.get("SPECTER_PACKETS") or 200_000)
MILLISECOND = 1_000_000
SUITE = 0x1301
SECRETS = (bytes(range(32)), bytes(range(32, 64)))
CID = bytes(range(100, 108))
ADDRESS = ("192.0.2.1", 4433)
WINDOW = 1 << 60
STREAM_SIZE = 60_000
BROKEN = (b"", b"\x1f", b"\x40\x06", b"\x0f\x04\x00\x7f\xff", b"\x02\x05\x00\x00\x09", b"\x18\x01\x00\x00", b"\x06\x00")
"""No frames, no such type, a type not minimally encoded, and frames that are cut short or contradict themselves."""


MALLOC_FIELDS = (
    *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
)


class Token:
    """Remembered with a packet until it is acknowledged or lost."""


def ranges(news: object) -> list[tuple[int, int, int, bool]]:
    """The stream data that an ``Acked`` or ``Lost`` is about."""
    rest = [(token[0], token[1], token[1] + token[2], token[3]) for token in news.tokens if type(token) is tuple]
    return news.streams + rest


class End:
    """One side of a connection: everything that the hot path is made of, and what its owner does."""

    def __init__(self, twins: SimpleNamespace, sealing: bytes, opening: bytes) -> None:
        self.twins = twins
        self.out = twins.batch.SendBatch()
        self.burst = twins.batch.ReceiveBatch()
        self.acks = twins.acks.AckTracker(False, 2, 10, 100, 25 * MILLISECOND)
        self.sent = twins.sent.SentPackets()
        self.packer = twins.datapath.Packer(self.out, self.acks, self.sent)
        self.packer.dcid = CID
        self.packer.address = ADDRESS
        self.packer.data_limit = WINDOW
        self.receiver = twins.datapath.Receiver(self, self.acks, self.packer, len(CID))
        self.receiver.cids = {CID}
        self.receiver.address = ADDRESS
        self.receiver.data_limit = WINDOW
        self.packer.keys = twins.protection.PacketProtection(SUITE, sealing)
        self.receiver.keys = twins.protection.PacketProtection(SUITE, opening)
        self.budget = twins.reassembly.SegmentBudget()
        self.sending: dict[int, object] = {}
        self.seen = dict.fromkeys(("frames", "updates", "undecryptable", "bytes", "lost", "finished"), 0)

    def on_frame(self, frame: object, now: int) -> None:
        self.seen["frames"] += 1
        if type(frame) is Ack:
            self.settle(self.sent.acknowledge(frame.ranges, now), self.sent.detect_lost(now, 20 * MILLISECOND))

    def on_new_stream(self, stream_id: int) -> object:
        if stream_id % 16 == 12:
            return None
        buffer = self.twins.reassembly.RecvBuffer(WINDOW, self.budget)
        self.receiver.streams[stream_id] = buffer
        return buffer

    def on_key_update(self, now: int) -> None:
        self.seen["updates"] += 1

    def on_undecryptable(self, batch: object, index: int, now: int) -> None:
        self.seen["undecryptable"] += 1

    def settle(self, acked: object, lost: object) -> None:
        for stream_id, start, end, fin in ranges(acked):
            buffer = self.sending.get(stream_id)
            if buffer is not None:
                buffer.acked(start, end, fin)
                if buffer.done:
                    del self.sending[stream_id]
                    self.seen["finished"] += 1
        for stream_id, start, end, fin in ranges(lost):
            self.seen["lost"] += 1
            buffer = self.sending.get(stream_id)
            if buffer is not None:
                buffer.lost(start, end, fin)
                self.packer.enqueue(buffer)

    def upload(self, stream_id: int, data: bytes, token: Token) -> None:
        buffer = self.sending[stream_id] = self.twins.sendbuffer.SendBuffer(stream_id, WINDOW)
        buffer.write(data)
        buffer.finish()
        self.packer.enqueue(buffer)
        for frame in (Ping(), MaxStreamData(4, 1 << 30), NewConnectionId(3, 1, CID, bytes(16))):
            self.packer.control.append((self.twins.frames.encode(frame), token))

    def receive(self, datagrams: list[bytes], now: int) -> None:
        self.burst.clear()
        for data in datagrams:
            self.burst.append(data, ADDRESS, 0)
        assert self.receiver.run(self.burst, 0, now) == len(datagrams)
        for stream_id in self.receiver.touched:
            buffer = self.receiver.streams[stream_id]
            self.seen["bytes"] += len(buffer.read(-1 if stream_id % 8 else 5000))
            if buffer.complete:
                self.seen["bytes"] += len(buffer.read())
                if stream_id % 3:
                    buffer.discard()
        self.receiver.touched.clear()


class Line:
    """Two ends, a line that drops, repeats and spoils datagrams, and a third end that only hears nonsense."""

    def __init__(self, twins: SimpleNamespace, token: Token) -> None:
        self.random = random.Random(20261122)
        self.twins = twins
        self.token = token
        self.client = End(twins, *SECRETS)
        self.server = End(twins, *reversed(SECRETS))
        self.victim = End(twins, *SECRETS)
        self.nonsense = twins.protection.PacketProtection(SUITE, SECRETS[1])
        self.count = self.number = self.turns = 0
        self.now = 1_000_000_000
        self.next_stream = 0
        self.data = self.random.randbytes(STREAM_SIZE)

    def run(self, packets: int) -> None:
        goal = self.count + packets
        while self.count < goal:
            self.turn()

    def settle(self) -> None:
        """Let everything on its way arrive, so that two moments can be compared."""
        for _ in range(1000):
            self.turn(upload=False)
            if not self.client.sending:
                break
        for end in (self.client, self.server, self.victim):
            end.sent.discard()
            end.burst.clear()
            end.out.clear()
            end.receiver.streams.clear()
        assert not self.client.sending

    def turn(self, upload: bool = True) -> None:
        self.now += 10 * MILLISECOND
        while upload and len(self.client.sending) < 3:
            self.client.upload(self.next_stream, self.data, self.token)
            self.next_stream += 4
        self.client.packer.control.append((b"\x01", self.token))  # a PING: the last packets may be lost too
        self.carry(self.client, self.server)
        self.turns += 1
        if self.turns % 50 == 0:
            self.client.packer.keys.update()
            self.server.packer.keys.update()
        self.carry(self.server, self.client)
        self.harass()

    def carry(self, source: End, target: End) -> None:
        source.packer.fill(self.now, 1 << 20, 1200)
        arriving: list[bytes] = []
        for datagram, _, _ in source.out.deliver():
            kind = self.random.random()
            if kind < 0.01:
                continue
            spoilt = bytearray(datagram)
            if kind < 0.02:
                spoilt[self.random.randrange(10, len(spoilt))] ^= 1
            arriving += [bytes(spoilt)] * (2 if kind > 0.98 else 1)
            if kind > 0.97:
                arriving[-2:] = arriving[:-3:-1]
        target.receive(arriving, self.now)
        self.count += len(arriving)

    def harass(self) -> None:
        victim = self.victim
        for _ in range(6):
            stream = Stream(self.random.randrange(40), self.random.randrange(1 << 16), b"hi", False)
            payload = (
                victim.twins.frames.encode(stream)
                + self.random.choice(BROKEN)
                + self.random.randbytes(self.random.randrange(40))
            )
            self.number += 1
            header = b"\x43" + CID + self.number.to_bytes(4, "big")
            packet = bytearray(header + payload + bytes(16))
            self.nonsense.seal(packet, 0, 9, 4, len(packet) - 16, self.number)
            victim.burst.clear()
            victim.burst.append(packet, ADDRESS, self.random.randrange(4))
            try:
                victim.receiver.run(victim.burst, 0, self.now)
            except TransportError as error:
                victim.seen["frames"] += error.code > 0
            self.count += 1
        if self.random.random() < 0.2:
            self.number += 1
            victim.receiver.streams.clear()
        victim.receiver.touched.clear()
        victim.out.clear()


class MallocState(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in MALLOC_FIELDS]


def heap() -> int:
    """Bytes that ``malloc`` gave out and has not got back; all of the process where that is not known."""
    process = ctypes.CDLL(None)
    if hasattr(process, "__sanitizer_get_current_allocated_bytes"):
        counter = process.__sanitizer_get_current_allocated_bytes
        counter.restype = ctypes.c_size_t
        return int(counter())
    if hasattr(process, "mallinfo2"):
        process.mallinfo2.restype = MallocState
        state = process.mallinfo2()
        return int(state.uordblks + state.hblkhd)
    return resident()


def census(*witnesses: object) -> tuple[list[int], int, int]:
    gc.collect()
    return [sys.getrefcount(witness) for witness in witnesses], sys.getallocatedblocks(), heap()


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_packets_leave_nothing_behind(twins) -> None:
    compiled = SimpleNamespace(**{name: twins(name).compiled for name in NAMES})
    token = Token()
    line = Line(compiled, token)
    witnesses = (token, CID, ADDRESS, line.client, line.server, line.victim, Ack, Ping, TransportError)
    line.run(PACKETS // 10)
    line.settle()
    references, blocks, size = census(*witnesses)
    line.run(PACKETS)
    line.settle()
    after, blocks_after, size_after = census(*witnesses)
    assert after == references
    assert blocks_after - blocks < 1000
    assert size_after - size < 1 << 19
    assert min(line.client.seen["lost"], line.client.seen["finished"], line.server.seen["undecryptable"]) > 1000
    assert line.victim.seen["frames"] > 1000
    assert line.server.seen["updates"] > 50
    assert line.server.seen["bytes"] > 500 * PACKETS


FAR = 1 << 22
SLAB = 64 * 1536


def loaded(twins, kind: str) -> End:
    """An end with something to send and a datagram that arrived."""
    end = End(SimpleNamespace(**{name: getattr(twins(name), kind) for name in NAMES}), *SECRETS)
    end.upload(0, bytes(100_000), Token())
    end.burst.append(b"\x43" + CID + bytes(1200), ADDRESS)
    return end


@pytest.mark.parametrize(
    "arguments",
    [(FAR, FAR + 1200), (-5000, 1200), (1200, 0), (0, FAR), (0, 1200, FAR), (SLAB, SLAB), (SLAB - 40, SLAB), (0, SLAB)],
    ids=str,
)
def test_nothing_is_packed_outside_the_batch(twins, arguments) -> None:
    reference, compiled = loaded(twins, "reference"), loaded(twins, "compiled")
    same(lambda *a: reference.packer.packet(0, *a), lambda *a: compiled.packer.packet(0, *a), *arguments)


@pytest.mark.parametrize("room", range(1, 60))
def test_the_last_packet_of_a_batch_stays_in_it(twins, room: int) -> None:
    def pack(kind: str, *frames: bytes) -> object:
        end = End(SimpleNamespace(**{name: getattr(twins(name), kind) for name in NAMES}), *SECRETS)
        end.packer.control.extend((frame, None) for frame in frames)
        return outcome(end.packer.packet, 0, SLAB - room, SLAB)

    for frames in ((b"\x01",), (b"\x01",) * 3, (bytes(20),)):
        assert pack("compiled", *frames) == pack("reference", *frames)


@pytest.mark.parametrize(
    "span",
    [(0, FAR), (-FAR, 1200), (FAR, FAR + 10), (FAR, 0), (5, 5), (5, 0), *((3, 3 + size) for size in range(32))],
    ids=str,
)
def test_nothing_is_read_outside_the_batch(twins, span) -> None:
    reference, compiled = loaded(twins, "reference"), loaded(twins, "compiled")
    same(
        lambda *a: reference.receiver.packet(reference.burst, *a, 0, 0),
        lambda *a: compiled.receiver.packet(compiled.burst, *a, 0, 0),
        *span,
    )
    assert compiled.receiver.keys.failed == reference.receiver.keys.failed


def test_odd_positions_and_lengths(twins) -> None:
    end = loaded(twins, "compiled")
    assert outcome(end.receiver.run, end.burst, -FAR, 0)[0] is IndexError
    assert end.receiver.run(end.burst, FAR, 0) == FAR
    with pytest.raises(ValueError, match="negative connection id length"):
        type(end.receiver)(end, end.acks, end.packer, -1)
    with pytest.raises(AttributeError):
        end.receiver.cid_length = -1
    end.receiver.last_cid = None
    assert end.receiver.run(end.burst, 0, 0) == 1
    end.packer.dcid = bytes(FAR)
    assert end.packer.fill(0, 1 << 40, 1200) == 0


FRAMES = (
    Ack(((8, 9), (1, 2)), 77, EcnCounts(1, 2, 300)),
    Stream(4, 70_000, b"data", True),
    Crypto(16_000, b"hello"),
    NewConnectionId(3, 1, CID, bytes(16)),
    NewToken(bytes(70)),
    ConnectionClose(0x1234, 6, b"reason", False),
    ResetStream(4, 1 << 40, 1 << 20),
    Datagram(b"quick"),
    PathChallenge(bytes(8)),
)


def mutations(frames, rng: random.Random) -> Iterator[bytes]:
    """Payloads: whole, cut anywhere, with bytes changed, and with padding of every length behind."""
    encoded = [frames.encode(frame) for frame in FRAMES]
    for payload in encoded:
        yield from (payload[:size] for size in range(1, len(payload) + 1))
        yield from (payload + bytes(size) for size in range(24))
    yield from (bytes(size) for size in range(1, 40))
    for _ in range(20_000):
        payload = bytearray(b"".join(rng.choices(encoded, k=rng.randrange(1, 4))))
        for _ in range(rng.randrange(3)):
            payload[rng.randrange(len(payload))] = rng.choice((0, 1, 0x3F, 0x40, 0x80, 0xC0, 0xFF, rng.randrange(256)))
        yield bytes(payload[: rng.randrange(1, len(payload) + 1)])


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "__asan_poison_memory_region"), reason="runs with AddressSanitizer")
def test_not_a_byte_behind_a_payload_is_read(twins) -> None:
    """The bytes around a payload are made unreadable: a parser that looks at one ends the process."""
    frames = twins("frames").compiled
    process = ctypes.CDLL(None)
    slab = bytearray(2048)
    address = ctypes.addressof(ctypes.c_char.from_buffer(slab))
    start = 512 - address % 8
    for payload in mutations(frames, random.Random(20261122)):
        end = start + len(payload)
        slab[start:end] = payload
        process.__asan_poison_memory_region(ctypes.c_void_p(address + start - 64), ctypes.c_size_t(64))
        process.__asan_poison_memory_region(ctypes.c_void_p(address + end), ctypes.c_size_t(256))
        outcome(frames.decode, slab, start, end)
        process.__asan_unpoison_memory_region(ctypes.c_void_p(address), ctypes.c_size_t(len(slab)))
