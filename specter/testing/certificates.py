"""Certificates for tests: an authority that issues what a test asks for, wrong ones included."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from specter.tls.config import Credential as TlsCredential

__all__ = ["CertificateAuthority", "Credential", "PrivateKey", "generate_key"]

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

SERVER_AUTH: Final = (ExtendedKeyUsageOID.SERVER_AUTH,)
CLIENT_AUTH: Final = (ExtendedKeyUsageOID.CLIENT_AUTH,)
HOUR: Final = datetime.timedelta(hours=1)
YEAR: Final = datetime.timedelta(days=365)

_CURVES: Final[dict[str, type[ec.EllipticCurve]]] = {
    "p256": ec.SECP256R1,
    "p384": ec.SECP384R1,
    "p521": ec.SECP521R1,
}


def generate_key(kind: str = "p256") -> PrivateKey:
    """Return a new private key: ``"p256"``, ``"p384"``, ``"p521"``, ``"rsa"`` (2,048 bits) or ``"ed25519"``."""
    if kind in _CURVES:
        return ec.generate_private_key(_CURVES[kind]())
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    raise ValueError(f"no such kind of key: {kind!r}")


@dataclass(frozen=True, slots=True)
class Credential:
    """A private key and its certificate chain, leaf first, the root left out."""

    chain: tuple[x509.Certificate, ...]
    key: PrivateKey

    @property
    def certificate(self) -> x509.Certificate:
        """The leaf."""
        return self.chain[0]

    @property
    def chain_pem(self) -> bytes:
        return b"".join(to_pem(certificate) for certificate in self.chain)

    @property
    def chain_der(self) -> tuple[bytes, ...]:
        return tuple(certificate.public_bytes(serialization.Encoding.DER) for certificate in self.chain)

    @property
    def tls(self) -> TlsCredential:
        """The form that ``ServerTlsConfig`` and ``ClientTlsConfig`` take."""
        return TlsCredential(self.chain, self.key)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def write(self, directory: str | Path, name: str = "server") -> tuple[Path, Path]:
        """Write ``name.pem`` (the chain) and ``name.key``, readable by the owner; return both paths."""
        chain_path, key_path = Path(directory, f"{name}.pem"), Path(directory, f"{name}.key")
        chain_path.write_bytes(self.chain_pem)
        key_path.touch(mode=0o600)
        key_path.write_bytes(self.key_pem)
        return chain_path, key_path


def to_pem(certificate: x509.Certificate) -> bytes:
    """Return ``certificate`` as PEM text."""
    return certificate.public_bytes(serialization.Encoding.PEM)


class CertificateAuthority:
    """A root, or with ``parent`` an intermediate, that issues certificates.

    ``permitted`` and ``excluded`` are DNS names (``".example"`` style subtrees without the dot) or IP
    networks for the name constraints extension; ``usage`` and ``usages`` are key usage and extended key usages.
    Times are UTC; the default validity is from an hour ago for a year.
    With an Ed25519 key, ``serial`` and both times given, the certificate is the same each time.
    """

    def __init__(
        self,
        name: str = "Specter test authority",
        *,
        key: str | PrivateKey = "p256",
        parent: CertificateAuthority | None = None,
        path_length: int | None = None,
        permitted: Sequence[str] = (),
        excluded: Sequence[str] = (),
        not_before: datetime.datetime | None = None,
        not_after: datetime.datetime | None = None,
        is_authority: bool = True,
        usage: x509.KeyUsage | None = None,
        usages: Sequence[ObjectIdentifier] = (),
        serial: int | None = None,
    ) -> None:
        self.key: PrivateKey = generate_key(key) if isinstance(key, str) else key
        self.parent = parent
        subject = _subject(name)
        issuer = self if parent is None else parent
        self._name = subject
        builder = _start(subject, issuer._name, self.key, not_before, not_after, serial)
        constraints = x509.BasicConstraints(ca=is_authority, path_length=path_length if is_authority else None)
        builder = builder.add_extension(constraints, critical=True)
        builder = builder.add_extension(usage or _authority_usage(), critical=True)
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(list(usages)), critical=False)
        if permitted or excluded:
            builder = builder.add_extension(_name_constraints(permitted, excluded), critical=True)
        if parent is not None:
            builder = builder.add_extension(_authority_key(parent.key), critical=False)
        self.certificate = builder.sign(issuer.key, _digest(issuer.key))

    @property
    def pem(self) -> bytes:
        """This authority's own certificate as PEM text."""
        return to_pem(self.certificate)

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """The certificates a server must send above the leaf: this one and its parents, the root left out."""
        return () if self.parent is None else (self.certificate, *self.parent.chain)

    def issue(
        self,
        *names: str,
        key: str | PrivateKey = "p256",
        common_name: str | None = None,
        usages: Sequence[ObjectIdentifier] | None = SERVER_AUTH,
        not_before: datetime.datetime | None = None,
        not_after: datetime.datetime | None = None,
        usage: x509.KeyUsage | None = None,
        is_authority: bool = False,
        signer: PrivateKey | None = None,
        with_chain: bool = True,
        serial: int | None = None,
    ) -> Credential:
        """Return a leaf for ``names`` (DNS names or IP addresses; none leaves the extension out).

        ``usages`` are extended key usages, ``None`` for no such extension; ``usage`` is the key usage, ``is_authority``
        says that the leaf is one. ``signer`` signs in place of this authority's key, which makes a bad signature;
        ``with_chain=False`` leaves intermediates out.
        """
        private = generate_key(key) if isinstance(key, str) else key
        subject = _subject(common_name or (names[0] if names else "leaf"))
        builder = _start(subject, self._name, private, not_before, not_after, serial)
        builder = builder.add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        builder = builder.add_extension(_authority_key(self.key), critical=False)
        if usage is not None:
            builder = builder.add_extension(usage, critical=True)
        if names:
            builder = builder.add_extension(_alternative_names(names), critical=False)
        if usages is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(list(usages)), critical=False)
        with_key = signer or self.key
        leaf = builder.sign(with_key, _digest(with_key))
        return Credential((leaf, *self.chain) if with_chain else (leaf,), private)

    def issue_client(self, name: str = "client", *, key: str | PrivateKey = "p256") -> Credential:
        """Return a certificate for client authentication."""
        return self.issue(name, key=key, usages=CLIENT_AUTH)

    def write(self, path: str | Path) -> Path:
        """Write this authority's certificate as a PEM file."""
        target = Path(path)
        target.write_bytes(self.pem)
        return target


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _start(
    subject: x509.Name,
    issuer: x509.Name,
    key: PrivateKey,
    not_before: datetime.datetime | None,
    not_after: datetime.datetime | None,
    serial: int | None,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number() if serial is None else serial)
        .not_valid_before(not_before or now - HOUR)
        .not_valid_after(not_after or now + YEAR)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _digest(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return None
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size > 256:
        return hashes.SHA384() if key.curve.key_size == 384 else hashes.SHA512()
    return hashes.SHA256()


def _authority_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_key(key: PrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _alternative_names(names: Sequence[str]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([_general_name(name) for name in names])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _constraint(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_network(name))
    except ValueError:
        return x509.DNSName(name)


def _name_constraints(permitted: Sequence[str], excluded: Sequence[str]) -> x509.NameConstraints:
    return x509.NameConstraints(
        [_constraint(name) for name in permitted] or None,
        [_constraint(name) for name in excluded] or None,
    )
