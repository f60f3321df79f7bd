# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: embedsignature=True
"""Twin of ``specter._reference.sendbuffer``: the bytes lie in a ring whose size is a power of two."""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove

from specter._reference.sendbuffer import MAX_RANGES

__all__ = ["SendBuffer"]

cdef enum:
    LEAST_CAPACITY = 1 << 11
    EMPTY_CAPACITY = 1 << 13
    KEPT_CAPACITY = 1 << 16
    LEAST_RANGES = 8

cdef Py_ssize_t MOST_RANGES = MAX_RANGES


# --- sets of ranges


cdef inline Py_ssize_t below(const int64_t *values, Py_ssize_t count, int64_t value) noexcept nogil:
    """Return how many of ascending ``values`` are less than ``value``."""
    cdef Py_ssize_t low = 0, middle
    while low < count:
        middle = (low + count) >> 1
        if values[middle] < value:
            low = middle + 1
        else:
            count = middle
    return low


cdef inline Py_ssize_t up_to(const int64_t *values, Py_ssize_t count, int64_t value) noexcept nogil:
    """Return how many of ascending ``values`` are at most ``value``."""
    cdef Py_ssize_t low = 0, middle
    while low < count:
        middle = (low + count) >> 1
        if values[middle] <= value:
            low = middle + 1
        else:
            count = middle
    return low


cdef int reserve(RangeSet *ranges, Py_ssize_t count) except -1:
    cdef Py_ssize_t capacity = max(ranges.capacity * 2, LEAST_RANGES)
    cdef int64_t *grown
    if count <= ranges.capacity:
        return 0
    grown = <int64_t *> realloc(ranges.starts, capacity * sizeof(int64_t))
    if grown == NULL:
        raise MemoryError
    ranges.starts = grown
    grown = <int64_t *> realloc(ranges.ends, capacity * sizeof(int64_t))
    if grown == NULL:
        raise MemoryError
    ranges.ends = grown
    ranges.capacity = capacity
    return 0


cdef void shift(RangeSet *ranges, Py_ssize_t index, Py_ssize_t to) noexcept nogil:
    """Move the ranges from ``index`` on so that they begin at ``to``."""
    cdef size_t size = (ranges.count - index) * sizeof(int64_t)
    if index != to:
        memmove(ranges.starts + to, ranges.starts + index, size)
        memmove(ranges.ends + to, ranges.ends + index, size)
        ranges.count += to - index


cdef int add(RangeSet *ranges, int64_t start, int64_t end) except -1:
    """Add a range, joined with those it overlaps or touches."""
    cdef Py_ssize_t first = below(ranges.ends, ranges.count, start)
    cdef Py_ssize_t stop = up_to(ranges.starts, ranges.count, end)
    reserve(ranges, ranges.count + 1)
    if first < stop:
        start = min(start, ranges.starts[first])
        end = max(end, ranges.ends[stop - 1])
    else:
        stop = first
    shift(ranges, stop, first + 1)
    ranges.starts[first] = start
    ranges.ends[first] = end
    return 0


cdef int remove(RangeSet *ranges, int64_t start, int64_t end) except -1:
    """Take ``[start, end)`` out of the set."""
    cdef Py_ssize_t first, stop
    cdef int64_t low, high
    if ranges.count == 0:
        return 0
    first = up_to(ranges.ends, ranges.count, start)
    stop = below(ranges.starts, ranges.count, end)
    if first >= stop or start >= end:
        return 0
    reserve(ranges, ranges.count + 1)
    low = ranges.starts[first]
    high = ranges.ends[stop - 1]
    shift(ranges, stop, first + (low < start) + (high > end))
    if low < start:
        ranges.starts[first] = low
        ranges.ends[first] = start
        first += 1
    if high > end:
        ranges.starts[first] = end
        ranges.ends[first] = high
    return 0


cdef void join_one(RangeSet *ranges, int64_t near) noexcept:
    """Join the range that holds ``near`` with the one below it (above it, if it is the lowest), gap included."""
    cdef Py_ssize_t index = max(up_to(ranges.starts, ranges.count, near) - 1, 1)
    ranges.ends[index - 1] = ranges.ends[index]
    shift(ranges, index + 1, index)


# --- the buffer


