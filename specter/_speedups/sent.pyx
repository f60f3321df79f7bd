# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: embedsignature=True
"""Twin of ``specter._reference.sent``: the table is one C array in packet number order, without an object a packet."""

cimport cython
from cpython.long cimport PyLong_AsLongLongAndOverflow
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memmove

from specter._reference.sent import Acked, Lost
from specter._wire import TransportError, TransportErrorCode

__all__ = ["Acked", "Lost", "SentPackets"]

cdef enum:
    SKIPPED_KEPT = 16
    UNTRACKED_KEPT = 256
    LEAST_CAPACITY = 64
    REWOUND_CAPACITY = 4096
    RANGES_ON_STACK = 32

cdef int64_t NEVER = (1LL << 62) - 1


cdef int64_t saturated(object value) except? -1:
    """Return an integer, cut to 64 bits."""
    cdef int overflow = 0
    cdef int64_t result = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow:
        return INT64_MAX if overflow > 0 else INT64_MIN
    return result


# --- what packets carried


cdef struct Run:
    # A stream range that packets continue one after the other.
    bint open
    int64_t stream_id
    int64_t start
    int64_t end
    bint fin


cdef int collect(const Packet *packet, Run *run, list streams, list tokens) except -1:
    cdef int64_t end
    if packet.tokens != NULL:
        tokens.extend(<tuple> packet.tokens)
    if not packet.has_stream:
        return 0
    end = packet.offset + packet.length
    if run.open and run.stream_id == packet.stream_id and run.end == packet.offset and not run.fin:
        run.end = end
        run.fin = packet.fin
        return 0
    flush(run, streams)
    run[0] = Run(True, packet.stream_id, packet.offset, end, packet.fin)
    return 0


cdef int flush(Run *run, list streams) except -1:
    if run.open:
        streams.append((run.stream_id, run.start, run.end, run.fin != 0))
    return 0


# --- the table


