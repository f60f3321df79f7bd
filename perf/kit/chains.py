"""The receive and the send chain of one twin without the engine around them."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter_ns
from typing import Any, Final

from perf.kit.recording import CID, Burst, secret
from perf.kit.twins import Twin
from specter._reference.protection import AES_128_GCM_SHA256
from specter.quic.config import QuicConfig

UNLIMITED: Final = 1 << 60
CONFIG: Final = QuicConfig()


class _Owner:
    """The connection's part: nothing uncommon is in the recordings."""

    def on_frame(self, frame: object, now: int) -> None:
        raise AssertionError(frame)

    def on_new_stream(self, stream_id: int) -> Any:
        raise AssertionError(stream_id)

    def on_key_update(self, now: int) -> None:
        raise AssertionError(now)

    def on_undecryptable(self, batch: object, index: int, now: int) -> None:
        raise AssertionError(index)


def _tracker(twin: Twin) -> Any:
    config = CONFIG
    return twin.acks.AckTracker(
        False, config.ack_threshold, config.ack_threshold_bulk, config.ack_bulk_after, config.max_ack_delay
    )


class ReceiveChain:
    """Unmask, open, decode, ACK bookkeeping, reassembly, delivery: ``datapath.Receiver`` and a reader of the body."""

    def __init__(self, twin: Twin, bursts: Sequence[Burst], streams: int = 1, *, group: int = 1) -> None:
        """``group`` bursts, each a batch of its own, are measured together: for those too short to be timed alone."""
        suite = AES_128_GCM_SHA256
        self._twin = twin
        self._bursts = bursts
        self._streams = streams
        self._keys = twin.protection.PacketProtection(suite, secret(suite))
        self._seal_keys = twin.protection.PacketProtection(suite, secret(suite))
        self._batches = [twin.batch.ReceiveBatch() for _ in range(group)]
        self._next = 0
        self._now = 0
        self._restart()

    def _restart(self) -> None:
        """Begin the recording again, with everything but the keys new."""
        twin = self._twin
        acks = _tracker(twin)
        self._outgoing = twin.batch.SendBatch()
        packer = twin.datapath.Packer(self._outgoing, acks, twin.sent.SentPackets())
        packer.keys = self._seal_keys
        packer.dcid = CID
        receiver = twin.datapath.Receiver(_Owner(), acks, packer, len(CID))
        receiver.keys = self._keys
        receiver.cids = {CID}
        receiver.data_limit = UNLIMITED
        receiver.streams = {4 * n: twin.reassembly.RecvBuffer(UNLIMITED) for n in range(self._streams)}
        self._receiver = receiver
        self._next = 0

    def _load(self, batch: Any) -> int:
        """Put the next burst into a batch, as a socket would; return the bytes of stream data in it."""
        burst = self._bursts[self._next]
        self._next += 1
        self._now += 1_000_000
        batch.clear()
        for datagram in burst.datagrams:
            batch.append(datagram)
        return burst.body

    def _run(self, batch: Any) -> int:
        """Digest a batch and read what came; return the bytes."""
        receiver = self._receiver
        streams = receiver.streams
        receiver.run(batch, 0, self._now)
        size = 0
        for stream_id in receiver.touched:
            size += len(streams[stream_id].read())
        receiver.touched.clear()
        return size

    def measure(self) -> float:
        """Return the nanoseconds that the next group of bursts took."""
        batches = self._batches
        if self._next + len(batches) > len(self._bursts):
            self._restart()
        body = sum(self._load(batch) for batch in batches)
        size = 0
        begin = perf_counter_ns()
        for batch in batches:
            size += self._run(batch)
        spent = perf_counter_ns() - begin
        self._outgoing.deliver()
        if size != body:
            raise RuntimeError(f"{size} of {body} bytes arrived")
        return spent


class SendChain:
    """A write into a stream, then packing, sealing and recording of full datagrams: ``datapath.Packer``."""

    def __init__(self, twin: Twin, count: int, *, group: int = 1) -> None:
        """``group`` bursts of ``count`` packets are measured together."""
        suite, size = AES_128_GCM_SHA256, 1200
        self._group = group
        self._keys = twin.protection.PacketProtection(suite, secret(suite))
        self._count = count
        self._size = size
        self._sent = twin.sent.SentPackets()
        self._batch = twin.batch.SendBatch()
        self._packer = twin.datapath.Packer(self._batch, _tracker(twin), self._sent)
        self._packer.keys = self._keys
        self._packer.dcid = CID
        self._packer.data_limit = UNLIMITED
        self._stream = twin.sendbuffer.SendBuffer(0, UNLIMITED)
        # First byte, connection id, packet number, STREAM header and tag leave this much; the last packet may be short.
        self._data = bytes(range(256)) * (1 + count * size // 256)
        self._data = self._data[: count * (size - 1 - len(CID) - 4 - 14 - 16)]
        self._now = 0

    def _run(self) -> int:
        """Write and pack; return the bytes of the datagrams."""
        self._stream.write(self._data)
        self._packer.enqueue(self._stream)
        self._packer.fill(self._now, UNLIMITED, self._size)
        batch: Any = self._batch.deliver()
        return int(batch.size)

    def measure(self) -> float:
        """Return the nanoseconds that the bursts took, scaled to datagrams that are all full.

        The acknowledgment that frees the buffers comes before the clock starts.
        """
        self._acknowledge()
        size = 0
        begin = perf_counter_ns()
        for _ in range(self._group):
            size += self._run()
        spent = perf_counter_ns() - begin
        return spent * (self._group * self._count * self._size) / size

    def _acknowledge(self) -> None:
        self._now += 1_000_000
        if self._sent.next_pn:
            acked = self._sent.acknowledge([(0, self._sent.next_pn - 1)], self._now)
            for _, start, end, fin in acked.streams:
                self._stream.acked(start, end, fin)
