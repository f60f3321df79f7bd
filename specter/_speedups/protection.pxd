from libc.stdint cimport int64_t

from specter._speedups._libcrypto cimport Context, Library, Param


cdef class HeaderProtection:
    cdef const Library *_evp
    cdef Context _context
    cdef bint _chacha
    cdef object _reference

    cdef int c_mask(self, const unsigned char *sample, unsigned char *mask) except -1
    """Write the mask of a 16-byte sample to the 16 bytes at ``mask``; the first 5 count."""


cdef class _Keys:
    cdef const Library *_evp
    cdef int _suite
    cdef Context _sealer
    cdef Context _opener
    cdef unsigned char[32] _key
    cdef unsigned char[16] _iv
    cdef Param[2] _tag
    cdef object _aead
    cdef bytes secret

    cdef int prepare_open(self) except -1
    cdef int seal(
        self, unsigned char *buf, Py_ssize_t start, Py_ssize_t payload, Py_ssize_t end, int64_t pn
    ) except -1
    cdef int open(self, unsigned char *buf, Py_ssize_t start, Py_ssize_t payload, Py_ssize_t end, int64_t pn) except -2
    cdef int _python_seal(self, unsigned char *header, Py_ssize_t header_size, unsigned char *data, Py_ssize_t size,
                          const unsigned char *nonce) except -1
    cdef int _python_open(self, unsigned char *header, Py_ssize_t header_size, unsigned char *data, Py_ssize_t size,
                          const unsigned char *nonce) except -2


cdef class PacketProtection:
    cdef HeaderProtection _header
    cdef _Keys _current
    cdef _Keys _previous
    cdef _Keys _next
    cdef int _suite
    cdef int64_t _version
    cdef public int key_phase
    cdef public int64_t updates
    cdef public int64_t first_pn
    cdef public int64_t sealed
    cdef public int64_t failed
    cdef public int64_t confidentiality_limit
    cdef public int64_t integrity_limit

    cdef int c_open(
        self, unsigned char *buf, Py_ssize_t start, Py_ssize_t pn_offset, Py_ssize_t end, int64_t largest,
        int64_t *pn, Py_ssize_t *payload_start, Py_ssize_t *payload_end, int *first,
    ) except -2
    """As ``open``: 0 opened, -1 does not open (and ``failed`` counted it). The packet lies within the buffer."""

    cdef Py_ssize_t c_seal(
        self, unsigned char *buf, Py_ssize_t start, Py_ssize_t pn_offset, Py_ssize_t pn_length, Py_ssize_t end,
        int64_t pn,
    ) except -1
    """As ``seal``; the packet and 16 bytes of room lie within the buffer, and it is long enough to be sampled."""

    cdef _Keys _select(self, int first, int64_t pn)
    cdef int _commit(self, int64_t pn, int64_t largest) except -1
    cdef int c_update(self) except -1