@cython.final
@cython.no_gc
cdef class SentPackets:
    """The table of packets neither acknowledged nor lost; times are nanoseconds and never go back.

    See the reference for the attributes. Numbers beyond 64 bits are an ``OverflowError``.
    """

    def __cinit__(self):
        self.largest_acked = -1
        self.loss_time = NEVER

    def __dealloc__(self):
        cdef Py_ssize_t index
        for index in range(self._head, self._end):
            Py_XDECREF(self._packets[index].tokens)
        free(self._packets)
        free(self._untracked)

    def __len__(self):
        return self._end - self._head

    # --- sending

    def skip(self, int64_t pn):
        """Leave ``pn`` out: acknowledging it is a fault, for the last 16 skipped. ``ValueError`` if already used."""
        if pn < self.next_pn:
            raise ValueError("packet number already used")
        self.next_pn = pn + 1
        if self._skipped_count == SKIPPED_KEPT:
            memmove(self._skipped, self._skipped + 1, (SKIPPED_KEPT - 1) * sizeof(int64_t))
            self._skipped_count -= 1
        self._skipped[self._skipped_count] = pn
        self._skipped_count += 1

    def record(
        self,
        int64_t pn,
        int64_t now,
        int64_t size,
        bint ack_eliciting,
        bint in_flight,
        tuple tokens=(),
        stream=None,
    ):
        """Note a packet that was sent; ``stream`` is ``(stream id, offset, length, fin)`` of its STREAM frame.

        ``tokens`` are returned when the packet is acknowledged or lost. ``ValueError`` for a number already used.
        """
        cdef int64_t stream_id = 0, offset = 0, length = 0
        cdef bint fin = False
        if stream is not None:
            stream_id, offset, length, fin = stream
        self.c_record(
            pn, now, size, ack_eliciting, in_flight, tokens, stream is not None, stream_id, offset, length, fin
        )

    cdef int c_record(
        self, int64_t pn, int64_t now, int64_t size, bint eliciting, bint in_flight, tuple tokens,
        bint has_stream, int64_t stream_id, int64_t offset, int64_t length, bint fin,
    ) except -1:
        cdef Packet *packet
        if pn < self.next_pn:
            raise ValueError("packet number already used")
        self.marked += self.marking
        if not (eliciting or in_flight):
            return self._note_untracked(pn, now)
        if self._end == self._capacity:
            self._make_room()
        self.next_pn = pn + 1
        packet = self._packets + self._end
        packet[0] = Packet(
            pn, self._tracked, now, size, stream_id, offset, length, NULL, eliciting, in_flight, has_stream, fin,
            self.marking, False
        )
        if tokens is not None and len(tokens) > 0:
            Py_INCREF(tokens)
            packet.tokens = <PyObject *> tokens
        self._end += 1
        self._tracked += 1
        self.marked_in_flight += self.marking
        if in_flight:
            self.bytes_in_flight += size
        if eliciting:
            self.ack_eliciting_in_flight += 1
            self.last_ack_eliciting_time = now
        return 0

    cdef int _make_room(self) except -1:
        """Slide the table to the front of its memory, and fit this to what it holds."""
        cdef Py_ssize_t count = self._end - self._head
        cdef Py_ssize_t capacity = self._capacity
        cdef Packet *packets
        if self._head > 0:
            memmove(self._packets, self._packets + self._head, count * sizeof(Packet))
            self._head = 0
            self._end = count
        if count * 2 >= capacity:
            capacity = max(capacity * 2, LEAST_CAPACITY)
        elif count * 8 < capacity and capacity > LEAST_CAPACITY:
            capacity //= 2
        else:
            return 0
        packets = <Packet *> realloc(self._packets, capacity * sizeof(Packet))
        if packets == NULL:
            raise MemoryError
        self._packets = packets
        self._capacity = capacity
        return 0

    cdef int _note_untracked(self, int64_t pn, int64_t now) except -1:
        if self._untracked == NULL:
            self._untracked = <Untracked *> malloc(UNTRACKED_KEPT * sizeof(Untracked))
            if self._untracked == NULL:
                raise MemoryError
        self.next_pn = pn + 1
        self._untracked[self._untracked_count % UNTRACKED_KEPT] = Untracked(pn, now)
        self._untracked_count += 1
        return 0

    # --- acknowledgments

    def acknowledge(self, ranges, now):
        """Handle an ACK frame: ``ranges`` are inclusive ``(smallest, largest)``, highest first.

        Raises:
            TransportError: PROTOCOL_VIOLATION for a number never sent. Nothing changed.
        """
        cdef int64_t[2 * RANGES_ON_STACK] small
        cdef int64_t *flat = small
        cdef Py_ssize_t count = len(ranges)
        cdef Py_ssize_t index = 0
        cdef int64_t newest
        if count > RANGES_ON_STACK:
            flat = <int64_t *> malloc(2 * count * sizeof(int64_t))
            if flat == NULL:
                raise MemoryError
        try:
            for smallest, largest in ranges:
                if index == count:
                    break
                flat[2 * index] = saturated(smallest)
                flat[2 * index + 1] = saturated(largest)
                index += 1
            if index == 0:
                raise IndexError(f"{type(ranges).__name__} index out of range")
            newest = flat[1]
            self._check_sent(flat, index)
            acked = self._take_acked(self._mark(flat, index), newest)
        finally:
            if flat != small:
                free(flat)
        if newest > self.largest_acked:
            self.largest_acked = newest
        return acked

    cdef int _check_sent(self, const int64_t *ranges, Py_ssize_t count) except -1:
        cdef Py_ssize_t index
        cdef int place
        if ranges[1] >= self.next_pn:
            raise TransportError(TransportErrorCode.PROTOCOL_VIOLATION, "acknowledgment of a packet never sent")
        if self._skipped_count == 0 or ranges[1] < self._skipped[0]:
            return 0
        for index in range(count):
            if ranges[2 * index + 1] < self._skipped[0]:
                break
            for place in range(self._skipped_count):
                if ranges[2 * index] <= self._skipped[place] <= ranges[2 * index + 1]:
                    raise TransportError(TransportErrorCode.PROTOCOL_VIOLATION, "acknowledgment of a packet never sent")
        return 0

    cdef Py_ssize_t _mark(self, const int64_t *ranges, Py_ssize_t count) noexcept:
        """Mark the tracked packets within ``ranges``; return the index behind the last one that may be marked."""
        cdef int64_t newest = ranges[1]
        cdef const int64_t *current = ranges + 2 * (count - 1)
        cdef Py_ssize_t index
        cdef Packet *packet
        for index in range(self._head, self._end):
            packet = self._packets + index
            if packet.pn > newest:
                return index
            while packet.pn > current[1]:
                current -= 2
            packet.acked = packet.pn >= current[0]
        return self._end

    cdef object _take_acked(self, Py_ssize_t stop, int64_t newest):
        """Take the marked packets below ``stop`` out of the table; return what they were."""
        cdef int64_t count = 0, size = 0, eliciting = 0, largest = -1, largest_time = 0, first_time = 0
        cdef int64_t largest_size = 0, marked = 0
        cdef list streams = [], tokens = []
        cdef Run run
        cdef Packet *packet
        cdef Py_ssize_t index
        run.open = False
        try:
            for index in range(self._head, stop):
                packet = self._packets + index
                if not packet.acked:
                    continue
                if count == 0:
                    first_time = packet.time
                count += 1
                largest = packet.pn
                largest_time = packet.time
                eliciting += packet.eliciting
                marked += packet.marked
                if packet.in_flight:
                    size += packet.size
                    if packet.size > largest_size:
                        largest_size = packet.size
                collect(packet, &run, streams, tokens)
            flush(&run, streams)
        finally:
            if count > 0:
                self._drop_acked(stop)
        if newest > self.largest_acked and largest < newest:
            sampled = self._sample_untracked(newest)
            if sampled is not None:
                largest = newest
                largest_time = sampled
        return Acked(
            count, size, largest, largest_time, first_time, eliciting > 0, largest == newest, streams, tokens,
            largest_size, marked,
        )

    cdef void _drop_acked(self, Py_ssize_t stop) noexcept:
        """Close the gaps of the marked packets below ``stop``, by moving up the others, which are few."""
        cdef Py_ssize_t index
        cdef Py_ssize_t kept = stop
        cdef Packet *packet
        for index in range(stop - 1, self._head - 1, -1):
            packet = self._packets + index
            if packet.acked:
                self.ack_eliciting_in_flight -= packet.eliciting
                self.marked_in_flight -= packet.marked
                if packet.in_flight:
                    self.bytes_in_flight -= packet.size
                Py_XDECREF(packet.tokens)
                continue
            kept -= 1
            if kept != index:
                self._packets[kept] = packet[0]
        self._head = kept
        self._rewind()

    cdef inline void _rewind(self) noexcept:
        # Memory just used is in the cache; a large table goes on instead, and shrinks when it is full.
        if self._head == self._end and self._capacity <= REWOUND_CAPACITY:
            self._head = self._end = 0

    cdef object _sample_untracked(self, int64_t newest):
        """Return when ``newest`` was sent if it is not tracked, else None."""
        cdef Py_ssize_t age
        cdef Untracked *entry
        for age in range(1, min(self._untracked_count, UNTRACKED_KEPT) + 1):
            entry = self._untracked + (self._untracked_count - age) % UNTRACKED_KEPT
            if entry.pn <= newest:
                return entry.time if entry.pn == newest else None
        return None

    # --- loss

    def detect_lost(self, int64_t now, int64_t loss_delay, int64_t packet_threshold=3):
        """Take out the packets that are lost (RFC 9002, section 6.1) and set ``loss_time`` for the others.

        Lost is what was sent before an acknowledged packet and is ``loss_delay`` nanoseconds or ``packet_threshold``
        numbers older.
        """
        cdef int64_t oldest_kept = now - loss_delay
        cdef int64_t close = self.largest_acked - packet_threshold
        cdef Py_ssize_t index = self._head
        cdef Packet *packet
        self.loss_time = NEVER
        while index < self._end:
            packet = self._packets + index
            if packet.pn >= self.largest_acked:
                break
            if packet.time > oldest_kept and packet.pn > close:
                self.loss_time = packet.time + loss_delay
                break
            index += 1
        if index == self._head:
            return Lost()
        return self._take_lost(index)

    cdef object _take_lost(self, Py_ssize_t stop):
        cdef int64_t size = 0, eliciting = 0, first_time = 0, ordinal = -1, span_start = 0, longest = 0
        cdef int64_t count = stop - self._head
        cdef int64_t largest_time = 0, smallest_size = 0, marked = 0
        cdef bint in_span = False, weighs
        cdef list streams = [], tokens = [], numbers = []
        cdef Run run
        cdef Packet *packet
        cdef Py_ssize_t head
        run.open = False
        while self._head < stop:
            packet = self._packets + self._head
            numbers.append(packet.pn)
            collect(packet, &run, streams, tokens)
            weighs = packet.in_flight and packet.size > 0
            marked += packet.marked
            if weighs:
                self.bytes_in_flight -= packet.size
                size += packet.size
                largest_time = packet.time
                if smallest_size == 0 or packet.size < smallest_size:
                    smallest_size = packet.size
            if packet.ordinal != ordinal + 1:
                in_span = False
            ordinal = packet.ordinal
            if packet.eliciting:
                if eliciting == 0:
                    first_time = packet.time
                eliciting += 1
                self.ack_eliciting_in_flight -= 1
                if weighs:
                    if not in_span:
                        in_span = True
                        span_start = packet.time
                    longest = max(longest, packet.time - span_start)
            self._head += 1
            Py_XDECREF(packet.tokens)
        self._rewind()
        self.marked_in_flight -= marked
        flush(&run, streams)
        return Lost(count, size, largest_time, first_time, streams, tokens, longest, numbers, smallest_size, marked)

    def oldest(self, Py_ssize_t count):
        """Return ``(tokens, stream)`` of up to ``count`` of the oldest ack-eliciting packets, for a probe.

        They stay in flight; ``stream`` is as :meth:`record` took it.
        """
        cdef list found = []
        cdef Py_ssize_t index
        cdef Packet *packet
        for index in range(self._head, self._end):
            if len(found) >= count:
                break
            packet = self._packets + index
            if packet.eliciting:
                stream = None
                if packet.has_stream:
                    stream = (packet.stream_id, packet.offset, packet.length, packet.fin != 0)
                found.append((() if packet.tokens == NULL else <tuple> packet.tokens, stream))
        return found

    def disown(self):
        """Let nothing that is on its way weigh or be marked any more: it left on another path, but has its fate."""
        cdef Py_ssize_t index
        for index in range(self._head, self._end):
            self._packets[index].in_flight = False
            self._packets[index].marked = False
        self.bytes_in_flight = 0
        self.marked_in_flight = 0

    def discard(self):
        """Forget every packet, with their keys (RFC 9002, section 6.4); return the bytes that were in flight."""
        cdef int64_t size = self.bytes_in_flight
        cdef Packet *packets = self._packets
        cdef Py_ssize_t head = self._head, end = self._end, index
        self._packets = NULL
        self._head = self._end = self._capacity = 0
        self._untracked_count = 0
        self.bytes_in_flight = 0
        self.ack_eliciting_in_flight = 0
        self.marked_in_flight = 0
        self.loss_time = NEVER
        for index in range(head, end):
            Py_XDECREF(packets[index].tokens)
        free(packets)
        return size
