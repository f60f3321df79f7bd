# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: embedsignature=True
"""Frame encoding (RFC 9000, section 19; RFC 9221); ``specter._reference.frame_encoding`` is the specification.

Arguments that are not plain integers and tuples of them, and frames that are rarely sent, take the way of the reference.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int64_t, uint64_t

from specter._speedups.varint cimport PyLong_CheckExact, is_varint, put_varint, varint_length

from specter._frame_types import (
    Ack,
    DataBlocked,
    MaxData,
    MaxStreamData,
    ResetStream,
    RetireConnectionId,
    StopSending,
    StreamDataBlocked,
)
from specter._reference import frame_encoding as reference
from specter._reference import varint as reference_varint
from specter._wire import VARINT_MAX

cdef enum:
    STACK_RANGES = 128

# Frames whose fields are varints and nothing else.
cdef dict INTEGER_TYPES = {
    ResetStream: (0x04, ("stream_id", "error_code", "final_size")),
    StopSending: (0x05, ("stream_id", "error_code")),
    MaxData: (0x10, ("maximum",)),
    MaxStreamData: (0x11, ("stream_id", "maximum")),
    DataBlocked: (0x14, ("limit",)),
    StreamDataBlocked: (0x15, ("stream_id", "limit")),
    RetireConnectionId: (0x19, ("sequence",)),
}


def varint_size(value):
    """Return how many bytes ``value`` takes: 1, 2, 4 or 8; ``ValueError`` outside 0 to 2**62-1."""
    cdef uint64_t number = 0
    if not is_varint(value, &number):
        return reference_varint.varint_size(value)
    return varint_length(number)


def encode_varint(value):
    """Return ``value`` in its shortest form; ``ValueError`` outside 0 to 2**62-1."""
    cdef uint64_t number = 0
    cdef unsigned char out[8]
    if not is_varint(value, &number):
        return reference_varint.encode_varint(value)
    return PyBytes_FromStringAndSize(<char *>out, put_varint(out, number))


def encode(frame):
    """Return the bytes of ``frame``: integers in shortest form, STREAM and DATAGRAM with an explicit length.

    ``ValueError`` for a value that no frame can carry, ``TypeError`` for what is not a frame.
    """
    cdef unsigned char out[32]
    cdef Py_ssize_t size = 1
    cdef uint64_t number = 0
    kind = type(frame)
    if kind is Ack:
        return encode_ack(frame.ranges, frame.delay, frame.ecn, VARINT_MAX + 1)
    plan = INTEGER_TYPES.get(kind)
    if plan is None:
        return reference.encode(frame)
    out[0] = <unsigned char>plan[0]
    for field in <tuple>plan[1]:
        if not is_varint(getattr(frame, field), &number):
            return reference.encode(frame)
        size += put_varint(out + size, number)
    return PyBytes_FromStringAndSize(<char *>out, size)


def encode_stream_header(stream_id, offset, length, fin):
    """Return a STREAM frame up to its data; ``length`` None means that the data fills the packet."""
    cdef unsigned char out[32]
    cdef uint64_t number = 0, start = 0, size = 0
    cdef bint last, plain = is_varint(stream_id, &number) and is_varint(offset, &start)
    if not plain or not (length is None or is_varint(length, &size)):
        return reference.encode_stream_header(stream_id, offset, length, fin)
    last = bool(fin)
    return PyBytes_FromStringAndSize(
        <char *>out, put_stream_header(out, number, start, -1 if length is None else <int64_t>size, last)
    )


def encode_crypto_header(offset, length):
    """Return what precedes ``length`` bytes of data in a CRYPTO frame."""
    cdef unsigned char out[32]
    cdef uint64_t start = 0, size = 0
    if not is_varint(offset, &start) or not is_varint(length, &size):
        return reference.encode_crypto_header(offset, length)
    return PyBytes_FromStringAndSize(<char *>out, put_crypto_header(out, start, size))


cdef Py_ssize_t put_stream_header(
    unsigned char *out, uint64_t stream_id, uint64_t offset, int64_t length, bint fin
) noexcept nogil:
    cdef Py_ssize_t size = 1 + put_varint(out + 1, stream_id)
    cdef unsigned char frame_type = 0x09 if fin else 0x08
    if offset:
        frame_type |= 0x04
        size += put_varint(out + size, offset)
    if length >= 0:
        frame_type |= 0x02
        size += put_varint(out + size, <uint64_t>length)
    out[0] = frame_type
    return size


cdef Py_ssize_t put_crypto_header(unsigned char *out, uint64_t offset, uint64_t length) noexcept nogil:
    cdef Py_ssize_t size = 1
    out[0] = 0x06
    size += put_varint(out + size, offset)
    return size + put_varint(out + size, length)


def encode_ack(ranges, delay, ecn, capacity):
    """Return an ACK (or, with ``ecn``, ACK_ECN) frame of at most ``capacity`` bytes.

    ``ranges`` are inclusive ``(smallest, largest)``, highest first, not touching each other. The oldest are left out
    to fit; ``b""`` when not even the newest range fits.
    """
    cdef int64_t numbers[2 * STACK_RANGES]
    cdef int64_t *starts = numbers
    cdef Py_ssize_t count
    if not isinstance(ranges, (tuple, list)) or len(ranges) == 0:
        return reference.encode_ack(ranges, delay, ecn, capacity)
    count = len(ranges)
    if count > STACK_RANGES:
        starts = <int64_t *>PyMem_Malloc(2 * count * sizeof(int64_t))
        if starts == NULL:
            raise MemoryError
    try:
        if read_ranges(ranges, count, starts, starts + count):
            encoded = ack_bytes(starts, starts + count, count, delay, ecn, capacity)
            if encoded is not None:
                return encoded
    finally:
        if starts != numbers:
            PyMem_Free(starts)
    return reference.encode_ack(ranges, delay, ecn, capacity)


cdef bint read_ranges(object ranges, Py_ssize_t count, int64_t *starts, int64_t *ends) except -1:
    """Turn descending pairs into ascending arrays; False unless every one is as it should be."""
    cdef uint64_t low = 0, high = 0
    cdef Py_ssize_t index = count
    for pair in ranges:
        if type(pair) is not tuple or len(<tuple>pair) != 2:
            return False
        if not is_varint((<tuple>pair)[0], &low) or not is_varint((<tuple>pair)[1], &high) or low > high:
            return False
        if index < count and <int64_t>high + 2 > starts[index]:
            return False
        index -= 1
        starts[index] = <int64_t>low
        ends[index] = <int64_t>high
    return True


cdef bytes ack_bytes(
    const int64_t *starts, const int64_t *ends, Py_ssize_t count, object delay, object ecn, object capacity
):
    """The frame, None when the reference has to look at the arguments."""
    cdef unsigned char small[512]
    cdef unsigned char *out = small
    cdef uint64_t units = 0, ect0 = 0, ect1 = 0, ce = 0, room = 0
    cdef Py_ssize_t most = 64 + 16 * count
    if not is_varint(delay, &units) or not PyLong_CheckExact(capacity) or capacity < 0:
        return None
    if ecn is not None and not (is_varint(ecn.ect0, &ect0) and is_varint(ecn.ect1, &ect1) and is_varint(ecn.ce, &ce)):
        return None
    if not is_varint(capacity, &room) or room > <uint64_t>most:
        room = <uint64_t>most
    if room > sizeof(small):
        result = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>room)
        out = <unsigned char *>PyBytes_AS_STRING(result)
    most = put_ack(out, <Py_ssize_t>room, starts, ends, count, units, ecn is not None, ect0, ect1, ce)
    return PyBytes_FromStringAndSize(<char *>out, most)


cdef Py_ssize_t put_ack(
    unsigned char *out, Py_ssize_t capacity, const int64_t *starts, const int64_t *ends, Py_ssize_t count,
    uint64_t delay, bint ecn, uint64_t ect0, uint64_t ect1, uint64_t ce,
) noexcept:
    cdef Py_ssize_t index = count - 1, more = 0, pos = 1
    cdef Py_ssize_t room = capacity - 1 - varint_length(<uint64_t>ends[index]) - varint_length(delay)
    room -= varint_length(<uint64_t>(ends[index] - starts[index]))
    if ecn:
        room -= varint_length(ect0) + varint_length(ect1) + varint_length(ce)
    if room < 1:
        return 0
    while more < index:
        room -= varint_length(<uint64_t>(starts[index - more] - ends[index - more - 1] - 2))
        room -= varint_length(<uint64_t>(ends[index - more - 1] - starts[index - more - 1]))
        if room < varint_length(<uint64_t>(more + 1)):
            break
        more += 1
    out[0] = 0x03 if ecn else 0x02
    pos += put_varint(out + pos, <uint64_t>ends[index])
    pos += put_varint(out + pos, delay)
    pos += put_varint(out + pos, <uint64_t>more)
    pos += put_varint(out + pos, <uint64_t>(ends[index] - starts[index]))
    while more > 0:
        more -= 1
        index -= 1
        pos += put_varint(out + pos, <uint64_t>(starts[index + 1] - ends[index] - 2))
        pos += put_varint(out + pos, <uint64_t>(ends[index] - starts[index]))
    if ecn:
        pos += put_varint(out + pos, ect0)
        pos += put_varint(out + pos, ect1)
        pos += put_varint(out + pos, ce)
    return pos
