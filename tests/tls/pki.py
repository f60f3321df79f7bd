"""Certificates for the tests: an authority, an intermediate, and leaves of every kind."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from specter.tls.config import Credential
from specter.tls.signatures import PrivateKey
from specter.tls.trust import TrustStore

NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC)
YEAR = datetime.timedelta(days=365)
NAME = "server.example"
SERVER_AUTH = (ExtendedKeyUsageOID.SERVER_AUTH,)
CLIENT_AUTH = (ExtendedKeyUsageOID.CLIENT_AUTH,)
KEY_KINDS = ("p256", "p384", "p521", "rsa", "ed25519")


@cache
def private_key(kind: str, label: str = "leaf") -> PrivateKey:
    """A key of ``kind``, one for each ``label``."""
    del label
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    if kind == "rsa1024":
        return rsa.generate_private_key(65537, 1024)  # noqa: S505  to be refused
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    curves: dict[str, ec.EllipticCurve] = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}
    return ec.generate_private_key(curves[kind])


@dataclass(frozen=True)
class Authority:
    """A certificate that signs others."""

    certificate: x509.Certificate
    key: PrivateKey


def _build(
    name: str, key: PrivateKey, issuer: Authority | None, start: datetime.datetime, end: datetime.datetime
) -> x509.CertificateBuilder:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer_key = issuer.key if issuer is not None else key
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer is not None else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False)
    )


def _sign(builder: x509.CertificateBuilder, key: PrivateKey) -> x509.Certificate:
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())


def _key_usage(*, signs: bool, certifies: bool) -> x509.KeyUsage:
    return x509.KeyUsage(signs, False, not signs and not certifies, False, False, certifies, certifies, False, False)


def make_authority(name: str, issuer: Authority | None = None, *, end: datetime.datetime = NOW + YEAR) -> Authority:
    """An authority signed by ``issuer``, or by itself."""
    key = private_key("p256", name)
    builder = _build(name, key, issuer, NOW - YEAR, end)
    builder = builder.add_extension(x509.BasicConstraints(True, None), True)
    builder = builder.add_extension(_key_usage(signs=False, certifies=True), True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    return Authority(_sign(builder, issuer.key if issuer is not None else key), key)


@cache
def root() -> Authority:
    return make_authority("Test Root")


@cache
def intermediate() -> Authority:
    return make_authority("Test Intermediate", root())


@cache
def trust() -> TrustStore:
    """A store with the test root only."""
    return TrustStore([root().certificate])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def make_leaf(
    names: Sequence[str] = (NAME,),
    *,
    kind: str = "p256",
    issuer: Authority | None = None,
    self_signed: bool = False,
    start: datetime.datetime = NOW - YEAR,
    end: datetime.datetime = NOW + YEAR,
    usages: Sequence[x509.ObjectIdentifier] = SERVER_AUTH,
    signs: bool = True,
    is_authority: bool = False,
) -> x509.Certificate:
    """An end entity certificate, from the intermediate unless told otherwise."""
    key = private_key(kind)
    parent = None if self_signed else issuer if issuer is not None else intermediate()
    builder = _build("Test Leaf", key, parent, start, end)
    builder = builder.add_extension(x509.BasicConstraints(is_authority, None), True)
    builder = builder.add_extension(_key_usage(signs=signs, certifies=is_authority), True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), False)
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), False)
    return _sign(builder, parent.key if parent is not None else key)


@cache
def credential(kind: str = "p256") -> Credential:
    """A good server credential with its intermediate."""
    return Credential((make_leaf(kind=kind), intermediate().certificate), private_key(kind))


@cache
def client_credential(kind: str = "p256") -> Credential:
    """A good client credential without any name."""
    leaf = make_leaf((), kind=kind, usages=CLIENT_AUTH)
    return Credential((leaf, intermediate().certificate), private_key(kind))