@cython.final
@cython.no_gc
cdef class SendBuffer:
    """Bytes accepted for a stream until they are acknowledged.

    See the reference for the attributes. Numbers beyond 64 bits are an ``OverflowError``.
    """

    def __cinit__(self, int64_t stream_id, int64_t limit):
        self.stream_id = stream_id
        self.limit = limit

    def __dealloc__(self):
        free(self._ring)
        free(self._lost.starts)
        free(self._lost.ends)
        free(self._acked.starts)
        free(self._acked.ends)

    @property
    def unsent(self):
        """Bytes written but never sent."""
        return self.offset_end - self.sent_offset

    @property
    def unacked(self):
        """Bytes held: from the first not acknowledged to the end."""
        return self.offset_end - self._base

    @property
    def done(self):
        """Whether the FIN and all bytes are acknowledged; never after a reset."""
        return self._fin_acked and self._base == self.offset_end and not self.is_reset

    @property
    def has_pending(self):
        """Whether there is something to send, connection credit aside."""
        return self.c_has_pending()

    @property
    def blocked(self):
        """Whether new data waits for the peer to raise ``limit``."""
        return self.c_blocked()

    cdef bint c_has_pending(self) noexcept:
        if self._lost.count > 0:
            return True
        if self.sent_offset < self.offset_end:
            return self.sent_offset < self.limit
        return self._fin_pending

    cdef bint c_blocked(self) noexcept:
        return self.limit <= self.sent_offset < self.offset_end

    # --- writing

    def write(self, data):
        """Accept a copy of ``data``; ``ValueError`` after :meth:`finish` or :meth:`reset`."""
        cdef Py_buffer view
        self._check_open()
        try:
            PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        except TypeError:
            raise TypeError(f"can't concat {type(data).__name__} to bytearray") from None
        try:
            self.c_write(<const unsigned char *> view.buf, view.len)
        finally:
            PyBuffer_Release(&view)

    def finish(self):
        """Accept the end of the stream; ``ValueError`` when it already ended or was reset."""
        self._check_open()
        self.finished_writing = self._fin_pending = True

    cdef int _check_open(self) except -1:
        if self.finished_writing or self.is_reset:
            raise ValueError("stream is finished")
        return 0

    cdef int c_write(self, const unsigned char *data, Py_ssize_t size) except -1:
        cdef int64_t held = self.offset_end - self._base + size
        cdef int64_t capacity = max(self._capacity, LEAST_CAPACITY)
        cdef int64_t place, first
        if size == 0:
            return 0
        while capacity < held:
            capacity *= 2
        if capacity != self._capacity:
            self._resize(capacity)
        place = self.offset_end & (capacity - 1)
        first = min(size, capacity - place)
        memcpy(self._ring + place, data, first)
        memcpy(self._ring, data + first, size - first)
        self.offset_end += size
        return 0

    cdef int _resize(self, int64_t capacity) except -1:
        """Move what is held to a ring of another size."""
        cdef unsigned char *old = self._ring
        cdef unsigned char *ring = <unsigned char *> malloc(capacity)
        cdef int64_t offset = self._base
        cdef int64_t size
        if ring == NULL:
            raise MemoryError
        while offset < self.offset_end:
            size = min(self._capacity - (offset & (self._capacity - 1)), capacity - (offset & (capacity - 1)))
            size = min(size, self.offset_end - offset)
            memcpy(ring + (offset & (capacity - 1)), old + (offset & (self._capacity - 1)), size)
            offset += size
        self._ring = ring
        self._capacity = capacity
        free(old)
        return 0

    def raise_limit(self, int64_t limit):
        """Take a MAX_STREAM_DATA; return whether it raised the limit."""
        if limit <= self.limit:
            return False
        self.limit = limit
        return True

    # --- sending

    def next_range(self, int64_t max_bytes, int64_t new_allowed):
        """Return ``(offset, length, fin)`` of what to send next, None when there is nothing; nothing changes.

        The lowest lost range comes first, else new data within ``limit`` and ``new_allowed``, at most ``max_bytes``
        of either. ``fin`` is set whenever the range reaches the end; ``length`` is 0 only for a FIN alone.
        """
        cdef int64_t offset, length
        cdef bint fin
        if not self.c_next_range(max_bytes, new_allowed, &offset, &length, &fin):
            return None
        return offset, length, fin != 0

    cdef int c_next_range(
        self, int64_t max_bytes, int64_t new_allowed, int64_t *offset, int64_t *length, bint *fin
    ) noexcept:
        cdef int64_t start, size
        if self._lost.count > 0:
            start = self._lost.starts[0]
            size = min(self._lost.ends[0] - start, max_bytes)
        else:
            start = self.sent_offset
            size = min(min(self.offset_end, self.limit) - start, min(new_allowed, max_bytes))
        if size > 0:
            fin[0] = self.finished_writing and start + size == self.offset_end
        elif self._fin_pending and start == self.offset_end and max_bytes >= 0:
            size = 0
            fin[0] = True
        else:
            return 0
        offset[0] = start
        length[0] = size
        return 1

    def take(self, int64_t offset, int64_t length, bint fin):
        """Mark a range from :meth:`next_range` as sent, or the first part of it without ``fin``; return its bytes."""
        self.c_mark_sent(offset, length, fin)
        data = PyBytes_FromStringAndSize(NULL, length)
        self._copy(<unsigned char *> PyBytes_AS_STRING(data), offset, length)
        return data

    cdef int c_take_into(self, unsigned char *out, int64_t offset, int64_t length, bint fin) except -1:
        self.c_mark_sent(offset, length, fin)
        self._copy(out, offset, length)
        return 0

    cdef void _copy(self, unsigned char *out, int64_t offset, int64_t length) noexcept:
        cdef int64_t place = offset & (self._capacity - 1)
        cdef int64_t first = min(length, self._capacity - place)
        if length > 0:
            memcpy(out, self._ring + place, first)
            if first < length:
                memcpy(out + first, self._ring, length - first)

    def mark_sent(self, int64_t offset, int64_t length, bint fin):
        """As :meth:`take`, without copying. ``ValueError`` for bytes not held, a hole, or a FIN before the end."""
        self.c_mark_sent(offset, length, fin)

    cdef int c_mark_sent(self, int64_t offset, int64_t length, bint fin) except -1:
        cdef int64_t end
        self._check_held(offset, length)
        end = offset + length
        if offset > self.sent_offset or (fin and not (self.finished_writing and end == self.offset_end)):
            raise ValueError("not a range to send")
        remove(&self._lost, offset, end)
        if end > self.sent_offset:
            self.sent_offset = end
        if fin:
            self._fin_pending = False
        return 0

    def copy_into(self, buffer, Py_ssize_t pos, int64_t offset, int64_t length):
        """Copy ``[offset, offset + length)`` to ``buffer`` at ``pos``; marks nothing. ``ValueError`` if it cannot."""
        cdef Py_buffer view
        self._check_held(offset, length)
        PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
        try:
            if pos < 0 or pos > view.len or length > view.len - pos:
                raise ValueError("range outside the buffer")
            if view.readonly:
                buffer[slice(pos, pos)] = b""  # its words
            self._copy(<unsigned char *> view.buf + pos, offset, length)
        finally:
            PyBuffer_Release(&view)

    cdef int _check_held(self, int64_t offset, int64_t length) except -1:
        if length < 0 or offset < self._base or offset > self.offset_end or length > self.offset_end - offset:
            raise ValueError("range not held")
        return 0

    # --- what became of it

    def acked(self, int64_t start, int64_t end, bint fin):
        """Note that ``[start, end)``, and the FIN with ``fin``, arrived. ``ValueError`` for what was never sent."""
        self.c_acked(start, end, fin)

    cdef int c_acked(self, int64_t start, int64_t end, bint fin) except -1:
        if self.is_reset:
            return 0
        self._check_sent(start, end, fin)
        if fin:
            self._fin_acked = True
            self._fin_pending = False
        if end <= self._base or start >= end:
            return 0
        remove(&self._lost, start, end)
        if start <= self._base:
            return self._release(end)
        add(&self._acked, start, end)
        if self._acked.count > MOST_RANGES:
            # To forget an acknowledgment is only safe for bytes that will be sent again.
            remove(&self._acked, start, end)
            self._add_lost(start, end)
        return 0

    cdef int _release(self, int64_t end) except -1:
        """Drop what lies below ``end`` and the acknowledged range behind it."""
        cdef Py_ssize_t count
        if self._acked.count > 0 and self._acked.starts[0] <= end:
            count = up_to(self._acked.starts, self._acked.count, end)
            end = max(end, self._acked.ends[count - 1])
            remove(&self._acked, self._base, end)
        remove(&self._lost, self._base, end)
        self._base = end
        self._shrink()
        return 0

    cdef void _shrink(self) noexcept:
        cdef int64_t held = self.offset_end - self._base
        if held == 0 and self._capacity > EMPTY_CAPACITY:
            free(self._ring)
            self._ring = NULL
            self._capacity = 0
        if self._capacity <= KEPT_CAPACITY or held > self._capacity // 8:
            return
        try:
            self._resize(self._capacity // 4)
        except MemoryError:
            pass  # it stays where it is

    def lost(self, int64_t start, int64_t end, bint fin):
        """Note that ``[start, end)``, and the FIN with ``fin``, must be sent again unless acknowledged meanwhile."""
        self.c_lost(start, end, fin)

    cdef int c_lost(self, int64_t start, int64_t end, bint fin) except -1:
        cdef Py_ssize_t index
        cdef int64_t low
        if self.is_reset:
            return 0
        self._check_sent(start, end, fin)
        if fin and not self._fin_acked:
            self._fin_pending = True
        start = max(start, self._base)
        index = up_to(self._acked.ends, self._acked.count, start)
        while start < end:
            low = end
            if index < self._acked.count:
                low = min(self._acked.starts[index], end)
            if low > start:
                self._add_lost(start, low)
            if low >= end:
                break
            start = self._acked.ends[index]
            index += 1
        return 0

    cdef int _add_lost(self, int64_t start, int64_t end) except -1:
        add(&self._lost, start, end)
        if self._lost.count > MOST_RANGES:
            join_one(&self._lost, start)
        return 0

    cdef int _check_sent(self, int64_t start, int64_t end, bint fin) except -1:
        if not 0 <= start <= end <= self.sent_offset or (
            fin and not (self.finished_writing and end == self.offset_end)
        ):
            raise ValueError("range was never sent")
        return 0

    def reset(self):
        """Drop everything for a RESET_STREAM; return its final size, the bytes sent at least once."""
        self.is_reset = True
        self._fin_pending = False
        free(self._ring)
        self._ring = NULL
        self._capacity = 0
        self._base = self.offset_end = self.sent_offset
        self._lost.count = 0
        self._acked.count = 0
        return self.sent_offset
