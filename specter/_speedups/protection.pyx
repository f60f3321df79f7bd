# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: embedsignature=True
"""Twin of ``specter._reference.protection``: opens and seals with libcrypto, by one cipher context per key.

Key derivation and the Retry tag are the reference's: they are not hot. Where no libcrypto was found, ``cryptography``
seals and opens here too.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.limits cimport INT_MAX
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

from specter._speedups._libcrypto cimport (
    Cipher,
    Context,
    Library,
    aead_open,
    aead_seal,
    header_mask,
    library,
    new_context,
    tag_params,
    wipe,
)

from cryptography.exceptions import InvalidTag

from specter._reference import protection as reference
from specter._reference.protection import (
    AES_128_GCM_SHA256,
    AES_256_GCM_SHA384,
    CHACHA20_POLY1305_SHA256,
    SAMPLE_SIZE,
    TAG_SIZE,
    DecryptError,
    decode_packet_number,
    expand_label,
    initial_secrets,
    retry_integrity_tag,
)
from specter._wire import TransportError, TransportErrorCode

__all__ = [
    "AES_128_GCM_SHA256",
    "AES_256_GCM_SHA384",
    "CHACHA20_POLY1305_SHA256",
    "SAMPLE_SIZE",
    "TAG_SIZE",
    "DecryptError",
    "HeaderProtection",
    "PacketProtection",
    "decode_packet_number",
    "expand_label",
    "initial_secrets",
    "libcrypto",
    "retry_integrity_tag",
]

cdef enum:
    AES_128 = 0x1301
    AES_256 = 0x1302
    CHACHA20 = 0x1303
    TAG = 16
    SAMPLE = 16
    NONCE = 12
    MAX_PN = 4
    LONG_HEADER = 0x80
    KEY_PHASE = 0x04
    LONG_MASK = 0x0F
    SHORT_MASK = 0x1F
    PyBUF_READ = 0x100
    PyBUF_WRITE = 0x200

cdef int64_t NEVER = (1LL << 62) - 1
cdef int64_t PN_LIMIT = 1LL << 62


cdef inline int64_t full_number(int64_t truncated, int size, int64_t largest) noexcept nogil:
    """RFC 9000, appendix A.3."""
    cdef int64_t window = 1LL << (8 * size)
    cdef int64_t half = window >> 1
    cdef int64_t expected = largest + 1
    cdef int64_t candidate = (expected & -window) | truncated
    if candidate <= expected - half and candidate < PN_LIMIT - window:
        return candidate + window
    if candidate > expected + half and candidate >= window:
        return candidate - window
    return candidate


cdef int get_buffer(object buffer, Py_buffer *view) except -1:
    try:
        PyObject_GetBuffer(buffer, view, PyBUF_SIMPLE)
    except TypeError:
        memoryview(buffer)  # its words
        raise
    if view.len > INT_MAX:
        PyBuffer_Release(view)
        raise OverflowError("packet is too long")
    return 0


# --- header protection


cdef Cipher header_cipher(const Library *evp, int suite) noexcept:
    if evp == NULL:
        return NULL
    if suite == CHACHA20:
        return evp.chacha20
    return evp.aes_128_ecb if suite == AES_128 else evp.aes_256_ecb


@cython.final
@cython.no_gc
cdef class HeaderProtection:
    """The header protection of one direction (RFC 9001, section 5.4); its cipher context is kept."""

    def __cinit__(self, suite, key):
        cdef Cipher cipher
        if len(key) != reference._suite(suite).key_size:
            raise ValueError("wrong header protection key size")
        self._chacha = suite == CHACHA20
        self._evp = library()
        cipher = header_cipher(self._evp, suite)
        if cipher == NULL:
            self._mask = reference.HeaderProtection(suite, key).mask
        else:
            self._context = new_context(self._evp, cipher, bytes(key), True)

    def __dealloc__(self):
        if self._context != NULL:
            self._evp.EVP_CIPHER_CTX_free(self._context)

    def mask(self, sample):
        """Return the mask of a 16-byte sample; the first 5 bytes count. ``ValueError`` for another size."""
        cdef unsigned char[SAMPLE] mask
        cdef Py_buffer view
        get_buffer(sample, &view)
        try:
            if view.len != SAMPLE:
                raise ValueError("sample must be 16 bytes long")
            self.c_mask(<const unsigned char *> view.buf, mask)
        finally:
            PyBuffer_Release(&view)
        return mask[:5]

    cdef int c_mask(self, const unsigned char *sample, unsigned char *mask) except -1:
        if self._context == NULL:
            found = self._mask(sample[:SAMPLE])
            memcpy(mask, <const unsigned char *> found, 5)
        elif not header_mask(self._evp, self._context, self._chacha, sample, mask):
            self._evp.ERR_clear_error()
            raise RuntimeError("libcrypto made no header protection mask")
        return 0


# --- packet protection


cdef Cipher aead_cipher(const Library *evp, int suite) noexcept:
    if evp == NULL:
        return NULL
    if suite == CHACHA20:
        return evp.chacha20_poly1305
    return evp.aes_128_gcm if suite == AES_128 else evp.aes_256_gcm


@cython.final
@cython.no_gc
cdef class Keys:
    """The AEAD key and IV of one key phase; a context is made for the direction that is used."""

    def __cinit__(self, int number, version, bytes secret not None):
        suite = reference._suite(number)
        cdef bytes key = reference._expand_label(suite.hash_name, secret, version.key_label, suite.key_size)
        cdef bytes iv = reference._expand_label(suite.hash_name, secret, version.iv_label, NONCE)
        cdef int index
        self._suite = number
        self._secret_size = <int> len(secret)
        memcpy(self._secret, <const unsigned char *> secret, self._secret_size)
        memcpy(self._key, <const unsigned char *> key, len(key))
        memcpy(self._iv_high, <const unsigned char *> iv, 4)
        for index in range(4, NONCE):
            self._iv_low = self._iv_low << 8 | (<const unsigned char *> iv)[index]
        self._evp = library()
        if aead_cipher(self._evp, number) == NULL:
            self._aead = suite.aead(key)
        tag_params(self._tag, "tag")

    def __dealloc__(self):
        if self._sealer != NULL:
            self._evp.EVP_CIPHER_CTX_free(self._sealer)
        if self._opener != NULL:
            self._evp.EVP_CIPHER_CTX_free(self._opener)
        wipe(self._secret, sizeof(self._secret))
        wipe(self._key, sizeof(self._key))
        wipe(self._iv_high, sizeof(self._iv_high))
        wipe(<unsigned char *> &self._iv_low, sizeof(self._iv_low))

    cdef int ready_to_open(self) except -1:
        if self._opener == NULL and self._aead is None:
            self._opener = new_context(self._evp, aead_cipher(self._evp, self._suite), self._key, False)
        return 0

    cdef int ready_to_seal(self) except -1:
        if self._sealer == NULL and self._aead is None:
            self._sealer = new_context(self._evp, aead_cipher(self._evp, self._suite), self._key, True)
        return 0

    cdef void _nonce(self, uint64_t pn, unsigned char *nonce) noexcept:
        cdef uint64_t low = self._iv_low ^ pn
        cdef int index
        memcpy(nonce, self._iv_high, 4)
        for index in range(8):
            nonce[4 + index] = <unsigned char> (low >> (56 - 8 * index))

    cdef int seal(self, unsigned char *header, Py_ssize_t header_size, Py_ssize_t size, uint64_t pn) except -1:
        """Seal the ``size`` bytes behind the header, in place; the tag follows them."""
        cdef unsigned char[NONCE] nonce
        cdef unsigned char *data = header + header_size
        self._nonce(pn, nonce)
        if self._aead is not None:
            room = PyMemoryView_FromMemory(<char *> data, size + TAG, PyBUF_WRITE)
            aad = PyMemoryView_FromMemory(<char *> header, header_size, PyBUF_READ)
            self._aead.encrypt_into(nonce[:NONCE], room[:size], aad, room)
            return 0
        if self._sealer == NULL:
            self.ready_to_seal()
        if not aead_seal(self._evp, self._sealer, self._tag, nonce, header, <int> header_size, data, <int> size):
            self._evp.ERR_clear_error()
            raise RuntimeError("libcrypto did not seal")
        return 0

    cdef bint open(self, unsigned char *header, Py_ssize_t header_size, Py_ssize_t size, uint64_t pn) except -1:
        """Open the ``size`` bytes and the tag behind the header, in place; return whether they authenticate."""
        cdef unsigned char[NONCE] nonce
        cdef unsigned char *data = header + header_size
        self._nonce(pn, nonce)
        if self._aead is not None:
            return self._python_open(header, header_size, size, nonce)
        if self._opener == NULL:
            self.ready_to_open()
        if aead_open(self._evp, self._opener, self._tag, nonce, header, <int> header_size, data, <int> size):
            return True
        self._evp.ERR_clear_error()  # the interpreter's ssl module looks at the same queue
        return False

    cdef bint _python_open(
        self, unsigned char *header, Py_ssize_t header_size, Py_ssize_t size, const unsigned char *nonce
    ) except -1:
        data = PyMemoryView_FromMemory(<char *> header + header_size, size + TAG, PyBUF_WRITE)
        aad = PyMemoryView_FromMemory(<char *> header, header_size, PyBUF_READ)
        try:
            self._aead.decrypt_into(nonce[:NONCE], data, aad, data[:size])
        except InvalidTag:
            return False
        return True


@cython.final
@cython.no_gc
cdef class PacketProtection:
    """Seals or opens the packets of one direction of one encryption level, in place.

    See the reference for the attributes.
    """

    def __cinit__(self, suite, secret, version=0x0000_0001):
        values = reference._suite(suite)
        self._version = reference._version(version)
        if len(secret) != values.hash_size:
            raise ValueError("wrong secret size")
        self._suite = suite
        hp_key = reference._expand_label(values.hash_name, secret, self._version.hp_label, values.key_size)
        self._header = HeaderProtection(suite, hp_key)
        self._current = Keys(suite, self._version, bytes(secret))
        self.first_pn = NEVER
        self.confidentiality_limit = values.confidentiality_limit
        self.integrity_limit = values.integrity_limit

    def seal(
        self, buffer, Py_ssize_t start, Py_ssize_t pn_offset, Py_ssize_t pn_length, Py_ssize_t end, int64_t pn
    ):
        """Seal the packet whose header is ``[start, pn_offset + pn_length)`` and whose plaintext goes up to ``end``.

        The header is in clear, key phase bit included; 16 bytes of room lie behind ``end``. Returns ``end + 16``.
        ``ValueError`` when header, plaintext and room are not within the buffer or too short to be sampled.
        """
        cdef Py_buffer view
        get_buffer(buffer, &view)
        try:
            if not (0 <= start < pn_offset < end and 1 <= pn_length <= MAX_PN <= end - pn_offset):
                raise ValueError("packet too short to be protected")
            if end > view.len - TAG:
                raise ValueError("packet outside the buffer")
            if pn < 0:
                raise OverflowError("can't convert negative int to unsigned")
            if view.readonly:
                raise TypeError("Buffer is not writable.")
            return self.c_seal(<unsigned char *> view.buf, start, pn_offset, pn_length, end, pn)
        finally:
            PyBuffer_Release(&view)

    cdef Py_ssize_t c_seal(
        self, unsigned char *buf, Py_ssize_t start, Py_ssize_t pn_offset, Py_ssize_t pn_length, Py_ssize_t end,
        int64_t pn,
    ) except -1:
        cdef unsigned char[SAMPLE] mask
        cdef unsigned char *number = buf + pn_offset
        cdef Py_ssize_t payload = pn_offset + pn_length
        cdef int first = buf[start]
        cdef Py_ssize_t index
        self._current.seal(buf + start, payload - start, end - payload, pn)
        self.sealed += 1
        if pn < self.first_pn:
            self.first_pn = pn
        self._header.c_mask(number + MAX_PN, mask)
        buf[start] = <unsigned char> (first ^ (mask[0] & (LONG_MASK if first & LONG_HEADER else SHORT_MASK)))
        for index in range(pn_length):
            number[index] ^= mask[index + 1]
        return end + TAG

    def open(self, buffer, Py_ssize_t start, Py_ssize_t pn_offset, Py_ssize_t end, int64_t largest_pn):
        """Open the packet ``[start, end)``; return ``(packet number, payload start, payload end, first byte)``.

        As the reference's; ``largest_pn`` beyond a packet number's range is an ``OverflowError``.

        Raises:
            DecryptError: too short, or no key opens it. ``failed`` counts it.
            TransportError: KEY_UPDATE_ERROR, a new key on a packet number below ``largest_pn`` (section 6.4).
            ValueError: the packet is not within the buffer.
        """
        cdef Py_ssize_t payload_start, payload_end
        cdef int64_t pn
        cdef int first
        cdef Py_buffer view
        get_buffer(buffer, &view)
        try:
            if not (0 <= start < pn_offset and end <= view.len):
                raise ValueError("packet outside the buffer")
            if end < MAX_PN + SAMPLE or end - (MAX_PN + SAMPLE) < pn_offset:
                self.failed += 1
                raise DecryptError("packet is too short")
            if view.readonly:
                raise TypeError("cannot modify read-only memory")
            if not -1 <= largest_pn < PN_LIMIT:
                raise OverflowError("packet number out of range")
            if self.c_open(
                <unsigned char *> view.buf, start, pn_offset, end, largest_pn, &pn, &payload_start, &payload_end, &first
            ):
                raise DecryptError("packet does not authenticate")
            return pn, payload_start, payload_end, first
        finally:
            PyBuffer_Release(&view)

    cdef int c_open(
        self, unsigned char *buf, Py_ssize_t start, Py_ssize_t pn_offset, Py_ssize_t end, int64_t largest,
        int64_t *pn, Py_ssize_t *payload_start, Py_ssize_t *payload_end, int *first,
    ) except -2:
        cdef unsigned char[SAMPLE] mask
        cdef unsigned char[MAX_PN] protected
        cdef unsigned char *number = buf + pn_offset
        cdef int protected_first = buf[start]
        cdef int size, index, in_clear
        cdef int64_t truncated = 0
        cdef int64_t full
        cdef Keys keys
        if end - pn_offset < MAX_PN + SAMPLE:
            self.failed += 1
            return -1
        self._header.c_mask(number + MAX_PN, mask)
        memcpy(protected, number, MAX_PN)
        in_clear = protected_first ^ (mask[0] & (LONG_MASK if protected_first & LONG_HEADER else SHORT_MASK))
        size = (in_clear & 0x03) + 1
        for index in range(size):
            number[index] ^= mask[index + 1]
            truncated = truncated << 8 | number[index]
        buf[start] = <unsigned char> in_clear
        full = full_number(truncated, size, largest)
        keys = self._current if in_clear & LONG_HEADER else self._select(in_clear, full)
        if not keys.open(buf + start, pn_offset + size - start, end - TAG - pn_offset - size, full):
            buf[start] = <unsigned char> protected_first
            memcpy(number, protected, MAX_PN)
            self.failed += 1
            return -1
        if keys is self._current:
            if full < self.first_pn:
                self.first_pn = full
        elif keys is self._next:
            self._commit(full, largest)
        pn[0] = full
        payload_start[0] = pn_offset + size
        payload_end[0] = end - TAG
        first[0] = in_clear
        return 0

    cdef Keys _select(self, int first, int64_t pn):
        # The next keys are ready before they are needed, so that a peer's update does not show in the time it takes.
        if self._next is None:
            self._next = self._derive_next()
            self._next.ready_to_open()
        if (first & KEY_PHASE != 0) == self.key_phase:
            return self._current
        if self._previous is not None and pn < self.first_pn:
            return self._previous
        return self._next

    cdef int _commit(self, int64_t pn, int64_t largest) except -1:
        if pn < largest:
            raise TransportError(TransportErrorCode.KEY_UPDATE_ERROR, "new keys on an old packet number")
        self.c_update()
        self.first_pn = pn
        return 0

    cdef Keys _derive_next(self):
        suite = reference._suite(self._suite)
        cdef Keys current = self._current
        cdef bytes secret = current._secret[:current._secret_size]
        secret = reference._expand_label(suite.hash_name, secret, self._version.update_label, suite.hash_size)
        return Keys(self._suite, self._version, secret)

    def update(self):
        """Go to the next key phase, keeping the current keys as the previous ones; a sealer forgets ``sealed``.

        When to do so is the caller's business (RFC 9001, sections 6.1 and 6.5).
        """
        self.c_update()

    cdef int c_update(self) except -1:
        cdef Keys following = self._next if self._next is not None else self._derive_next()
        self._previous = self._current
        self._current = following
        self._next = None
        self.key_phase ^= 1
        self.updates += 1
        self.first_pn = NEVER
        self.sealed = 0
        return 0

    def drop_previous(self):
        """Forget the previous key phase (RFC 9001, section 6.5: within three PTOs of the update)."""
        self._previous = None


def libcrypto():
    """Return which library does the AEAD."""
    from specter._speedups._libcrypto import describe

    return describe()
