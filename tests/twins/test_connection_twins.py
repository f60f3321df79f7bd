"""Both backends, given the same entropy and clock, put the same bytes on the wire for a whole connection."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from specter.testing.certificates import CertificateAuthority

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scenario")
    authority = CertificateAuthority()
    authority.write(path / "ca.pem")
    authority.issue("localhost").write(path)
    return path


def run(directory: Path, **environment: str) -> list[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("SPECTER_")} | environment
    command = [sys.executable, "-m", "tests.twins.scenario", str(directory)]
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=100, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_a_whole_connection_is_the_same_on_the_wire(directory: Path) -> None:
    reference = run(directory, SPECTER_PURE="1")
    compiled = run(directory)
    without_libcrypto = run(directory, SPECTER_LIBCRYPTO="none")
    interpreted_layers = run(directory, SPECTER_PURE="layers")
    assert reference[-1] == "backend reference"
    assert compiled[-1] == without_libcrypto[-1] == "backend compiled"
    assert len(reference) > 5000
    assert compiled[:-1] == reference[:-1]
    assert without_libcrypto[:-1] == reference[:-1]
    assert interpreted_layers == compiled
