"""Signature schemes and the CertificateVerify signature (RFC 9846, sections 4.2.3 and 4.4.3)."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from specter.tls.alerts import AlertDescription, TlsError, illegal_parameter

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
"""The private keys a credential can have."""


class SignatureScheme(IntEnum):
    """The schemes implemented here. The PKCS #1 ones are for certificates only."""

    RSA_PKCS1_SHA256 = 0x0401
    RSA_PKCS1_SHA384 = 0x0501
    RSA_PKCS1_SHA512 = 0x0601
    ECDSA_SECP256R1_SHA256 = 0x0403
    ECDSA_SECP384R1_SHA384 = 0x0503
    ECDSA_SECP521R1_SHA512 = 0x0603
    RSA_PSS_RSAE_SHA256 = 0x0804
    RSA_PSS_RSAE_SHA384 = 0x0805
    RSA_PSS_RSAE_SHA512 = 0x0806
    ED25519 = 0x0807


_S = SignatureScheme

DEFAULT_SIGNATURE_SCHEMES: Final = (
    _S.ECDSA_SECP256R1_SHA256,
    _S.RSA_PSS_RSAE_SHA256,
    _S.RSA_PKCS1_SHA256,
    _S.ECDSA_SECP384R1_SHA384,
    _S.RSA_PSS_RSAE_SHA384,
    _S.RSA_PKCS1_SHA384,
    _S.ED25519,
    _S.ECDSA_SECP521R1_SHA512,
    _S.RSA_PSS_RSAE_SHA512,
    _S.RSA_PKCS1_SHA512,
)

_RSA_HASHES: Final[dict[int, hashes.HashAlgorithm]] = {
    _S.RSA_PSS_RSAE_SHA256: hashes.SHA256(),
    _S.RSA_PSS_RSAE_SHA384: hashes.SHA384(),
    _S.RSA_PSS_RSAE_SHA512: hashes.SHA512(),
}
_ECDSA: Final[dict[int, tuple[str, hashes.HashAlgorithm]]] = {
    _S.ECDSA_SECP256R1_SHA256: ("secp256r1", hashes.SHA256()),
    _S.ECDSA_SECP384R1_SHA384: ("secp384r1", hashes.SHA384()),
    _S.ECDSA_SECP521R1_SHA512: ("secp521r1", hashes.SHA512()),
}
_CONTEXTS: Final = {
    True: b"\x20" * 64 + b"TLS 1.3, server CertificateVerify\0",
    False: b"\x20" * 64 + b"TLS 1.3, client CertificateVerify\0",
}


def signed_content(digest: bytes, *, server: bool) -> bytes:
    """Return what the ``server`` or the client signs for a transcript hash."""
    return _CONTEXTS[server] + digest


def verify(scheme: int, public_key: object, signature: bytes, content: bytes) -> None:
    """Check a CertificateVerify signature.

    TlsError: illegal_parameter for a scheme that does not fit the key, decrypt_error for a wrong signature.
    """
    if scheme not in _usable_schemes(public_key):
        raise illegal_parameter(f"signature scheme 0x{scheme:04x} does not fit the certificate's key")
    try:
        if isinstance(public_key, ec.EllipticCurvePublicKey):
            public_key.verify(signature, content, ec.ECDSA(_ECDSA[scheme][1]))
        elif isinstance(public_key, rsa.RSAPublicKey):
            public_key.verify(signature, content, *_pss(scheme))
        elif isinstance(public_key, ed25519.Ed25519PublicKey):
            public_key.verify(signature, content)
    except (InvalidSignature, ValueError) as error:
        raise TlsError(AlertDescription.DECRYPT_ERROR, "the CertificateVerify signature is wrong") from error


def sign(scheme: int, private_key: PrivateKey, content: bytes) -> bytes:
    """Sign ``content`` with a scheme that :func:`choose_scheme` returned."""
    if isinstance(private_key, ec.EllipticCurvePrivateKey):
        return _sign_ecdsa(_ECDSA[scheme][1], private_key, content)
    if isinstance(private_key, rsa.RSAPrivateKey):
        return private_key.sign(content, *_pss(scheme))
    return private_key.sign(content)


def choose_scheme(private_key: PrivateKey, offered: Iterable[int]) -> int | None:
    """Return the first scheme of the peer's list that the key can sign with."""
    usable = _usable_schemes(private_key.public_key())
    return next((scheme for scheme in offered if scheme in usable), None)


def _usable_schemes(public_key: object) -> tuple[int, ...]:
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return tuple(scheme for scheme, (curve, _) in _ECDSA.items() if curve == public_key.curve.name)
    if isinstance(public_key, rsa.RSAPublicKey):
        room = public_key.key_size // 8 - 2
        return tuple(scheme for scheme, algorithm in _RSA_HASHES.items() if 2 * algorithm.digest_size <= room)
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        return (SignatureScheme.ED25519,)
    return ()


def _pss(scheme: int) -> tuple[padding.PSS, hashes.HashAlgorithm]:
    algorithm = _RSA_HASHES[scheme]
    return padding.PSS(padding.MGF1(algorithm), algorithm.digest_size), algorithm


def _sign_ecdsa(algorithm: hashes.HashAlgorithm, private_key: ec.EllipticCurvePrivateKey, content: bytes) -> bytes:
    try:
        return private_key.sign(content, ec.ECDSA(algorithm, deterministic_signing=True))
    except UnsupportedAlgorithm:  # needs OpenSSL 3.2
        return private_key.sign(content, ec.ECDSA(algorithm))
