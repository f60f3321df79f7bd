from libc.stdint cimport int64_t, uint64_t

# Ascending disjoint inclusive ranges to an ACK or ACK_ECN frame; 0 when not even the newest range fits.
cdef Py_ssize_t put_ack(
    unsigned char *out, Py_ssize_t capacity, const int64_t *starts, const int64_t *ends, Py_ssize_t count,
    uint64_t delay, bint ecn, uint64_t ect0, uint64_t ect1, uint64_t ce,
) noexcept

# At most 25 and 17 bytes; a ``length`` of -1 means that the data fills the packet.
cdef Py_ssize_t put_stream_header(
    unsigned char *out, uint64_t stream_id, uint64_t offset, int64_t length, bint fin
) noexcept nogil
cdef Py_ssize_t put_crypto_header(unsigned char *out, uint64_t offset, uint64_t length) noexcept nogil
