from cpython.object cimport PyObject
from libc.stdint cimport int64_t


cdef struct Packet:
    int64_t pn
    int64_t ordinal                  # counts the tracked packets: a step of more than 1 tells that others lay between
    int64_t time
    int64_t size
    int64_t stream_id
    int64_t offset
    int64_t length
    PyObject *tokens                 # a tuple, owned; NULL when there are none
    unsigned char eliciting
    unsigned char in_flight
    unsigned char has_stream
    unsigned char fin
    unsigned char marked             # with an ECN codepoint
    unsigned char acked              # by the frame at hand

cdef struct Untracked:
    int64_t pn
    int64_t time


cdef class SentPackets:
    cdef public bint marking
    cdef public int64_t marked
    cdef public int64_t marked_in_flight
    cdef public int64_t next_pn
    cdef public int64_t bytes_in_flight
    cdef public int64_t ack_eliciting_in_flight
    cdef public int64_t largest_acked
    cdef public int64_t loss_time
    cdef public int64_t last_ack_eliciting_time
    cdef Packet *_packets            # the tracked ones are [_head, _end), ascending
    cdef Py_ssize_t _head
    cdef Py_ssize_t _end
    cdef Py_ssize_t _capacity
    cdef int64_t _tracked
    cdef int64_t[16] _skipped        # ascending
    cdef int _skipped_count
    cdef Untracked *_untracked       # a ring, NULL before its first use
    cdef Py_ssize_t _untracked_count

    cdef int c_record(
        self, int64_t pn, int64_t now, int64_t size, bint eliciting, bint in_flight, tuple tokens,
        bint has_stream, int64_t stream_id, int64_t offset, int64_t length, bint fin,
    ) except -1
    """As ``record``; ``tokens`` may be None."""

    cdef int _make_room(self) except -1
    cdef int _note_untracked(self, int64_t pn, int64_t now) except -1
    cdef int _check_sent(self, const int64_t *ranges, Py_ssize_t count) except -1
    cdef Py_ssize_t _mark(self, const int64_t *ranges, Py_ssize_t count) noexcept
    cdef object _take_acked(self, Py_ssize_t stop, int64_t newest)
    cdef void _drop_acked(self, Py_ssize_t stop) noexcept
    cdef void _rewind(self) noexcept
    cdef object _sample_untracked(self, int64_t newest)
    cdef object _take_lost(self, Py_ssize_t stop)
