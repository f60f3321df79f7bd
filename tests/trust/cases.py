"""The certificates of the matrix: what a server shows, for which host, and what a client has to make of it."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from specter.testing.certificates import CLIENT_AUTH, CertificateAuthority, Credential, PrivateKey, generate_key

HOST: Final = "a.example"
DAY: Final = datetime.timedelta(days=1)
NOW: Final = datetime.datetime.now(datetime.UTC)
PAST: Final = {"not_before": NOW - 3 * DAY, "not_after": NOW - DAY}
FUTURE: Final = {"not_before": NOW + DAY, "not_after": NOW + 3 * DAY}

Client = Literal["nobody asks", "nothing to show", "optional", "good", "stranger"]
"""What happens about the client's certificate."""


@dataclass(frozen=True)
class Refusal:
    """``check`` of the ``CertificateError``, or an alert of the server's; ``words`` are in the message."""

    check: str
    words: str = ""


@dataclass(frozen=True)
class Case:
    """A server with ``credential`` for those who want ``host`` and trust ``anchors``; ``refusal`` is None for good."""

    name: str
    credential: Callable[[], Credential]
    refusal: Refusal | None = None
    host: str = HOST
    anchors: Callable[[], tuple[x509.Certificate, ...]] = lambda: (root().certificate,)
    client: Client = "nobody asks"

    def __str__(self) -> str:
        return self.name


# -- who issues -----------------------------------------------------------------------------------


@cache
def root() -> CertificateAuthority:
    return CertificateAuthority("The root")


@cache
def house() -> CertificateAuthority:
    """Whom everybody in the matrix trusts besides: it vouches for the servers that come before the one judged."""
    return CertificateAuthority("The house")


@cache
def middle() -> CertificateAuthority:
    return CertificateAuthority("The middle", parent=root())


@cache
def weak_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 1024)  # noqa: S505  to be refused


@cache
def rsa_authority() -> CertificateAuthority:
    return CertificateAuthority("The RSA authority", key="rsa")


def key_usage(*, signs: bool, certifies: bool) -> x509.KeyUsage:
    """Either for signatures, or for certificates, or else for encipherment."""
    return x509.KeyUsage(signs, False, not signs, False, False, certifies, certifies, False, False)


def lone(host: str = HOST, *, is_authority: bool = False) -> Credential:
    """A certificate that signed itself."""
    key = generate_key()
    return below(CertificateAuthority(host, key=key), key, host, is_authority=is_authority)


def below(issuer: CertificateAuthority, key: str | PrivateKey, *names: str, is_authority: bool = False) -> Credential:
    return issuer.issue(*names, key=key, common_name=names[0], is_authority=is_authority, with_chain=False)


def spelled(host: str, *names: x509.GeneralName) -> Credential:
    """A certificate of the root with ``names`` of just these kinds."""
    key = generate_key()
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)]))
        .issuer_name(root().certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root().key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(root().key, hashes.SHA256())  # type: ignore[arg-type]
    )
    return Credential((leaf,), key)


