"""Packet protection (RFC 9001, sections 5 and 6; RFC 9369): keys, header protection, key phases, Retry tag."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import HashAlgorithm

from specter._wire import NEVER, TransportError, TransportErrorCode

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

AES_128_GCM_SHA256: Final = 0x1301
AES_256_GCM_SHA384: Final = 0x1302
CHACHA20_POLY1305_SHA256: Final = 0x1303
TAG_SIZE: Final = 16
SAMPLE_SIZE: Final = 16

_VERSION_1: Final = 0x0000_0001
_VERSION_2: Final = 0x6B33_43CF
_NONCE_SIZE: Final = 12
_MAX_PN_SIZE: Final = 4
_LONG_HEADER: Final = 0x80
_KEY_PHASE: Final = 0x04
_LONG_MASK: Final = 0x0F
_SHORT_MASK: Final = 0x1F
_PN_LIMIT: Final = 1 << 62

_Aead: TypeAlias = AESGCM | ChaCha20Poly1305
_Writable: TypeAlias = bytearray | memoryview


class DecryptError(Exception):
    """The packet does not open with any key we have; drop it."""


@dataclass(frozen=True, slots=True)
class _Suite:
    hash_name: str
    hash_size: int
    key_size: int
    aead: type[AESGCM] | type[ChaCha20Poly1305]
    confidentiality_limit: int
    integrity_limit: int


@dataclass(frozen=True, slots=True)
class _Version:
    initial_salt: bytes
    key_label: bytes
    iv_label: bytes
    hp_label: bytes
    update_label: bytes
    retry_key: bytes
    retry_nonce: bytes


_SUITES: Final = {
    AES_128_GCM_SHA256: _Suite("sha256", 32, 16, AESGCM, 1 << 23, 1 << 52),
    AES_256_GCM_SHA384: _Suite("sha384", 48, 32, AESGCM, 1 << 23, 1 << 52),
    CHACHA20_POLY1305_SHA256: _Suite("sha256", 32, 32, ChaCha20Poly1305, _PN_LIMIT, 1 << 36),
}

_VERSIONS: Final = {
    _VERSION_1: _Version(
        initial_salt=bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"),
        key_label=b"quic key",
        iv_label=b"quic iv",
        hp_label=b"quic hp",
        update_label=b"quic ku",
        retry_key=bytes.fromhex("be0c690b9f66575a1d766b54e368c84e"),
        retry_nonce=bytes.fromhex("461599d35d632bf2239825bb"),
    ),
    _VERSION_2: _Version(
        initial_salt=bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"),
        key_label=b"quicv2 key",
        iv_label=b"quicv2 iv",
        hp_label=b"quicv2 hp",
        update_label=b"quicv2 ku",
        retry_key=bytes.fromhex("8fb4b01b56ac48e260fbcbcead7ccc92"),
        retry_nonce=bytes.fromhex("d86969bc2d7c6d9990efb04a"),
    ),
}


def _suite(number: int) -> _Suite:
    try:
        return _SUITES[number]
    except KeyError:
        raise ValueError(f"unsupported cipher suite 0x{number:04x}") from None


def _version(number: int) -> _Version:
    try:
        return _VERSIONS[number]
    except KeyError:
        raise ValueError(f"unsupported version 0x{number:08x}") from None


def libcrypto() -> str:
    """Return which library does the AEAD."""
    from cryptography.hazmat.backends.openssl.backend import backend

    return f"{backend.openssl_version_text()} (cryptography)"


# --- key derivation


def expand_label(
    suite: int | str | HashAlgorithm, secret: bytes, label: bytes, length: int, context: bytes = b""
) -> bytes:
    """HKDF-Expand-Label (RFC 8446, section 7.1); ``label`` is without ``tls13``.

    ``suite`` is a cipher suite number, a :mod:`hashlib` name, or a hash of ``cryptography``.
    """
    return _expand_label(_hash_name(suite), secret, label, length, context)


def _hash_name(suite: int | str | HashAlgorithm) -> str:
    if isinstance(suite, int):
        return _suite(suite).hash_name
    return suite if isinstance(suite, str) else suite.name


def _expand_label(hash_name: str, secret: bytes, label: bytes, length: int, context: bytes = b"") -> bytes:
    info = b"".join((_length_and_label(length, label), bytes((len(context),)), context))
    output = block = hmac.digest(secret, info + b"\x01", hash_name)
    counter = 2
    while len(output) < length:
        block = hmac.digest(secret, block + info + bytes((counter,)), hash_name)
        output += block
        counter += 1
    return output[:length]


@lru_cache(maxsize=64)
def _length_and_label(length: int, label: bytes) -> bytes:
    full = b"tls13 " + label
    return length.to_bytes(2, "big") + bytes((len(full),)) + full


def initial_secrets(version: int, dcid: bytes) -> tuple[bytes, bytes]:
    """Return the client's and the server's Initial secret for the client's first destination connection id."""
    extracted = hmac.digest(_version(version).initial_salt, dcid, "sha256")
    return _expand_label("sha256", extracted, b"client in", 32), _expand_label("sha256", extracted, b"server in", 32)


