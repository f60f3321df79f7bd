"""Which certificates are accepted, and what is said about the others."""

from __future__ import annotations

import datetime
import os
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from specter.tls.alerts import AlertDescription, CertificateFailure
from specter.tls.anchors import load_path, load_pem, system_path
from specter.tls.trust import TrustStore
from tests.tls import pki

DAY = datetime.timedelta(days=1)


def chain(leaf: x509.Certificate) -> list[x509.Certificate]:
    return [leaf, pki.intermediate().certificate]


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def failure(
    certificates: list[x509.Certificate],
    name: str = pki.NAME,
    *,
    store: TrustStore | None = None,
    moment: datetime.datetime | None = pki.NOW,
) -> CertificateFailure:
    with pytest.raises(CertificateFailure) as caught:
        (store or pki.trust()).verify_server(certificates, name, moment)
    assert caught.value.name == name
    return caught.value


@pytest.mark.parametrize("kind", pki.KEY_KINDS)
def test_good_chain(kind: str) -> None:
    pki.trust().verify_server(chain(pki.make_leaf(kind=kind)), pki.NAME, pki.NOW)


@pytest.mark.parametrize(
    ("names", "name"),
    [
        ([pki.NAME], "SERVER.example"),
        ([pki.NAME], "server.example."),
        (["*.server.example"], "www.server.example"),
        (["other.example", "xn--bcher-kva.example"], "xn--bcher-kva.example"),
        (["192.0.2.7"], "192.0.2.7"),
        (["2001:db8::7"], "2001:0db8:0::7"),
        (["fe80::1"], "fe80::1%eth0"),
    ],
)
def test_names_that_match(names: list[str], name: str) -> None:
    pki.trust().verify_server(chain(pki.make_leaf(names)), name, pki.NOW)


@pytest.mark.security
@pytest.mark.parametrize(
    ("names", "name"),
    [
        ([pki.NAME], "other.example"),
        ([pki.NAME], "www.server.example"),
        ([pki.NAME], "example"),
        (["*.server.example"], "server.example"),
        (["*.server.example"], "a.b.server.example"),
        (["w*.server.example"], "www.server.example"),
        ([pki.NAME], "192.0.2.7"),
        (["192.0.2.7"], "192.0.2.8"),
        (["192.0.2.7"], pki.NAME),
        (["*"], "192.0.2.7"),
        (["2001:db8::7"], "2001:db8::8"),
        ([], "Test Leaf"),
        ([], pki.NAME),
        ([pki.NAME], "under_score.example"),
        ([pki.NAME], "a..b"),
        ([pki.NAME], "-"),
    ],
)
def test_names_that_do_not_match(names: list[str], name: str) -> None:
    """curl CVE-2024-2379, CVE-2025-4947, CVE-2025-5025; msquic CVE-2026-105794: IP addresses are names too."""
    error = failure(chain(pki.make_leaf(names)), name)
    assert error.check == "name"
    assert error.alert is AlertDescription.BAD_CERTIFICATE


def test_the_reason_lists_the_names() -> None:
    error = failure(chain(pki.make_leaf([f"{letter}.example" for letter in "abcdef"])))
    assert "'a.example', 'b.example', 'c.example', ..., not 'server.example'" in str(error)


@pytest.mark.security
@pytest.mark.parametrize(
    ("start", "end"),
    [(pki.NOW - 3 * DAY, pki.NOW - DAY), (pki.NOW + DAY, pki.NOW + 3 * DAY)],
    ids=["expired", "not yet valid"],
)
def test_validity(start: datetime.datetime, end: datetime.datetime) -> None:
    error = failure(chain(pki.make_leaf(start=start, end=end)))
    assert error.check == "validity"
    assert error.alert is AlertDescription.CERTIFICATE_EXPIRED
    assert f"{end:%Y-%m-%d}" in str(error)


def test_validity_counts_before_the_name() -> None:
    assert failure(chain(pki.make_leaf(["x.example"], end=pki.NOW - DAY))).check == "validity"


def test_expired_intermediate() -> None:
    old = pki.make_authority("Old Intermediate", pki.root(), end=pki.NOW - DAY)
    error = failure([pki.make_leaf(issuer=old), old.certificate])
    assert error.check == "validity"
    assert f"{pki.NOW - DAY:%Y-%m-%d}" in str(error)


def test_the_moment_is_an_argument() -> None:
    certificates = chain(pki.make_leaf())
    assert failure(certificates, moment=pki.NOW + 2 * pki.YEAR).check == "validity"
    assert failure(certificates, moment=(pki.NOW - 2 * pki.YEAR).replace(tzinfo=None)).check == "validity"
    eastward = datetime.timezone(datetime.timedelta(hours=9))
    pki.trust().verify_server(certificates, pki.NAME, pki.NOW.astimezone(eastward))


