"""Key exchange groups: ECDHE and the X25519MLKEM768 hybrid (RFC 9846, section 4.2.8).

Private keys come from the injected entropy, so that a replay makes the same shares. The one exception is
the encapsulation of ML-KEM on the server side, for which the library draws its own randomness.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import IntEnum
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from specter._entropy import Entropy
from specter.tls.alerts import illegal_parameter


class NamedGroup(IntEnum):
    """The groups implemented here."""

    SECP256R1 = 0x0017
    SECP384R1 = 0x0018
    SECP521R1 = 0x0019
    X25519 = 0x001D
    X25519MLKEM768 = 0x11EC


def _have_mlkem() -> bool:
    """Whether the library was built on an OpenSSL with ML-KEM."""
    try:
        MLKEM768PrivateKey.from_seed_bytes(bytes(64))
    except UnsupportedAlgorithm:
        return False
    return True


SUPPORTED_GROUPS: Final = tuple(
    group for group in NamedGroup if group is not NamedGroup.X25519MLKEM768 or _have_mlkem()
)

DEFAULT_GROUPS: Final = tuple(
    group
    for group in (NamedGroup.X25519MLKEM768, NamedGroup.X25519, NamedGroup.SECP256R1, NamedGroup.SECP384R1)
    if group in SUPPORTED_GROUPS
)
DEFAULT_KEY_SHARES: Final = DEFAULT_GROUPS[: DEFAULT_GROUPS.index(NamedGroup.X25519) + 1]

_X25519_SIZE: Final = 32
_MLKEM_SEED: Final = 64
_MLKEM_KEY: Final = 1184
_MLKEM_CIPHERTEXT: Final = 1088


class PrivateShare(ABC):
    """Our half of a key exchange: ``public`` goes to the peer, the rest stays here."""

    __slots__ = ("public",)
    public: bytes

    @abstractmethod
    def finish(self, share: bytes) -> bytes:
        """Return the shared secret with the peer's ``share``; TlsError(illegal_parameter) for a bad one."""


class _X25519Share(PrivateShare):
    __slots__ = ("_private",)

    def __init__(self, entropy: Entropy) -> None:
        self._private = X25519PrivateKey.from_private_bytes(entropy.token(_X25519_SIZE))
        self.public = self._private.public_key().public_bytes_raw()

    def finish(self, share: bytes) -> bytes:
        try:
            return self._private.exchange(X25519PublicKey.from_public_bytes(share))
        except ValueError as error:
            raise illegal_parameter("the X25519 share is not usable") from error


class _Curve:
    """What key generation needs to know about a NIST curve."""

    __slots__ = ("curve", "order", "size")

    def __init__(self, curve: ec.EllipticCurve, order: int) -> None:
        self.curve = curve
        self.order = order
        self.size = (curve.key_size + 7) // 8


_CURVES: Final = {
    NamedGroup.SECP256R1: _Curve(
        ec.SECP256R1(),
        0xFFFFFFFF_00000000_FFFFFFFF_FFFFFFFF_BCE6FAAD_A7179E84_F3B9CAC2_FC632551,
    ),
    NamedGroup.SECP384R1: _Curve(
        ec.SECP384R1(),
        0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_C7634D81_F4372DDF_581A0DB2_48B0A77A_ECEC196A_CCC52973,
    ),
    NamedGroup.SECP521R1: _Curve(
        ec.SECP521R1(),
        0x01FF_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFA << 256
        | 0x51868783_BF2F966B_7FCC0148_F709A5D0_3BB5C9B8_899C47AE_BB6FB71E_91386409,
    ),
}


class _EcdhShare(PrivateShare):
    __slots__ = ("_parameters", "_private")

    def __init__(self, parameters: _Curve, entropy: Entropy) -> None:
        # Eight bytes more than the order has: the reduction then has no bias worth the name.
        number = int.from_bytes(entropy.token(parameters.size + 8), "big")
        self._parameters = parameters
        self._private = ec.derive_private_key(1 + number % (parameters.order - 1), parameters.curve)
        self.public = _encode_point(self._private.public_key(), parameters.size)

    def finish(self, share: bytes) -> bytes:
        if len(share) != 1 + 2 * self._parameters.size or share[0] != 4:
            raise illegal_parameter("the ECDH share is not an uncompressed point")
        try:
            point = ec.EllipticCurvePublicKey.from_encoded_point(self._parameters.curve, share)
            return self._private.exchange(ec.ECDH(), point)
        except ValueError as error:
            raise illegal_parameter("the ECDH share is not on its curve") from error


class _HybridShare(PrivateShare):
    """The client's half of X25519MLKEM768: an encapsulation key, then an X25519 key."""

    __slots__ = ("_mlkem", "_x25519")

    def __init__(self, entropy: Entropy) -> None:
        self._mlkem = MLKEM768PrivateKey.from_seed_bytes(entropy.token(_MLKEM_SEED))
        self._x25519 = _X25519Share(entropy)
        self.public = self._mlkem.public_key().public_bytes_raw() + self._x25519.public

    def finish(self, share: bytes) -> bytes:
        if len(share) != _MLKEM_CIPHERTEXT + _X25519_SIZE:
            raise illegal_parameter("the X25519MLKEM768 share has the wrong length")
        secret = self._mlkem.decapsulate(share[:_MLKEM_CIPHERTEXT])
        return secret + self._x25519.finish(share[_MLKEM_CIPHERTEXT:])


def is_supported(group: int) -> bool:
    """Whether this build can do key exchange with ``group``."""
    return group in SUPPORTED_GROUPS


def generate(group: int, entropy: Entropy) -> PrivateShare:
    """Make a fresh private key and share for a supported group."""
    if group == NamedGroup.X25519:
        return _X25519Share(entropy)
    if group == NamedGroup.X25519MLKEM768:
        return _HybridShare(entropy)
    return _EcdhShare(_CURVES[NamedGroup(group)], entropy)


def respond(group: int, share: bytes, entropy: Entropy) -> tuple[bytes, bytes]:
    """Answer a client's ``share``: return the server's share and the shared secret."""
    if group == NamedGroup.X25519MLKEM768:
        return _respond_hybrid(share, entropy)
    ours = generate(group, entropy)
    return ours.public, ours.finish(share)


def _respond_hybrid(share: bytes, entropy: Entropy) -> tuple[bytes, bytes]:
    if len(share) != _MLKEM_KEY + _X25519_SIZE:
        raise illegal_parameter("the X25519MLKEM768 share has the wrong length")
    try:
        secret, ciphertext = MLKEM768PublicKey.from_public_bytes(share[:_MLKEM_KEY]).encapsulate()
    except ValueError as error:
        raise illegal_parameter("the ML-KEM encapsulation key is not valid") from error
    x25519 = _X25519Share(entropy)
    return ciphertext + x25519.public, secret + x25519.finish(share[_MLKEM_KEY:])


def _encode_point(key: ec.EllipticCurvePublicKey, size: int) -> bytes:
    numbers = key.public_numbers()
    return b"\x04" + numbers.x.to_bytes(size, "big") + numbers.y.to_bytes(size, "big")