def retry_integrity_tag(version: int, original_dcid: bytes, retry_without_tag: bytes | memoryview) -> bytes:
    """Return the 16-byte tag that ends a Retry packet (RFC 9001, section 5.8)."""
    constants = _version(version)
    pseudo_packet = bytes((len(original_dcid),)) + original_dcid + retry_without_tag
    return AESGCM(constants.retry_key).encrypt(constants.retry_nonce, b"", pseudo_packet)


def decode_packet_number(truncated: int, size: int, largest: int) -> int:
    """Return the packet number behind its ``size`` low bytes, ``largest`` (-1: none) received so far.

    RFC 9000, appendix A.3.
    """
    window = 1 << (8 * size)
    half = window >> 1
    expected = largest + 1
    candidate = (expected & -window) | truncated
    if candidate <= expected - half and candidate < _PN_LIMIT - window:
        return candidate + window
    if candidate > expected + half and candidate >= window:
        return candidate - window
    return candidate


# --- header protection


class _Masker(Protocol):
    def __call__(self, sample: bytes | memoryview) -> bytes: ...


class HeaderProtection:
    """The header protection of one direction (RFC 9001, section 5.4); its cipher context is kept."""

    __slots__ = ("mask",)

    mask: _Masker
    """``mask(sample)`` returns the mask of a 16-byte sample; the first 5 bytes count."""

    def __init__(self, suite: int, key: bytes) -> None:
        if len(key) != _suite(suite).key_size:
            raise ValueError("wrong header protection key size")
        self.mask = _chacha_masker(key) if suite == CHACHA20_POLY1305_SHA256 else _aes_masker(key)


def _aes_masker(key: bytes) -> _Masker:
    update = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update  # one block  # noqa: S305  # nosec B305

    def mask(sample: bytes | memoryview) -> bytes:
        return update(sample)[:5]

    return mask


def _chacha_masker(key: bytes) -> _Masker:
    context = Cipher(algorithms.ChaCha20(key, bytes(16)), None).encryptor()

    def mask(sample: bytes | memoryview) -> bytes:
        context.reset_nonce(bytes(sample))
        return context.update(b"\0\0\0\0\0")

    return mask


# --- packet protection


class _Keys:
    """The AEAD key and IV of one key phase; the IV is an integer, ready to be mixed with a packet number."""

    __slots__ = ("aead", "iv", "secret")

    def __init__(self, suite: _Suite, version: _Version, secret: bytes) -> None:
        self.secret = secret
        self.aead: _Aead = suite.aead(_expand_label(suite.hash_name, secret, version.key_label, suite.key_size))
        self.iv = int.from_bytes(_expand_label(suite.hash_name, secret, version.iv_label, _NONCE_SIZE), "big")


