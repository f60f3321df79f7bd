# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: embedsignature=True
"""Frame codec (RFC 9000, sections 16 and 19; RFC 9221); ``specter._reference.frames`` is the specification.

Arguments that are not plain integers, bytes and byte buffers, and frames that are rarely sent, take the way of the
reference.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_AsTuple
from cpython.memoryview cimport PyMemoryView_FromObject
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyTypeObject
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

from specter._frame_types import (
    Ack,
    ConnectionClose,
    Crypto,
    DataBlocked,
    Datagram,
    EcnCounts,
    HandshakeDone,
    MaxData,
    MaxStreamData,
    MaxStreams,
    NewConnectionId,
    NewToken,
    Padding,
    PathChallenge,
    PathResponse,
    Ping,
    ResetStream,
    RetireConnectionId,
    StopSending,
    Stream,
    StreamDataBlocked,
    StreamsBlocked,
)
from specter._reference import frames as reference
from specter._wire import TransportError, TransportErrorCode

__all__ = [
    "decode",
    "decode_frame",
    "decode_varint",
    "encode",
    "encode_ack",
    "encode_crypto_header",
    "encode_stream_header",
    "encode_varint",
    "parse_ack",
    "parse_crypto",
    "parse_padding",
    "parse_stream",
    "varint_size",
]

cdef extern from "Python.h":
    object PyType_GenericAlloc(PyTypeObject *cls, Py_ssize_t count)
    int PyObject_GenericSetAttr(object target, object name, object value) except -1
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1
    bint PyLong_CheckExact(object value)
    Py_ssize_t PY_SSIZE_T_MAX
    Py_buffer *view_buffer "PyMemoryView_GET_BUFFER" (object view)

cdef enum:
    MAX_CID = 20
    RESET_TOKEN = 16
    PATH_DATA = 8
    STACK_RANGES = 128

cdef uint64_t VARINT_MAX = (<uint64_t>1 << 62) - 1
cdef uint64_t MAX_STREAMS = <uint64_t>1 << 60

cdef object FRAME_ENCODING_ERROR = TransportErrorCode.FRAME_ENCODING_ERROR
cdef object PROTOCOL_VIOLATION = TransportErrorCode.PROTOCOL_VIOLATION

cdef object PING = Ping()
cdef object HANDSHAKE_DONE = HandshakeDone()

# Frames whose fields are varints and nothing else: what is decoded, and (by class) what is encoded.
cdef dict INTEGER_TYPES = {
    ResetStream: (0x04, ("stream_id", "error_code", "final_size")),
    StopSending: (0x05, ("stream_id", "error_code")),
    MaxData: (0x10, ("maximum",)),
    MaxStreamData: (0x11, ("stream_id", "maximum")),
    DataBlocked: (0x14, ("limit",)),
    StreamDataBlocked: (0x15, ("stream_id", "limit")),
    RetireConnectionId: (0x19, ("sequence",)),
}
cdef tuple ACK_FIELDS = ("ranges", "delay", "ecn")
cdef tuple STREAM_FIELDS = ("stream_id", "offset", "data", "fin")
cdef tuple CRYPTO_FIELDS = ("offset", "data")
cdef tuple DATA_FIELD = ("data",)


cdef struct Cursor:
    const unsigned char *p
    Py_ssize_t pos
    Py_ssize_t end
    int frame_type


# --- what everything leans on


cdef int fail(str reason, uint64_t frame_type) except -1:
    raise TransportError(FRAME_ENCODING_ERROR, reason, frame_type)


cdef inline int take(Cursor *c, uint64_t *value) except -1:
    if read_varint(c.p, &c.pos, c.end, value) < 0:
        return fail("frame is truncated", c.frame_type)
    return 0


cdef inline int take_length(Cursor *c, Py_ssize_t *length) except -1:
    """Read the length of a field that must lie in the payload."""
    cdef uint64_t value = 0
    take(c, &value)
    return hold(c, value, length)


cdef inline int hold(Cursor *c, uint64_t size, Py_ssize_t *length) except -1:
    if size > <uint64_t>(c.end - c.pos):
        return fail("frame is truncated", c.frame_type)
    length[0] = <Py_ssize_t>size
    return 0


cdef inline bint is_varint(object value, uint64_t *number) except -1:
    """Whether ``value`` is a plain int that a varint can carry."""
    cdef int overflow = 0
    cdef long long plain
    if not PyLong_CheckExact(value):
        return False
    plain = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow or plain < 0 or <uint64_t>plain > VARINT_MAX:
        return False
    number[0] = <uint64_t>plain
    return True


cdef inline bint is_position(object value, Py_ssize_t *position) except -1:
    cdef uint64_t number = 0
    if not is_varint(value, &number) or number > <uint64_t>PY_SSIZE_T_MAX:
        return False
    position[0] = <Py_ssize_t>number
    return True


cdef bint open_cursor(Cursor *c, object view, object pos, object end) except -1:
    """Point ``c`` at a range of ``view``; False when only the reference can tell what to do with it."""
    cdef const Py_buffer *buffer = view_buffer(view)
    if not is_byte_buffer(buffer):
        return False
    if end is None:
        c.end = buffer.len
    elif not is_position(end, &c.end):
        return False
    if not is_position(pos, &c.pos) or c.pos > c.end or c.end > buffer.len:
        return False
    c.p = <const unsigned char *>buffer.buf
    c.frame_type = 0
    return True


cdef inline object build(object cls, tuple fields, tuple values):
    """Make a frozen dataclass instance without its ``__init__``."""
    cdef object frame = PyType_GenericAlloc(<PyTypeObject *>cls, 0)
    cdef Py_ssize_t index
    for index in range(len(fields)):
        PyObject_GenericSetAttr(frame, fields[index], values[index])
    return frame


# --- decoding


def decode(payload, start=0, end=None):
    """Decode a whole packet payload; ``data`` and ``token`` fields are slices of ``payload``."""
    cdef Cursor c
    cdef object view = PyMemoryView_FromObject(payload)
    cdef list frames = []
    if not open_cursor(&c, view, start, end):
        return reference.decode(payload, start, end)
    if c.pos == c.end:
        raise TransportError(PROTOCOL_VIOLATION, "packet without frames")
    while c.pos < c.end:
        frames.append(next_frame(view, &c))
    return frames


def decode_frame(payload, pos, end):
    """Decode the frame at ``pos``; return it and the position behind it. ``pos == end`` is a truncated frame."""
    cdef Cursor c
    cdef object view = PyMemoryView_FromObject(payload)
    if end is None or not open_cursor(&c, view, pos, end):
        return reference.decode_frame(payload, pos, end)
    frame = next_frame(view, &c)
    return frame, c.pos


cdef tuple decode_at(object view, const unsigned char *p, Py_ssize_t pos, Py_ssize_t end):
    cdef Cursor c = Cursor(p, pos, end, 0)
    frame = next_frame(view, &c)
    return frame, c.pos


cdef object next_frame(object view, Cursor *c):
    cdef int kind
    cdef Py_ssize_t start
    c.frame_type = 0
    if c.pos >= c.end:
        fail("frame is truncated", 0)
    kind = c.p[c.pos]
    if 0x08 <= kind <= 0x0F:
        return stream(view, c)
    if kind == 0x00:
        start = c.pos
        c.pos = skip_padding(c.p, start, c.end)
        return build(Padding, ("length",), (c.pos - start,))
    if kind > 0x31:
        return unknown_type(c)
    c.pos += 1
    c.frame_type = kind
    if kind == 0x01:
        return PING
    if kind == 0x02 or kind == 0x03:
        ranges, delay, ecn = ack(c)
        return build(Ack, ACK_FIELDS, (PyList_AsTuple(ranges), delay, ecn))
    if kind == 0x04:
        return integers(c, ResetStream, 3)
    if kind == 0x05:
        return integers(c, StopSending, 2)
    if kind == 0x06:
        return crypto(view, c)
    if kind == 0x07:
        return new_token(view, c)
    if kind == 0x10:
        return integers(c, MaxData, 1)
    if kind == 0x11:
        return integers(c, MaxStreamData, 2)
    if kind == 0x12 or kind == 0x13:
        return stream_count(c, MaxStreams)
    if kind == 0x14:
        return integers(c, DataBlocked, 1)
    if kind == 0x15:
        return integers(c, StreamDataBlocked, 2)
    if kind == 0x16 or kind == 0x17:
        return stream_count(c, StreamsBlocked)
    if kind == 0x18:
        return new_connection_id(c)
    if kind == 0x19:
        return integers(c, RetireConnectionId, 1)
    if kind == 0x1A:
        return PathChallenge(fixed(c, PATH_DATA))
    if kind == 0x1B:
        return PathResponse(fixed(c, PATH_DATA))
    if kind == 0x1C or kind == 0x1D:
        return connection_close(c)
    if kind == 0x1E:
        return HANDSHAKE_DONE
    if kind == 0x30 or kind == 0x31:
        return datagram(view, c)
    c.pos -= 1
    return unknown_type(c)


cdef object unknown_type(Cursor *c):
    cdef Py_ssize_t start = c.pos
    cdef uint64_t frame_type = 0
    c.frame_type = 0
    take(c, &frame_type)
    if c.pos - start > varint_length(frame_type):
        raise TransportError(PROTOCOL_VIOLATION, "frame type is not minimally encoded", frame_type)
    fail("unknown frame type", frame_type)


cdef Py_ssize_t skip_padding(const unsigned char *p, Py_ssize_t pos, Py_ssize_t end) noexcept nogil:
    cdef uint64_t word
    while end - pos >= 8:
        memcpy(&word, p + pos, 8)
        if word:
            break
        pos += 8
    while pos < end and p[pos] == 0:
        pos += 1
    return pos


cdef list ack(Cursor *c):
    """``[ranges, delay, ecn]`` of the ACK whose fields are next."""
    cdef uint64_t largest = 0, smallest, delay = 0, count = 0, length = 0, gap = 0
    cdef list ranges = []
    take(c, &largest)
    take(c, &delay)
    take(c, &count)
    take(c, &length)
    if 2 * count > <uint64_t>(c.end - c.pos):
        fail("frame is truncated", c.frame_type)
    if length > largest:
        fail("negative packet number in ACK", c.frame_type)
    smallest = largest - length
    ranges.append((smallest, largest))
    while count:
        count -= 1
        take(c, &gap)
        take(c, &length)
        if gap + 2 + length > smallest:
            fail("negative packet number in ACK", c.frame_type)
        largest = smallest - gap - 2
        smallest = largest - length
        ranges.append((smallest, largest))
    return [ranges, delay, None if c.frame_type == 0x02 else ecn_counts(c)]


cdef object ecn_counts(Cursor *c):
    cdef uint64_t ect0 = 0, ect1 = 0, ce = 0
    take(c, &ect0)
    take(c, &ect1)
    take(c, &ce)
    return EcnCounts(ect0, ect1, ce)


cdef inline int stream_fields(
    Cursor *c, uint64_t *stream_id, uint64_t *offset, Py_ssize_t *data, Py_ssize_t *length
) except -1:
    """Read what is behind the type of a STREAM frame; the cursor goes behind its data."""
    take(c, stream_id)
    offset[0] = 0
    if c.frame_type & 0x04:
        take(c, offset)
    if c.frame_type & 0x02:
        take_length(c, length)
    else:
        length[0] = c.end - c.pos
    if offset[0] + <uint64_t>length[0] > VARINT_MAX:
        return fail("data beyond the largest offset", c.frame_type)
    data[0] = c.pos
    c.pos += length[0]
    return 0


cdef int parse_stream_frame(
    const unsigned char *p, Py_ssize_t *pos, Py_ssize_t end, uint64_t *stream_id, uint64_t *offset,
    Py_ssize_t *data, Py_ssize_t *length, bint *fin,
) except -1:
    cdef Cursor c = Cursor(p, pos[0] + 1, end, 0)
    if pos[0] >= end:
        return fail("frame is truncated", 0)
    c.frame_type = p[pos[0]]
    stream_fields(&c, stream_id, offset, data, length)
    fin[0] = c.frame_type & 0x01
    pos[0] = c.pos
    return 0


cdef object stream(object view, Cursor *c):
    cdef uint64_t stream_id = 0, offset = 0
    cdef Py_ssize_t data = 0, length = 0
    c.frame_type = c.p[c.pos]
    c.pos += 1
    stream_fields(c, &stream_id, &offset, &data, &length)
    return build(Stream, STREAM_FIELDS, (stream_id, offset, view[data:c.pos], c.frame_type & 0x01 != 0))


cdef int crypto_fields(Cursor *c, uint64_t *offset, Py_ssize_t *length) except -1:
    """Read what is behind the type of a CRYPTO frame; the cursor stays at its data."""
    take(c, offset)
    take_length(c, length)
    if offset[0] + <uint64_t>length[0] > VARINT_MAX:
        return fail("data beyond the largest offset", c.frame_type)
    return 0


cdef object crypto(object view, Cursor *c):
    cdef uint64_t offset = 0
    cdef Py_ssize_t length = 0
    crypto_fields(c, &offset, &length)
    return build(Crypto, CRYPTO_FIELDS, (offset, step(view, c, length)))


cdef inline object step(object view, Cursor *c, Py_ssize_t length):
    """The next ``length`` bytes as a slice of the payload."""
    cdef Py_ssize_t start = c.pos
    c.pos += length
    return view[start:c.pos]


cdef object new_token(object view, Cursor *c):
    cdef Py_ssize_t length = 0
    take_length(c, &length)
    if length == 0:
        fail("empty token", c.frame_type)
    return NewToken(step(view, c, length))


cdef object datagram(object view, Cursor *c):
    cdef Py_ssize_t length = c.end - c.pos
    if c.frame_type & 0x01:
        take_length(c, &length)
    return build(Datagram, DATA_FIELD, (step(view, c, length),))


cdef object integers(Cursor *c, object cls, int count):
    cdef uint64_t first = 0, second = 0, third = 0
    cdef tuple values
    take(c, &first)
    if count == 1:
        values = (first,)
    else:
        take(c, &second)
        if count == 2:
            values = (first, second)
        else:
            take(c, &third)
            values = (first, second, third)
    return build(cls, INTEGER_TYPES[cls][1], values)


cdef object stream_count(Cursor *c, object cls):
    cdef uint64_t count = 0
    take(c, &count)
    if count > MAX_STREAMS:
        fail("more than 2**60 streams", c.frame_type)
    return cls(count, c.frame_type & 0x01 != 0)


cdef bytes fixed(Cursor *c, Py_ssize_t size):
    """The next ``size`` bytes, copied."""
    cdef Py_ssize_t length = 0
    hold(c, <uint64_t>size, &length)
    c.pos += size
    return PyBytes_FromStringAndSize(<const char *>c.p + c.pos - size, size)


cdef object new_connection_id(Cursor *c):
    cdef uint64_t sequence = 0, retire_prior_to = 0
    cdef Py_ssize_t length
    take(c, &sequence)
    take(c, &retire_prior_to)
    if retire_prior_to > sequence:
        fail("retire prior to is above the sequence number", c.frame_type)
    if c.pos >= c.end:
        fail("frame is truncated", c.frame_type)
    length = c.p[c.pos]
    c.pos += 1
    if not 1 <= length <= MAX_CID:
        fail("connection id must have 1 to 20 bytes", c.frame_type)
    connection_id = fixed(c, length)
    return NewConnectionId(sequence, retire_prior_to, connection_id, fixed(c, RESET_TOKEN))


cdef object connection_close(Cursor *c):
    cdef uint64_t error_code = 0, culprit = 0
    cdef Py_ssize_t length = 0
    cdef bint application = c.frame_type == 0x1D
    take(c, &error_code)
    if not application:
        take(c, &culprit)
    take_length(c, &length)
    return ConnectionClose(error_code, culprit, fixed(c, length), application)


# --- the parsers beneath, for ranges that lie in the buffer


def parse_padding(view, pos, end):
    """Return where the run of zero bytes at ``pos`` ends. Linear in the run: what follows is not copied."""
    cdef Cursor c
    view = PyMemoryView_FromObject(view)
    if not open_fields(&c, view, pos, end, 0):
        return reference.parse_padding(view, pos, end)
    return skip_padding(c.p, c.pos, c.end)


def parse_ack(view, pos, end, frame_type):
    """Return ``(ranges, delay, ecn, position behind)`` of the ACK whose fields start at ``pos`` (behind the type).

    ``ranges`` are inclusive ``(smallest, largest)``, highest first; ``delay`` is as on the wire.
    """
    cdef Cursor c
    view = PyMemoryView_FromObject(view)
    if not open_fields(&c, view, pos, end, frame_type):
        return reference.parse_ack(view, pos, end, frame_type)
    ranges, delay, ecn = ack(&c)
    return ranges, delay, ecn, c.pos


def parse_stream(view, pos, end, frame_type):
    """Return ``(stream_id, offset, data start, data end)`` of the STREAM whose fields start at ``pos``.

    The FIN bit is ``frame_type & 1``; the next frame starts at the data end.
    """
    cdef Cursor c
    cdef uint64_t stream_id = 0, offset = 0
    cdef Py_ssize_t data = 0, length = 0
    view = PyMemoryView_FromObject(view)
    if not open_fields(&c, view, pos, end, frame_type):
        return reference.parse_stream(view, pos, end, frame_type)
    stream_fields(&c, &stream_id, &offset, &data, &length)
    return stream_id, offset, data, c.pos


def parse_crypto(view, pos, end, frame_type):
    """Return ``(offset, data start, data end)`` of the CRYPTO whose fields start at ``pos``."""
    cdef Cursor c
    cdef uint64_t offset = 0
    cdef Py_ssize_t length = 0
    view = PyMemoryView_FromObject(view)
    if not open_fields(&c, view, pos, end, frame_type):
        return reference.parse_crypto(view, pos, end, frame_type)
    crypto_fields(&c, &offset, &length)
    return offset, c.pos, c.pos + length


cdef bint open_fields(Cursor *c, object view, object pos, object end, object frame_type) except -1:
    """As ``open_cursor``; ``ValueError`` for a range that does not lie in bytes."""
    cdef uint64_t kind = 0
    if end is None or not is_varint(frame_type, &kind) or kind > 0x3F:
        return False
    if not open_cursor(c, view, pos, end):
        if is_byte_buffer(view_buffer(view)):
            raise ValueError("range outside the buffer")
        return False
    c.frame_type = <int>kind
    return True


# --- encoding


def varint_size(value):
    """Return how many bytes ``value`` takes: 1, 2, 4 or 8; ``ValueError`` outside 0 to 2**62-1."""
    cdef uint64_t number = 0
    if not is_varint(value, &number):
        return reference.varint_size(value)
    return varint_length(number)


def encode_varint(value):
    """Return ``value`` in its shortest form; ``ValueError`` outside 0 to 2**62-1."""
    cdef uint64_t number = 0
    cdef unsigned char out[8]
    if not is_varint(value, &number):
        return reference.encode_varint(value)
    return PyBytes_FromStringAndSize(<char *>out, put_varint(out, number))


def decode_varint(buffer, pos, end):
    """Return the integer at ``pos`` and the position behind it; FRAME_ENCODING_ERROR when it passes ``end``."""
    cdef Cursor c
    cdef uint64_t value = 0
    if PyBytes_CheckExact(buffer):
        if not (is_position(pos, &c.pos) and is_position(end, &c.end) and c.pos <= c.end <= PyBytes_GET_SIZE(buffer)):
            return reference.decode_varint(buffer, pos, end)
        c.p = <const unsigned char *>PyBytes_AS_STRING(buffer)
        c.frame_type = 0
    else:
        view = PyMemoryView_FromObject(buffer)
        if end is None or not open_cursor(&c, view, pos, end):
            return reference.decode_varint(buffer, pos, end)
    take(&c, &value)
    return value, c.pos


def encode(frame):
    """Return the bytes of ``frame``: integers in shortest form, STREAM and DATAGRAM with an explicit length.

    ``ValueError`` for a value that no frame can carry, ``TypeError`` for what is not a frame.
    """
    cdef unsigned char out[32]
    cdef Py_ssize_t size = 1
    cdef uint64_t number = 0
    cdef object kind = type(frame)
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
