from libc.stdint cimport int64_t, uint64_t


cdef inline int varint_length(uint64_t value) noexcept nogil:
    if value < 0x40:
        return 1
    if value < 0x4000:
        return 2
    return 4 if value < 0x40000000 else 8


cdef inline int read_varint(const unsigned char *p, Py_ssize_t *pos, Py_ssize_t end, uint64_t *value) noexcept nogil:
    """0, or -1 when the integer passes ``end``; ``pos`` then stays."""
    cdef Py_ssize_t at = pos[0]
    cdef Py_ssize_t size
    cdef const unsigned char *q
    if at >= end:
        return -1
    q = p + at
    if q[0] < 0x40:
        value[0] = q[0]
        pos[0] = at + 1
        return 0
    size = <Py_ssize_t>1 << (q[0] >> 6)
    if size > end - at:
        return -1
    if size == 2:
        value[0] = <uint64_t>(q[0] & 0x3F) << 8 | q[1]
    elif size == 4:
        value[0] = <uint64_t>(q[0] & 0x3F) << 24 | <uint64_t>q[1] << 16 | <uint64_t>q[2] << 8 | q[3]
    else:
        value[0] = (<uint64_t>(q[0] & 0x3F) << 56 | <uint64_t>q[1] << 48 | <uint64_t>q[2] << 40
                    | <uint64_t>q[3] << 32 | <uint64_t>q[4] << 24 | <uint64_t>q[5] << 16 | <uint64_t>q[6] << 8 | q[7])
    pos[0] = at + size
    return 0


cdef inline Py_ssize_t put_varint(unsigned char *p, uint64_t value) noexcept nogil:
    """Write at most 8 bytes and return how many; ``value`` is below 2**62."""
    if value < 0x40:
        p[0] = <unsigned char>value
        return 1
    if value < 0x4000:
        p[0] = <unsigned char>(value >> 8 | 0x40)
        p[1] = <unsigned char>value
        return 2
    if value < 0x40000000:
        p[0] = <unsigned char>(value >> 24 | 0x80)
        p[1] = <unsigned char>(value >> 16)
        p[2] = <unsigned char>(value >> 8)
        p[3] = <unsigned char>value
        return 4
    p[0] = <unsigned char>(value >> 56 | 0xC0)
    p[1] = <unsigned char>(value >> 48)
    p[2] = <unsigned char>(value >> 40)
    p[3] = <unsigned char>(value >> 32)
    p[4] = <unsigned char>(value >> 24)
    p[5] = <unsigned char>(value >> 16)
    p[6] = <unsigned char>(value >> 8)
    p[7] = <unsigned char>value
    return 8


cdef inline bint is_byte_buffer(const Py_buffer *buffer) noexcept:
    """Whether a memoryview is of bytes that lie side by side, and is indexed by them."""
    if buffer.ndim != 1 or buffer.itemsize != 1 or buffer.suboffsets != NULL:
        return False
    if buffer.strides != NULL and buffer.strides[0] != 1:
        return False
    return buffer.format == NULL or (buffer.format[0] == c"B" and buffer.format[1] == 0)


# ``pos`` is at the type byte, and behind the frame afterwards; ``data`` is a position in ``p``.
cdef int parse_stream_frame(
    const unsigned char *p, Py_ssize_t *pos, Py_ssize_t end, uint64_t *stream_id, uint64_t *offset,
    Py_ssize_t *data, Py_ssize_t *length, bint *fin,
) except -1

# The position of the first byte from ``pos`` on that is not zero, or ``end``.
cdef Py_ssize_t skip_padding(const unsigned char *p, Py_ssize_t pos, Py_ssize_t end) noexcept nogil

# As ``decode_frame``; ``p`` points at the first byte of ``view``, a memoryview.
cdef tuple decode_at(object view, const unsigned char *p, Py_ssize_t pos, Py_ssize_t end)

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
