# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The floor: OpenSSL's EVP calls on one context, packet after packet, in place, and nothing else.

It shares no code with Specter, and loads the libcrypto it is told to.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

import os

cdef extern from "dlfcn.h" nogil:
    void *dlopen(const char *path, int mode)
    void *dlsym(void *library, const char *name)
    int RTLD_NOW
    int RTLD_LOCAL

ctypedef int (*init_type)(void *, void *, void *, const unsigned char *, const unsigned char *) noexcept nogil
ctypedef int (*update_type)(void *, unsigned char *, int *, const unsigned char *, int) noexcept nogil
ctypedef int (*final_type)(void *, unsigned char *, int *) noexcept nogil
ctypedef int (*params_type)(void *, Param *) noexcept nogil
ctypedef void *(*fetch_type)(void *, const char *, const char *) noexcept nogil
ctypedef void *(*new_type)() noexcept nogil
ctypedef void (*free_type)(void *) noexcept nogil

cdef enum:
    TAG = 16
    NONCE = 12
    OCTET_STRING = 5

cdef struct Param:
    # OSSL_PARAM
    const char *key
    unsigned int data_type
    void *data
    size_t data_size
    size_t return_size

CIPHERS = {0x1301: b"AES-128-GCM", 0x1302: b"AES-256-GCM", 0x1303: b"ChaCha20-Poly1305"}


cdef class BareAead:
    """One key: a context that seals and one that opens, made once."""

    cdef init_type encrypt_init
    cdef init_type decrypt_init
    cdef update_type encrypt
    cdef update_type decrypt
    cdef final_type encrypt_final
    cdef final_type decrypt_final
    cdef params_type set_params
    cdef params_type get_params
    cdef Param[2] tag
    cdef free_type free
    cdef void *sealer
    cdef void *opener
    cdef unsigned char[NONCE] iv

    def __init__(self, path, int suite, bytes key not None, bytes iv not None):
        cdef void *library = dlopen(os.fsencode(path), RTLD_NOW | RTLD_LOCAL)
        cdef fetch_type fetch
        cdef new_type new
        cdef void *cipher
        if library == NULL:
            raise OSError(f"{path} cannot be loaded")
        if len(iv) != NONCE:
            raise ValueError("wrong IV size")
        self.encrypt_init = <init_type> _find(library, b"EVP_EncryptInit_ex")
        self.decrypt_init = <init_type> _find(library, b"EVP_DecryptInit_ex")
        self.encrypt = <update_type> _find(library, b"EVP_EncryptUpdate")
        self.decrypt = <update_type> _find(library, b"EVP_DecryptUpdate")
        self.encrypt_final = <final_type> _find(library, b"EVP_EncryptFinal_ex")
        self.decrypt_final = <final_type> _find(library, b"EVP_DecryptFinal_ex")
        self.set_params = <params_type> _find(library, b"EVP_CIPHER_CTX_set_params")
        self.get_params = <params_type> _find(library, b"EVP_CIPHER_CTX_get_params")
        self.tag[0] = Param("tag", OCTET_STRING, NULL, TAG, <size_t> -1)
        self.tag[1] = Param(NULL, 0, NULL, 0, 0)
        self.free = <free_type> _find(library, b"EVP_CIPHER_CTX_free")
        fetch = <fetch_type> _find(library, b"EVP_CIPHER_fetch")
        new = <new_type> _find(library, b"EVP_CIPHER_CTX_new")
        cipher = fetch(NULL, CIPHERS[suite], NULL)
        self.sealer = new()
        self.opener = new()
        if cipher == NULL or self.sealer == NULL or self.opener == NULL:
            raise MemoryError
        if self.encrypt_init(self.sealer, cipher, NULL, key, NULL) <= 0:
            raise RuntimeError("libcrypto did not take the key")
        if self.decrypt_init(self.opener, cipher, NULL, key, NULL) <= 0:
            raise RuntimeError("libcrypto did not take the key")
        memcpy(self.iv, <const unsigned char *> iv, NONCE)

    def __dealloc__(self):
        if self.free != NULL:
            self.free(self.sealer)
            self.free(self.opener)

    cdef void nonce(self, int64_t number, unsigned char *out) noexcept nogil:
        cdef int index
        memcpy(out, self.iv, NONCE)
        for index in range(8):
            out[NONCE - 1 - index] ^= <unsigned char> (<uint64_t> number >> (8 * index))

    def open_all(
        self, unsigned char[::1] buffer not None, const int64_t[::1] starts not None,
        const int64_t[::1] payloads not None, const int64_t[::1] ends not None, const int64_t[::1] numbers not None,
    ):
        """Open packet after packet in place, headers in clear, the tag before each end; return how many opened."""
        cdef Py_ssize_t index, good = 0
        cdef unsigned char[NONCE] nonce
        cdef unsigned char *base = &buffer[0]
        cdef unsigned char *data
        cdef int written = 0, size
        _check(buffer.shape[0], starts, payloads, ends, TAG)
        for index in range(starts.shape[0]):
            self.nonce(numbers[index], nonce)
            data = base + payloads[index]
            size = <int> (ends[index] - payloads[index] - TAG)
            self.tag[0].data = data + size
            good += (
                self.decrypt_init(self.opener, NULL, NULL, NULL, nonce) > 0
                and self.set_params(self.opener, self.tag) > 0
                and self.decrypt(
                    self.opener, NULL, &written, base + starts[index], <int> (payloads[index] - starts[index])
                ) > 0
                and self.decrypt(self.opener, data, &written, data, size) > 0
                and self.decrypt_final(self.opener, data + size, &written) > 0
            )
        return good

    def seal_all(
        self, unsigned char[::1] buffer not None, const int64_t[::1] starts not None,
        const int64_t[::1] payloads not None, const int64_t[::1] ends not None, const int64_t[::1] numbers not None,
    ):
        """Seal packet after packet in place, 16 bytes before each end being room for the tag; return how many."""
        cdef Py_ssize_t index, good = 0
        cdef unsigned char[NONCE] nonce
        cdef unsigned char *base = &buffer[0]
        cdef unsigned char *data
        cdef int written = 0, size
        _check(buffer.shape[0], starts, payloads, ends, TAG)
        for index in range(starts.shape[0]):
            self.nonce(numbers[index], nonce)
            data = base + payloads[index]
            size = <int> (ends[index] - payloads[index] - TAG)
            self.tag[0].data = data + size
            good += (
                self.encrypt_init(self.sealer, NULL, NULL, NULL, nonce) > 0
                and self.encrypt(
                    self.sealer, NULL, &written, base + starts[index], <int> (payloads[index] - starts[index])
                ) > 0
                and self.encrypt(self.sealer, data, &written, data, size) > 0
                and self.encrypt_final(self.sealer, data + size, &written) > 0
                and self.get_params(self.sealer, self.tag) > 0
            )
        return good


cdef void *_find(void *library, const char *name) except NULL:
    cdef void *place = dlsym(library, name)
    if place == NULL:
        raise OSError(f"libcrypto has no {name.decode()}")
    return place


cdef int _check(
    Py_ssize_t room, const int64_t[::1] starts, const int64_t[::1] payloads, const int64_t[::1] ends, int tag
) except -1:
    cdef Py_ssize_t index
    for index in range(starts.shape[0]):
        if not 0 <= starts[index] <= payloads[index] <= ends[index] - tag <= room - tag:
            raise ValueError("a packet outside the buffer")
    return 0
