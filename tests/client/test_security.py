from __future__ import annotations

import stat
import warnings
from pathlib import Path

import pytest

from specter.client.security import InsecureWarning, Security
from specter.testing.certificates import CLIENT_AUTH, CertificateAuthority


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return CertificateAuthority()


def test_the_usual_authorities_are_loaded_once_and_late() -> None:
    security = Security()
    assert security._trust is None
    first, second = security.config("a.example"), security.config("b.example")
    assert first.verify
    assert first.trust is second.trust is not None
    assert (first.server_name, second.server_name) == ("a.example", "b.example")


def test_own_authorities(authority: CertificateAuthority, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(authority.pem)
    for source in (path, str(path), authority.pem, [authority.certificate], [authority.pem], tmp_path):
        trust = Security(source).config("a.example").trust
        assert trust is not None
        assert len(trust) == 1


def test_wrong_sources_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Security(tmp_path / "missing.pem")
    (tmp_path / "empty.pem").touch()
    with pytest.raises(ValueError):  # noqa: PT011  the parser's words
        Security(tmp_path / "empty.pem")
    with pytest.raises(FileNotFoundError):
        Security(cert=tmp_path / "missing.pem")


def test_no_verification_warns() -> None:
    with pytest.warns(InsecureWarning, match="not authenticated"):
        security = Security(False)
    config = security.config("a.example")
    assert not config.verify
    assert config.trust is None


@pytest.mark.parametrize(
    ("host", "name"),
    [("a.example.", "a.example"), ("192.0.2.1", "192.0.2.1"), ("::1", "::1"), ("fe80::1%1", "fe80::1")],
)
def test_the_name_that_is_checked(host: str, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert Security(False).config(host).server_name == name


def test_client_certificates(authority: CertificateAuthority, tmp_path: Path) -> None:
    credential = authority.issue("client", usages=CLIENT_AUTH)
    chain, key = credential.write(tmp_path, "client")
    both = tmp_path / "both.pem"
    both.write_bytes(credential.chain_pem + credential.key_pem)
    for cert in (both, str(both), (chain, key), (str(chain), str(key), None)):
        config = Security([authority.certificate], cert).config("a.example")
        assert config.client_credential is not None
        assert config.client_credential.chain[0] == credential.certificate


def test_the_key_log_is_appended_and_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "environment"))
    log = Security(keylog=path).config("a.example").key_log
    assert log is not None
    log("FIRST 1")
    log("SECOND 2")
    assert path.read_text() == "FIRST 1\nSECOND 2\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    log = Security().config("a.example").key_log
    assert log is not None
    log("THIRD 3")
    assert (tmp_path / "environment").read_text() == "THIRD 3\n"
    monkeypatch.delenv("SSLKEYLOGFILE")
    assert Security().config("a.example").key_log is None
