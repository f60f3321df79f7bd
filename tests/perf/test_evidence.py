"""The README says what the evidence says, and evidence is only what proves something."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perf.evidence.__main__ import BEGIN, END, NOTHING, NotEvidence, block, fill, publish
from perf.gate import __main__ as gate
from perf.kit.build import ROOT
from perf.suite.runner import run_suite
from tests.perf.gate_evidence import change_manifest, make
from tests.perf.test_suite import TINY

KEPT = sorted((ROOT / "docs" / "benchmarks").glob("*-*"))


def test_the_readme_matches_the_evidence():
    readme = (ROOT / "README.md").read_text()
    assert fill(readme, block()) == readme


def test_a_gate_that_is_kept_is_what_it_says():
    for directory in KEPT:
        if directory.name.endswith("-gate"):
            assert gate.main(["verify", str(directory)]) in (gate.PASSED, gate.LOST)


def test_evidence_is_small():
    assert sum(path.stat().st_size for folder in KEPT for path in folder.rglob("*")) < 8_000_000


def test_publishing_a_gate(tmp_path):
    source = make(tmp_path / "source")
    kept = publish(source, tmp_path)
    assert kept == tmp_path / "docs" / "benchmarks" / "2026-01-01-gate"
    assert (kept / "report.html").exists()
    assert gate.main(["verify", str(kept)]) == gate.PASSED
    text = block(tmp_path)
    assert "Passed. Specter, blocking: 10 of 10 comparisons won" in text
    assert "| **Specter, blocking 0.1.0** | 100.9 | 101.3 |" in text
    assert "| aioquic 1.0 | 300.6 |" in text
    assert "missing: not on this machine" in text
    assert "(docs/benchmarks/2026-01-01-gate)" in text


def test_what_is_superseded_goes(tmp_path):
    source = make(tmp_path / "source")
    publish(source, tmp_path)
    change_manifest(source, started="2026-02-02T00:00:00+00:00")
    publish(source, tmp_path)
    assert [path.name for path in (tmp_path / "docs" / "benchmarks").iterdir()] == ["2026-02-02-gate"]


def test_what_proves_nothing_is_not_published(tmp_path):
    source = make(tmp_path / "source")
    change_manifest(source, foreign_environment=["SPECTER_PURE"])
    with pytest.raises(NotEvidence, match="SPECTER_PURE"):
        publish(source, tmp_path)
    with pytest.raises(NotEvidence, match="no manifest"):
        publish(tmp_path, tmp_path)
    assert not (tmp_path / "docs").exists()


def test_publishing_the_suite(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    run_suite(source, TINY, ["specter"], ["caddy"], only=["upload"])
    manifest = json.loads((source / "manifest.json").read_text())
    manifest["tree_before"]["dirty"] = ["?? new"]
    (source / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(NotEvidence, match="dirty"):
        publish(source, tmp_path)
    manifest["tree_before"]["dirty"] = []
    manifest["foreign_environment"] = []
    (source / "manifest.json").write_text(json.dumps(manifest))
    kept = publish(source, tmp_path)
    assert kept.name.endswith("-peers")
    text = block(tmp_path)
    assert "| against Caddy (quic-go) | upload 0.02 MB: CPU, s/GB |" in text
    assert "| **Specter, blocking** | Caddy's file server takes no bodies |" in text


def test_nothing_measured_is_said(tmp_path):
    assert block(tmp_path) == NOTHING


def test_the_markers_have_to_be_there():
    assert fill(f"a\n{BEGIN}\nold\n{END}\nb\n", "new\n") == f"a\n{BEGIN}\n\nnew\n\n{END}\nb\n"
    with pytest.raises(ValueError, match="markers"):
        fill(f"a\n{BEGIN}\n", "new")


def test_paths_in_the_readme_exist():
    for directory in KEPT:
        assert f"({Path('docs/benchmarks') / directory.name})" in (ROOT / "README.md").read_text()
