"""The key schedule and the transcript hash (RFC 9846, sections 4.1.1, 4.4.4 and 7.1)."""

from __future__ import annotations

import hashlib
import hmac
from functools import cache
from typing import Final

from specter._backend import protection
from specter.tls.ciphers import hash_name

CLIENT_HANDSHAKE_TRAFFIC: Final = b"c hs traffic"
SERVER_HANDSHAKE_TRAFFIC: Final = b"s hs traffic"
CLIENT_APPLICATION_TRAFFIC: Final = b"c ap traffic"
SERVER_APPLICATION_TRAFFIC: Final = b"s ap traffic"
CLIENT_EARLY_TRAFFIC: Final = b"c e traffic"
RESUMPTION: Final = b"res master"

_RESUMPTION_BINDER: Final = b"res binder"

_MESSAGE_HASH: Final = 254


class Transcript:
    """The running hash of all handshake messages."""

    __slots__ = ("_hash", "_name")

    def __init__(self, suite: int, before: Transcript | None = None) -> None:
        """Begin with nothing, or with the messages of ``before``, of which the hash must be the same."""
        self._name = hash_name(suite)
        self._hash: hashlib._Hash = hashlib.new(self._name) if before is None else before._hash.copy()

    def update(self, message: bytes) -> None:
        self._hash.update(message)

    def digest(self) -> bytes:
        return self._hash.digest()

    def replace_by_message_hash(self) -> None:
        """Stand a synthetic message for the first ClientHello after a HelloRetryRequest."""
        digest = self._hash.digest()
        self._hash = hashlib.new(self._name, bytes((_MESSAGE_HASH, 0, 0, len(digest))) + digest)


class KeySchedule:
    """The chain Early Secret, Handshake Secret, Main Secret of one connection; it never shows what it holds."""

    __slots__ = ("_name", "_secret", "hash_size")

    def __init__(self, suite: int, psk: bytes | None = None) -> None:
        self._name = hash_name(suite)
        self.hash_size = len(empty_hash(self._name))
        self._secret = _early_secret(self._name) if psk is None else _extract(self._name, b"", psk)

    def derive(self, label: bytes, digest: bytes) -> bytes:
        """Derive-Secret from the current secret for a transcript hash."""
        return protection.expand_label(self._name, self._secret, label, self.hash_size, digest)

    def binder(self, digest: bytes) -> bytes:
        """Return the binder of a ticket's secret: for the Early Secret and the hash of a truncated ClientHello."""
        return self.finished_mac(self.derive(_RESUMPTION_BINDER, empty_hash(self._name)), digest)

    def mix_key_exchange(self, shared_secret: bytes) -> None:
        """Go from the Early Secret to the Handshake Secret."""
        self._advance(shared_secret)

    def finish(self) -> None:
        """Go from the Handshake Secret to the Main Secret."""
        self._advance(bytes(self.hash_size))

    def finished_mac(self, base_key: bytes, digest: bytes) -> bytes:
        """Return the ``verify_data`` of a Finished message."""
        key = protection.expand_label(self._name, base_key, b"finished", self.hash_size)
        return hmac.digest(key, digest, self._name)

    def ticket_secret(self, resumption_secret: bytes, nonce: bytes) -> bytes:
        """Return the PSK that belongs to a NewSessionTicket."""
        return protection.expand_label(self._name, resumption_secret, b"resumption", self.hash_size, nonce)

    def erase(self) -> None:
        """Forget the current secret; ``derive`` is over."""
        self._secret = b""

    def _advance(self, material: bytes) -> None:
        salt = protection.expand_label(self._name, self._secret, b"derived", self.hash_size, empty_hash(self._name))
        self._secret = _extract(self._name, salt, material)


@cache
def empty_hash(name: str) -> bytes:
    """The hash of nothing."""
    return hashlib.new(name).digest()


@cache
def _early_secret(name: str) -> bytes:
    return _extract(name, b"", bytes(len(empty_hash(name))))


def _extract(name: str, salt: bytes, material: bytes) -> bytes:
    return hmac.digest(salt or bytes(len(empty_hash(name))), material, name)
