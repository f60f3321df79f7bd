"""A burst-by-burst recording of sealed 1-RTT packets, the same for every twin and for the bare cipher."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Final

from specter._reference import frames
from specter._reference.protection import AES_128_GCM_SHA256, TAG_SIZE, PacketProtection, expand_label

CID: Final = bytes(range(8))
SIZE: Final = 1200
BURST: Final = 64
NUMBER_SIZE: Final = 2
HASHES: Final = {0x1301: 32, 0x1302: 48, 0x1303: 32}
KEY_SIZES: Final = {0x1301: 16, 0x1302: 32, 0x1303: 32}


def secret(suite: int) -> bytes:
    """Return the traffic secret of all recordings of a cipher suite."""
    return bytes(HASHES[suite])


def key_and_iv(suite: int) -> tuple[bytes, bytes]:
    """Return what QUIC derives from ``secret`` (RFC 9001, section 5.1)."""
    key = expand_label(suite, secret(suite), b"quic key", KEY_SIZES[suite])
    return key, expand_label(suite, secret(suite), b"quic iv", 12)


@dataclass(slots=True)
class Packets:
    """Packets in one buffer: where each starts, where its payload starts, where it ends, and its number."""

    data: bytearray = field(default_factory=bytearray)
    starts: array[int] = field(default_factory=lambda: array("q"))
    payloads: array[int] = field(default_factory=lambda: array("q"))
    ends: array[int] = field(default_factory=lambda: array("q"))
    numbers: array[int] = field(default_factory=lambda: array("q"))

    def __len__(self) -> int:
        return len(self.starts)

    def datagrams(self) -> list[bytes]:
        return [bytes(self.data[start:end]) for start, end in zip(self.starts, self.ends, strict=True)]


@dataclass(frozen=True, slots=True)
class Burst:
    """One burst twice: as it is on the wire, and with clear headers for a cipher that knows no header protection."""

    sealed: Packets
    clear: Packets
    datagrams: list[bytes]
    body: int
    """Bytes of stream data in it."""


@dataclass(slots=True)
class Recorder:
    """Writes bursts that continue each other: packet numbers and stream offsets go on.

    ``streams`` ids take turns, packet by packet.
    """

    suite: int = AES_128_GCM_SHA256
    streams: int = 1
    size: int = SIZE
    number: int = 0
    keys: PacketProtection = field(init=False)
    offsets: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.keys = PacketProtection(self.suite, secret(self.suite))
        self.offsets = [0] * self.streams

    def burst(self, count: int) -> Burst:
        """Return the next ``count`` packets."""
        sealed, clear = Packets(), Packets()
        body = sum(self._packet(sealed, clear) for _ in range(count))
        return Burst(sealed, clear, sealed.datagrams(), body)

    def _packet(self, sealed: Packets, clear: Packets) -> int:
        index = self.number % self.streams
        header = bytes((0x40 | (NUMBER_SIZE - 1),)) + CID + (self.number & 0xFFFF).to_bytes(NUMBER_SIZE, "big")
        # The length field takes two bytes for any length here.
        frame = frames.encode_stream_header(4 * index, self.offsets[index], 0x3FFF, False)
        length = self.size - TAG_SIZE - len(header) - len(frame)
        frame = frames.encode_stream_header(4 * index, self.offsets[index], length, False)
        plain = header + frame + bytes([self.number & 0xFF]) * length
        packet = bytearray(plain + bytes(TAG_SIZE))
        self.keys.seal(packet, 0, 1 + len(CID), NUMBER_SIZE, len(plain), self.number)
        _append(sealed, packet, len(header), self.number)
        packet[: len(header)] = header
        _append(clear, packet, len(header), self.number)
        self.offsets[index] += length
        self.number += 1
        return length


def _append(packets: Packets, data: bytearray, header: int, number: int) -> None:
    start = len(packets.data)
    packets.data += data
    packets.starts.append(start)
    packets.payloads.append(start + header)
    packets.ends.append(start + len(data))
    packets.numbers.append(number)


def record(bursts: int, count: int, *, streams: int = 1, suite: int = AES_128_GCM_SHA256) -> list[Burst]:
    """Return ``bursts`` consecutive bursts of ``count`` packets of 1,200 bytes."""
    recorder = Recorder(suite, streams)
    return [recorder.burst(count) for _ in range(bursts)]
