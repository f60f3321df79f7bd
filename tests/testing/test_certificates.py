"""What the test authority issues is accepted, or refused, by an independent verifier."""

from __future__ import annotations

import datetime
import ipaddress
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from specter.testing.certificates import CLIENT_AUTH, CertificateAuthority, Credential, generate_key


def verify(root: CertificateAuthority, credential: Credential, name: str) -> int:
    subject: x509.DNSName | x509.IPAddress
    try:
        subject = x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        subject = x509.DNSName(name)
    verifier = PolicyBuilder().store(Store([root.certificate])).build_server_verifier(subject)
    return len(verifier.verify(credential.certificate, list(credential.chain[1:])))


@pytest.mark.parametrize("key", ["p256", "p384", "rsa"])
def test_a_leaf_verifies_for_each_of_its_names(key: str) -> None:
    root = CertificateAuthority()
    leaf = root.issue("localhost", "127.0.0.1", "::1", key=key)
    assert [verify(root, leaf, name) for name in ("localhost", "127.0.0.1", "::1")] == [2, 2, 2]
    with pytest.raises(VerificationError):
        verify(root, leaf, "example.com")


def test_ed25519_keys_sign_and_are_issued() -> None:
    root = CertificateAuthority(key="ed25519")
    leaf = root.issue("localhost", key="ed25519")
    leaf.certificate.verify_directly_issued_by(root.certificate)


def test_an_intermediate_is_needed_in_the_chain() -> None:
    root = CertificateAuthority()
    middle = CertificateAuthority("middle", parent=root)
    assert verify(root, middle.issue("a.test"), "a.test") == 3
    with pytest.raises(VerificationError):
        verify(root, middle.issue("a.test", with_chain=False), "a.test")


def test_name_constraints_bind() -> None:
    root = CertificateAuthority()
    middle = CertificateAuthority("middle", parent=root, permitted=["good.test"], excluded=["bad.good.test"])
    assert verify(root, middle.issue("www.good.test"), "www.good.test") == 3
    for name in ("other.test", "www.bad.good.test"):
        with pytest.raises(VerificationError):
            verify(root, middle.issue(name), name)


def test_wrong_certificates_are_refused() -> None:
    root = CertificateAuthority()
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    wrong = [
        root.issue("a.test", not_before=now - 2 * day, not_after=now - day),
        root.issue("a.test", not_before=now + day, not_after=now + 2 * day),
        root.issue("a.test", usages=CLIENT_AUTH),
        root.issue("a.test", signer=generate_key()),
        CertificateAuthority().issue("a.test"),
        CertificateAuthority("no authority", parent=root, is_authority=False).issue("a.test"),
    ]
    for credential in wrong:
        with pytest.raises(VerificationError):
            verify(root, credential, "a.test")


def test_files_hold_the_chain_and_a_private_key(tmp_path: Path) -> None:
    root = CertificateAuthority()
    credential = CertificateAuthority("middle", parent=root).issue("a.test")
    chain, key = credential.write(tmp_path)
    assert x509.load_pem_x509_certificates(chain.read_bytes()) == list(credential.chain)
    load_pem_private_key(key.read_bytes(), None)
    assert stat.S_IMODE(key.stat().st_mode) & 0o077 == 0
    assert x509.load_pem_x509_certificate(root.write(tmp_path / "ca.pem").read_bytes()) == root.certificate


def test_an_unknown_kind_of_key_is_an_error() -> None:
    with pytest.raises(ValueError, match="no such kind"):
        generate_key("dsa")
