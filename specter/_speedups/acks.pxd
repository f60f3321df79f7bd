from libc.stdint cimport int64_t, uint64_t


cdef class AckTracker:
    cdef public int64_t bulk_delay
    cdef readonly int64_t largest
    cdef readonly int64_t deadline
    cdef readonly int64_t pending
    # Disjoint inclusive ranges that do not touch, ascending.
    cdef int64_t *starts
    cdef int64_t *ends
    cdef Py_ssize_t count
    cdef Py_ssize_t room
    cdef int64_t max_ranges
    cdef int64_t floor
    cdef int64_t largest_eliciting
    cdef int64_t largest_time
    cdef int64_t elicited
    cdef int64_t threshold
    cdef int64_t bulk_threshold
    cdef int64_t bulk_after
    cdef int64_t max_delay
    cdef bint immediate
    cdef uint64_t ect0
    cdef uint64_t ect1
    cdef uint64_t ce

    cdef bint c_is_duplicate(self, int64_t pn) noexcept
    cdef int c_record(self, int64_t pn, int64_t now, bint eliciting, int ecn) except -1
    cdef Py_ssize_t c_encode(self, unsigned char *out, Py_ssize_t capacity, int64_t now, int exponent) except -1
    cdef void c_sent(self) noexcept

    cdef Py_ssize_t below(self, int64_t pn) noexcept
    cdef bint in_order(self, int64_t pn) except -1
    cdef bint add(self, int64_t pn) except -1
    cdef int insert(self, Py_ssize_t index, int64_t pn) except -1
    cdef void remove(self, Py_ssize_t index, Py_ssize_t number) noexcept