def with_sha1(credential: Credential, at: int = 0) -> Credential:
    """Sign one certificate of the chain anew, with SHA-1, which builders refuse to do."""
    sha256, sha1 = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105")
    old = credential.chain[at]
    der = old.public_bytes(Encoding.DER).replace(sha256, sha1)
    body = old.tbs_certificate_bytes.replace(sha256, sha1)
    key = rsa_authority().key
    assert isinstance(key, rsa.RSAPrivateKey)
    signature = key.sign(body, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303  to be refused
    made = x509.load_der_x509_certificate(der.replace(old.signature, signature))
    return replace(credential, chain=(*credential.chain[:at], made, *credential.chain[at + 1 :]))


def tampered(credential: Credential) -> Credential:
    """Change the name in a certificate after it was signed."""
    der = credential.certificate.public_bytes(Encoding.DER).replace(b"b.example", HOST.encode())
    return replace(credential, chain=(x509.load_der_x509_certificate(der), *credential.chain[1:]))


def trusted_only(credential: Credential) -> Callable[[], tuple[x509.Certificate, ...]]:
    return lambda: (credential.certificate,)


# -- what is good -----------------------------------------------------------------------------------

GOOD: Final = (
    Case("the exact name", lambda: root().issue(HOST)),
    Case("one of several names", lambda: root().issue("b.example", "192.0.2.1", HOST)),
    Case("in other letters", lambda: root().issue("A.exAMPLE"), host="a.Example"),
    Case("with a dot at the end", lambda: root().issue(HOST), host="a.example."),
    Case("a wildcard for one label", lambda: root().issue("*.wild.example"), host="x.wild.example"),
    Case("an IPv4 address", lambda: root().issue("192.0.2.7"), host="192.0.2.7"),
    Case("an IPv6 address", lambda: root().issue("2001:db8::7"), host="2001:db8::7"),
    Case("an intermediate", lambda: middle().issue(HOST)),
    Case("an RSA key", lambda: rsa_authority().issue(HOST, key="rsa"), anchors=lambda: (rsa_authority().certificate,)),
    Case("no extended key usage", lambda: root().issue(HOST, usages=None)),
    Case("within the permitted names", lambda: constrained(permitted=["example"]).issue(HOST)),
    Case("not among the excluded names", lambda: constrained(excluded=["b.example"]).issue(HOST)),
    Case(
        "within the permitted addresses",
        lambda: constrained(permitted=["192.0.2.0/24"]).issue("192.0.2.7"),
        host="192.0.2.7",
    ),
    Case("a client certificate is asked for in vain", lambda: root().issue(HOST), client="optional"),
    Case("a client certificate is shown", lambda: root().issue(HOST), client="good"),
)


def constrained(**constraints: list[str]) -> CertificateAuthority:
    return CertificateAuthority("The constrained", parent=root(), **constraints)  # type: ignore[arg-type]


# -- what is wrong ----------------------------------------------------------------------------------


def _names() -> list[Case]:
    wrong = [
        ("another name", ["b.example"], HOST),
        ("the name above", ["example"], HOST),
        ("a name below", ["www.a.example"], HOST),
        ("the name with something before it", ["a.example"], "evil-a.example"),
        ("a wildcard for no label", ["*.a.example"], HOST),
        ("a wildcard for two labels", ["*.wild.example"], "x.y.wild.example"),
        ("a wildcard for a part of a label", ["w*.wild.example"], "www.wild.example"),
        ("a wildcard for the end of a label", ["*w.wild.example"], "www.wild.example"),
        ("a wildcard in the middle", ["x.*.example"], "x.wild.example"),
        ("two wildcards", ["*.*.example"], "x.wild.example"),
        ("nothing but a wildcard", ["*"], HOST),
        ("another IPv4 address", ["192.0.2.8"], "192.0.2.7"),
        ("another IPv6 address", ["2001:db8::8"], "2001:db8::7"),
        ("a name for an address", [HOST], "192.0.2.7"),
        ("an address for a name", ["192.0.2.7"], HOST),
    ]
    cases = [
        Case(name, lambda names=names: root().issue(*names), Refusal("name", f"{host!r}"), host)
        for name, names, host in wrong
    ]
    spellings = [
        ("an IPv4 address as a DNS name", x509.DNSName("192.0.2.7"), "192.0.2.7"),
        ("an IPv6 address as a DNS name", x509.DNSName("2001:db8::7"), "2001:db8::7"),
        ("a wildcard for an address", x509.DNSName("*.0.2.7"), "192.0.2.7"),
        ("the name as an e-mail address", x509.RFC822Name("a@a.example"), HOST),
        ("the name as a URI", x509.UniformResourceIdentifier("https://a.example"), HOST),
    ]
    cases += [
        Case(name, lambda host=host, kind=kind: spelled(host, kind), Refusal("name", repr(host)), host)
        for name, kind, host in spellings
    ]
    common = Case("the common name alone", lambda: root().issue(common_name=HOST), Refusal("name", "names no host"))
    return [*cases, common]


def _dates() -> list[Case]:
    told = Refusal("validity", f"{PAST['not_after']:%Y-%m-%d}")
    return [
        Case("expired", lambda: root().issue(HOST, **PAST), told),
        Case(
            "not yet valid",
            lambda: root().issue(HOST, **FUTURE),
            Refusal("validity", f"{FUTURE['not_before']:%Y-%m-%d}"),
        ),
        Case("an expired intermediate", lambda: CertificateAuthority("Old", parent=root(), **PAST).issue(HOST), told),
        Case(
            "an expired authority",
            lambda: _old_root().issue(HOST),
            Refusal("validity", "authority"),
            anchors=lambda: (_old_root().certificate,),
        ),
    ]


@cache
def _old_root() -> CertificateAuthority:
    return CertificateAuthority("The old root", **PAST)


@cache
def _weak_root() -> CertificateAuthority:
    return CertificateAuthority("The weak root", key=weak_key())


@cache
def _strict_root() -> CertificateAuthority:
    return CertificateAuthority("The strict root", permitted=["b.example"])


@cache
def _leaf() -> Credential:
    return root().issue("b.example")


@cache
def _impostor() -> CertificateAuthority:
    """Has the root's name and another key."""
    return CertificateAuthority("The root")


def _under_the_leaf() -> Credential:
    leaf = CertificateAuthority("b.example", key=_leaf().key)
    made = leaf.issue(HOST, with_chain=False)
    return replace(made, chain=(*made.chain, *_leaf().chain))


def _chains() -> list[Case]:
    nowhere = Refusal("chain", "no path from the certificate to a trusted authority")
    itself = Refusal("chain", "issued by itself")
    return [
        Case("an unknown authority", lambda: CertificateAuthority("A stranger").issue(HOST), nowhere),
        Case("a missing intermediate", lambda: middle().issue(HOST, with_chain=False), nowhere),
        Case("signed by itself", lone, itself),
        Case("signed by itself, as an authority", lambda: lone(is_authority=True), itself),
        Case("an authority of the same name", lambda: _impostor().issue(HOST), Refusal("signature")),
        Case("a server as an issuer", _under_the_leaf, Refusal("usage")),
        Case(
            "issued by a trusted server",
            lambda: replace(made := _under_the_leaf(), chain=made.chain[:1]),
            Refusal("usage"),
            anchors=lambda: (_leaf().certificate,),
        ),
        Case(
            "a path that is too long",
            lambda: CertificateAuthority(
                "Below", parent=CertificateAuthority("The last", parent=root(), path_length=0)
            ).issue(HOST),
            Refusal("chain", "path length"),
        ),
    ]


def _constraints() -> list[Case]:
    told = Refusal("chain", "name constraints")
    return [
        Case("outside the permitted names", lambda: constrained(permitted=["b.example"]).issue(HOST), told),
        Case("among the excluded names", lambda: constrained(excluded=["a.example"]).issue(HOST), told),
        Case("below an excluded name", lambda: constrained(excluded=["example"]).issue(HOST), told),
        Case(
            "excluded, beside a good name", lambda: constrained(excluded=["b.example"]).issue(HOST, "b.example"), told
        ),
        Case(
            "a wildcard beyond the permitted names",
            lambda: constrained(permitted=["x.wild.example"]).issue("*.wild.example"),
            told,
            "x.wild.example",
        ),
        Case(
            "a wildcard over an excluded name",
            lambda: constrained(excluded=["y.wild.example"]).issue("*.wild.example"),
            told,
            "x.wild.example",
        ),
        Case(
            "outside the permitted addresses",
            lambda: constrained(permitted=["198.51.100.0/24"]).issue("192.0.2.7"),
            told,
            "192.0.2.7",
        ),
        Case(
            "beyond what the trusted authority may",
            lambda: _strict_root().issue(HOST),
            told,
            anchors=lambda: (_strict_root().certificate,),
        ),
    ]


def _usages() -> list[Case]:
    told = Refusal("usage")
    no_signatures, no_certificates = key_usage(signs=False, certifies=False), key_usage(signs=True, certifies=False)
    return [
        Case("for clients only", lambda: root().issue(HOST, usages=CLIENT_AUTH), told),
        Case("for signing code only", lambda: root().issue(HOST, usages=[ExtendedKeyUsageOID.CODE_SIGNING]), told),
        Case("a key for no signatures", lambda: root().issue(HOST, usage=no_signatures), told),
        Case("an authority as a server", lambda: root().issue(HOST, is_authority=True), told),
        Case(
            "an issuer that is no authority",
            lambda: CertificateAuthority("No authority", parent=root(), is_authority=False).issue(HOST),
            told,
        ),
        Case(
            "an issuer that must not sign certificates",
            lambda: CertificateAuthority("No signer", parent=root(), usage=no_certificates).issue(HOST),
            told,
        ),
        Case(
            "an issuer for clients only",
            lambda: CertificateAuthority("For clients", parent=root(), usages=CLIENT_AUTH).issue(HOST),
            told,
        ),
    ]


def _signatures() -> list[Case]:
    told = Refusal("signature")
    by_rsa = {"anchors": lambda: (rsa_authority().certificate,)}
    return [
        Case("a SHA-1 signature", lambda: with_sha1(rsa_authority().issue(HOST)), told, **by_rsa),  # type: ignore[arg-type]
        Case(
            "a SHA-1 signature above",
            lambda: with_sha1(CertificateAuthority("Old-fashioned", parent=rsa_authority()).issue(HOST), 1),
            told,
            **by_rsa,  # type: ignore[arg-type]
        ),
        Case("a short RSA key", lambda: root().issue(HOST, key=weak_key()), Refusal("signature", "1024 bits")),
        Case(
            "a short RSA key above",
            lambda: CertificateAuthority("Weak", key=weak_key(), parent=root()).issue(HOST),
            told,
        ),
        Case(
            "a short RSA key of the authority",
            lambda: _weak_root().issue(HOST),
            told,
            anchors=lambda: (_weak_root().certificate,),
        ),
        Case("signed by somebody else", lambda: root().issue(HOST, signer=generate_key()), told),
        Case("changed after it was signed", lambda: tampered(root().issue("b.example")), told),
    ]


def _clients() -> list[Case]:
    """The server's verdicts on the client: it has heard of the request by then, and must not have answered it."""
    return [
        Case(
            "no client certificate",
            lambda: root().issue(HOST),
            Refusal("certificate_required"),
            client="nothing to show",
        ),
        Case("a stranger's client certificate", lambda: root().issue(HOST), Refusal("unknown_ca"), client="stranger"),
    ]


WRONG: Final = (*_names(), *_dates(), *_chains(), *_constraints(), *_usages(), *_signatures(), *_clients())
CASES: Final = (*GOOD, *WRONG)


@cache
def issued(case: Case) -> Credential:
    """Return the credential of ``case``, which is made once."""
    return case.credential()
