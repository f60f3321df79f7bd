# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: embedsignature=True
"""Finds OpenSSL's libcrypto at run time, checks that it computes what it should, and lends its EVP calls to the twins.

Nothing of OpenSSL is needed to build this. The library is the one named by ``SPECTER_LIBCRYPTO`` (a path; ``none`` for
not any), else the one that the interpreter has loaded, else the system's. Where no library fits, ``protection`` goes
through ``cryptography``.
"""

import os
import sys
import warnings

from libc.stdlib cimport calloc
from libc.string cimport memcmp, memcpy

__all__ = ["describe", "load", "refused"]

cdef extern from *:
    """
    #ifdef _WIN32
    #define WIN32_LEAN_AND_MEAN
    #include <windows.h>

    static void *specter_open_library(PyObject *path, int resident) {
        HMODULE module = NULL;
        DWORD flags = LOAD_LIBRARY_SEARCH_DEFAULT_DIRS;
        wchar_t *wide = PyUnicode_AsWideCharString(path, NULL);
        if (wide == NULL) {
            PyErr_Clear();
            return NULL;
        }
        if (resident) {
            if (!GetModuleHandleExW(0, wide, &module)) module = NULL;
        } else {
            if (wide[0] && wide[1] == L':') flags |= LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR;
            module = LoadLibraryExW(wide, NULL, flags);
        }
        PyMem_Free(wide);
        return (void *)module;
    }

    static void *specter_find_symbol(void *library, const char *name) {
        return (void *)GetProcAddress((HMODULE)library, name);
    }

    static PyObject *specter_why(void) { return PyUnicode_FromFormat("error %lu", (unsigned long)GetLastError()); }

    static PyObject *specter_symbol_path(void *symbol) {
        wchar_t path[4096];
        HMODULE module = NULL;
        DWORD size = 0;
        DWORD flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT;
        if (GetModuleHandleExW(flags, (LPCWSTR)symbol, &module)) size = GetModuleFileNameW(module, path, 4096);
        return PyUnicode_FromWideChar(path, (Py_ssize_t)size);
    }
    #else
    #include <dlfcn.h>
    #ifndef RTLD_NOLOAD
    #define RTLD_NOLOAD 0
    #endif

    static void *specter_open_library(PyObject *path, int resident) {
        PyObject *name = NULL;
        void *library;
        if (path != Py_None && !PyUnicode_FSConverter(path, &name)) {
            PyErr_Clear();
            return NULL;
        }
        library = dlopen(name ? PyBytes_AS_STRING(name) : NULL, RTLD_NOW | RTLD_LOCAL | (resident ? RTLD_NOLOAD : 0));
        Py_XDECREF(name);
        return library;
    }

    static void *specter_find_symbol(void *library, const char *name) { return dlsym(library, name); }

    static PyObject *specter_why(void) {
        const char *text = dlerror();
        return PyUnicode_DecodeFSDefault(text ? text : "cannot be loaded");
    }

    static PyObject *specter_symbol_path(void *symbol) {
        Dl_info info;
        return PyUnicode_DecodeFSDefault(dladdr(symbol, &info) && info.dli_fname ? info.dli_fname : "");
    }
    #endif
    """
    void *specter_open_library(object path, int resident)
    void *specter_find_symbol(void *library, const char *name) nogil
    object specter_why()
    object specter_symbol_path(void *symbol)

OLDEST = 0x30000000

# Each is a key, a nonce, a header, a text and what it is sealed to.
GCM = tuple(map(bytes.fromhex, (
    "feffe9928665731c6d6a8f9467308308",
    "cafebabefacedbaddecaf888",
    "feedfacedeadbeeffeedfacedeadbeefabaddad2",
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
    "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
    "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e0915bc94fbc3221a5db94fae95ae7121a47",
)))
POLY1305 = tuple(map(bytes.fromhex, (
    "c6d98ff3441c3fe1b2182094f69caa2ed4b716b65488960a7a984979fb23e1c8",
    "e0459b3474bdd0e46d417eb0",
    "4200bff4",
    "01",
    "655e5cd55c41f69080575d7999c25a5bfb",
)))
# Each is a key, a sample and its mask.
AES_MASK = tuple(map(bytes.fromhex, (
    "9f50449e04a0e810283a1e9933adedd2",
    "d1b1c98dd7689fb8ec11d242b123dc9b",
    "437b9aec36",
)))
CHACHA_MASK = tuple(map(bytes.fromhex, (
    "25a282b9e82f06f21f488917a4fc8f1b73573685608597d0efcb076b0ab7a7a4",
    "5e5cd55c41f69080575d7999c25a5bfb",
    "aefefe7d03",
)))

cdef const Library *_library = NULL
cdef str _description = "cryptography"
cdef list _refused = []


cdef const Library *library() noexcept:
    return _library


