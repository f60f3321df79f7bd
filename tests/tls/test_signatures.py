from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, x25519

from specter.tls import signatures
from specter.tls.alerts import AlertDescription, TlsError
from specter.tls.signatures import DEFAULT_SIGNATURE_SCHEMES, SignatureScheme
from tests.tls import pki

S = SignatureScheme
FITTING = {
    "p256": [S.ECDSA_SECP256R1_SHA256],
    "p384": [S.ECDSA_SECP384R1_SHA384],
    "p521": [S.ECDSA_SECP521R1_SHA512],
    "rsa": [S.RSA_PSS_RSAE_SHA256, S.RSA_PSS_RSAE_SHA384, S.RSA_PSS_RSAE_SHA512],
    "ed25519": [S.ED25519],
}
CONTENT = signatures.signed_content(b"\x01" * 32, server=True)


def test_signed_content_is_the_example_of_the_rfc() -> None:
    expected = "20" * 64 + "544c5320312e332c207365727665722043657274696669636174655665726966" + "79" + "00" + "01" * 32
    assert CONTENT.hex() == expected
    assert b"TLS 1.3, client CertificateVerify\0" in signatures.signed_content(b"", server=False)


@pytest.mark.parametrize("kind", pki.KEY_KINDS)
def test_sign_and_verify(kind: str) -> None:
    key = pki.private_key(kind)
    for scheme in FITTING[kind]:
        signature = signatures.sign(scheme, key, CONTENT)
        signatures.verify(scheme, key.public_key(), signature, CONTENT)
        for wrong in (signature[:-1], signature[:-1] + bytes((signature[-1] ^ 1,)), b""):
            with pytest.raises(TlsError) as caught:
                signatures.verify(scheme, key.public_key(), wrong, CONTENT)
            assert caught.value.alert is AlertDescription.DECRYPT_ERROR
        with pytest.raises(TlsError, match="decrypt_error"):
            signatures.verify(scheme, key.public_key(), signature, CONTENT + b"!")


@pytest.mark.parametrize("kind", pki.KEY_KINDS)
def test_schemes_that_do_not_fit_the_key(kind: str) -> None:
    key = pki.private_key(kind).public_key()
    for scheme in {*SignatureScheme, 0x0201, 0x0203, 0xFFFF} - set(FITTING[kind]):
        with pytest.raises(TlsError) as caught:
            signatures.verify(scheme, key, b"signature", CONTENT)
        assert caught.value.alert is AlertDescription.ILLEGAL_PARAMETER


def test_pkcs1_is_for_certificates_only() -> None:
    key = pki.private_key("rsa")
    assert isinstance(key, rsa.RSAPrivateKey)
    signature = key.sign(CONTENT, padding.PKCS1v15(), hashes.SHA256())
    with pytest.raises(TlsError, match="illegal_parameter"):
        signatures.verify(S.RSA_PKCS1_SHA256, key.public_key(), signature, CONTENT)
    assert S.RSA_PKCS1_SHA256 in DEFAULT_SIGNATURE_SCHEMES


@pytest.mark.parametrize("kind", pki.KEY_KINDS)
def test_choice_follows_the_peers_order(kind: str) -> None:
    key = pki.private_key(kind)
    offered = [0x0A0A, *reversed(DEFAULT_SIGNATURE_SCHEMES)]
    assert signatures.choose_scheme(key, offered) == FITTING[kind][-1]
    assert signatures.choose_scheme(key, [S.RSA_PKCS1_SHA256, 0x0201]) is None


def test_pss_with_a_key_too_small_for_the_hash() -> None:
    key = pki.private_key("rsa1024")
    assert signatures.choose_scheme(key, [S.RSA_PSS_RSAE_SHA512]) is None
    assert signatures.choose_scheme(key, [S.RSA_PSS_RSAE_SHA256]) == S.RSA_PSS_RSAE_SHA256


def test_ecdsa_is_reproducible() -> None:
    key = pki.private_key("p256")
    first, second = (signatures.sign(S.ECDSA_SECP256R1_SHA256, key, CONTENT) for _ in range(2))
    assert first == second


def test_keys_that_cannot_sign() -> None:
    for key in (x25519.X25519PrivateKey.generate().public_key(), ec.generate_private_key(ec.SECP224R1()).public_key()):
        with pytest.raises(TlsError, match="does not fit"):
            signatures.verify(S.ED25519, key, b"", CONTENT)
