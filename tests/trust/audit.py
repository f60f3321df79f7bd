"""Known vulnerabilities of what Specter is installed with: ``python -m tests.trust.audit``.

``pip-audit`` ends alike whether it found a vulnerability or did not reach an advisory service, and where a service
knows nothing of a package it says so in passing. Here a vulnerability fails; what nobody could be asked about is told.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
EXTRAS = ("cli", "compression", "dns", "websocket", "httpx", "httpx2")
"""What users install, with all that it brings along; tools of ours are not shipped."""
SERVICES = ("pypi", "osv")
"""Advisory services, the second for what the first knows nothing of."""
LIMIT = 25.0
"""Seconds for each service."""

Pins = dict[str, str]
Ask = Callable[[str, Pins], "dict[str, Any] | str"]


@dataclass
class Findings:
    """``vulnerable`` lines for people, ``unknown`` packages that no service was asked about, and why."""

    vulnerable: list[str] = field(default_factory=list)
    unknown: Pins = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)


def installed() -> Pins:
    """Return the versions of everything here that Specter needs, with all its ``EXTRAS``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting = [*project["dependencies"]]
    for extra in EXTRAS:
        waiting += project["optional-dependencies"][extra]
    found: Pins = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    steps = [step for text in waiting if (step := _step(text, ()))]
    while steps:
        step = name, extras = steps.pop()
        if step in seen:
            continue
        seen.add(step)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # an extra that is not installed here
            continue
        found[name] = distribution.version
        steps += [step for text in distribution.requires or () if (step := _step(text, extras))]
    return dict(sorted(found.items()))


def _step(text: str, extras: Iterable[str]) -> tuple[str, frozenset[str]] | None:
    """Return the package that a requirement of one with ``extras`` is for; None where it does not count."""
    requirement = Requirement(text)
    marker = requirement.marker
    if marker is not None and not any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
        return None
    return canonicalize_name(requirement.name), frozenset(requirement.extras)


def audit(pins: Pins, ask: Ask) -> Findings:
    """Ask the services about ``pins``, the next one about what the one before did not know."""
    findings = Findings(unknown=pins)
    for service in SERVICES:
        if not findings.unknown:
            break
        report = ask(service, findings.unknown)
        if isinstance(report, str):
            findings.reasons.append(f"{service}: {report}")
            continue
        answered = {canonicalize_name(entry["name"]): entry for entry in report["dependencies"]}
        for name in list(findings.unknown):
            entry = answered.get(canonicalize_name(name), {"skip_reason": "no answer"})
            if "skip_reason" in entry:
                findings.reasons.append(f"{service}: {entry['skip_reason']}")
            else:
                findings.vulnerable += [_line(entry, found) for found in entry["vulns"]]
        findings.unknown = {
            name: version
            for name, version in findings.unknown.items()
            if "skip_reason" in answered.get(canonicalize_name(name), {"skip_reason": ""})
        }
    return findings


def _line(entry: dict[str, Any], found: dict[str, Any]) -> str:
    names = ", ".join([found["id"], *found.get("aliases", ())])
    better = ", ".join(found.get("fix_versions", ())) or "no version yet"
    return f"{entry['name']} {entry['version']}: {names}; mended in {better}"


def ask(service: str, pins: Pins) -> dict[str, Any] | str:
    """Run ``pip-audit``; return its report, or in a line why there is none."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder, "requirements.txt")
        listed.write_text("".join(f"{name}=={version}\n" for name, version in pins.items()))
        words = ["--requirement", str(listed), "--no-deps", "--disable-pip", "--vulnerability-service", service]
        words += ["--format", "json", "--progress-spinner", "off", "--timeout", "8"]
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pip_audit", *words], capture_output=True, text=True, check=False, timeout=LIMIT
            )
        except subprocess.TimeoutExpired:
            return f"no answer within {LIMIT:.0f} seconds"
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        said = done.stderr.strip().splitlines()
        return said[-1][:200] if said else f"pip-audit ended with status {done.returncode}"
    return report


def tell(pins: Pins, findings: Findings) -> int:
    """Print what was found; return the exit status."""
    known = len(pins) - len(findings.unknown)
    print(f"specter: {known} of {len(pins)} dependencies audited, {len(findings.vulnerable)} known vulnerabilities")
    for line in findings.vulnerable:
        print(f"specter: VULNERABLE: {line}")
    if findings.unknown:
        listed = ", ".join(f"{name} {version}" for name, version in findings.unknown.items())
        print(f"specter: WARNING: NOT AUDITED, no advisory service told about them: {listed}", file=sys.stderr)
        for reason in list(dict.fromkeys(findings.reasons))[:6]:
            print(f"specter: WARNING:   {reason}", file=sys.stderr)
        if os.environ.get("SPECTER_REQUIRE_ADVISORIES", "") not in ("", "0"):
            return 1
    return 1 if findings.vulnerable else 0


def main() -> int:
    pins = installed()
    return tell(pins, audit(pins, ask))


if __name__ == "__main__":
    sys.exit(main())
