# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: embedsignature=True
"""The 1-RTT hot path; ``specter._reference.datapath`` is the specification.

Nothing in here makes a Python object for a packet that carries only STREAM frames of open streams, padding and
PING, nor for a datagram that carries only new data of one stream.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from collections import deque

from specter._frame_types import Ack, ConnectionClose, NewConnectionId, PathChallenge, PathResponse
from specter._reference.datapath import Observer, ReceiverOwner, StreamRange
from specter._reference.protection import DecryptError
from specter._speedups.acks cimport AckTracker
from specter._speedups.batch cimport ReceiveBatch, SendBatch
from specter._speedups.frames cimport (
    decode_at,
    parse_stream_frame,
    put_crypto_header,
    put_stream_header,
    skip_padding,
    varint_length,
)
from specter._speedups.protection cimport PacketProtection
from specter._speedups.reassembly cimport RecvBuffer
from specter._speedups.sendbuffer cimport SendBuffer
from specter._speedups.sent cimport SentPackets
from specter._wire import TransportError, TransportErrorCode

__all__ = ["Observer", "Packer", "Receiver", "ReceiverOwner", "StreamRange"]

cdef enum:
    LONG_HEADER = 0x80
    FIXED_BIT = 0x40
    SHORT_RESERVED_BITS = 0x18
    KEY_PHASE_BIT = 0x04
    TAG = 16
    SLOT = 1536
    ACK_ROOM = 1200

    PADDING_TYPE = 0x00
    PING_TYPE = 0x01
    STREAM_TYPES = 0x08
    STREAM_MASK = 0xF8


@cython.final
cdef class Receiver:
    """Opens and digests the 1-RTT packets of one connection."""

    def __init__(self, owner, AckTracker acks not None, Packer packer not None, int cid_length):
        if cid_length < 0:
            raise ValueError("negative connection id length")
        self._owner = owner
        self._acks = acks
        self._packer = packer
        self._updates = 0
        self._keys = None
        self._recent = None
        self._trusted = False
        self._recent_id = -1
        self._recent_touched = False
        self.cids = set()
        self.cid_length = cid_length
        self.last_cid = b""
        self.address = None
        self.streams = {}
        self.touched = {}
        self.data_received = 0
        self.data_limit = 0
        self.probing = False
        self.packets = 0
        self.observer = None

    @property
    def keys(self):
        return self._keys

    @keys.setter
    def keys(self, PacketProtection value):
        self._keys = value

    def run(self, ReceiveBatch batch not None, Py_ssize_t index, int64_t now):
        """Digest datagrams from ``index`` on; return the first one that is not a 1-RTT packet of this path.

        Raises:
            TransportError: the peer broke a rule; the rest of the batch is not looked at.
        """
        cdef Py_ssize_t start, end
        if index < 0:
            raise IndexError("list index out of range")
        self._recent = None
        self._trusted = False
        while index < batch.count:
            start = batch.starts[index]
            end = batch.ends[index]
            if not self._is_ours(batch, index, start, end):
                return index
            if self.c_packet(batch, start, end, batch.ecns[index], now) < 0:
                self._owner.on_undecryptable(batch, index, now)
                self._recent = None
                self._trusted = False
            index += 1
        return index

    cdef bint _is_ours(self, ReceiveBatch batch, Py_ssize_t index, Py_ssize_t start, Py_ssize_t end) except -1:
        cdef const unsigned char *cid
        cdef bytes known = self.last_cid
        cdef int length = self.cid_length
        if self._keys is None or start == end or batch.base[start] & (LONG_HEADER | FIXED_BIT) != FIXED_BIT:
            return False
        if (
            self._trusted
            and end - start > length
            and memcmp(PyBytes_AS_STRING(known), batch.base + start + 1, length) == 0
        ):
            return True
        if end - start - 1 < length:
            length = <int>(end - start - 1)
        cid = batch.base + start + 1
        if known is None or PyBytes_GET_SIZE(known) != length or memcmp(PyBytes_AS_STRING(known), cid, length) != 0:
            known = cid[:length]
        if known not in self.cids:
            return False
        if batch.addresses is not None:
            address = batch.c_address(index)
            if address is not self.address and address != self.address:
                return False
        elif self.address is not None:
            return False
        self.last_cid = known
        # Until Python code runs again, and on a connected socket, the same id needs no second look.
        self._trusted = batch.addresses is None and PyBytes_GET_SIZE(known) == self.cid_length
        return True

    def packet(self, ReceiveBatch batch not None, Py_ssize_t start, Py_ssize_t end, int ecn, int64_t now):
        """Open and digest the 1-RTT packet at ``slab[start:end]``.

        Raises:
            DecryptError: it does not open.
            TransportError: the peer broke a rule.
            ValueError: the packet is not within the batch.
        """
        if self._keys is None:
            raise DecryptError("no 1-RTT keys yet")
        if start < 0 or end > batch.size:
            raise ValueError("packet outside the buffer")
        if start >= end:
            self._keys.failed += 1
            raise DecryptError("packet is too short")
        self._recent = None
        self._trusted = False
        if self.c_packet(batch, start, end, ecn, now) < 0:
            short = end - start < 1 + self.cid_length + 20
            raise DecryptError("packet is too short" if short else "packet does not authenticate")

    cdef int c_packet(self, ReceiveBatch batch, Py_ssize_t start, Py_ssize_t end, int ecn, int64_t now) except -2:
        """As ``packet``; -1 when it does not open."""
        cdef int64_t number
        cdef Py_ssize_t pos, stop
        cdef int first, eliciting
        cdef PacketProtection keys = self._keys
        if keys.c_open(
            batch.base, start, start + 1 + self.cid_length, end, self._acks.largest, &number, &pos, &stop, &first
        ) < 0:
            return -1
        if first & SHORT_RESERVED_BITS:
            raise TransportError(TransportErrorCode.PROTOCOL_VIOLATION, "reserved header bits are set")
        if self._acks.c_is_duplicate(number):
            if self.observer is not None:
                self.observer.duplicate(number, end - start)
            return 0
        if self.observer is not None:
            self.observer.received(first, number, batch.view, pos, stop, end - start)
        if keys.updates != self._updates:
            self._updates = keys.updates
            self._owner.on_key_update(now)
            self._recent = None
            self._trusted = False
        self.packets += 1
        eliciting = self._digest(batch, pos, stop, now)
        if self._acks.c_record(number, now, eliciting, ecn):
            self._packer.c_ack(now)
        return 0

    cdef int _digest(self, ReceiveBatch batch, Py_ssize_t pos, Py_ssize_t end, int64_t now) except -1:
        """Handle each frame of a payload; return whether the packet asks for an acknowledgment."""
        cdef const unsigned char *base = batch.base
        cdef unsigned char kind
        cdef uint64_t stream_id, offset
        cdef Py_ssize_t data, length
        cdef bint fin, eliciting = False, probing = True
        if pos == end:
            raise TransportError(TransportErrorCode.PROTOCOL_VIOLATION, "a packet without frames")
        while pos < end:
            kind = base[pos]
            if kind & STREAM_MASK == STREAM_TYPES:
                parse_stream_frame(base, &pos, end, &stream_id, &offset, &data, &length, &fin)
                self._stream(base, <int64_t>stream_id, <int64_t>offset, data, length, fin)
                eliciting = True
                probing = False
            elif kind == PADDING_TYPE:
                pos = skip_padding(base, pos, end)
            elif kind == PING_TYPE:
                pos += 1
                eliciting = True
                probing = False
            else:
                frame, pos = decode_at(batch.view, base, pos, end)
                cls = type(frame)
                if cls is not Ack and cls is not ConnectionClose:
                    eliciting = True
                if cls is not PathChallenge and cls is not PathResponse and cls is not NewConnectionId:
                    probing = False
                self._owner.on_frame(frame, now)
                self._recent = None
                self._trusted = False
        self.probing = probing
        return eliciting

    cdef int _stream(
        self, const unsigned char *base, int64_t stream_id, int64_t offset, Py_ssize_t data, Py_ssize_t length, bint fin
    ) except -1:
        cdef RecvBuffer buffer = self._recent
        cdef int64_t before, growth
        if buffer is None or stream_id != self._recent_id:
            buffer = self.streams.get(stream_id)
            if buffer is None:
                buffer = self._owner.on_new_stream(stream_id)
                self._recent = None
                self._trusted = False
                if buffer is None:
                    return 0
            self._recent = buffer
            self._recent_id = stream_id
            self._recent_touched = False
        before = buffer.c_readable()
        growth = buffer.c_receive(offset, base + data, length, fin)
        self.c_count(growth)
        if not self._recent_touched and (
            buffer.c_readable() != before or buffer.c_complete() or (growth and buffer.discarded)
        ):
            self.touched[stream_id] = None
            self._recent_touched = True
        return 0

    def count(self, int64_t growth):
        """Count bytes against the connection's receive window.

        Raises:
            TransportError: FLOW_CONTROL_ERROR.
        """
        self.c_count(growth)

    cdef int c_count(self, int64_t growth) except -1:
        self.data_received += growth
        if self.data_received > self.data_limit:
            reason = f"{self.data_received} bytes sent, {self.data_limit} allowed"
            raise TransportError(TransportErrorCode.FLOW_CONTROL_ERROR, reason)
        return 0


@cython.final
cdef class Packer:
    """Packs, seals and records 1-RTT packets."""

    def __init__(self, SendBatch batch not None, AckTracker acks not None, SentPackets sent not None):
        self._batch = batch
        self._acks = acks
        self._sent = sent
        self._queue = deque()
        self._head = None
        self._waiting = 0
        self._queued = set()
        self._stalled = {}
        self._keys = None
        self._dcid = b""
        self._control = deque()
        self.address = None
        self.blocked = []
        self.ack_delay_exponent = 3
        self._ecn = 0
        self.spin = 0
        self.data_limit = 0
        self.data_sent = 0
        self.packets = 0
        self.skip_at = -1
        self.observer = None

    @property
    def keys(self):
        return self._keys

    @keys.setter
    def keys(self, PacketProtection value):
        self._keys = value

    @property
    def dcid(self):
        return self._dcid

    @dcid.setter
    def dcid(self, bytes value not None):
        self._dcid = value

    @property
    def control(self):
        return self._control

    @property
    def ecn(self):
        """The ECN codepoint that datagrams leave with."""
        return self._ecn

    @ecn.setter
    def ecn(self, int codepoint):
        self._ecn = codepoint
        self._sent.marking = codepoint != 0

    # -- what waits -------------------------------------------------------------------------------

    def enqueue(self, SendBuffer buffer not None):
        """Schedule a stream that has something to send; harmless when it is scheduled already."""
        if buffer.stream_id not in self._queued:
            self._stalled.pop(buffer.stream_id, None)
            self._queued.add(buffer.stream_id)
            self._queue.append(buffer)
            self._waiting += 1

    def remove(self, SendBuffer buffer not None):
        """Unschedule a stream."""
        self._stalled.pop(buffer.stream_id, None)
        if buffer.stream_id in self._queued:
            self._queued.discard(buffer.stream_id)
            self._queue.remove(buffer)
            self._waiting -= 1
            self._head = None

    def clear(self):
        """Forget everything that waits to leave."""
        self._control.clear()
        self.blocked.clear()
        self._queue.clear()
        self._head = None
        self._waiting = 0
        self._queued.clear()
        self._stalled.clear()

    def raise_limit(self, int64_t maximum):
        """Apply MAX_DATA; return whether it raised the limit."""
        if maximum <= self.data_limit:
            return False
        self.data_limit = maximum
        stalled, self._stalled = self._stalled, {}
        for buffer in stalled.values():
            self.enqueue(buffer)
        return True

    @property
    def stalled(self):
        """Whether stream data waits for connection flow control."""
        return bool(self._stalled)

    def has_work(self, int64_t now):
        """Return whether a packet would carry anything."""
        return self.c_has_work(now)

    cdef bint c_has_work(self, int64_t now):
        return self._keys is not None and (self._waiting > 0 or self._control or self._acks.deadline <= now)

    # -- packets ----------------------------------------------------------------------------------

    def ack(self, int64_t now):
        """Seal an ACK-only datagram now; it leaves with the next flush. Waits when the batch is full.

        It bears no ECN mark: nobody would notice if marked datagrams vanished.
        """
        self.c_ack(now)

    cdef int c_ack(self, int64_t now) except -1:
        cdef Py_ssize_t start, payload, size
        if self._keys is None or self._batch.c_full():
            return 0
        start = self._batch.c_begin()
        payload = start + 1 + PyBytes_GET_SIZE(self._dcid) + self._number_length()
        size = self._acks.c_encode(
            self._batch.base + payload, start + ACK_ROOM - TAG - payload, now, self.ack_delay_exponent
        )
        if size > 0:
            self._acks.c_sent()
            self._sent.marking = False
            size = self._seal(start, payload, payload + size, now, False, False, (), False, 0, 0, 0, False)
            self._sent.marking = self._ecn != 0
            self._batch.c_commit(size, self.address, 0)
        return 0

    def probe(self, int64_t now, bytes data not None, Py_ssize_t size, token):
        """Seal a datagram of its own: the encoded frames ``data``, padded to ``size`` bytes.

        It weighs nothing: it is not in flight, and no probe timeout waits for it. ``token`` tells of its fate.
        Returns its size, 0 when the batch is full or there are no keys.

        Raises:
            ValueError: the frames, or the datagram, are too large.
        """
        cdef Py_ssize_t start, payload, pos, padded, end
        if self._keys is None or self._batch.c_full():
            return 0
        start = self._batch.c_begin()
        payload = start + 1 + PyBytes_GET_SIZE(self._dcid) + self._number_length()
        pos = payload + PyBytes_GET_SIZE(data)
        padded = start + size - TAG
        if pos > padded or size > SLOT:
            raise ValueError("packet outside the batch")
        memcpy(self._batch.base + payload, PyBytes_AS_STRING(data), pos - payload)
        memset(self._batch.base + pos, 0, padded - pos)
        end = self._seal(start, payload, padded, now, False, True, (token,), False, 0, 0, 0, False, True)
        self._batch.c_commit(end, self.address, self._ecn)
        return end - start

    def fill(self, int64_t now, int64_t allowance, Py_ssize_t size):
        """Pack datagrams of up to ``size`` bytes while ``allowance`` bytes cover a whole one.

        Returns the bytes that count as in flight.
        """
        cdef int64_t used = 0, in_flight
        cdef Py_ssize_t start, end
        while allowance - used >= size and not self._batch.c_full() and self.c_has_work(now):
            start = self._batch.c_begin()
            in_flight = self._sent.bytes_in_flight
            end = self.c_packet(now, start, start + size, 0)
            if end == start:
                break
            self._batch.c_commit(end, self.address, self._ecn)
            used += self._sent.bytes_in_flight - in_flight
        return used

    def packet(self, int64_t now, Py_ssize_t start, Py_ssize_t limit, Py_ssize_t pad_to=0):
        """Build one packet at ``slab[start:limit]``: ACK, control frames, stream data.

        Padded to end at ``pad_to`` when that is further. Returns its end, ``start`` when there was nothing to say.

        Raises:
            ValueError: that is not within the batch.
        """
        return self.c_packet(now, start, limit, pad_to)

    cdef Py_ssize_t c_packet(self, int64_t now, Py_ssize_t start, Py_ssize_t limit, Py_ssize_t pad_to) except -1:
        if not 0 <= start <= limit <= self._batch.export.len or pad_to > self._batch.export.len:
            raise ValueError("packet outside the batch")
        cdef unsigned char *base = self._batch.base
        cdef Py_ssize_t payload = start + 1 + PyBytes_GET_SIZE(self._dcid) + self._number_length()
        cdef Py_ssize_t room = limit - TAG
        cdef Py_ssize_t pos = payload, size, after_ack, header, padded, turns
        cdef list tokens = None
        cdef SendBuffer buffer
        cdef int64_t offset, length, first_id = 0, first_offset = 0, first_length = 0, credit
        cdef bint fin, first_fin = False, has_stream = False, eliciting
        if self._acks.pending:
            size = self._acks.c_encode(base + pos, room - pos, now, self.ack_delay_exponent)
            if size > 0:
                self._acks.c_sent()
                pos += size
                tokens = [self._acks.largest]
        after_ack = pos
        if self._control:
            if tokens is None:
                tokens = []
            pos = self._put_control(pos, room, tokens)
        turns = self._waiting
        while turns > 0:
            turns -= 1
            if self._head is None:
                self._head = self._queue[0]
            buffer = self._head
            header = 3 + varint_length(<uint64_t>buffer.sent_offset)
            header += varint_length(<uint64_t>buffer.stream_id) if buffer.stream_id > 0 else 1
            if room - pos <= header:
                break
            credit = self.data_limit - self.data_sent
            if not buffer.c_next_range(room - pos - header, credit, &offset, &length, &fin):
                self._unschedule(buffer)
                continue
            if buffer.stream_id < 0:
                pos += put_crypto_header(base + pos, <uint64_t>offset, length)
            else:
                pos += put_stream_header(base + pos, <uint64_t>buffer.stream_id, <uint64_t>offset, length, fin)
                if offset + length > buffer.sent_offset:
                    self.data_sent += offset + length - buffer.sent_offset
            buffer.c_take_into(base + pos, offset, length, fin)
            pos += length
            if not has_stream:
                has_stream = True
                first_id, first_offset, first_length, first_fin = buffer.stream_id, offset, length, fin
            else:
                if tokens is None:
                    tokens = []
                tokens.append((buffer.stream_id, offset, length, bool(fin)))
            if not buffer.c_has_pending():
                self._unschedule(buffer)
            elif self._waiting > 1:
                self._queue.rotate(-1)
                self._head = None
        if pos == payload:
            return start
        eliciting = pos > after_ack
        padded = pad_to - TAG
        if padded > pos:
            memset(base + pos, 0, padded - pos)
            pos = padded
        return self._seal(
            start,
            payload,
            pos,
            now,
            eliciting,
            eliciting or pad_to > 0,
            () if tokens is None else tuple(tokens),
            has_stream,
            first_id,
            first_offset,
            first_length,
            first_fin,
        )

    cdef int _number_length(self) except -1:
        cdef int64_t unacknowledged
        if self._sent.next_pn == self.skip_at:
            self._sent.skip(self.skip_at)
            self.skip_at = -1
        unacknowledged = self._sent.next_pn - self._sent.largest_acked
        if unacknowledged <= 1 << 7:
            return 1
        if unacknowledged <= 1 << 15:
            return 2
        return 3 if unacknowledged <= 1 << 23 else 4

    cdef Py_ssize_t _put_control(self, Py_ssize_t pos, Py_ssize_t room, list tokens) except -1:
        cdef bytes data
        cdef Py_ssize_t size
        while self._control:
            data = self._control[0][0]
            size = PyBytes_GET_SIZE(data)
            if pos + size > room:
                break
            memcpy(self._batch.base + pos, PyBytes_AS_STRING(data), size)
            pos += size
            tokens.append(self._control.popleft()[1])
        return pos

    cdef int _unschedule(self, SendBuffer buffer) except -1:
        """Take the stream at the head out; it comes back with new data, a raised limit or a loss."""
        self._queue.popleft()
        self._waiting -= 1
        self._head = None
        self._queued.discard(buffer.stream_id)
        if buffer.c_has_pending():
            self._stalled[buffer.stream_id] = buffer
        elif buffer.c_blocked():
            self.blocked.append(buffer)
        return 0

    cdef Py_ssize_t _seal(
        self,
        Py_ssize_t start,
        Py_ssize_t payload,
        Py_ssize_t pos,
        int64_t now,
        bint eliciting,
        bint in_flight,
        tuple tokens,
        bint has_stream,
        int64_t stream_id,
        int64_t offset,
        int64_t length,
        bint fin,
        bint weightless=False,
    ) except -1:
        cdef PacketProtection keys = self._keys
        cdef unsigned char *base = self._batch.base
        cdef int64_t number = self._sent.next_pn
        cdef Py_ssize_t number_offset = start + 1 + PyBytes_GET_SIZE(self._dcid)
        cdef Py_ssize_t number_length = payload - number_offset, end
        cdef int shift
        if keys is None:
            raise ValueError("no 1-RTT keys")
        while pos < payload + 4 - number_length:
            base[pos] = 0
            pos += 1
        if pos > self._batch.export.len - TAG:
            raise ValueError("packet outside the buffer")
        base[start] = <unsigned char>(
            FIXED_BIT | self.spin | (KEY_PHASE_BIT if keys.key_phase else 0) | (number_length - 1)
        )
        memcpy(base + start + 1, PyBytes_AS_STRING(self._dcid), number_offset - start - 1)
        for shift in range(<int>number_length):
            base[payload - 1 - shift] = <unsigned char>((number >> (8 * shift)) & 0xFF)
        if self.observer is not None:
            self.observer.sent(base[start], number, self._batch.view, payload, pos, pos + TAG - start)
        end = keys.c_seal(base, start, number_offset, number_length, pos, number)
        self._sent.c_record(
            number, now, 0 if weightless else end - start, eliciting, in_flight, tokens,
            has_stream, stream_id, offset, length, fin,
        )
        self.packets += 1
        return end