class PacketProtection:
    """Seals or opens the packets of one direction of one encryption level, in place.

    Attributes:
        key_phase: 0 or 1, toggled by every key update.
        updates: key updates so far, ours and the peer's.
        first_pn: the lowest packet number sealed or opened in the current key phase, ``NEVER`` when none was.
        sealed: packets sealed with the current key; stop before ``confidentiality_limit`` (RFC 9001, section 6.6).
        failed: packets that did not open, under any key; close at ``integrity_limit``.
    """

    __slots__ = (
        "_current",
        "_mask",
        "_next",
        "_previous",
        "_suite",
        "_version",
        "confidentiality_limit",
        "failed",
        "first_pn",
        "integrity_limit",
        "key_phase",
        "sealed",
        "updates",
    )

    def __init__(self, suite: int, secret: bytes, version: int = _VERSION_1) -> None:
        self._suite = _suite(suite)
        self._version = _version(version)
        if len(secret) != self._suite.hash_size:
            raise ValueError("wrong secret size")
        hp_key = _expand_label(self._suite.hash_name, secret, self._version.hp_label, self._suite.key_size)
        self._mask = HeaderProtection(suite, hp_key).mask
        self._current = _Keys(self._suite, self._version, secret)
        self._previous: _Keys | None = None
        self._next: _Keys | None = None
        self.key_phase = 0
        self.updates = 0
        self.first_pn = NEVER
        self.sealed = 0
        self.failed = 0
        self.confidentiality_limit = self._suite.confidentiality_limit
        self.integrity_limit = self._suite.integrity_limit

    def seal(self, buffer: _Writable, start: int, pn_offset: int, pn_length: int, end: int, pn: int) -> int:
        """Seal the packet whose header is ``[start, pn_offset + pn_length)`` and whose plaintext goes up to ``end``.

        The header is in clear, key phase bit included; 16 bytes of room lie behind ``end``. Returns ``end + 16``.
        ``ValueError`` when header, plaintext and room are not within the buffer or too short to be sampled.
        """
        view = memoryview(buffer)
        payload = pn_offset + pn_length
        stop = end + TAG_SIZE
        if not (0 <= start < pn_offset < payload <= end and pn_length <= _MAX_PN_SIZE <= end - pn_offset):
            raise ValueError("packet too short to be protected")
        if stop > len(view):
            raise ValueError("packet outside the buffer")
        keys = self._current
        nonce = (keys.iv ^ pn).to_bytes(_NONCE_SIZE, "big")
        keys.aead.encrypt_into(nonce, view[payload:end], view[start:payload], view[payload:stop])
        self.sealed += 1
        if pn < self.first_pn:
            self.first_pn = pn
        sample = pn_offset + _MAX_PN_SIZE
        mask = self._mask(view[sample : sample + SAMPLE_SIZE])
        first = view[start]
        view[start] = first ^ (mask[0] & (_LONG_MASK if first & _LONG_HEADER else _SHORT_MASK))
        for index in range(pn_length):
            view[pn_offset + index] ^= mask[index + 1]
        return stop

    def open(
        self, buffer: _Writable, start: int, pn_offset: int, end: int, largest_pn: int
    ) -> tuple[int, int, int, int]:
        """Open the packet ``[start, end)``; return ``(packet number, payload start, payload end, first byte)``.

        The packet number field starts at ``pn_offset``; ``largest_pn`` is the largest one received in this space, -1
        when none was. On success the header is left in clear, the payload is plaintext, and the first byte is
        returned in clear: the caller checks its reserved bits.

        A short header picks its key by the key phase bit: the current one; else the previous one for a packet
        number below ``first_pn``; else the next one, and then success commits the update. Neither the choice nor a
        failure shows in the time it takes (RFC 9001, section 9.5).

        Raises:
            DecryptError: too short, or no key opens it. ``failed`` counts it. The header and the last 16 bytes are
                as they came; the rest of the payload is unspecified.
            TransportError: KEY_UPDATE_ERROR, a new key on a packet number below ``largest_pn`` (section 6.4).
            ValueError: the packet is not within the buffer.
        """
        view = memoryview(buffer)
        if not (0 <= start < pn_offset and end <= len(view)):
            raise ValueError("packet outside the buffer")
        sample = pn_offset + _MAX_PN_SIZE
        if sample + SAMPLE_SIZE > end:
            self.failed += 1
            raise DecryptError("packet is too short")
        protected = bytes(view[pn_offset:sample])
        mask = self._mask(view[sample : sample + SAMPLE_SIZE])
        protected_first = view[start]
        first = protected_first ^ (mask[0] & (_LONG_MASK if protected_first & _LONG_HEADER else _SHORT_MASK))
        size = (first & 0x03) + 1
        payload = pn_offset + size
        truncated = int.from_bytes(protected[:size], "big") ^ int.from_bytes(mask[1 : size + 1], "big")
        pn = decode_packet_number(truncated, size, largest_pn)
        view[start] = first
        view[pn_offset:payload] = truncated.to_bytes(size, "big")
        keys = self._current if first & _LONG_HEADER else self._select(first, pn)
        nonce = (keys.iv ^ pn).to_bytes(_NONCE_SIZE, "big")
        try:
            keys.aead.decrypt_into(nonce, view[payload:end], view[start:payload], view[payload : end - TAG_SIZE])
        except InvalidTag:
            view[start] = protected_first
            view[pn_offset:sample] = protected
            self.failed += 1
            raise DecryptError("packet does not authenticate") from None
        if keys is self._current:
            if pn < self.first_pn:
                self.first_pn = pn
        elif keys is self._next:
            self._commit(pn, largest_pn)
        return pn, payload, end - TAG_SIZE, first

    def _select(self, first: int, pn: int) -> _Keys:
        if self._next is None:
            self._next = self._derive_next()
        if (first & _KEY_PHASE != 0) == self.key_phase:
            return self._current
        if self._previous is not None and pn < self.first_pn:
            return self._previous
        return self._next

    def _commit(self, pn: int, largest_pn: int) -> None:
        if pn < largest_pn:
            raise TransportError(TransportErrorCode.KEY_UPDATE_ERROR, "new keys on an old packet number")
        self.update()
        self.first_pn = pn

    def _derive_next(self) -> _Keys:
        suite, version = self._suite, self._version
        secret = _expand_label(suite.hash_name, self._current.secret, version.update_label, suite.hash_size)
        return _Keys(suite, version, secret)

    def update(self) -> None:
        """Go to the next key phase, keeping the current keys as the previous ones; a sealer forgets ``sealed``.

        When to do so is the caller's business (RFC 9001, sections 6.1 and 6.5).
        """
        following = self._next or self._derive_next()
        self._previous = self._current
        self._current = following
        self._next = None
        self.key_phase ^= 1
        self.updates += 1
        self.first_pn = NEVER
        self.sealed = 0

    def drop_previous(self) -> None:
        """Forget the previous key phase (RFC 9001, section 6.5: within three PTOs of the update)."""
        self._previous = None
