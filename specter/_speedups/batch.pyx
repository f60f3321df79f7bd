# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: embedsignature=True, auto_pickle=False
"""Bursts of datagrams in one buffer; ``specter._reference.batch`` is the specification.

An ECN codepoint has 8 bits here: ``OverflowError`` beyond.
"""

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from specter._reference.batch import BURST, Address

__all__ = ["BURST", "Address", "ReceiveBatch", "SendBatch"]

cdef enum:
    READ_SPACE = 65536
    SLOT = 1536
    FIRST_ROOM = 64


cdef int grow(void **array, size_t size) except -1:
    cdef void *grown = realloc(array[0], size)
    if grown == NULL:
        raise MemoryError
    array[0] = grown
    return 0


cdef int reserve(
    Py_ssize_t count, Py_ssize_t *room_for, Py_ssize_t **starts, Py_ssize_t **ends, unsigned char **ecns
) except -1:
    """Make room for one datagram more."""
    cdef Py_ssize_t room = max(FIRST_ROOM, 2 * count)
    if count < room_for[0]:
        return 0
    grow(<void **>starts, room * sizeof(Py_ssize_t))
    grow(<void **>ends, room * sizeof(Py_ssize_t))
    grow(<void **>ecns, room)
    room_for[0] = room
    return 0


cdef list with_address(list addresses, Py_ssize_t count, object address):
    if addresses is None and address is not None:
        addresses = [None] * count
    if addresses is not None:
        addresses.append(address)
    return addresses


cdef inline Py_ssize_t checked(Py_ssize_t index, Py_ssize_t count) except -1:
    if index < 0:
        index += count
    if not 0 <= index < count:
        raise IndexError("list index out of range")
    return index


cdef inline int check_datagram(Py_ssize_t start, Py_ssize_t end, Py_ssize_t size, int ecn) except -1:
    if not 0 <= start <= end <= size:
        raise ValueError("datagram outside the batch")
    if not 0 <= ecn <= 255:
        raise OverflowError("ECN codepoint out of range")
    return 0


@cython.final
@cython.no_gc
cdef class ReceiveBatch:
    """Datagrams as they arrived, one after the other in ``slab``; the engine opens them in place.

    A reader asks ``room`` for the free end of the slab, reads a datagram into it, and says ``commit``.
    """

    def __cinit__(self, Py_ssize_t capacity=BURST):
        cdef object slots = capacity
        self.capacity = capacity
        self.slab = bytearray(slots * SLOT + READ_SPACE)
        self.view = memoryview(self.slab)
        PyObject_GetBuffer(self.slab, &self.export, PyBUF_WRITABLE)
        self.base = <unsigned char *>self.export.buf
        self.size = self.export.len

    def __dealloc__(self):
        PyBuffer_Release(&self.export)
        free(self.starts)
        free(self.ends)
        free(self.ecns)

    def __len__(self):
        return self.count

    def clear(self):
        """Forget all datagrams; the slab is used again from its start."""
        self.free = 0
        self.count = 0
        self.addresses = None

    @property
    def full(self):
        """Whether another datagram of the largest size might not fit."""
        return self.c_full()

    cdef bint c_full(self) noexcept:
        return self.count >= self.capacity or self.size - self.free < READ_SPACE

    @property
    def total(self):
        """Bytes in all datagrams together."""
        cdef Py_ssize_t index, total = 0
        for index in range(self.count):
            total += self.ends[index] - self.starts[index]
        return total

    def room(self):
        """Return the free end of the slab; at least 65,536 bytes unless ``full``."""
        return self.view[self.free :]

    cdef Py_ssize_t c_free(self) noexcept:
        return self.free

    def commit(self, Py_ssize_t length, address=None, int ecn=0):
        """Count the ``length`` bytes at the start of ``room()`` as one datagram.

        Raises:
            ValueError: there are not that many.
        """
        self.c_commit_at(self.free, length, ecn, address)

    cdef int c_commit_at(self, Py_ssize_t start, Py_ssize_t length, int ecn, object address) except -1:
        if length > self.size:
            length = -1
        check_datagram(start, start + length, self.size, ecn)
        reserve(self.count, &self.room_for, &self.starts, &self.ends, &self.ecns)
        self.addresses = with_address(self.addresses, self.count, address)
        self.starts[self.count] = start
        self.ends[self.count] = self.free = start + length
        self.ecns[self.count] = <unsigned char>ecn
        self.count += 1
        return 0

    def append(self, data, address=None, int ecn=0):
        """Copy a datagram in.

        Raises:
            BufferError: the batch is full.
        """
        cdef Py_ssize_t length = len(data)
        if self.count >= self.capacity or length > self.size - self.free:
            raise BufferError("the receive batch is full")
        if PyBytes_CheckExact(data):
            memcpy(self.base + self.free, PyBytes_AS_STRING(data), length)
        else:
            self.slab[self.free : self.free + length] = data
        self.c_commit_at(self.free, length, ecn, address)

    def span(self, Py_ssize_t index):
        """Return where datagram ``index`` starts and ends in the slab."""
        index = checked(index, self.count)
        return self.starts[index], self.ends[index]

    def ecn(self, Py_ssize_t index):
        """Return the ECN codepoint of datagram ``index`` (0 to 3)."""
        return self.ecns[checked(index, self.count)]

    def address(self, Py_ssize_t index):
        return self.c_address(checked(index, self.count))

    cdef object c_address(self, Py_ssize_t index):
        return None if self.addresses is None else self.addresses[index]


