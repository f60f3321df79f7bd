from libc.stdint cimport int64_t, uint64_t

from specter._speedups._libcrypto cimport Context, Library, Param


cdef class HeaderProtection:
    cdef const Library *_evp
    cdef Context _context
    cdef bint _chacha
    cdef object _mask                # the reference's, where libcrypto cannot

    cdef int c_mask(self, const unsigned char *sample, unsigned char *mask) except -1
    """Write the mask of a 16-byte sample; ``mask`` has room for 16 bytes, the first 5 count."""


cdef class Keys:
    cdef const Library *_evp
    cdef Context _sealer
    cdef Context _opener
    cdef int _suite
    cdef int _secret_size
    cdef unsigned char[48] _secret
    cdef unsigned char[32] _key
    cdef unsigned char[4] _iv_high
    cdef uint64_t _iv_low
    cdef Param[2] _tag
    cdef object _aead                # of cryptography, where libcrypto cannot

    cdef int ready_to_open(self) except -1
    cdef int ready_to_seal(self) except -1
    cdef int seal(self, unsigned char *header, Py_ssize_t header_size, Py_ssize_t size, uint64_t pn) except -1
    cdef bint open(self, unsigned char *header, Py_ssize_t header_size, Py_ssize_t size, uint64_t pn) except -1
    cdef void _nonce(self, uint64_t pn, unsigned char *nonce) noexcept
    cdef bint _python_open(
        self, unsigned char *header, Py_ssize_t header_size, Py_ssize_t size, const unsigned char *nonce
    ) except -1


cdef class PacketProtection:
    cdef HeaderProtection _header
    cdef Keys _current
    cdef Keys _previous
    cdef Keys _next
    cdef int _suite
    cdef object _version
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
    """As ``open``: 0 opened, -1 does not open (``failed`` counted it). The packet must lie within the buffer."""

    cdef Py_ssize_t c_seal(
        self, unsigned char *buf, Py_ssize_t start, Py_ssize_t pn_offset, Py_ssize_t pn_length, Py_ssize_t end,
        int64_t pn,
    ) except -1
    """As ``seal``: packet and room within the buffer, ``pn_length`` 1 to 4, ``end - pn_offset`` at least 4."""

    cdef Keys _select(self, int first, int64_t pn)
    cdef Keys _derive_next(self)
    cdef int _commit(self, int64_t pn, int64_t largest) except -1
    cdef int c_update(self) except -1
