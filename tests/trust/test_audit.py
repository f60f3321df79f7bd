"""What the audit of dependencies makes of the answers of advisory services."""

from __future__ import annotations

from typing import Any

import pytest

from tests.trust.audit import Pins, audit, installed, tell

PINS = {"certifi": "2026.1.1", "cryptography": "48.0.0"}
GOOD = {"name": "certifi", "version": "2026.1.1", "vulns": []}
BAD = {
    "name": "cryptography",
    "version": "48.0.0",
    "vulns": [{"id": "GHSA-1", "aliases": ["CVE-2"], "fix_versions": ["48.0.1"]}],
}


class Services:
    """Answers by service, and what was asked."""

    def __init__(self, **answers: list[dict[str, Any]] | str) -> None:
        self.answers = answers
        self.asked: list[tuple[str, list[str]]] = []

    def __call__(self, service: str, pins: Pins) -> dict[str, Any] | str:
        self.asked.append((service, list(pins)))
        answer = self.answers[service]
        return answer if isinstance(answer, str) else {"dependencies": answer, "fixes": []}


def unknown(name: str) -> dict[str, Any]:
    return {"name": name, "skip_reason": f"Dependency not found: {name}"}


def test_nothing_known() -> None:
    services = Services(pypi=[GOOD, {**BAD, "vulns": []}])
    findings = audit(PINS, services)
    assert (findings.vulnerable, findings.unknown) == ([], {})
    assert services.asked == [("pypi", list(PINS))], "nobody else has to be asked"
    assert tell(PINS, findings) == 0


def test_a_vulnerability_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert tell(PINS, audit(PINS, Services(pypi=[GOOD, BAD]))) == 1
    assert "VULNERABLE: cryptography 48.0.0: GHSA-1, CVE-2; mended in 48.0.1" in capsys.readouterr().out


def test_the_second_service_is_asked_about_what_the_first_does_not_know() -> None:
    services = Services(pypi=[GOOD, unknown("cryptography")], osv=[BAD])
    findings = audit(PINS, services)
    assert services.asked == [("pypi", list(PINS)), ("osv", ["cryptography"])]
    assert (len(findings.vulnerable), findings.unknown) == (1, {})


@pytest.mark.parametrize("first", ["the name does not resolve", [unknown("certifi"), unknown("cryptography")], []])
def test_services_out_of_reach_are_told_and_fail_nothing(
    first: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = audit(PINS, Services(pypi=first, osv="no answer within 25 seconds"))
    assert findings.unknown == PINS
    monkeypatch.delenv("SPECTER_REQUIRE_ADVISORIES", raising=False)
    assert tell(PINS, findings) == 0
    out, err = capsys.readouterr()
    assert "0 of 2 dependencies audited" in out
    assert "NOT AUDITED" in err
    assert "certifi 2026.1.1, cryptography 48.0.0" in err
    assert "osv: no answer within 25 seconds" in err
    monkeypatch.setenv("SPECTER_REQUIRE_ADVISORIES", "1")
    assert tell(PINS, findings) == 1


def test_a_vulnerability_fails_though_the_rest_is_unknown() -> None:
    assert tell(PINS, audit(PINS, Services(pypi=[unknown("certifi"), BAD], osv="out of reach"))) == 1


def test_what_is_audited() -> None:
    """All that a user gets: what it takes, and what that takes; none of our own tools."""
    found = installed()
    assert {"certifi", "cryptography", "pylsqpack", "cffi", "h2", "hpack"} <= set(found)
    assert {"specter", "pytest", "ruff"}.isdisjoint(found)