@cython.final
@cython.no_gc
cdef class SendBatch:
    """Sealed datagrams, ready to leave in order; valid until the engine's next call.

    Iterating gives ``(datagram, address, ecn)``.
    """

    def __cinit__(self, Py_ssize_t capacity=64):
        cdef object slots = capacity
        self.capacity = capacity
        self.slab = bytearray(slots * SLOT)
        self.view = memoryview(self.slab)
        PyObject_GetBuffer(self.slab, &self.export, PyBUF_WRITABLE)
        self.base = <unsigned char *>self.export.buf

    def __dealloc__(self):
        PyBuffer_Release(&self.export)
        free(self.starts)
        free(self.ends)
        free(self.ecns)

    def __len__(self):
        return self.count

    def __iter__(self):
        cdef Py_ssize_t index
        return iter([
            (self.view[self.starts[index] : self.ends[index]], self.c_address(index), self.ecns[index])
            for index in range(self.count)
        ])

    @property
    def size(self):
        """Bytes in all datagrams together."""
        cdef Py_ssize_t index, size = 0
        for index in range(self.count):
            size += self.ends[index] - self.starts[index]
        return size

    @property
    def full(self):
        return self.c_full()

    cdef bint c_full(self) noexcept:
        return not self.delivered and self.count >= self.capacity

    def begin(self):
        """Return where the next datagram starts; a batch that was handed out is emptied first."""
        return self.c_begin()

    cdef Py_ssize_t c_begin(self) noexcept:
        if self.delivered:
            self.c_clear()
        return self.count * SLOT

    def commit(self, Py_ssize_t end, address, int ecn=0):
        """Count the bytes from ``begin()`` to ``end`` as one datagram.

        Raises:
            ValueError: ``end`` is before them or outside the slab.
        """
        self.c_commit(end, address, ecn)

    cdef int c_commit(self, Py_ssize_t end, object address, int ecn) except -1:
        check_datagram(self.count * SLOT, end, self.export.len, ecn)
        reserve(self.count, &self.room_for, &self.starts, &self.ends, &self.ecns)
        self.addresses = with_address(self.addresses, self.count, address)
        self.starts[self.count] = self.count * SLOT
        self.ends[self.count] = end
        self.ecns[self.count] = <unsigned char>ecn
        self.count += 1
        return 0

    cdef object c_address(self, Py_ssize_t index):
        return None if self.addresses is None else self.addresses[index]

    def deliver(self):
        """Hand the batch out: what is added later starts a new one."""
        if self.delivered:
            self.c_clear()
        self.delivered = True
        return self

    def clear(self):
        self.c_clear()

    cdef void c_clear(self) noexcept:
        self.delivered = False
        self.count = 0
        self.addresses = None
