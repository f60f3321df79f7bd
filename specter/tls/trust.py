"""Trust anchors, and whether a certificate chain leads to one of them for a given name.

The path building and the checks of RFC 5280 are those of ``cryptography.x509.verification``; this module loads the
anchors once per process and turns a refusal into the words of :class:`~specter.tls.alerts.CertificateFailure`.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Final, TypeAlias, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    Subject,
    VerificationError,
)

from specter.tls.alerts import AlertDescription, CertificateCheck, CertificateFailure
from specter.tls.anchors import load_path, load_pem, system_path
from specter.tls.names import ip_address

_MIN_RSA_BITS: Final = 2048
_CLIENT: Final = "client"
_ALERTS: Final[dict[CertificateCheck, AlertDescription]] = {
    "name": AlertDescription.BAD_CERTIFICATE,
    "chain": AlertDescription.UNKNOWN_CA,
    "validity": AlertDescription.CERTIFICATE_EXPIRED,
    "signature": AlertDescription.BAD_CERTIFICATE,
    "usage": AlertDescription.UNSUPPORTED_CERTIFICATE,
    "missing": AlertDescription.CERTIFICATE_REQUIRED,
}
_T = TypeVar("_T")

TrustSource = bool | str | PurePath | bytes | Iterable[x509.Certificate | bytes]


class TrustStore:
    """A set of certificates whose word is taken. Immutable; share it between connections."""

    __slots__ = ("_anchors", "_fingerprint", "_store")

    def __init__(self, certificates: Iterable[x509.Certificate]) -> None:
        anchors = list(dict.fromkeys(certificates))
        if not anchors:
            raise ValueError("a trust store needs at least one certificate")
        self._anchors = frozenset(anchors)
        self._store = Store(anchors)
        self._fingerprint = b""

    @classmethod
    def load(cls, source: TrustSource = True) -> TrustStore:
        """Build a store, or return the one already built for the same source.

        ``True`` is certifi's bundle (without certifi the system's); a path is a PEM or DER file or a directory of them;
        ``bytes`` is PEM or DER; a list holds certificates or such bytes.
        ValueError when nothing usable is found; OSError for an unreadable path.
        """
        if isinstance(source, bool):
            if not source:
                raise ValueError("a trust store cannot be made from False")
            return _cached_store(system_path(), tolerant=True)
        if isinstance(source, str | PurePath):
            return _cached_store(Path(source), tolerant=False)
        return cls(_flatten((source,) if isinstance(source, bytes) else source))

    @property
    def certificates(self) -> frozenset[x509.Certificate]:
        return self._anchors

    @property
    def fingerprint(self) -> bytes:
        """Tells stores apart: the same for those that trust the same certificates."""
        if not self._fingerprint:
            # What the library gives away at once; to encode a hundred certificates takes it milliseconds.
            anchors = sorted((anchor.signature, hash(anchor)) for anchor in self._anchors)
            self._fingerprint = hashlib.sha256(repr(anchors).encode()).digest()
        return self._fingerprint

    def __len__(self) -> int:
        return len(self._anchors)

    def __repr__(self) -> str:
        return f"<TrustStore of {len(self)} certificates>"

    def verify_server(
        self, chain: Sequence[x509.Certificate], name: str, moment: datetime.datetime | None = None
    ) -> datetime.datetime:
        """Check a server's chain (leaf first) for ``name``, a DNS name or an IP address, at ``moment`` (default: now).

        Returns the moment at which the first certificate of the path that was found expires. CertificateFailure tells
        which check did not pass.
        """
        leaf = chain[0]
        try:
            verifier = self._builder(leaf, moment).build_server_verifier(_subject(name))
        except ValueError as error:
            raise failure("name", f"{name!r} is not a name that certificates can hold", name) from error
        path = _run(verifier.verify, verifier.policy, chain, name)
        _check_leaf(leaf, name)
        return min(certificate.not_valid_after_utc for certificate in path)

    def verify_client(self, chain: Sequence[x509.Certificate], moment: datetime.datetime | None = None) -> None:
        """Check a client's chain (leaf first) at ``moment`` (default: now); the name in it is the caller's business."""
        verifier = _client_builder(self._store, moment).build_client_verifier()
        _run(verifier.verify, verifier.policy, chain, _CLIENT)
        _check_leaf(chain[0], _CLIENT)

    def _builder(self, leaf: x509.Certificate, moment: datetime.datetime | None) -> PolicyBuilder:
        builder = _at(PolicyBuilder().store(self._store), moment)
        if leaf not in self._anchors:
            return builder
        # The caller trusts this very certificate: that it is also its own issuer is no objection.
        return builder.extension_policies(ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=_anchor_policy())


def failure(check: CertificateCheck, reason: str, name: str) -> CertificateFailure:
    """Make the error of a failed ``check`` with its alert."""
    return CertificateFailure(_ALERTS[check], reason, check=check, name=name)


@lru_cache(maxsize=16)
def _store_at(path: Path, stamp: tuple[int, int], tolerant: bool) -> TrustStore:
    del stamp  # part of the key: a changed file is read again
    return TrustStore(load_path(path, tolerant=tolerant))


def _cached_store(path: Path, *, tolerant: bool) -> TrustStore:
    status = path.stat()
    return _store_at(path.absolute(), (status.st_mtime_ns, status.st_size), tolerant)


def _flatten(source: Iterable[x509.Certificate | bytes]) -> Iterable[x509.Certificate]:
    for item in source:
        if isinstance(item, bytes):
            yield from load_pem(item, tolerant=False)
        else:
            yield item


def _at(builder: PolicyBuilder, moment: datetime.datetime | None) -> PolicyBuilder:
    if moment is None:
        return builder
    if moment.tzinfo is not None:
        moment = moment.astimezone(datetime.UTC).replace(tzinfo=None)
    return builder.time(moment)


def _subject(name: str) -> Subject:
    address = ip_address(name.partition("%")[0])
    return x509.DNSName(name.removesuffix(".")) if address is None else x509.IPAddress(address)


def _anchor_policy() -> ExtensionPolicy:
    policy = ExtensionPolicy.permit_all()
    policy = policy.require_present(x509.SubjectAlternativeName, Criticality.AGNOSTIC, None)
    return policy.may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _for_servers)


def _client_builder(store: Store, moment: datetime.datetime | None) -> PolicyBuilder:
    # Client certificates often have no subjectAltName, which the default policy insists on.
    policy = ExtensionPolicy.permit_all()
    policy = policy.may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _for_clients)
    policy = policy.may_be_present(x509.BasicConstraints, Criticality.AGNOSTIC, _not_an_authority)
    builder = _at(PolicyBuilder().store(store), moment)
    return builder.extension_policies(ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=policy)


def _for_servers(policy: Policy, certificate: x509.Certificate, usage: x509.ExtendedKeyUsage | None) -> None:
    _require_usage(usage, ExtendedKeyUsageOID.SERVER_AUTH)


def _for_clients(policy: Policy, certificate: x509.Certificate, usage: x509.ExtendedKeyUsage | None) -> None:
    _require_usage(usage, ExtendedKeyUsageOID.CLIENT_AUTH)


def _require_usage(usage: x509.ExtendedKeyUsage | None, wanted: x509.ObjectIdentifier) -> None:
    if usage is not None and wanted not in usage and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in usage:
        raise ValueError("EKU does not allow this role")


def _not_an_authority(policy: Policy, certificate: x509.Certificate, constraints: x509.BasicConstraints | None) -> None:
    if constraints is not None and constraints.ca:
        raise ValueError("basicConstraints makes this an authority")


def _run(
    verify: Callable[[x509.Certificate, list[x509.Certificate]], _T],
    policy: Policy,
    chain: Sequence[x509.Certificate],
    name: str,
) -> _T:
    try:
        return verify(chain[0], list(chain[1:]))
    except VerificationError as error:
        raise _classify(error, chain, name, policy.validation_time) from error
    except Exception as error:  # whatever the parser says about the peer's bytes
        raise failure("chain", "a certificate of the chain cannot be read", name) from error


def _check_leaf(leaf: x509.Certificate, name: str) -> None:
    """The checks that TLS adds to those of the chain."""
    try:
        key = leaf.public_key()
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        usage = None
    except Exception as error:  # whatever the parser says about the peer's bytes
        raise failure("signature", "the certificate's key cannot be read", name) from error
    if usage is not None and not usage.digital_signature:
        raise failure("usage", "the certificate's key must not be used for signatures", name)
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _MIN_RSA_BITS:
        raise failure("signature", f"the certificate's RSA key has only {key.key_size} bits", name)


def _classify(
    error: VerificationError, chain: Sequence[x509.Certificate], name: str, moment: datetime.datetime
) -> CertificateFailure:
    """Say what did not pass, from the one thing that the library tells: a text."""
    text = str(error)
    found = next((verdict for word, verdict in _VERDICTS if word in text), _NO_PATH)
    if not _is_valid_at(chain[0], moment):
        found = _NOT_NOW
    elif "cA must not be asserted" in text and _is_self_issued(chain[0]):
        found = _NO_PATH
    check, explain = found
    return failure(check, explain(chain, name, moment), name)


def _is_valid_at(certificate: x509.Certificate, moment: datetime.datetime) -> bool:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc


def _is_self_issued(certificate: x509.Certificate) -> bool:
    return certificate.issuer.public_bytes() == certificate.subject.public_bytes()


def _explain_name(chain: Sequence[x509.Certificate], name: str, moment: datetime.datetime) -> str:
    return f"the certificate names {_names(chain[0])}, not {_kind(name)}{name!r}"


def _explain_validity(chain: Sequence[x509.Certificate], name: str, moment: datetime.datetime) -> str:
    wrong = next((certificate for certificate in chain if not _is_valid_at(certificate, moment)), None)
    if wrong is None:
        return "the certificate of the trusted authority above it is not valid now"
    start, end = wrong.not_valid_before_utc, wrong.not_valid_after_utc
    return f"a certificate is valid from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC, not now"


def _explain_chain(chain: Sequence[x509.Certificate], name: str, moment: datetime.datetime) -> str:
    by = "itself" if _is_self_issued(chain[-1]) else _issuer(chain[-1])
    return f"no path from the certificate to a trusted authority (the last one was issued by {by})"


def _explain_constraints(chain: Sequence[x509.Certificate], name: str, moment: datetime.datetime) -> str:
    return f"an authority of the chain may not vouch for all of {_names(chain[0])} (name constraints)"


def _explain_length(chain: Sequence[x509.Certificate], name: str, moment: datetime.datetime) -> str:
    return "an authority of the chain may not issue for so many others below it (path length)"


def _explain_signature(chain: Sequence[x509.Certificate], name: str, moment: datetime.datetime) -> str:
    return "a certificate of the chain has a signature or a key that is not acceptable"


def _explain_usage(chain: Sequence[x509.Certificate], name: str, moment: datetime.datetime) -> str:
    return "a certificate of the chain is not made for this use"


_Explain: TypeAlias = Callable[[Sequence[x509.Certificate], str, datetime.datetime], str]
_Verdict: TypeAlias = tuple[CertificateCheck, _Explain]
_NO_PATH: Final[_Verdict] = ("chain", _explain_chain)
_NOT_NOW: Final[_Verdict] = ("validity", _explain_validity)
_VERDICTS: Final[tuple[tuple[str, _Verdict], ...]] = (
    ("subjectAltName", ("name", _explain_name)),
    ("2.5.29.17", ("name", _explain_name)),
    ("name constraint", ("chain", _explain_constraints)),
    ("path length", ("chain", _explain_length)),
    ("not valid at validation time", _NOT_NOW),
    ("EKU", ("usage", _explain_usage)),
    ("keyUsage", ("usage", _explain_usage)),
    ("basicConstraints", ("usage", _explain_usage)),
    ("signature", ("signature", _explain_signature)),
    ("Forbidden", ("signature", _explain_signature)),
    ("too weak", ("signature", _explain_signature)),
)


def _names(certificate: x509.Certificate) -> str:
    """The first few names of a certificate, safe to print."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        kept = [name for name in names if isinstance(name, x509.DNSName | x509.IPAddress)]
        found = [_shown(name) for name in kept]
    except Exception:  # none there, or peer bytes that do not parse; this is only for a message
        return "no host"
    more = ", ..." if len(found) > 3 else ""
    return ", ".join(found[:3]) + more if found else "no host"


def _shown(name: x509.DNSName | x509.IPAddress) -> str:
    """Return a name for people; what looks like an address and is none says so."""
    lead = "the DNS name " if isinstance(name, x509.DNSName) and _kind(name.value) else ""
    return lead + repr(str(name.value))[:64]


def _kind(name: str) -> str:
    return "the address " if isinstance(_subject(name), x509.IPAddress) else ""


def _issuer(certificate: x509.Certificate) -> str:
    try:
        return repr(certificate.issuer.rfc4514_string())[:120]
    except Exception:  # peer bytes, and only for a message
        return "unreadable"
