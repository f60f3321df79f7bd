# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled twin's header protection as its receive path uses it: from C, without a Python call a packet."""

from libc.stdint cimport int64_t

from specter._speedups.protection cimport HeaderProtection


def unmask_all(
    HeaderProtection protection not None, unsigned char[::1] buffer not None, const int64_t[::1] starts not None,
    const int64_t[::1] number_offsets not None,
):
    """Take the protection off the short headers of a burst, in place; return the sum of the packet number bytes."""
    cdef Py_ssize_t packet, index, size
    cdef unsigned char[16] mask
    cdef unsigned char *base = &buffer[0]
    cdef unsigned char *number
    cdef int64_t total = 0, value
    for packet in range(starts.shape[0]):
        if not 0 <= starts[packet] < number_offsets[packet] <= buffer.shape[0] - 20:
            raise ValueError("a packet outside the buffer")
        number = base + number_offsets[packet]
        protection.c_mask(number + 4, mask)
        base[starts[packet]] ^= mask[0] & 0x1F
        size = (base[starts[packet]] & 0x03) + 1
        value = 0
        for index in range(size):
            number[index] ^= mask[index + 1]
            value = value << 8 | number[index]
        total += value
    return total