def test_without_a_moment_it_is_now() -> None:
    long_ago = pki.make_leaf(start=pki.NOW - pki.YEAR, end=pki.NOW - pki.YEAR + DAY)
    assert failure(chain(long_ago), moment=None).check == "validity"


@pytest.mark.security
def test_unknown_authority() -> None:
    store = TrustStore([pki.make_authority("Another Root").certificate])
    error = failure(chain(pki.make_leaf()), store=store)
    assert error.check == "chain"
    assert error.alert is AlertDescription.UNKNOWN_CA
    assert "CN=Test Root" in str(error)


@pytest.mark.security
def test_missing_intermediate() -> None:
    assert failure([pki.make_leaf()]).check == "chain"


@pytest.mark.security
def test_self_signed() -> None:
    assert failure([pki.make_leaf(self_signed=True)]).check == "chain"


@pytest.mark.security
def test_impostor_of_a_trusted_authority() -> None:
    impostor = pki.Authority(pki.root().certificate, pki.private_key("p256", "impostor"))
    error = failure([pki.make_leaf(issuer=impostor)])
    assert error.check == "signature"
    assert error.alert is AlertDescription.BAD_CERTIFICATE


@pytest.mark.security
def test_leaf_as_an_issuer() -> None:
    leaf = pki.make_leaf(["evil.example"])
    below = pki.make_leaf(issuer=pki.Authority(leaf, pki.private_key("p256")))
    assert failure([below, leaf, pki.intermediate().certificate]).check in ("chain", "usage")


def test_extra_certificates_do_not_matter() -> None:
    extra = [pki.make_authority("Extra").certificate, pki.root().certificate]
    pki.trust().verify_server([pki.make_leaf(), *extra, pki.intermediate().certificate], pki.NAME, pki.NOW)


@pytest.mark.security
@pytest.mark.parametrize(
    "leaf",
    [
        pytest.param(lambda: pki.make_leaf(usages=pki.CLIENT_AUTH), id="extended key usage"),
        pytest.param(lambda: pki.make_leaf(signs=False), id="key usage"),
        pytest.param(lambda: pki.make_leaf(is_authority=True), id="authority"),
    ],
)
def test_usage(leaf: object) -> None:
    assert callable(leaf)
    error = failure(chain(leaf()))
    assert error.check == "usage"
    assert error.alert is AlertDescription.UNSUPPORTED_CERTIFICATE


def test_short_rsa_key() -> None:
    error = failure(chain(pki.make_leaf(kind="rsa1024")))
    assert error.check == "signature"
    assert "1024 bits" in str(error)


def test_how_long_a_chain_is_good_for() -> None:
    """Until the first certificate of the path expires; what the server sends along does not count."""
    stray = pki.make_authority("stray", end=pki.NOW - DAY)
    certificates = [*chain(pki.make_leaf(end=pki.NOW + 30 * DAY)), stray.certificate]
    assert pki.trust().verify_server(certificates, pki.NAME, pki.NOW) == pki.NOW + 30 * DAY
    authority = pki.make_authority("soon gone", end=pki.NOW + 20 * DAY)
    leaf = pki.make_leaf(issuer=authority, end=pki.NOW + 30 * DAY)
    store = TrustStore([authority.certificate])
    assert store.verify_server([leaf], pki.NAME, pki.NOW) == pki.NOW + 20 * DAY


@pytest.mark.parametrize("is_authority", [False, True])
def test_a_trusted_leaf(is_authority: bool) -> None:
    """A self-signed certificate that the caller trusts, as ``openssl req -x509`` makes it (an authority)."""
    leaf = pki.make_leaf(self_signed=True, is_authority=is_authority)
    store = TrustStore([leaf])
    store.verify_server([leaf], pki.NAME, pki.NOW)
    assert failure([leaf], "other.example", store=store).check == "name"
    assert failure([leaf], store=store, moment=pki.NOW + 2 * pki.YEAR).check == "validity"
    other = pki.make_leaf(self_signed=True, is_authority=is_authority)
    assert failure([other], store=store).check in ("chain", "usage", "signature")


def test_a_trusted_leaf_for_clients_only() -> None:
    leaf = pki.make_leaf(self_signed=True, usages=pki.CLIENT_AUTH)
    assert failure([leaf], store=TrustStore([leaf])).check == "usage"
    either = pki.make_leaf(self_signed=True, usages=[ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])
    TrustStore([either]).verify_server([either], pki.NAME, pki.NOW)


