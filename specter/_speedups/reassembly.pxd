from cpython.object cimport PyObject
from libc.stdint cimport int64_t

from specter._speedups.segments cimport Segments


cdef class SegmentBudget:
    cdef public int64_t limit
    cdef public int64_t used


cdef class RecvBuffer:
    cdef public int64_t limit
    cdef readonly int64_t highest
    cdef readonly int64_t consumed
    cdef readonly int64_t final_size
    cdef readonly bint is_reset
    cdef readonly bint discarded
    # Scratch for whoever owns the buffer.
    cdef public bint touched

    # Where the contiguous bytes end, and where the first pending segment starts.
    cdef int64_t edge
    cdef int64_t gap_end
    cdef Segments segments
    cdef SegmentBudget budget
    cdef object overflow_code

    # The readable bytes: ``bytes`` objects nobody else has seen, in a queue from ``head`` to ``stop``. The first one
    # was read up to ``start``, the last one has ``room`` bytes left at ``free``.
    cdef PyObject **chunks
    cdef Py_ssize_t head
    cdef Py_ssize_t stop
    cdef Py_ssize_t slots
    cdef Py_ssize_t start
    cdef unsigned char *free
    cdef Py_ssize_t room
    cdef Py_ssize_t next_size
    cdef Py_ssize_t most

    cdef int64_t c_receive(self, int64_t offset, const unsigned char *data, Py_ssize_t length, bint fin) except -1

    cdef inline int64_t c_readable(self) noexcept:
        return self.edge - self.consumed

    cdef inline bint c_complete(self) noexcept:
        if self.is_reset:
            return False
        return self.final_size >= 0 if self.discarded else self.final_size == self.edge

    cdef int check_final_size(self, int64_t end, bint fin) except -1
    cdef int64_t grow(self, int64_t end) noexcept
    cdef int keep(self, int64_t start, int64_t end, const unsigned char *data) except -1
    cdef int bridge(self, int64_t offset, int64_t end, const unsigned char *data) except -1
    cdef void find_gap_end(self) noexcept
    cdef int push(self, const unsigned char *data, Py_ssize_t length) except -1
    cdef int widen(self, Py_ssize_t length) except -1
    cdef int add_chunk(self, Py_ssize_t length) except -1
    cdef Py_ssize_t head_length(self) noexcept
    cdef void leave_head(self) noexcept
    cdef void drop_head(self) noexcept
    cdef Py_ssize_t sized(self, int64_t length) noexcept
    cdef void drop_data(self) noexcept
    cdef bytes take_head(self)
    cdef void copy_out(self, unsigned char *out, Py_ssize_t length) noexcept
    cdef bint next_frame(self, int64_t kind, int64_t *length) noexcept
    cdef void skip(self, Py_ssize_t length) noexcept
    cdef void consume(self, unsigned char *out, Py_ssize_t length) noexcept
