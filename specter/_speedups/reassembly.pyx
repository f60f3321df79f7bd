# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: embedsignature=True, auto_pickle=False
"""Reassembly of an ordered byte stream from pieces in any order (RFC 9000, sections 2.2, 4.5 and 19.6).

``specter._reference.reassembly`` is the specification. Offsets and limits have 64 bits here: ``OverflowError`` beyond.

Bytes in order are copied once, into ``bytes`` objects that a read hands out as they are whenever it takes all of one.
Their sizes follow the reader: what one read took is the size of the next one.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_CheckExact, PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_Check
from cpython.object cimport PyObject
from libc.stdint cimport INT64_MAX, int64_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove

from specter._speedups.frames cimport is_byte_buffer
from specter._speedups.segments cimport (
    Segment,
    Spot,
    add_behind,
    drop_all,
    drop_first_piece,
    join,
    merge_leaves,
    piece_bytes,
    remove,
    touched_by,
)
from specter._speedups.varint cimport read_varint
from specter._wire import TransportError, TransportErrorCode

__all__ = ["RecvBuffer", "SegmentBudget"]

cdef extern from "Python.h":
    PyObject *new_bytes "PyBytes_FromStringAndSize" (const char *data, Py_ssize_t size) except NULL
    char *bytes_at "PyBytes_AS_STRING" (PyObject *value)
    Py_ssize_t size_of "PyBytes_GET_SIZE" (PyObject *value)
    int resize_bytes "_PyBytes_Resize" (PyObject **value, Py_ssize_t size) except -1
    void decref "Py_DECREF" (PyObject *value)
    Py_buffer *view_buffer "PyMemoryView_GET_BUFFER" (object view)
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1

cdef enum:
    SMALL_CHUNK = 4096
    LARGE_CHUNK = 65536
    LARGEST_CHUNK = 262144
    COPIED_OUT = 512  # cheaper copied than the rest of the chunk given back
    SPARE = 8

cdef object FINAL_SIZE_ERROR = TransportErrorCode.FINAL_SIZE_ERROR
cdef object INTERNAL_ERROR = TransportErrorCode.INTERNAL_ERROR

# Chunks of the two common sizes that were read empty, for the next buffer that needs one.
cdef PyObject *spare_small[SPARE]
cdef PyObject *spare_large[SPARE]
cdef int spare_smalls = 0
cdef int spare_larges = 0


cdef PyObject *new_chunk(Py_ssize_t size) except NULL:
    global spare_smalls, spare_larges
    if size == SMALL_CHUNK and spare_smalls:
        spare_smalls -= 1
        return spare_small[spare_smalls]
    if size == LARGE_CHUNK and spare_larges:
        spare_larges -= 1
        return spare_large[spare_larges]
    return new_bytes(NULL, size)


cdef void recycle(PyObject *chunk) noexcept:
    global spare_smalls, spare_larges
    if size_of(chunk) == SMALL_CHUNK and spare_smalls < SPARE:
        spare_small[spare_smalls] = chunk
        spare_smalls += 1
    elif size_of(chunk) == LARGE_CHUNK and spare_larges < SPARE:
        spare_large[spare_larges] = chunk
        spare_larges += 1
    else:
        decref(chunk)


cdef Py_ssize_t clipped(object value) except? -1:
    """A number of bytes asked for; one too large to exist asks for all."""
    cdef int overflow = 0
    cdef long long number = PyLong_AsLongLongAndOverflow(value, &overflow)
    return -1 if overflow else <Py_ssize_t>number


@cython.final
@cython.no_gc
cdef class SegmentBudget:
    """How many disjoint pending segments all the streams of a connection hold (``used``) and may hold (``limit``)."""

    def __cinit__(self, int64_t limit=16_384):
        self.limit = limit


@cython.final
@cython.no_gc
cdef class RecvBuffer:
    """The receiving side of one stream's bytes, or of one level's CRYPTO bytes.

    Of bytes that arrive twice the first copy counts. Memory is in proportion to the bytes held, never to their
    offsets.

    Attributes:
        limit: the highest offset the peer may send up to; the owner raises it.
        highest: the highest offset received, which is what flow control counts.
        consumed: the offset of the next byte to read.
        final_size: the size of the stream, -1 while unknown.
        is_reset: a RESET_STREAM took effect.
        discarded: the reader gave up.
    """

    def __cinit__(
        self, int64_t limit, SegmentBudget budget=None, overflow_code=TransportErrorCode.FLOW_CONTROL_ERROR
    ):
        self.limit = limit
        self.final_size = -1
        self.gap_end = INT64_MAX
        self.budget = budget if budget is not None else SegmentBudget()
        self.overflow_code = overflow_code
        self.next_size = SMALL_CHUNK
        self.most = LARGE_CHUNK

    def __dealloc__(self):
        drop_all(&self.segments)
        while self.head < self.stop:
            self.drop_head()
        free(self.chunks)

    @property
    def readable(self):
        """Bytes that :meth:`read` would return."""
        return self.c_readable()

    @property
    def pending_segments(self):
        """Disjoint segments that wait for a gap before them."""
        return self.segments.count

    @property
    def complete(self):
        """Whether every byte up to the final size is here or was read; discarded, whether the final size is known."""
        return self.c_complete()

    @property
    def finished(self):
        """Whether nothing is left to read or to come: everything up to the final size is consumed."""
        return self.final_size == self.consumed

    # --- what arrives

    def receive(self, int64_t offset, data, bint fin):
        """Take the bytes of a STREAM or CRYPTO frame; return the growth of ``highest``.

        After :meth:`reset` or :meth:`discard` the bytes are dropped but the rules still hold.

        Raises:
            TransportError: FINAL_SIZE_ERROR for bytes beyond the final size or another final size, then
                ``overflow_code`` for bytes beyond ``limit``, then INTERNAL_ERROR for too many gaps. Nothing changed.
        """
        cdef Py_buffer buffer
        if PyBytes_CheckExact(data):
            return self.c_receive(offset, <const unsigned char *>bytes_at(<PyObject *>data), len(<bytes>data), fin)
        PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE)
        try:
            return self.c_receive(offset, <const unsigned char *>buffer.buf, buffer.len, fin)
        finally:
            PyBuffer_Release(&buffer)

    cdef int64_t c_receive(self, int64_t offset, const unsigned char *data, Py_ssize_t length, bint fin) except -1:
        cdef bint beyond = offset > INT64_MAX - length
        cdef int64_t end = INT64_MAX if beyond else offset + length
        cdef int64_t edge = self.edge
        if fin or self.final_size >= 0:
            self.check_final_size(end, fin)
        if end > self.limit or beyond:
            raise TransportError(self.overflow_code, "data beyond the limit")
        if end <= edge or length == 0 or self.is_reset or self.discarded:
            if fin:
                self.final_size = end
        elif offset > edge:
            self.keep(offset, end, data)
            if fin:
                self.final_size = end
        else:
            if fin:
                self.final_size = end
            if end >= self.gap_end:
                self.bridge(offset, end, data)
            else:
                self.push(data + (edge - offset), <Py_ssize_t>(end - edge))
        return self.grow(end)

    cdef int check_final_size(self, int64_t end, bint fin) except -1:
        if self.final_size < 0:
            if end < self.highest:
                raise TransportError(FINAL_SIZE_ERROR, "final size below data received")
        elif end > self.final_size:
            raise TransportError(FINAL_SIZE_ERROR, "data beyond the final size")
        elif fin and end != self.final_size:
            raise TransportError(FINAL_SIZE_ERROR, "final size changed")
        return 0

    cdef int64_t grow(self, int64_t end) noexcept:
        cdef int64_t growth = end - self.highest
        if growth <= 0:
            return 0
        self.highest = end
        return growth

    cdef int keep(self, int64_t start, int64_t end, const unsigned char *data) except -1:
        """Take data ahead of the edge, joined with every pending segment it overlaps or touches."""
        cdef Spot spot
        cdef Py_ssize_t before = self.segments.count
        cdef int status
        if touched_by(&self.segments, start, end, &spot) != NULL:
            status = join(&self.segments, spot, start, end, data)
        elif self.budget.used >= self.budget.limit:
            raise TransportError(INTERNAL_ERROR, "too many gaps")
        else:
            status = add_behind(&self.segments, spot, start, data, <Py_ssize_t>(end - start))
        self.budget.used += self.segments.count - before
        self.find_gap_end()
        if status < 0:
            raise MemoryError
        return 0

    cdef void find_gap_end(self) noexcept:
        self.gap_end = self.segments.leaves[0].items[0].start if self.segments.count else INT64_MAX

    cdef int bridge(self, int64_t offset, int64_t end, const unsigned char *data) except -1:
        """Take data at the edge that reaches pending segments."""
        cdef Segment *segment
        while self.gap_end <= end:
            segment = self.segments.leaves[0].items
            if segment.start > self.edge:
                self.push(data + (self.edge - offset), <Py_ssize_t>(segment.start - self.edge))
            while segment.first != NULL:
                self.push(piece_bytes(segment.first) + segment.first.start, segment.first.end - segment.first.start)
                drop_first_piece(segment)
            remove(&self.segments, Spot(0, 0))
            self.budget.used -= 1
            self.find_gap_end()
        merge_leaves(&self.segments, 0)
        if end > self.edge:
            self.push(data + (self.edge - offset), <Py_ssize_t>(end - self.edge))
        return 0

    # --- the readable bytes

    cdef int push(self, const unsigned char *data, Py_ssize_t length) except -1:
        cdef Py_ssize_t part
        if length > self.room:
            self.widen(length)
        while True:
            part = min(length, self.room)
            memcpy(self.free, data, part)
            self.free += part
            self.room -= part
            self.edge += part
            length -= part
            if length == 0:
                return 0
            data += part
            self.add_chunk(length)

    cdef int widen(self, Py_ssize_t length) except -1:
        """Replace the last chunk, if it is small, by one that also has room for ``length`` bytes more."""
        cdef PyObject *chunk
        cdef PyObject *wider
        cdef Py_ssize_t first, filled, size
        if self.head == self.stop:
            return self.add_chunk(length)
        chunk = self.chunks[self.stop - 1]
        size = size_of(chunk)
        if size >= self.most:
            return 0
        first = self.start if self.head == self.stop - 1 else 0
        filled = size - self.room - first
        size = min(max(4 * size, filled + length), self.most)
        if self.final_size >= 0 and self.final_size - self.edge < size - filled:
            size = filled + max(length, <Py_ssize_t>(self.final_size - self.edge))
        wider = new_chunk(size)
        memcpy(bytes_at(wider), bytes_at(chunk) + first, filled)
        self.chunks[self.stop - 1] = wider
        if first:
            self.start = 0
        self.free = <unsigned char *>bytes_at(wider) + filled
        self.room = size - filled
        recycle(chunk)
        return 0

    cdef int add_chunk(self, Py_ssize_t length) except -1:
        """Add an empty chunk behind the others, which are full; it need not have room for all of ``length``."""
        cdef Py_ssize_t size = max(self.next_size, min(length, self.most)) if self.head == self.stop else self.most
        cdef PyObject *chunk
        cdef void *grown
        if self.final_size >= 0 and self.final_size - self.edge < size:
            size = max(<Py_ssize_t>(self.final_size - self.edge), 1)
        if self.stop == self.slots:
            if self.head > self.slots // 2:
                memmove(self.chunks, self.chunks + self.head, (self.stop - self.head) * sizeof(PyObject *))
                self.stop -= self.head
                self.head = 0
            else:
                grown = realloc(self.chunks, (2 * self.slots + 4) * sizeof(PyObject *))
                if grown == NULL:
                    raise MemoryError
                self.chunks = <PyObject **>grown
                self.slots = 2 * self.slots + 4
        chunk = new_chunk(size)
        self.chunks[self.stop] = chunk
        self.stop += 1
        self.free = <unsigned char *>bytes_at(chunk)
        self.room = size
        return 0

    cdef Py_ssize_t head_length(self) noexcept:
        """How many unread bytes the first chunk holds."""
        cdef Py_ssize_t length
        if self.head == self.stop:
            return 0
        length = size_of(self.chunks[self.head]) - self.start
        return length - self.room if self.head == self.stop - 1 else length

    cdef void leave_head(self) noexcept:
        """Take the first chunk out of the queue; it belongs to the caller."""
        cdef Py_ssize_t filled = size_of(self.chunks[self.head]) - self.room if self.head == 0 else self.most
        self.head += 1
        self.start = 0
        if self.head == self.stop:
            self.head = self.stop = 0
            self.room = 0
            self.free = NULL
            self.next_size = self.sized(filled)

    cdef void drop_head(self) noexcept:
        cdef PyObject *chunk = self.chunks[self.head]
        self.leave_head()
        recycle(chunk)

    cdef Py_ssize_t sized(self, int64_t length) noexcept:
        cdef Py_ssize_t size = SMALL_CHUNK
        while size < length and size < self.most:
            size *= 2
        return size

    cdef bytes take_head(self):
        """Consume the first chunk."""
        cdef PyObject *chunk = self.chunks[self.head]
        cdef Py_ssize_t length = self.head_length(), size = size_of(chunk)
        cdef bytes data
        if self.start or (length < size and length <= COPIED_OUT):
            data = PyBytes_FromStringAndSize(bytes_at(chunk) + self.start, length)
            self.drop_head()
        else:
            self.leave_head()
            if length < size:
                resize_bytes(&chunk, length)
            data = <bytes>chunk
            decref(chunk)
        self.consumed += length
        return data

    cdef void copy_out(self, unsigned char *out, Py_ssize_t length) noexcept:
        cdef Py_ssize_t index = self.head, start = self.start, part
        while length:
            part = min(length, size_of(self.chunks[index]) - start)
            memcpy(out, bytes_at(self.chunks[index]) + start, part)
            out += part
            length -= part
            start = 0
            index += 1

    cdef void consume(self, unsigned char *out, Py_ssize_t length) noexcept:
        """Move the next ``length`` bytes, which are there, to ``out``."""
        cdef Py_ssize_t part, here
        self.consumed += length
        while length:
            here = self.head_length()
            part = min(length, here)
            memcpy(out, bytes_at(self.chunks[self.head]) + self.start, part)
            out += part
            length -= part
            self.start += part
            if part == here:
                self.drop_head()

    # --- what the reader does

    def read(self, max_bytes=-1):
        """Return the next bytes and consume them: all that are readable, or at most ``max_bytes`` of them."""
        cdef int64_t readable = self.c_readable()
        cdef Py_ssize_t size = clipped(max_bytes)
        cdef bytes data
        if size < 0 or size > readable:
            size = <Py_ssize_t>readable
        if size == 0:
            return b""
        if size == self.head_length():
            return self.take_head()
        data = PyBytes_FromStringAndSize(NULL, size)
        self.consume(<unsigned char *>bytes_at(<PyObject *>data), size)
        if size == readable and size > self.next_size:
            # All at once, and more than a chunk held: next time one may hold it.
            self.most = LARGEST_CHUNK
            self.next_size = self.sized(size)
        return data

    def readinto(self, view):
        """Copy the next bytes to the start of ``view`` and consume them; return how many."""
        cdef Py_buffer buffer
        cdef Py_ssize_t size = <Py_ssize_t>min(<int64_t>len(view), self.c_readable())
        if type(view) is bytearray or is_plain_target(view):
            PyObject_GetBuffer(view, &buffer, PyBUF_WRITABLE)
            self.consume(<unsigned char *>buffer.buf, size)
            PyBuffer_Release(&buffer)
        else:
            data = self.peek(size)
            view[:size] = memoryview(data)
            self.read(size)
        return size

    def read_frames(self, int64_t kind, int64_t left, int64_t max_bytes):
        """Read the payload of consecutive frames, each a varint type, a varint length and that many bytes.

        The first ``left`` bytes belong to the frame at hand; then come frames of type ``kind``, whose headers are
        consumed and dropped. It ends after ``max_bytes`` of payload, where the bytes end, and before a header that is
        of another type or not whole. Returns the payload, how much of the last frame is left, and the lengths of the
        frames it went on to, added up.
        """
        cdef int64_t readable = self.c_readable(), opened = 0
        cdef Py_ssize_t filled = 0, size = <Py_ssize_t>min(readable, max_bytes), part
        cdef unsigned char *out
        cdef PyObject *payload
        cdef object data
        if left >= readable and max_bytes >= readable:  # no header among them: perhaps they need no copy
            return self.read(), left - readable, 0
        payload = new_bytes(NULL, size)
        out = <unsigned char *>bytes_at(payload)
        while True:
            part = <Py_ssize_t>min(min(left, <int64_t>(size - filled)), self.c_readable())
            self.consume(out + filled, part)
            filled += part
            left -= part
            if left or filled >= max_bytes or not self.next_frame(kind, &left):
                break
            opened += left
        if filled < size:
            resize_bytes(&payload, filled)
        data = <object>payload
        decref(payload)
        return data, left, opened

    cdef bint next_frame(self, int64_t kind, int64_t *length) noexcept:
        """Consume the header of a frame of type ``kind`` if that is what comes next, whole."""
        cdef unsigned char head[16]
        cdef Py_ssize_t pos = 0, here = <Py_ssize_t>min(self.c_readable(), 16)
        cdef uint64_t found, size
        self.copy_out(head, here)
        if read_varint(head, &pos, here, &found) < 0 or found != <uint64_t>kind:
            return False
        if read_varint(head, &pos, here, &size) < 0:
            return False
        self.skip(pos)
        length[0] = <int64_t>size
        return True

    cdef void skip(self, Py_ssize_t length) noexcept:
        """Consume ``length`` bytes, which are there, unseen."""
        cdef Py_ssize_t part, here
        self.consumed += length
        while length:
            here = self.head_length()
            part = min(length, here)
            length -= part
            self.start += part
            if part == here:
                self.drop_head()

    def peek(self, max_bytes):
        """Return up to ``max_bytes`` of the next bytes without consuming them; all of them for a negative number."""
        cdef int64_t readable = self.c_readable()
        cdef Py_ssize_t size = clipped(max_bytes)
        cdef bytes data
        if size < 0 or size > readable:
            size = <Py_ssize_t>readable
        data = PyBytes_FromStringAndSize(NULL, size)
        self.copy_out(<unsigned char *>bytes_at(<PyObject *>data), size)
        return data

    # --- the ends

    def reset(self, int64_t final_size):
        """Handle RESET_STREAM: drop what is here; return the growth of ``highest``.

        ``consumed`` becomes ``final_size``: what it grows by is credit for the connection. But a stream that is
        complete stays as it is, readable (RFC 9000, section 3.2), and ``is_reset`` false; a second reset changes
        nothing.

        Raises:
            TransportError: FINAL_SIZE_ERROR for a size that contradicts what came before, then ``overflow_code`` for
                one beyond ``limit``. Nothing changed.
        """
        cdef int64_t growth
        cdef bint complete
        self.check_final_size(final_size, True)
        if final_size > self.limit:
            raise TransportError(self.overflow_code, "data beyond the limit")
        growth = self.grow(final_size)
        complete = self.c_complete()
        self.final_size = final_size
        if self.is_reset or complete:
            return growth
        self.is_reset = True
        self.drop_data()
        self.edge = self.consumed = final_size
        return growth

    def discard(self):
        """Give up reading: drop what is here and what will come; return the bytes newly counted as consumed.

        ``consumed`` becomes ``highest``. Call it again when ``highest`` has grown.
        """
        cdef int64_t released = self.highest - self.consumed
        self.discarded = True
        self.drop_data()
        self.edge = self.consumed = self.highest
        return released

    cdef void drop_data(self) noexcept:
        self.budget.used -= self.segments.count
        drop_all(&self.segments)
        self.gap_end = INT64_MAX
        while self.head < self.stop:
            self.drop_head()


cdef bint is_plain_target(object view) except -1:
    """Whether bytes can be copied into ``view`` without asking it."""
    return PyMemoryView_Check(view) and is_byte_buffer(view_buffer(view)) and not view_buffer(view).readonly
