from libc.stdint cimport uint64_t

from specter._speedups.frame_encoding cimport put_ack, put_crypto_header, put_stream_header
from specter._speedups.varint cimport put_varint, read_varint, varint_length


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