cdef Context new_context(const Library *evp, Cipher cipher, const unsigned char *key, bint encrypting) except NULL:
    cdef Context context = evp.EVP_CIPHER_CTX_new()
    cdef int done
    if context == NULL:
        raise MemoryError
    if encrypting:
        done = evp.EVP_EncryptInit_ex(context, cipher, NULL, key, NULL)
    else:
        done = evp.EVP_DecryptInit_ex(context, cipher, NULL, key, NULL)
    if done <= 0:
        evp.EVP_CIPHER_CTX_free(context)
        evp.ERR_clear_error()
        raise RuntimeError("libcrypto did not take a key")
    return context


# --- choosing


def describe():
    """Return which libcrypto is in use, ``cryptography`` when none is."""
    return _description


def refused():
    """Return why libraries that were found are not used, one line each."""
    return list(_refused)


def load(choice=None):
    """Choose the library for the keys made from now on; ``choice`` is what ``SPECTER_LIBCRYPTO`` may say.

    Warns with ``RuntimeWarning`` when a library asked for by path cannot be used; ``cryptography`` takes its place.
    """
    global _library, _description
    cdef const Library *found = NULL
    _refused.clear()
    _library = NULL
    _description = "cryptography"
    if choice == "none":
        return
    if choice:
        found = _open(choice, False)
        if found == NULL and not _refused:
            _refused.append(f"{choice} cannot be loaded ({specter_why()})")
    else:
        for path, resident in _candidates():
            found = _open(path, resident)
            if found != NULL:
                break
    if found != NULL:
        _library = found
        _description = _describe(found)
    elif choice:
        message = f"SPECTER_LIBCRYPTO: {_refused[0]}; packets go through the slower 'cryptography'"
        warnings.warn(message, RuntimeWarning, stacklevel=2)


def _candidates():
    """Yield ``(path, resident)``; a resident one counts only if the process has it loaded already."""
    for module in ("_hashlib", "_ssl"):
        try:
            path = getattr(__import__(module), "__file__", None)
        except ImportError:
            continue
        if path and sys.platform != "win32":  # symbols of what it is linked with are found through it
            yield path, True
    if sys.platform != "win32":
        yield None, True  # an interpreter with libcrypto in itself
    names = _names()
    for name in names:
        yield name, True
    for folder in _folders():
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                yield path, False
    for name in names:
        yield name, False


def _names():
    if sys.platform == "win32":
        return ("libcrypto-3.dll", "libcrypto-3-x64.dll", "libcrypto-3-arm64.dll", "libcrypto-4-x64.dll")
    if sys.platform == "darwin":
        return ("libcrypto.3.dylib", "libcrypto.4.dylib")  # macOS ends a process that loads one without a version
    return ("libcrypto.so.3", "libcrypto.so.4", "libcrypto.so")


def _folders():
    if sys.platform == "win32":
        return (os.path.join(sys.base_prefix, "DLLs"), os.path.join(sys.base_prefix, "Library", "bin"))
    own = os.path.join(sys.base_prefix, "lib")
    return (own, "/opt/homebrew/lib", "/usr/local/lib") if sys.platform == "darwin" else (own,)


cdef const Library *_open(path, bint resident) except? NULL:
    """Return the table of a library that passed every check; NULL, with the reason noted if there was a library."""
    cdef Library *table
    cdef void *handle = specter_open_library(path, resident)
    if handle == NULL:
        return NULL
    table = <Library *> calloc(1, sizeof(Library))  # never freed, and the library never closed: keys refer to them
    if table == NULL:
        raise MemoryError
    reason = _fill(table, handle)
    if reason is None:
        return table
    if path is not None:
        _refused.append(f"{path} {reason}")
    return NULL


cdef _describe(const Library *table):
    version = table.OpenSSL_version(0).decode("ascii", "replace").split()
    path = specter_symbol_path(<void *> table.EVP_CIPHER_CTX_new)
    return f"{' '.join(version[:2])} ({path})"


# --- checking


cdef struct Symbol:
    const char *name
    void **place


