# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: embedsignature=True, auto_pickle=False
"""What was received in one packet number space, and when to acknowledge it (RFC 9000, sections 13.2 and 19.3).

``specter._reference.acks`` is the specification. Numbers and times here have 64 bits: ``OverflowError`` beyond.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport INT64_MAX, int64_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memmove

from specter._speedups.frames cimport put_ack

__all__ = ["AckTracker"]

cdef enum:
    ECT1 = 1
    ECT0 = 2
    CE = 3
    FIRST_ROOM = 8
    ACK_FIELDS = 64
    RANGE_FIELDS = 16

cdef int64_t NEVER = (1LL << 62) - 1
cdef int64_t VARINT_MAX = (<int64_t>1 << 62) - 1


cdef inline int64_t later(int64_t now, int64_t delay) noexcept:
    return NEVER if delay > 0 and now > NEVER - delay else now + delay


@cython.final
@cython.no_gc
cdef class AckTracker:
    """Received packet numbers and the ACK policy of one packet number space.

    An ACK is due at once when ``threshold`` ack-eliciting packets wait for one (``bulk_threshold`` after
    ``bulk_after`` ack-eliciting packets), when an ack-eliciting packet is out of order, leaves a new gap or carries
    ECN-CE, or always if ``immediate``; otherwise ``max_delay`` nanoseconds after the first that waits, and at most
    ``bulk_delay`` after there are ``threshold``. A packet that does not elicit an ACK never makes one due.

    Attributes:
        bulk_delay: nanoseconds that more than one packet waits for ``bulk_threshold`` of them; set by the owner.
        largest: the largest packet number received, -1 when none was.
        deadline: when an ACK must leave, ``NEVER`` when none must; the time of the packet that made it due at once.
        pending: ack-eliciting packets that wait for an ACK.
    """

    def __cinit__(
        self,
        bint immediate,
        int64_t threshold,
        int64_t bulk_threshold,
        int64_t bulk_after,
        int64_t max_delay,
        int64_t max_ranges=128,
    ):
        self.immediate = immediate
        self.threshold = threshold
        self.bulk_threshold = bulk_threshold
        self.bulk_after = bulk_after
        self.max_delay = self.bulk_delay = max_delay
        self.max_ranges = max_ranges
        self.largest_eliciting = -1
        self.largest = -1
        self.deadline = NEVER

    def __dealloc__(self):
        free(self.starts)
        free(self.ends)

    @property
    def ranges(self):
        """The ranges an ACK would carry: inclusive ``(smallest, largest)``, highest first."""
        cdef Py_ssize_t index
        return [(self.starts[index], self.ends[index]) for index in range(self.count - 1, -1, -1)]

    def is_duplicate(self, int64_t pn):
        """Whether ``pn`` was received already, or is so old that nobody knows any more."""
        return self.c_is_duplicate(pn)

    cdef bint c_is_duplicate(self, int64_t pn) noexcept:
        cdef Py_ssize_t index
        if pn > self.largest:
            return False
        if pn < self.floor:
            return True
        index = self.below(pn)
        return index > 0 and pn <= self.ends[index - 1]

    cdef Py_ssize_t below(self, int64_t pn) noexcept:
        """How many ranges start at or below ``pn``."""
        cdef Py_ssize_t low = 0, high = self.count, middle
        while low < high:
            middle = (low + high) >> 1
            if self.starts[middle] <= pn:
                low = middle + 1
            else:
                high = middle
        return low

    def record(self, int64_t pn, int64_t now, bint ack_eliciting, int ecn):
        """Note a packet that was processed; return whether it makes an ACK due at once.

        ``ecn`` is the IP header's codepoint (1: ECT(1), 2: ECT(0), 3: CE). While an ACK is due and none was sent,
        every further ack-eliciting packet says so again. A duplicate changes nothing and returns False.
        """
        return self.c_record(pn, now, ack_eliciting, ecn) != 0

    cdef int c_record(self, int64_t pn, int64_t now, bint eliciting, int ecn) except -1:
        cdef bint in_order
        if not self.add(pn):
            return 0
        if pn > self.largest:
            self.largest = pn
            self.largest_time = now
        if ecn == ECT0:
            self.ect0 += 1
        elif ecn == ECT1:
            self.ect1 += 1
        elif ecn == CE:
            self.ce += 1
        if not eliciting:
            return 0
        self.pending += 1
        self.elicited += 1
        in_order = self.in_order(pn)
        if pn > self.largest_eliciting:
            self.largest_eliciting = pn
        if (
            self.pending >= (self.threshold if self.elicited <= self.bulk_after else self.bulk_threshold)
            or not in_order
            or ecn == CE
            or self.immediate
        ):
            self.deadline = min(self.deadline, now)
        elif self.pending == self.threshold:
            self.deadline = min(self.deadline, later(now, self.bulk_delay))
        elif self.deadline == NEVER:
            self.deadline = later(now, self.max_delay)
        return self.deadline <= now

    cdef bint in_order(self, int64_t pn) except -1:
        """Whether ``pn`` is above every ack-eliciting packet before it and nothing between them is missing."""
        cdef Py_ssize_t index = self.count - 1
        if pn < self.largest_eliciting:
            return False
        if index < 0:
            raise IndexError("list index out of range")
        if self.starts[index] > pn:
            index = self.below(pn) - 1
            if index < 0:
                index = self.count - 1
        return self.starts[index] <= max(self.largest_eliciting + 1, self.floor)

    cdef bint add(self, int64_t pn) except -1:
        cdef Py_ssize_t index = self.count
        cdef bint touches_lower, touches_upper
        if index > 0 and pn > 0 and self.ends[index - 1] == pn - 1:
            self.ends[index - 1] = pn
            return True
        if pn < 0 or self.c_is_duplicate(pn):
            return False
        index = self.below(pn)
        touches_lower = index > 0 and self.ends[index - 1] == pn - 1
        touches_upper = index < self.count and self.starts[index] - 1 == pn
        if touches_lower and touches_upper:
            self.ends[index - 1] = self.ends[index]
            self.remove(index, 1)
        elif touches_lower:
            self.ends[index - 1] = pn
        elif touches_upper:
            self.starts[index] = pn
        else:
            self.insert(index, pn)
        return True

    cdef int insert(self, Py_ssize_t index, int64_t pn) except -1:
        cdef size_t behind = (self.count - index) * sizeof(int64_t)
        cdef Py_ssize_t room = max(2 * self.room, FIRST_ROOM)
        cdef void *grown
        if self.count == self.room:
            grown = realloc(self.starts, room * sizeof(int64_t))
            if grown == NULL:
                raise MemoryError
            self.starts = <int64_t *>grown
            grown = realloc(self.ends, room * sizeof(int64_t))
            if grown == NULL:
                raise MemoryError
            self.ends = <int64_t *>grown
            self.room = room
        memmove(self.starts + index + 1, self.starts + index, behind)
        memmove(self.ends + index + 1, self.ends + index, behind)
        self.starts[index] = self.ends[index] = pn
        self.count += 1
        if self.count > self.max_ranges:
            self.floor = self.ends[0] + 1
            self.remove(0, 1)
        return 0

    cdef void remove(self, Py_ssize_t index, Py_ssize_t number) noexcept:
        cdef size_t behind = (self.count - index - number) * sizeof(int64_t)
        if number > 0:
            memmove(self.starts + index, self.starts + index + number, behind)
            memmove(self.ends + index, self.ends + index + number, behind)
            self.count -= number

    def due(self, int64_t now):
        """Whether an ACK should leave now."""
        return self.deadline <= now

    def encode(self, int64_t now, int exponent, Py_ssize_t capacity):
        """Return the ACK frame, ACK_ECN once a packet with an ECN mark came; nothing changes.

        ``exponent`` is our ``ack_delay_exponent``; the delay runs since the largest packet number arrived. The oldest
        ranges are left out to fit in ``capacity`` bytes; ``b""`` when nothing was received or nothing fits.
        """
        cdef unsigned char small[1500]
        cdef unsigned char *out = small
        capacity = min(capacity, ACK_FIELDS + RANGE_FIELDS * self.count)
        if capacity > <Py_ssize_t>sizeof(small):
            room = PyBytes_FromStringAndSize(NULL, capacity)
            out = <unsigned char *>PyBytes_AS_STRING(room)
        capacity = self.c_encode(out, capacity, now, exponent)
        return PyBytes_FromStringAndSize(<char *>out, capacity)

    cdef Py_ssize_t c_encode(self, unsigned char *out, Py_ssize_t capacity, int64_t now, int exponent) except -1:
        cdef int64_t delay = 0
        if self.count == 0:
            return 0
        if exponent < 0:
            raise ValueError("negative shift count")
        if self.ends[self.count - 1] > VARINT_MAX:
            raise ValueError("integer out of range for a varint")
        if now > self.largest_time and exponent < 64:
            delay = min(<int64_t>((<uint64_t>now - <uint64_t>self.largest_time) // 1000 >> exponent), VARINT_MAX)
        return put_ack(
            out, capacity, self.starts, self.ends, self.count, <uint64_t>delay,
            self.ect0 or self.ect1 or self.ce, self.ect0, self.ect1, self.ce,
        )

    def sent(self, now):
        """Note that an ACK left: nothing waits for one any more."""
        self.c_sent()

    cdef void c_sent(self) noexcept:
        self.pending = 0
        self.deadline = NEVER

    def repeat(self):
        """Let the next packet bear an ACK although nothing new has come: the one before may be lost. None is due."""
        if self.count > 0 and self.pending == 0:
            self.pending = 1

    def forget(self, int64_t up_to_pn):
        """Stop acknowledging packets up to ``up_to_pn``: the peer has seen an ACK with that largest number.

        They count as received from now on, those that never came included. The largest one is always kept.
        """
        cdef int64_t floor = min(up_to_pn, self.largest - 1) + 1
        cdef Py_ssize_t number = 0
        if floor <= self.floor:
            return
        self.floor = floor
        while number < self.count and self.ends[number] < floor:
            number += 1
        self.remove(0, number)
        if self.count == 0:
            raise IndexError("list index out of range")
        if self.starts[0] < floor:
            self.starts[0] = floor
