"""Address validation tokens a server hands out: in Retry packets and NEW_TOKEN frames (RFC 9000, section 8.1).

A token is sealed with a key of the server and bound to the client's address and the QUIC version, so the
server keeps no state for it. It can be replayed until it expires: to accept a NEW_TOKEN token once only is
for the caller, who has somewhere to remember it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from specter._entropy import Entropy

RETRY_LIFETIME: Final = 30
"""Seconds; a Retry token comes back at once."""
NEW_TOKEN_LIFETIME: Final = 24 * 3600
"""Seconds."""
MAX_TOKEN_SIZE: Final = 256
"""Bytes of the longest token we look at; ours are shorter than 100."""

_RETRY: Final = 0x01
_NEW_TOKEN: Final = 0x02
_NONCE_SIZE: Final = 12
_TAG_SIZE: Final = 16
_TIME_SIZE: Final = 8


@dataclass(frozen=True, slots=True)
class AddressToken:
    """What a genuine token says. The ids are ``None`` in one from a NEW_TOKEN frame; ``issued`` is in seconds."""

    issued: int
    original_dcid: bytes | None = None
    retry_scid: bytes | None = None

    @property
    def from_retry(self) -> bool:
        return self.original_dcid is not None


class TokenMinter:
    """Makes and opens tokens with one AES-GCM key of 16, 24 or 32 bytes (``ValueError`` for other sizes).

    Nonces are random: change the key well before 2**32 tokens. Lifetimes are seconds.
    """

    def __init__(
        self, key: bytes, *, retry_lifetime: int = RETRY_LIFETIME, new_token_lifetime: int = NEW_TOKEN_LIFETIME
    ) -> None:
        self._aead = AESGCM(key)
        self._lifetimes = {_RETRY: retry_lifetime, _NEW_TOKEN: new_token_lifetime}

    def mint(
        self,
        address: bytes | str,
        original_dcid: bytes | None,
        retry_scid: bytes | None,
        now: int,
        entropy: Entropy,
        *,
        version: int = 1,
    ) -> bytes:
        """Return a token for ``address`` at wall-clock second ``now``.

        With both ids it is for a Retry packet, and ``address`` should name the port as well; with ``None`` for
        both it is for a NEW_TOKEN frame, and ``address`` should be the host only.
        """
        kind = _NEW_TOKEN if original_dcid is None else _RETRY
        content = now.to_bytes(_TIME_SIZE, "big") + _encode_ids(original_dcid, retry_scid)
        nonce = entropy.token(_NONCE_SIZE)
        return bytes([kind]) + nonce + self._aead.encrypt(nonce, content, _binding(kind, version, address))

    def open(self, token: bytes, address: bytes | str, now: int, *, version: int = 1) -> AddressToken | None:
        """Return what ``token`` says, or ``None`` when it is not ours, is for another address or version, or is
        older than its lifetime."""
        if not 1 + _NONCE_SIZE + _TIME_SIZE + _TAG_SIZE <= len(token) <= MAX_TOKEN_SIZE:
            return None
        kind, nonce = token[0], token[1 : 1 + _NONCE_SIZE]
        lifetime = self._lifetimes.get(kind)
        if lifetime is None:
            return None
        try:
            content = self._aead.decrypt(nonce, token[1 + _NONCE_SIZE :], _binding(kind, version, address))
        except InvalidTag:
            return None
        issued = int.from_bytes(content[:_TIME_SIZE], "big")
        if not 0 <= now - issued <= lifetime:
            return None
        return AddressToken(issued, *_decode_ids(content[_TIME_SIZE:]))

    @staticmethod
    def is_retry(token: bytes) -> bool:
        """Tell whether a token claims to come from a Retry packet of ours, which makes an unusable one fatal
        (INVALID_TOKEN; RFC 9000, section 8.1.2)."""
        return token[:1] == bytes([_RETRY])


def _binding(kind: int, version: int, address: bytes | str) -> bytes:
    host = address.encode() if isinstance(address, str) else address
    return bytes([kind]) + version.to_bytes(4, "big") + host


def _encode_ids(original_dcid: bytes | None, retry_scid: bytes | None) -> bytes:
    if original_dcid is None and retry_scid is None:
        return b""
    if original_dcid is None or retry_scid is None:
        raise ValueError("a Retry token needs both connection ids")
    return bytes([len(original_dcid)]) + original_dcid + retry_scid


def _decode_ids(content: bytes) -> tuple[bytes | None, bytes | None]:
    """Undo :func:`_encode_ids`; what comes here was authenticated, so it is well formed."""
    if not content:
        return None, None
    split = 1 + content[0]
    return content[1:split], content[split:]