def test_client_certificates() -> None:
    trust = pki.trust()
    trust.verify_client(pki.client_credential().chain, pki.NOW)
    trust.verify_client(chain(pki.make_leaf(usages=())), pki.NOW)
    cases: list[tuple[list[x509.Certificate], str]] = [
        (chain(pki.make_leaf()), "usage"),
        (chain(pki.make_leaf(usages=pki.CLIENT_AUTH, is_authority=True)), "usage"),
        (chain(pki.make_leaf(usages=pki.CLIENT_AUTH, end=pki.NOW - DAY)), "validity"),
        ([pki.client_credential().chain[0]], "chain"),
        ([pki.make_leaf(usages=pki.CLIENT_AUTH, self_signed=True)], "chain"),
    ]
    for certificates, check in cases:
        with pytest.raises(CertificateFailure) as caught:
            trust.verify_client(certificates, pki.NOW)
        assert caught.value.check == check


def test_names_of_the_peer_are_printed_safely() -> None:
    leaf = pki.make_leaf(["a" * 60 + ".example"] * 50)
    assert len(str(failure(chain(leaf)))) < 400


def test_certificates_that_cannot_be_read() -> None:
    """What only the parser of a part finds out still ends in a CertificateFailure."""
    der = pki.make_leaf(self_signed=True).public_bytes(Encoding.DER)
    curve = bytes.fromhex("06082a8648ce3d030107")
    unknown = x509.load_der_x509_certificate(der.replace(curve, curve[:-1] + b"\x7f"))
    error = failure([unknown], store=TrustStore([unknown]))
    assert error.check == "signature"
    assert failure([pki.make_leaf(), "junk"]).check == "chain"  # type: ignore[list-item]


# Loading


def test_default_store_is_certifi_and_loaded_once() -> None:
    store = TrustStore.load()
    assert len(store) > 50
    assert TrustStore.load(True) is store
    assert repr(store) == f"<TrustStore of {len(store)} certificates>"
    assert failure(chain(pki.make_leaf()), store=store).check == "chain"


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "root.pem"
    path.write_bytes(b"some words\n" + pem(pki.root().certificate))
    store = TrustStore.load(path)
    assert len(store) == 1
    assert TrustStore.load(str(path)) is store
    path.write_bytes(pem(pki.root().certificate, pki.make_authority("Second").certificate))
    os.utime(path, ns=(1, 1))
    assert len(TrustStore.load(path)) == 2


def test_der_file(tmp_path: Path) -> None:
    path = tmp_path / "root.der"
    path.write_bytes(pki.root().certificate.public_bytes(Encoding.DER))
    TrustStore.load(path).verify_server(chain(pki.make_leaf()), pki.NAME, pki.NOW)


def test_directory(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_bytes(pem(pki.root().certificate))
    (tmp_path / "b.0").write_bytes(pem(pki.make_authority("Second").certificate, pki.root().certificate))
    (tmp_path / "README").write_bytes(b"not a certificate")
    (tmp_path / "broken.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    (tmp_path / "below").mkdir()
    assert len(TrustStore.load(tmp_path)) == 2


def test_lists_and_bytes() -> None:
    root = pki.root().certificate
    second = pki.make_authority("Second").certificate
    assert len(TrustStore.load(pem(root, second))) == 2
    assert len(TrustStore.load([root, pem(second), second.public_bytes(Encoding.DER), root])) == 2


@pytest.mark.security
@pytest.mark.parametrize("source", [False, [], b"", b"junk", [b"junk"]])
def test_nothing_usable(source: bool | bytes | list[x509.Certificate | bytes]) -> None:
    """curl CVE-2025-13034, erlang_quic CVE-2026-49457: an option that cannot be used is no reason to trust."""
    with pytest.raises(ValueError, match=r".+"):
        TrustStore.load(source)


def test_unreadable_paths(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        TrustStore.load(tmp_path / "nothing")
    with pytest.raises(ValueError, match="at least one"):
        TrustStore.load(tmp_path)
    (tmp_path / "broken.pem").write_bytes(
        pem(pki.root().certificate) + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    )
    with pytest.raises(ValueError, match=r".+"):
        TrustStore.load(tmp_path / "broken.pem")
    assert len(load_pem((tmp_path / "broken.pem").read_bytes(), tolerant=True)) == 1


@pytest.mark.interpreted
def test_without_certifi_the_system_has_the_anchors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "certifi", None)
    monkeypatch.setattr("specter.tls.anchors._SYSTEM_PATHS", (tmp_path / "nothing", tmp_path))
    assert system_path() == tmp_path
    monkeypatch.setattr("specter.tls.anchors._SYSTEM_PATHS", ())
    with pytest.raises(ValueError, match="install certifi"):
        TrustStore.load()


def test_system_path_exists() -> None:
    assert load_path(system_path(), tolerant=True)
