cdef class ReceiveBatch:
    cdef readonly Py_ssize_t capacity
    cdef readonly bytearray slab
    cdef readonly object view
    cdef unsigned char *base
    cdef Py_ssize_t size
    cdef Py_ssize_t count
    cdef Py_ssize_t *starts
    cdef Py_ssize_t *ends
    cdef unsigned char *ecns
    # One entry a datagram, or None while every address is None.
    cdef list addresses
    cdef Py_ssize_t free
    cdef Py_ssize_t room_for
    cdef Py_buffer export

    cdef bint c_full(self) noexcept
    cdef Py_ssize_t c_free(self) noexcept
    cdef int c_commit_at(self, Py_ssize_t start, Py_ssize_t length, int ecn, object address) except -1
    cdef object c_address(self, Py_ssize_t index)


cdef class SendBatch:
    cdef readonly Py_ssize_t capacity
    cdef readonly bytearray slab
    cdef readonly object view
    cdef unsigned char *base
    cdef Py_ssize_t count
    cdef Py_ssize_t *starts
    cdef Py_ssize_t *ends
    cdef unsigned char *ecns
    cdef list addresses
    cdef bint delivered
    cdef Py_ssize_t room_for
    cdef Py_buffer export

    cdef bint c_full(self) noexcept
    cdef Py_ssize_t c_begin(self) noexcept
    cdef int c_commit(self, Py_ssize_t end, object address, int ecn) except -1
    cdef object c_address(self, Py_ssize_t index)
    cdef void c_clear(self) noexcept
