"""Variable-length integers (RFC 9000, section 16)."""

from libc.stdint cimport uint64_t

cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1
    bint PyLong_CheckExact(object value)


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


cdef inline bint is_varint(object value, uint64_t *number) except -1:
    """Whether ``value`` is a plain int that a varint can carry."""
    cdef int overflow = 0
    cdef long long plain
    if not PyLong_CheckExact(value):
        return False
    plain = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow or plain < 0 or plain >> 62:
        return False
    number[0] = <uint64_t>plain
    return True