cdef _fill(Library *table, void *handle):
    """Return None when the library is good, else what is wrong with it."""
    cdef Symbol[14] symbols
    cdef int index
    symbols[0] = Symbol("OpenSSL_version_num", <void **> &table.OpenSSL_version_num)
    symbols[1] = Symbol("OpenSSL_version", <void **> &table.OpenSSL_version)
    symbols[2] = Symbol("ERR_clear_error", <void **> &table.ERR_clear_error)
    symbols[3] = Symbol("EVP_CIPHER_CTX_new", <void **> &table.EVP_CIPHER_CTX_new)
    symbols[4] = Symbol("EVP_CIPHER_CTX_free", <void **> &table.EVP_CIPHER_CTX_free)
    symbols[5] = Symbol("EVP_CIPHER_CTX_set_params", <void **> &table.EVP_CIPHER_CTX_set_params)
    symbols[6] = Symbol("EVP_CIPHER_CTX_get_params", <void **> &table.EVP_CIPHER_CTX_get_params)
    symbols[7] = Symbol("EVP_CIPHER_fetch", <void **> &table.EVP_CIPHER_fetch)
    symbols[8] = Symbol("EVP_EncryptInit_ex", <void **> &table.EVP_EncryptInit_ex)
    symbols[9] = Symbol("EVP_DecryptInit_ex", <void **> &table.EVP_DecryptInit_ex)
    symbols[10] = Symbol("EVP_EncryptUpdate", <void **> &table.EVP_EncryptUpdate)
    symbols[11] = Symbol("EVP_DecryptUpdate", <void **> &table.EVP_DecryptUpdate)
    symbols[12] = Symbol("EVP_EncryptFinal_ex", <void **> &table.EVP_EncryptFinal_ex)
    symbols[13] = Symbol("EVP_DecryptFinal_ex", <void **> &table.EVP_DecryptFinal_ex)
    missing = None
    for index in range(14):
        symbols[index].place[0] = specter_find_symbol(handle, symbols[index].name)
        if symbols[index].place[0] == NULL and missing is None:
            missing = symbols[index].name.decode()
        if index == 0 and missing is None and table.OpenSSL_version_num() < OLDEST:
            return f"is older than OpenSSL 3.0 (0x{table.OpenSSL_version_num():x})"
    if missing is not None:
        return f"has no {missing}" if table.OpenSSL_version_num != NULL else "is not OpenSSL's libcrypto"
    _fetch(table)
    try:
        passed = _self_test(table)
    except RuntimeError:
        passed = False
    table.ERR_clear_error()  # the interpreter's ssl module looks at the same queue
    return None if passed else "failed the self-test"


cdef void _fetch(Library *table) noexcept:
    table.aes_128_gcm = table.EVP_CIPHER_fetch(NULL, "AES-128-GCM", NULL)
    table.aes_256_gcm = table.EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL)
    table.chacha20_poly1305 = table.EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL)
    table.aes_128_ecb = table.EVP_CIPHER_fetch(NULL, "AES-128-ECB", NULL)
    table.aes_256_ecb = table.EVP_CIPHER_fetch(NULL, "AES-256-ECB", NULL)
    table.chacha20 = table.EVP_CIPHER_fetch(NULL, "ChaCha20", NULL)


cdef bint _self_test(const Library *evp) except -1:
    """Known answers: test case 4 of the GCM specification, RFC 9001 appendix A.2 (mask) and A.5 (ChaCha20)."""
    if evp.aes_128_gcm == NULL or evp.aes_256_gcm == NULL or evp.aes_128_ecb == NULL or evp.aes_256_ecb == NULL:
        return False
    if not (_seals(evp, evp.aes_128_gcm, GCM) and _masks(evp, evp.aes_128_ecb, AES_MASK)):
        return False
    if evp.chacha20 == NULL or evp.chacha20_poly1305 == NULL:
        return True  # FIPS: this suite goes through cryptography
    return _seals(evp, evp.chacha20_poly1305, POLY1305) and _masks(evp, evp.chacha20, CHACHA_MASK)


cdef bint _seals(const Library *evp, Cipher cipher, tuple known) except -1:
    cdef bytes key, nonce, header, text, sealed
    key, nonce, header, text, sealed = known
    cdef unsigned char[96] data
    cdef Param[2] tag
    cdef Context sealer = new_context(evp, cipher, key, True)
    cdef Context opener = new_context(evp, cipher, key, False)
    cdef int size = <int> len(text)
    cdef bint good
    tag_params(tag, "tag")
    memcpy(data, <const unsigned char *> text, size)
    good = aead_seal(evp, sealer, tag, nonce, header, <int> len(header), data, size)
    good = good and memcmp(data, <const unsigned char *> sealed, size + TAG_SIZE) == 0
    good = good and aead_open(evp, opener, tag, nonce, header, <int> len(header), data, size)
    good = good and memcmp(data, <const unsigned char *> text, size) == 0
    memcpy(data, <const unsigned char *> sealed, size + TAG_SIZE)
    data[size] ^= 1
    good = good and not aead_open(evp, opener, tag, nonce, header, <int> len(header), data, size)
    evp.EVP_CIPHER_CTX_free(sealer)
    evp.EVP_CIPHER_CTX_free(opener)
    return good


cdef bint _masks(const Library *evp, Cipher cipher, tuple known) except -1:
    cdef bytes key, sample, mask
    key, sample, mask = known
    cdef unsigned char[32] data
    cdef Context context = new_context(evp, cipher, key, True)
    cdef bint good = header_mask(evp, context, cipher == evp.chacha20, sample, data)
    evp.EVP_CIPHER_CTX_free(context)
    return good and memcmp(data, <const unsigned char *> mask, 5) == 0


load(os.environ.get("SPECTER_LIBCRYPTO"))
