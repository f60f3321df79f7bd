# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: embedsignature=True
"""Frame codec (RFC 9000, sections 16 and 19; RFC 9221); ``specter._reference.frames`` is the specification.

Arguments that are not plain integers, bytes and byte buffers take the way of the reference.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_AsTuple
from cpython.memoryview cimport PyMemoryView_FromObject
from cpython.object cimport PyTypeObject
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from specter._speedups.varint cimport is_varint, read_varint, varint_length

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
from specter._reference.frames import parse_ack, parse_crypto, parse_padding, parse_stream
from specter._speedups.frame_encoding import (
    encode,
    encode_ack,
    encode_crypto_header,
    encode_stream_header,
    encode_varint,
    varint_size,
)
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
    Py_ssize_t PY_SSIZE_T_MAX
    Py_buffer *view_buffer "PyMemoryView_GET_BUFFER" (object view)

cdef enum:
    MAX_CID = 20
    RESET_TOKEN = 16
    PATH_DATA = 8

cdef uint64_t VARINT_MAX = (<uint64_t>1 << 62) - 1
cdef uint64_t MAX_STREAMS = <uint64_t>1 << 60

cdef object FRAME_ENCODING_ERROR = TransportErrorCode.FRAME_ENCODING_ERROR
cdef object PROTOCOL_VIOLATION = TransportErrorCode.PROTOCOL_VIOLATION

cdef object PING = Ping()
cdef object HANDSHAKE_DONE = HandshakeDone()

# Frames whose fields are varints and nothing else, by type.
cdef dict INTEGER_FRAMES = {
    0x04: (ResetStream, 3),
    0x05: (StopSending, 2),
    0x10: (MaxData, 1),
    0x11: (MaxStreamData, 2),
    0x14: (DataBlocked, 1),
    0x15: (StreamDataBlocked, 2),
    0x19: (RetireConnectionId, 1),
}


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


cdef object build(object cls, tuple values):
    """Make a frozen dataclass instance without its ``__init__``."""
    cdef object frame = PyType_GenericAlloc(<PyTypeObject *>cls, 0)
    cdef tuple fields = cls.__match_args__
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
    c.frame_type = 0
    if c.pos >= c.end:
        fail("frame is truncated", 0)
    kind = c.p[c.pos]
    if kind > 0x31:
        return unknown_type(c)
    c.pos += 1
    c.frame_type = kind
    if 0x08 <= kind <= 0x0F:
        return stream(view, c)
    if kind == 0x00:
        return padding(c)
    if kind == 0x01:
        return PING
    if kind == 0x02 or kind == 0x03:
        ranges, delay, ecn = ack(c)
        return build(Ack, (PyList_AsTuple(ranges), delay, ecn))
    if kind == 0x06:
        return crypto(view, c)
    if kind == 0x30 or kind == 0x31:
        return datagram(view, c)
    if kind == 0x07:
        return new_token(view, c)
    if 0x12 <= kind <= 0x13:
        return stream_count(c, MaxStreams)
    if 0x16 <= kind <= 0x17:
        return stream_count(c, StreamsBlocked)
    if kind == 0x18:
        return new_connection_id(c)
    if kind == 0x1A:
        return PathChallenge(fixed(c, PATH_DATA))
    if kind == 0x1B:
        return PathResponse(fixed(c, PATH_DATA))
    if kind == 0x1C or kind == 0x1D:
        return connection_close(c)
    if kind == 0x1E:
        return HANDSHAKE_DONE
    plan = INTEGER_FRAMES.get(kind)
    if plan is None:
        c.pos -= 1
        return unknown_type(c)
    return integers(c, plan[0], plan[1])


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


cdef object padding(Cursor *c):
    cdef Py_ssize_t start = c.pos
    c.pos = skip_padding(c.p, start, c.end)
    return build(Padding, (c.pos - start + 1,))


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
    stream_fields(c, &stream_id, &offset, &data, &length)
    return build(Stream, (stream_id, offset, view[data : c.pos], c.frame_type & 0x01 != 0))


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
    return build(Crypto, (offset, step(view, c, length)))


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
    return build(Datagram, (step(view, c, length),))


cdef object integers(Cursor *c, object cls, int count):
    cdef uint64_t first = 0, second = 0, third = 0
    take(c, &first)
    if count == 1:
        return build(cls, (first,))
    take(c, &second)
    if count == 2:
        return build(cls, (first, second))
    take(c, &third)
    return build(cls, (first, second, third))


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
