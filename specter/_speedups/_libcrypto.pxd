"""The EVP calls of OpenSSL 3 and 4 as a table of function pointers; prototypes are ours, no header is needed."""

ctypedef void *Context
"""EVP_CIPHER_CTX *"""

ctypedef void *Cipher
"""EVP_CIPHER *"""

cdef enum:
    TAG_SIZE = 16
    OCTET_STRING = 5  # OSSL_PARAM_OCTET_STRING

cdef struct Param:
    # OSSL_PARAM
    const char *key
    unsigned int data_type
    void *data
    size_t data_size
    size_t return_size

cdef struct Library:
    unsigned long (*OpenSSL_version_num)() noexcept nogil
    const char *(*OpenSSL_version)(int what) noexcept nogil
    void (*ERR_clear_error)() noexcept nogil
    Cipher (*EVP_CIPHER_fetch)(void *libctx, const char *algorithm, const char *properties) noexcept nogil
    Context (*EVP_CIPHER_CTX_new)() noexcept nogil
    void (*EVP_CIPHER_CTX_free)(Context context) noexcept nogil
    int (*EVP_CIPHER_CTX_set_params)(Context context, const Param *params) noexcept nogil
    int (*EVP_CIPHER_CTX_get_params)(Context context, Param *params) noexcept nogil
    int (*EVP_EncryptInit_ex)(
        Context context, Cipher cipher, void *engine, const unsigned char *key, const unsigned char *iv
    ) noexcept nogil
    int (*EVP_DecryptInit_ex)(
        Context context, Cipher cipher, void *engine, const unsigned char *key, const unsigned char *iv
    ) noexcept nogil
    int (*EVP_EncryptUpdate)(
        Context context, unsigned char *out, int *out_size, const unsigned char *data, int size
    ) noexcept nogil
    int (*EVP_DecryptUpdate)(
        Context context, unsigned char *out, int *out_size, const unsigned char *data, int size
    ) noexcept nogil
    int (*EVP_EncryptFinal_ex)(Context context, unsigned char *out, int *out_size) noexcept nogil
    int (*EVP_DecryptFinal_ex)(Context context, unsigned char *out, int *out_size) noexcept nogil
    # Fetched once, never freed; NULL where a provider lacks the cipher (ChaCha20 under FIPS).
    Cipher aes_128_gcm
    Cipher aes_256_gcm
    Cipher chacha20_poly1305
    Cipher aes_128_ecb
    Cipher aes_256_ecb
    Cipher chacha20

cdef const Library *library() noexcept
"""The library in use, NULL when ``cryptography`` does the work. A table lives as long as the process."""

cdef Context new_context(const Library *evp, Cipher cipher, const unsigned char *key, bint encrypting) except NULL
"""A context with its key set, to be freed with ``EVP_CIPHER_CTX_free``."""


cdef inline void tag_params(Param *params, const char *key) noexcept nogil:
    """Fill two params that set or get an AEAD tag, still without its place. ``key`` is "tag"."""
    params[0] = Param(key, OCTET_STRING, NULL, TAG_SIZE, <size_t> -1)
    params[1] = Param(NULL, 0, NULL, 0, 0)


cdef inline bint aead_seal(
    const Library *evp, Context context, Param *tag, const unsigned char *nonce,
    const unsigned char *header, int header_size, unsigned char *data, int size,
) noexcept nogil:
    """Seal ``data`` in place; its tag goes to ``data + size``. False when the library refuses."""
    cdef int written = 0
    tag.data = data + size
    return (
        evp.EVP_EncryptInit_ex(context, NULL, NULL, NULL, nonce) > 0
        and evp.EVP_EncryptUpdate(context, NULL, &written, header, header_size) > 0
        and (size == 0 or evp.EVP_EncryptUpdate(context, data, &written, data, size) > 0)
        and evp.EVP_EncryptFinal_ex(context, data + size, &written) > 0
        and evp.EVP_CIPHER_CTX_get_params(context, tag) > 0
    )


cdef inline bint aead_open(
    const Library *evp, Context context, Param *tag, const unsigned char *nonce,
    const unsigned char *header, int header_size, unsigned char *data, int size,
) noexcept nogil:
    """Open ``data`` in place, its tag being at ``data + size``. False when it does not authenticate."""
    cdef int written = 0
    tag.data = data + size
    return (
        evp.EVP_DecryptInit_ex(context, NULL, NULL, NULL, nonce) > 0
        and evp.EVP_CIPHER_CTX_set_params(context, tag) > 0
        and evp.EVP_DecryptUpdate(context, NULL, &written, header, header_size) > 0
        and (size == 0 or evp.EVP_DecryptUpdate(context, data, &written, data, size) > 0)
        and evp.EVP_DecryptFinal_ex(context, data + size, &written) > 0
    )


cdef inline bint header_mask(
    const Library *evp, Context context, bint chacha, const unsigned char *sample, unsigned char *mask
) noexcept nogil:
    """Write the mask of a 16-byte sample; ``mask`` has room for 16 bytes, 5 count."""
    cdef int written = 0
    if not chacha:
        return evp.EVP_EncryptUpdate(context, mask, &written, sample, 16) > 0
    mask[0] = mask[1] = mask[2] = mask[3] = mask[4] = 0
    return (
        evp.EVP_EncryptInit_ex(context, NULL, NULL, NULL, sample) > 0
        and evp.EVP_EncryptUpdate(context, mask, &written, mask, 5) > 0
    )


cdef inline void wipe(unsigned char *secret, Py_ssize_t size) noexcept nogil:
    """Overwrite a secret in a way that no compiler leaves out."""
    cdef volatile unsigned char *place = secret
    cdef Py_ssize_t index
    for index in range(size):
        place[index] = 0
