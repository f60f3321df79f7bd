"""The 1-RTT hot path: a receive burst digested in place, and datagrams packed and sealed in place.

``Receiver`` composes packet protection, frames, reassembly and acknowledgment; ``Packer`` composes
send buffers, the sent-packet table and packet protection. Whatever is uncommon goes to the connection
through the two protocols below.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from specter._frame_types import Ack, ConnectionClose, Frame, NewConnectionId, PathChallenge, PathResponse
from specter._reference import frames
from specter._reference.acks import AckTracker
from specter._reference.batch import SLOT, Address, ReceiveBatch, SendBatch
from specter._reference.protection import TAG_SIZE, DecryptError, PacketProtection
from specter._reference.reassembly import RecvBuffer
from specter._reference.sendbuffer import SendBuffer
from specter._reference.sent import SentPackets
from specter._wire import TransportError, TransportErrorCode

__all__ = ["Observer", "Packer", "Receiver", "ReceiverOwner", "StreamRange"]

LONG_HEADER = 0x80
FIXED_BIT = 0x40
SPIN_BIT = 0x20
SHORT_RESERVED_BITS = 0x18
KEY_PHASE_BIT = 0x04

PADDING_TYPE = 0x00
PING_TYPE = 0x01
STREAM_TYPES = 0x08
STREAM_MASK = 0xF8
STREAM_FIN = 0x01

PROBING_FRAMES = (PathChallenge, PathResponse, NewConnectionId)

StreamRange = tuple[int, int, int, bool]
"""``(stream id, offset, length, fin)`` of one STREAM frame."""


class ReceiverOwner(Protocol):
    """What the connection does with the uncommon."""

    def on_frame(self, frame: Frame, now: int) -> None:
        """Handle any frame but STREAM, PADDING and PING."""

    def on_new_stream(self, stream_id: int) -> RecvBuffer | None:
        """Return the buffer of a stream not in the table, None when its data is to be ignored.

        Raises:
            TransportError: the peer may not use this stream.
        """

    def on_key_update(self, now: int) -> None:
        """The peer moved to the next key phase."""

    def on_undecryptable(self, batch: ReceiveBatch, index: int, now: int) -> None:
        """Handle a datagram that no key opens: count it, or see the stateless reset in it."""


class Observer(Protocol):
    """Looks on, packet by packet: the frames are ``view[start:end]``, unprotected, of a packet of ``size`` bytes."""

    def received(self, first: int, number: int, view: memoryview, start: int, end: int, size: int) -> None:
        """A packet was opened; ``first`` is its first byte without protection."""

    def duplicate(self, number: int, size: int) -> None:
        """A packet was opened that had come before."""

    def sent(self, first: int, number: int, view: memoryview, start: int, end: int, size: int) -> None:
        """A packet is about to be sealed."""


class Receiver:
    """Opens and digests the 1-RTT packets of one connection.

    ``streams`` holds the receive buffers by stream id. After a run, ``touched`` names the streams with
    news (data in order, or their end), each once, in the order of the first news.
    """

    __slots__ = (
        "_acks",
        "_owner",
        "_packer",
        "_updates",
        "address",
        "cid_length",
        "cids",
        "data_limit",
        "data_received",
        "keys",
        "last_cid",
        "observer",
        "packets",
        "probing",
        "streams",
        "touched",
    )

    def __init__(self, owner: ReceiverOwner, acks: AckTracker, packer: Packer, cid_length: int) -> None:
        self._owner = owner
        self._acks = acks
        self._packer = packer
        self._updates = 0
        self.keys: PacketProtection | None = None
        self.cids: set[bytes] = set()
        self.cid_length = cid_length
        self.last_cid = b""
        """The id that the packet at hand was sent to."""
        self.address: Address = None
        self.probing = False
        """Whether the last packet had nothing but probing frames and padding (RFC 9000, section 9.1)."""
        self.streams: dict[int, RecvBuffer] = {}
        self.touched: dict[int, None] = {}
        self.data_received = 0
        self.data_limit = 0
        self.packets = 0
        self.observer: Observer | None = None

    def run(self, batch: ReceiveBatch, index: int, now: int) -> int:
        """Digest datagrams from ``index`` on; return the first one that is not a 1-RTT packet of this path.

        Raises:
            TransportError: the peer broke a rule; the rest of the batch is not looked at.
        """
        while index < len(batch):
            start, end = batch.span(index)
            if not self._is_ours(batch, index, start, end):
                return index
            try:
                self.packet(batch, start, end, batch.ecn(index), now)
            except DecryptError:
                self._owner.on_undecryptable(batch, index, now)
            index += 1
        return index

    def _is_ours(self, batch: ReceiveBatch, index: int, start: int, end: int) -> bool:
        if self.keys is None or start == end or batch.slab[start] & (LONG_HEADER | FIXED_BIT) != FIXED_BIT:
            return False
        cid = bytes(batch.view[start + 1 : start + 1 + self.cid_length])
        if cid not in self.cids or batch.address(index) != self.address:
            return False
        self.last_cid = cid
        return True

    def packet(self, batch: ReceiveBatch, start: int, end: int, ecn: int, now: int) -> None:
        """Open and digest the 1-RTT packet at ``slab[start:end]``.

        Raises:
            DecryptError: it does not open.
            TransportError: the peer broke a rule.
            ValueError: the packet is not within the batch.
        """
        keys = self.keys
        if keys is None:
            raise DecryptError("no 1-RTT keys yet")
        number, pos, payload_end, first = keys.open(
            batch.view, start, start + 1 + self.cid_length, end, self._acks.largest
        )
        if first & SHORT_RESERVED_BITS:
            raise TransportError(TransportErrorCode.PROTOCOL_VIOLATION, "reserved header bits are set")
        if self._acks.is_duplicate(number):
            if self.observer is not None:
                self.observer.duplicate(number, end - start)
            return
        if self.observer is not None:
            self.observer.received(first, number, batch.view, pos, payload_end, end - start)
        if keys.updates != self._updates:
            self._updates = keys.updates
            self._owner.on_key_update(now)
        self.packets += 1
        eliciting = self._digest(batch.view, pos, payload_end, now)
        if self._acks.record(number, now, eliciting, ecn):
            self._packer.ack(now)

    def _digest(self, view: memoryview, pos: int, end: int, now: int) -> bool:
        """Handle each frame of a payload; return whether the packet asks for an acknowledgment."""
        if pos == end:
            raise TransportError(TransportErrorCode.PROTOCOL_VIOLATION, "a packet without frames")
        eliciting, probing = False, True
        while pos < end:
            kind = view[pos]
            if kind & STREAM_MASK == STREAM_TYPES:
                stream_id, offset, start, pos = frames.parse_stream(view, pos + 1, end, kind)
                self._stream(stream_id, offset, view[start:pos], bool(kind & STREAM_FIN))
                eliciting, probing = True, False
            elif kind == PADDING_TYPE:
                pos = frames.parse_padding(view, pos, end)
            elif kind == PING_TYPE:
                pos += 1
                eliciting, probing = True, False
            else:
                frame, pos = frames.decode_frame(view, pos, end)
                if type(frame) is not Ack and type(frame) is not ConnectionClose:
                    eliciting = True
                if not isinstance(frame, PROBING_FRAMES):
                    probing = False
                self._owner.on_frame(frame, now)
        self.probing = probing
        return eliciting

    def _stream(self, stream_id: int, offset: int, data: memoryview, fin: bool) -> None:
        buffer = self.streams.get(stream_id)
        if buffer is None:
            buffer = self._owner.on_new_stream(stream_id)
            if buffer is None:
                return
        before = buffer.readable
        growth = buffer.receive(offset, data, fin)
        self.count(growth)
        if buffer.readable != before or buffer.complete or (growth and buffer.discarded):
            self.touched[stream_id] = None

    def count(self, growth: int) -> None:
        """Count bytes against the connection's receive window.

        Raises:
            TransportError: FLOW_CONTROL_ERROR.
        """
        self.data_received += growth
        if self.data_received > self.data_limit:
            reason = f"{self.data_received} bytes sent, {self.data_limit} allowed"
            raise TransportError(TransportErrorCode.FLOW_CONTROL_ERROR, reason)


class Packer:
    """Packs, seals and records 1-RTT packets.

    ``control`` holds encoded ack-eliciting frames that wait to leave, each with the token to remember until
    its packet is acknowledged or lost.
    Tokens in the sent table are: a frame, an ``int`` (the newest packet number that an ACK of ours
    covered), or a ``StreamRange`` beyond the packet's first.
    """

    __slots__ = (
        "_acks",
        "_batch",
        "_ecn",
        "_queue",
        "_queued",
        "_sent",
        "_stalled",
        "ack_delay_exponent",
        "address",
        "blocked",
        "control",
        "data_limit",
        "data_sent",
        "dcid",
        "keys",
        "observer",
        "packets",
        "skip_at",
        "spin",
    )

    def __init__(self, batch: SendBatch, acks: AckTracker, sent: SentPackets) -> None:
        self._batch = batch
        self._acks = acks
        self._sent = sent
        self._queue: deque[SendBuffer] = deque()
        self._queued: set[int] = set()
        self._stalled: dict[int, SendBuffer] = {}
        self.keys: PacketProtection | None = None
        self.dcid = b""
        self.address: Address = None
        self._ecn = 0
        self.spin = 0
        self.ack_delay_exponent = 3
        self.control: deque[tuple[bytes, object]] = deque()
        self.blocked: list[SendBuffer] = []
        """Streams that ran into the peer's MAX_STREAM_DATA since the owner last looked; at most one entry each."""
        self.data_sent = 0
        self.data_limit = 0
        self.skip_at = -1
        self.packets = 0
        self.observer: Observer | None = None

    @property
    def ecn(self) -> int:
        """The ECN codepoint that datagrams leave with."""
        return self._ecn

    @ecn.setter
    def ecn(self, codepoint: int) -> None:
        self._ecn = codepoint
        self._sent.marking = codepoint != 0

    # -- what waits -------------------------------------------------------------------------------

    def enqueue(self, buffer: SendBuffer) -> None:
        """Schedule a stream that has something to send; harmless when it is scheduled already."""
        if buffer.stream_id not in self._queued:
            self._stalled.pop(buffer.stream_id, None)
            self._queued.add(buffer.stream_id)
            self._queue.append(buffer)

    def remove(self, buffer: SendBuffer) -> None:
        """Unschedule a stream."""
        self._stalled.pop(buffer.stream_id, None)
        if buffer.stream_id in self._queued:
            self._queued.discard(buffer.stream_id)
            self._queue.remove(buffer)

    def clear(self) -> None:
        """Forget everything that waits to leave."""
        self.control.clear()
        self.blocked.clear()
        self._queue.clear()
        self._queued.clear()
        self._stalled.clear()

    def raise_limit(self, maximum: int) -> bool:
        """Apply MAX_DATA; return whether it raised the limit."""
        if maximum <= self.data_limit:
            return False
        self.data_limit = maximum
        stalled, self._stalled = self._stalled, {}
        for buffer in stalled.values():
            self.enqueue(buffer)
        return True

    @property
    def stalled(self) -> bool:
        """Whether stream data waits for connection flow control."""
        return bool(self._stalled)

    def has_work(self, now: int) -> bool:
        """Return whether a packet would carry anything."""
        return self.keys is not None and (bool(self.control or self._queue) or self._acks.due(now))

    # -- packets ----------------------------------------------------------------------------------

    def ack(self, now: int) -> None:
        """Seal an ACK-only datagram now; it leaves with the next flush. Waits when the batch is full.

        It bears no ECN mark: nobody would notice if marked datagrams vanished.
        """
        if self.keys is None or self._batch.full:
            return
        start = self._batch.begin()
        payload = start + 1 + len(self.dcid) + self._number_length()
        limit = start + 1200 - TAG_SIZE
        pos = self._put_ack(payload, limit, now)
        if pos > payload:
            self._sent.marking = False
            self._batch.commit(self._seal(start, payload, pos, now), self.address, 0)
            self._sent.marking = self._ecn != 0

    def probe(self, now: int, data: bytes, size: int, token: object) -> int:
        """Seal a datagram of its own: the encoded frames ``data``, padded to ``size`` bytes.

        It weighs nothing: it is not in flight, and no probe timeout waits for it. ``token`` tells of its fate.
        Returns its size, 0 when the batch is full or there are no keys.

        Raises:
            ValueError: the frames, or the datagram, are too large.
        """
        if self.keys is None or self._batch.full:
            return 0
        start = self._batch.begin()
        payload = start + 1 + len(self.dcid) + self._number_length()
        pos, padded = payload + len(data), start + size - TAG_SIZE
        if not pos <= padded or size > SLOT:
            raise ValueError("packet outside the batch")
        self._batch.slab[payload:pos] = data
        self._batch.slab[pos:padded] = bytes(padded - pos)
        end = self._seal(start, payload, padded, now, False, True, [token], weightless=True)
        self._batch.commit(end, self.address, self._ecn)
        return end - start

    def fill(self, now: int, allowance: int, size: int) -> int:
        """Pack datagrams of up to ``size`` bytes while ``allowance`` bytes cover a whole one.

        Returns the bytes that count as in flight.
        """
        used = 0
        while allowance - used >= size and not self._batch.full and self.has_work(now):
            start = self._batch.begin()
            in_flight = self._sent.bytes_in_flight
            end = self.packet(now, start, start + size)
            if end == start:
                break
            self._batch.commit(end, self.address, self._ecn)
            used += self._sent.bytes_in_flight - in_flight
        return used

    def packet(self, now: int, start: int, limit: int, pad_to: int = 0) -> int:
        """Build one packet at ``slab[start:limit]``: ACK, control frames, stream data.

        Padded to end at ``pad_to`` when that is further. Returns its end, ``start`` when there was nothing to say.

        Raises:
            ValueError: that is not within the batch.
        """
        if not 0 <= start <= limit <= len(self._batch.slab) or pad_to > len(self._batch.slab):
            raise ValueError("packet outside the batch")
        payload = start + 1 + len(self.dcid) + self._number_length()
        room = limit - TAG_SIZE
        tokens: list[object] = []
        pos = payload
        if self._acks.pending:
            pos = self._put_ack(pos, room, now)
            if pos > payload:
                tokens.append(self._acks.largest)
        after_ack = pos
        pos = self._put_control(pos, room, tokens)
        pos, stream = self._put_streams(pos, room, tokens)
        if pos == payload:
            return start
        eliciting = pos > after_ack
        padded = pad_to - TAG_SIZE
        if padded > pos:
            self._batch.slab[pos:padded] = bytes(padded - pos)
            pos = padded
        return self._seal(start, payload, pos, now, eliciting, eliciting or pad_to > 0, tokens, stream)

    def _number_length(self) -> int:
        number = self._next_number()
        unacknowledged = number - self._sent.largest_acked
        if unacknowledged <= 1 << 7:
            return 1
        if unacknowledged <= 1 << 15:
            return 2
        return 3 if unacknowledged <= 1 << 23 else 4

    def _next_number(self) -> int:
        if self._sent.next_pn == self.skip_at:
            self._sent.skip(self.skip_at)
            self.skip_at = -1
        return self._sent.next_pn

    def _put_ack(self, pos: int, room: int, now: int) -> int:
        data = self._acks.encode(now, self.ack_delay_exponent, room - pos)
        if not data:
            return pos
        self._acks.sent(now)
        self._batch.slab[pos : pos + len(data)] = data
        return pos + len(data)

    def _put_control(self, pos: int, room: int, tokens: list[object]) -> int:
        control = self.control
        while control and pos + len(control[0][0]) <= room:
            data, frame = control.popleft()
            self._batch.slab[pos : pos + len(data)] = data
            pos += len(data)
            tokens.append(frame)
        return pos

    def _put_streams(self, pos: int, room: int, tokens: list[object]) -> tuple[int, StreamRange | None]:
        """Fill the packet with stream data, each scheduled stream at most once; full packets pass the turn on."""
        first: StreamRange | None = None
        for _ in range(len(self._queue)):
            buffer = self._queue[0]
            header = 3 + frames.varint_size(max(buffer.stream_id, 0)) + frames.varint_size(buffer.sent_offset)
            if room - pos <= header:
                break
            piece = buffer.next_range(room - pos - header, self.data_limit - self.data_sent)
            if piece is None:
                self._unschedule(buffer)
                continue
            pos = self._put_stream(pos, buffer, *piece)
            entry = (buffer.stream_id, *piece)
            if first is None:
                first = entry
            else:
                tokens.append(entry)
            if buffer.has_pending:
                self._queue.rotate(-1)
            else:
                self._unschedule(buffer)
        return pos, first

    def _put_stream(self, pos: int, buffer: SendBuffer, offset: int, length: int, fin: bool) -> int:
        slab = self._batch.slab
        if buffer.stream_id < 0:
            header = frames.encode_crypto_header(offset, length)
        else:
            header = frames.encode_stream_header(buffer.stream_id, offset, length, fin)
            self.data_sent += max(0, offset + length - buffer.sent_offset)
        slab[pos : pos + len(header)] = header
        pos += len(header)
        slab[pos : pos + length] = buffer.take(offset, length, fin)
        return pos + length

    def _unschedule(self, buffer: SendBuffer) -> None:
        """Take the stream at the head out; it comes back with new data, a raised limit or a loss."""
        self._queue.popleft()
        self._queued.discard(buffer.stream_id)
        if buffer.has_pending:
            self._stalled[buffer.stream_id] = buffer
        elif buffer.blocked:
            self.blocked.append(buffer)

    def _seal(
        self,
        start: int,
        payload: int,
        pos: int,
        now: int,
        eliciting: bool = False,
        in_flight: bool = False,
        tokens: list[object] | None = None,
        stream: StreamRange | None = None,
        weightless: bool = False,
    ) -> int:
        keys = self.keys
        if keys is None:
            raise ValueError("no 1-RTT keys")
        number = self._sent.next_pn
        number_offset = start + 1 + len(self.dcid)
        length = payload - number_offset
        slab = self._batch.slab
        least = payload + 4 - length
        while pos < least:
            slab[pos] = 0
            pos += 1
        slab[start] = FIXED_BIT | self.spin | (keys.key_phase and KEY_PHASE_BIT) | (length - 1)
        slab[start + 1 : number_offset] = self.dcid
        slab[number_offset:payload] = (number & (1 << 8 * length) - 1).to_bytes(length, "big")
        if self.observer is not None:
            self.observer.sent(slab[start], number, self._batch.view, payload, pos, pos + TAG_SIZE - start)
        end = keys.seal(self._batch.view, start, number_offset, length, pos, number)
        size = 0 if weightless else end - start
        self._sent.record(number, now, size, eliciting, in_flight, tuple(tokens or ()), stream)
        self.packets += 1
        return end
