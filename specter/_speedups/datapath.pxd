from libc.stdint cimport int64_t

from specter._speedups.acks cimport AckTracker
from specter._speedups.batch cimport ReceiveBatch, SendBatch
from specter._speedups.protection cimport PacketProtection
from specter._speedups.reassembly cimport RecvBuffer
from specter._speedups.sendbuffer cimport SendBuffer
from specter._speedups.sent cimport SentPackets


cdef class Packer:
    cdef SendBatch _batch
    cdef AckTracker _acks
    cdef SentPackets _sent
    cdef object _queue
    # The first of the queue where it is known, and how many there are.
    cdef SendBuffer _head
    cdef Py_ssize_t _waiting
    cdef set _queued
    cdef dict _stalled
    cdef PacketProtection _keys
    cdef bytes _dcid
    cdef object _control
    cdef public object address
    cdef public list blocked
    cdef public int ack_delay_exponent
    cdef int _ecn
    cdef public int spin
    cdef public int64_t data_limit
    cdef public int64_t data_sent
    cdef public int64_t packets
    cdef public int64_t skip_at
    cdef public object observer

    cdef bint c_has_work(self, int64_t now)
    cdef int c_ack(self, int64_t now) except -1
    cdef Py_ssize_t c_packet(self, int64_t now, Py_ssize_t start, Py_ssize_t limit, Py_ssize_t pad_to) except -1
    cdef int _number_length(self) except -1
    cdef Py_ssize_t _put_control(self, Py_ssize_t pos, Py_ssize_t room, list tokens) except -1
    cdef int _unschedule(self, SendBuffer buffer) except -1
    cdef Py_ssize_t _seal(
        self,
        Py_ssize_t start,
        Py_ssize_t payload,
        Py_ssize_t pos,
        int64_t now,
        bint eliciting,
        bint in_flight,
        tuple tokens,
        bint has_stream,
        int64_t stream_id,
        int64_t offset,
        int64_t length,
        bint fin,
        bint weightless=*,
    ) except -1


cdef class Receiver:
    cdef object _owner
    cdef AckTracker _acks
    cdef Packer _packer
    cdef int64_t _updates
    cdef PacketProtection _keys
    cdef RecvBuffer _recent
    cdef int64_t _recent_id
    cdef bint _recent_touched
    cdef bint _trusted
    cdef public set cids
    cdef readonly int cid_length
    cdef public bytes last_cid
    cdef public object address
    cdef public dict streams
    cdef public dict touched
    cdef public int64_t data_received
    cdef public int64_t data_limit
    cdef public bint probing
    cdef public int64_t packets
    cdef public object observer

    cdef bint _is_ours(self, ReceiveBatch batch, Py_ssize_t index, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int c_packet(self, ReceiveBatch batch, Py_ssize_t start, Py_ssize_t end, int ecn, int64_t now) except -2
    cdef int _digest(self, ReceiveBatch batch, Py_ssize_t pos, Py_ssize_t end, int64_t now) except -1
    cdef int _stream(
        self, const unsigned char *base, int64_t stream_id, int64_t offset, Py_ssize_t data, Py_ssize_t length, bint fin
    ) except -1
    cdef int c_count(self, int64_t growth) except -1
