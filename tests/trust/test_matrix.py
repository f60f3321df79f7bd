"""Every certificate by every way to connect: success, or the one documented error, and no request to anybody wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.trust.cases import CASES, Case
from tests.trust.paths import PATHS, Path, Verdict
from tests.trust.stage import Stage


@pytest.fixture(scope="module")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    made = Stage(tmp_path_factory.mktemp("trust"))
    yield made
    made.close()


@pytest.fixture
def stage(theatre: Stage, capfd: pytest.CaptureFixture[str]) -> Stage:
    theatre.begin()
    theatre.capture = capfd
    return theatre


@pytest.mark.security
@pytest.mark.parametrize("path", PATHS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_cell(stage: Stage, path: Path, case: Case) -> None:
    """curl CVE-2024-2379, CVE-2025-4947, CVE-2025-5025; erlang_quic CVE-2026-49457: each check on each way in."""
    verdict = path.attempt(stage, case)
    refusal = case.refusal
    if refusal is None:
        assert verdict == Verdict()
        return
    assert len(stage.seen) == path.after, "the request itself went to nobody"
    assert refusal.check in verdict.message
    assert refusal.words in verdict.message
    if case.client != "nobody asks":
        assert verdict.error == path.alert
        return
    assert verdict.error == path.certificate
    host = case.host.rstrip(".").lower()
    assert f"the certificate of {host} was not accepted ({refusal.check}): " in verdict.message
    assert verdict.check in ("", refusal.check)
