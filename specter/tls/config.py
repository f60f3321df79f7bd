"""What a TLS connection offers, accepts and trusts; nothing here changes after it started."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from specter._entropy import Entropy
from specter.tls import compression, key_exchange
from specter.tls.anchors import load_pem
from specter.tls.ciphers import DEFAULT_CIPHER_SUITES
from specter.tls.extensions import Extension
from specter.tls.messages import CertificateEntry
from specter.tls.signatures import DEFAULT_SIGNATURE_SCHEMES, PrivateKey
from specter.tls.trust import TrustStore

if TYPE_CHECKING:
    from specter.tls.tickets import TicketKeeper

KeyLog = Callable[[str], None]
"""Takes one line of the NSS key log format, without the newline."""

ExtensionOrder = Callable[[Sequence[Extension], Entropy], Sequence[Extension]]


@dataclass(frozen=True, slots=True)
class Credential:
    """A certificate chain (leaf first) with its private key. ValueError when the two do not belong together."""

    chain: tuple[x509.Certificate, ...]
    private_key: PrivateKey = field(repr=False)
    entries: tuple[CertificateEntry, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.chain:
            raise ValueError("a credential needs at least one certificate")
        if not isinstance(self.private_key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
            raise ValueError("the private key must be RSA, ECDSA or Ed25519")
        if _spki(self.chain[0].public_key()) != _spki(self.private_key.public_key()):
            raise ValueError("the private key does not belong to the certificate")
        entries = tuple(CertificateEntry(certificate.public_bytes(Encoding.DER)) for certificate in self.chain)
        object.__setattr__(self, "entries", entries)

    @classmethod
    def from_pem(cls, certificates: bytes, private_key: bytes, password: bytes | None = None) -> Credential:
        """Make a credential from PEM text; ValueError when it does not parse."""
        key = load_pem_private_key(private_key, password)
        return cls(tuple(load_pem(certificates, tolerant=False)), key)  # type: ignore[arg-type]

    @classmethod
    def load(
        cls,
        certificates: str | PurePath,
        private_key: str | PurePath | None = None,
        password: bytes | None = None,
    ) -> Credential:
        """Read PEM files; without ``private_key`` the first file holds the key too."""
        chain = Path(certificates).read_bytes()
        key = Path(private_key).read_bytes() if private_key is not None else chain
        return cls.from_pem(chain, key, password)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTlsConfig:
    """The client's side. ValueError for values that could not be sent.

    ``server_name`` is a host name in ASCII (A-labels) or an IP address; it is checked against the certificate,
    and sent when it is a host name. It may be empty only with ``verify=False``.
    """

    server_name: str
    alpn: tuple[str, ...] = ("h3",)
    verify: bool = True
    """False skips the checks of chain and name; the peer must still prove that it has the certificate's key."""
    trust: TrustStore | None = None
    """Whose word counts; None is the default store (certifi)."""
    verification_time: datetime.datetime | None = None
    """The moment certificates must be valid at; None is now."""

    cipher_suites: tuple[int, ...] = DEFAULT_CIPHER_SUITES
    groups: tuple[int, ...] = key_exchange.DEFAULT_GROUPS
    key_shares: tuple[int, ...] = key_exchange.DEFAULT_KEY_SHARES
    """The groups to send a share for, in the order of ``groups``."""
    signature_schemes: tuple[int, ...] = DEFAULT_SIGNATURE_SCHEMES
    client_credential: Credential | None = None
    key_log: KeyLog | None = None
    certificate_compression: tuple[int, ...] = ()
    """Algorithms to offer (RFC 8879); empty does not offer any."""
    max_tickets: int = 8
    """How many session tickets of one connection are handed on."""

    extra_extensions: tuple[Extension, ...] = ()
    """Sent in the ClientHello as they are; the server's answers to them are not looked at."""
    order_extensions: ExtensionOrder | None = None
    """Puts the extensions of the ClientHello into another order."""

    def __post_init__(self) -> None:
        if self.verify and not self.server_name:
            raise ValueError("server_name is needed to verify the server")
        if not self.server_name.isascii():
            raise ValueError("server_name must be ASCII; encode it with IDNA first")
        _check_alpn(self.alpn)
        _check_choices(self.cipher_suites, self.groups, self.signature_schemes)
        if tuple(group for group in self.groups if group in self.key_shares) != tuple(self.key_shares):
            raise ValueError("key_shares must be some of groups, in the same order")
        _check_compression(self.certificate_compression)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTlsConfig:
    """The server's side; every list is in the order of the server's preference."""

    credentials: tuple[Credential, ...]
    """The first one that the client has a signature scheme for is used, whatever the server name."""
    alpn: tuple[str, ...] = ("h3",)
    cipher_suites: tuple[int, ...] = DEFAULT_CIPHER_SUITES
    groups: tuple[int, ...] = key_exchange.DEFAULT_GROUPS
    signature_schemes: tuple[int, ...] = DEFAULT_SIGNATURE_SCHEMES
    """What a client certificate may be signed with."""
    certificate_compression: tuple[int, ...] = ()
    key_log: KeyLog | None = None

    request_client_certificate: bool = False
    require_client_certificate: bool = False
    client_trust: TrustStore | None = None
    """Whose client certificates are accepted; None accepts any whose key the client has."""
    verification_time: datetime.datetime | None = None
    cookie: bytes = b""
    """Sent in a HelloRetryRequest and expected back; empty sends none."""
    tickets: TicketKeeper | None = None
    """Makes session tickets and takes them back; None resumes nothing. Not for servers that ask for certificates."""

    def __post_init__(self) -> None:
        if not self.credentials:
            raise ValueError("a server needs a credential")
        if self.tickets is not None and (self.request_client_certificate or self.require_client_certificate):
            raise ValueError(
                "a server that asks for client certificates cannot resume sessions: tickets do not name them"
            )
        _check_alpn(self.alpn)
        _check_choices(self.cipher_suites, self.groups, self.signature_schemes)
        _check_compression(self.certificate_compression)


def _spki(key: object) -> bytes:
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return encoded


def _check_alpn(protocols: tuple[str, ...]) -> None:
    if not protocols:
        raise ValueError("alpn needs at least one protocol name")
    for protocol in protocols:
        if not protocol.isascii() or not 1 <= len(protocol) <= 255:
            raise ValueError(f"{protocol!r} is not a protocol name")


def _check_choices(suites: tuple[int, ...], groups: tuple[int, ...], schemes: tuple[int, ...]) -> None:
    if not suites or not set(suites) <= set(DEFAULT_CIPHER_SUITES):
        raise ValueError(f"cipher_suites must be some of {[suite.name for suite in DEFAULT_CIPHER_SUITES]}")
    if not groups or not set(groups) <= set(key_exchange.SUPPORTED_GROUPS):
        raise ValueError(f"groups must be some of {[group.name for group in key_exchange.SUPPORTED_GROUPS]}")
    if len(set(groups)) != len(groups):
        raise ValueError("groups has a duplicate")
    if not schemes or not all(0 <= scheme <= 0xFFFF for scheme in schemes):
        raise ValueError("signature_schemes must be 16-bit numbers")


def _check_compression(algorithms: tuple[int, ...]) -> None:
    missing = [algorithm for algorithm in algorithms if not compression.is_available(algorithm)]
    if missing:
        raise ValueError(f"certificate compression algorithms {missing} are not available")
