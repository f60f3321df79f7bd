from cpython.object cimport PyObject
from libc.stdint cimport int64_t


cdef struct Packet:
    int64_t pn
    int64_t ordinal          # counts tracked packets: a step of more than one shows that others lay between
    int64_t time
    int64_t size
    int64_t stream_id
    int64_t offset
    int64_t length
    PyObject *tokens         # a tuple, owned; NULL when empty
    bint eliciting
    bint in_flight
    bint has_stream
    bint fin
    bint taken               # acknowledged by the frame at hand

cdef struct Untracked:
    int64_t pn
    int64_t time


cdef class SentPackets:
    cdef public int64_t next_pn
    cdef public int64_t bytes_in_flight
    cdef public int64_t ack_eliciting_in_flight
    cdef public int64_t largest_acked
    cdef public int64_t loss_time
    cdef public int64_t last_ack_eliciting_time
    cdef Packet *_packets
    cdef Py_ssize_t _head
    cdef Py_ssize_t _end
    cdef Py_ssize_t _capacity
    cdef int64_t _tracked
    cdef int64_t[16] _skipped
    cdef int _skipped_count
    cdef Untracked *_untracked
    cdef Py_ssize_t _untracked_count

    cdef int c_record(
        self, int64_t pn, int64_t now, int64_t size, bint eliciting, bint in_flight, tuple tokens,
        bint has_stream, int64_t stream_id, int64_t offset, int64_t length, bint fin,
    ) except -1
    """As ``record``; ``tokens`` may be None."""
