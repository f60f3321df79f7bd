"""A packer and a receiver on both ends of the same keys, with a scripted owner."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

SUITE = 0x1301
SECRET = bytes(range(32))
CID = b"destined"
NOW = 1_000_000


class Owner:
    """Notes what reaches the connection."""

    def __init__(self, twins: SimpleNamespace) -> None:
        self.twins = twins
        self.frames: list[object] = []
        self.opened: list[int] = []
        self.undecryptable: list[int] = []
        self.key_updates = 0
        self.refuse: set[int] = set()
        self.receiver: Any = None

    def on_frame(self, frame: object, now: int) -> None:
        self.frames.append(frame)

    def on_new_stream(self, stream_id: int) -> Any:
        self.opened.append(stream_id)
        if stream_id in self.refuse:
            return None
        buffer = self.twins.reassembly.RecvBuffer(100_000)
        self.receiver.streams[stream_id] = buffer
        return buffer

    def on_key_update(self, now: int) -> None:
        self.key_updates += 1

    def on_undecryptable(self, batch: object, index: int, now: int) -> None:
        self.undecryptable.append(index)


class End:
    """One direction's packer and the receiver at its other end."""

    def __init__(self, twins: SimpleNamespace, *, threshold: int = 2, capacity: int = 64) -> None:
        self.twins = twins
        self.out = twins.batch.SendBatch(capacity)
        self.acks = twins.acks.AckTracker(False, threshold, threshold, 1 << 30, 25_000_000)
        self.sent = twins.sent.SentPackets()
        self.packer = twins.datapath.Packer(self.out, self.acks, self.sent)
        self.packer.dcid = CID
        self.sealer = twins.protection.PacketProtection(SUITE, SECRET)
        self.opener = twins.protection.PacketProtection(SUITE, SECRET)
        self.packer.keys = self.sealer
        self.packer.data_limit = 1 << 20
        self.owner = Owner(twins)
        self.receiver = twins.datapath.Receiver(self.owner, self.acks, self.packer, 8)
        self.owner.receiver = self.receiver
        self.receiver.keys = self.opener
        self.receiver.cids = {CID}
        self.receiver.data_limit = 1 << 20
        self.number = 0

    def seal(self, payload: bytes, *, number: int | None = None, cid: bytes = CID, first: int = 0x43) -> bytes:
        if number is None:
            number, self.number = self.number, self.number + 1
        head = bytes([first]) + cid + number.to_bytes(4, "big")
        buffer = bytearray(head + payload + bytes(16))
        self.sealer.seal(buffer, 0, 9, 4, len(buffer) - 16, number)
        return bytes(buffer)

    def run(self, *datagrams: bytes, now: int = NOW) -> int:
        burst = self.twins.batch.ReceiveBatch(max(2 * len(datagrams), 8))
        for data in datagrams:
            burst.append(data)
        result: int = self.receiver.run(burst, 0, now)
        burst.slab[:] = bytes(len(burst.slab))
        return result

    def buffer(self, stream_id: int, data: bytes = b"", *, fin: bool = False, limit: int = 1 << 20) -> Any:
        buffer = self.twins.sendbuffer.SendBuffer(stream_id, limit)
        if data:
            buffer.write(data)
        if fin:
            buffer.finish()
        if buffer.has_pending:
            self.packer.enqueue(buffer)
        return buffer

    def fill(self, allowance: int = 1 << 20, size: int = 1200, now: int = NOW) -> list[list[Any]]:
        """Pack what waits; return the frames of each datagram."""
        self.packer.fill(now, allowance, size)
        return self.delivered()

    def delivered(self) -> list[list[Any]]:
        found = []
        for data, _, _ in self.out.deliver():
            assert len(data) <= 1452
            plain = bytearray(data)
            _, start, end, _ = self.opener.open(plain, 0, 9, len(plain), self.sent.next_pn - 2)
            found.append(self.twins.frames.decode(bytes(plain), start, end))
        return found


def encode(end: End, *said: object) -> bytes:
    return b"".join(frame if isinstance(frame, bytes) else end.twins.frames.encode(frame) for frame in said)
