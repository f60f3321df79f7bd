from libc.stdint cimport int64_t


cdef struct RangeSet:
    # Disjoint, not touching, ascending ranges [starts[i], ends[i]).
    int64_t *starts
    int64_t *ends
    Py_ssize_t count
    Py_ssize_t capacity


cdef class SendBuffer:
    cdef readonly int64_t stream_id
    cdef public int64_t limit
    cdef readonly int64_t offset_end
    cdef readonly int64_t sent_offset
    cdef readonly bint finished_writing
    cdef readonly bint is_reset
    cdef public int queued           # scratch of the owner
    cdef bint _fin_pending
    cdef bint _fin_acked
    cdef int64_t _base               # what lies below is acknowledged and gone
    cdef unsigned char *_ring        # the byte at stream offset o lies at o & (_capacity - 1)
    cdef int64_t _capacity
    cdef RangeSet _lost
    cdef RangeSet _acked

    cdef int c_next_range(
        self, int64_t max_bytes, int64_t new_allowed, int64_t *offset, int64_t *length, bint *fin
    ) noexcept
    """As ``next_range``: 1 found, 0 none."""

    cdef int c_take_into(self, unsigned char *out, int64_t offset, int64_t length, bint fin) except -1
    """As ``take``, into ``out``."""

    cdef bint c_has_pending(self) noexcept
    cdef bint c_blocked(self) noexcept
    cdef int c_write(self, const unsigned char *data, Py_ssize_t size) except -1
    cdef int c_mark_sent(self, int64_t offset, int64_t length, bint fin) except -1
    cdef int c_acked(self, int64_t start, int64_t end, bint fin) except -1
    cdef int c_lost(self, int64_t start, int64_t end, bint fin) except -1
    cdef int _check_open(self) except -1
    cdef int _check_held(self, int64_t offset, int64_t length) except -1
    cdef int _check_sent(self, int64_t start, int64_t end, bint fin) except -1
    cdef int _add_lost(self, int64_t start, int64_t end) except -1
    cdef int _release(self, int64_t end) except -1
    cdef void _shrink(self) noexcept
    cdef int _resize(self, int64_t capacity) except -1
    cdef void _copy(self, unsigned char *out, int64_t offset, int64_t length) noexcept
