"""Throughput and scale, in small: work against the real server, and what is said about it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from perf.peers.process import Answer, ProcessFailed
from perf.reporting.__main__ import main as report
from perf.suite import runner
from perf.suite.runner import Result, read, run_suite
from perf.suite.servers import ServerMissing
from perf.suite.table import CPU, MEMORY, RATE, cell, render
from perf.suite.workloads import FULL, QUICK, workloads

TINY = replace(QUICK, requests=4, at_once=2, streams=4, handshakes=1, download=20_000, large=30_000, upload=20_000)
WORK = ("at-once", "handshakes", "upload")
BY_NAME = {work.name: work for work in workloads(FULL)}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    found = tmp_path_factory.mktemp("suite")
    run_suite(found, TINY, ["specter", "specter-asyncio"], ["fixture"], WORK)
    return found


def test_pieces_of_work_are_done(directory):
    manifest, results = read(directory)
    assert [result.reason for result in results if not result.measured] == []
    assert {result.workload for result in results} == set(WORK)
    assert {result.client for result in results} == {"specter", "specter-asyncio"}
    assert all(result.wall_ns > 0 and result.cpu_ns > 0 and result.peak_bytes > 0 for result in results)
    assert manifest["size"] == TINY.as_json()


def test_it_can_be_read_as_text_and_as_a_page(directory, capsys):
    text = render(*read(directory))
    assert "client processor time, against our own server" in text
    assert "Specter, asyncio" in text
    assert report([str(directory)]) == 0
    page = (directory / "report.html").read_text()
    assert page.count("<svg") == 2 * len(WORK)
    assert "upload 0.02 MB" in page


def test_the_second_time_round_goes_backwards(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(runner, "_measure", lambda result, *_: asked.append((result.client, result.repetition)))
    run_suite(tmp_path, replace(TINY, repetitions=2), ["specter", "specter-spin"], ["fixture"], only=["get"])
    assert asked == [("specter", 0), ("specter-spin", 0), ("specter-spin", 1), ("specter", 1)]


def results_with(tmp_path, monkeypatch, measure):
    monkeypatch.setattr(runner, "_measure", measure)
    run_suite(tmp_path, replace(TINY, repetitions=2), ["specter"], ["fixture"], only=["get", "download"])
    return read(tmp_path)[1]


def test_who_fails_is_not_asked_again_for_the_same(tmp_path, monkeypatch):
    asked = []

    def fail(result, *_):
        asked.append(result.workload)
        raise ProcessFailed("it broke")

    results = results_with(tmp_path, monkeypatch, fail)
    assert asked == ["get", "download"]
    assert [(result.status, result.reason) for result in results] == [("failed", "it broke")] * 4


def test_who_does_not_connect_is_not_asked_again_at_all(tmp_path, monkeypatch):
    asked = []

    def fail(result, *_):
        asked.append(result.workload)
        raise runner.Unreachable("does not connect: no")

    results = results_with(tmp_path, monkeypatch, fail)
    assert asked == ["get"]
    assert {result.reason for result in results} == {"does not connect: no"}


def test_a_server_that_is_missing_is_a_row_that_says_so(tmp_path, monkeypatch):
    def missing(_sizes):
        raise ServerMissing("no Caddy here")

    monkeypatch.setitem(runner.SERVERS, "caddy", missing)
    run_suite(tmp_path, TINY, ["specter"], ["caddy"], only=["get"])
    manifest, results = read(tmp_path)
    assert results[0].reason == "no Caddy here"
    assert "[1] no Caddy here" in render(manifest, results)


def test_what_a_server_cannot_take_is_said(tmp_path):
    run_suite(tmp_path, TINY, ["specter"], ["caddy"], only=["upload"])
    assert read(tmp_path)[1][0].reason == "Caddy's file server takes no bodies"


@pytest.mark.parametrize("samples", [[], [[1, 2, 3, 4, 99]], [[1, 2, 3, 4, 100_000_000]] * 2])
def test_work_not_done_is_a_failure(samples):
    with pytest.raises(ProcessFailed, match="samples with"):
        runner._take(Result("fixture", "download", "specter", 0), BY_NAME["download"], Answer(samples))


def test_figures_have_the_right_units():
    got = Result("fixture", "get", "specter", 0, cpu_ns=200_000_000, wall_ns=500_000_000, peak_bytes=50_000_000)
    get, download, handshakes = (BY_NAME[name] for name in ("get", "download", "handshakes"))
    assert (CPU.of(got, get), CPU.unit(get)) == (pytest.approx(100), "us/request")
    assert (RATE.of(got, get), RATE.unit(get)) == (pytest.approx(4_000), "requests/s")
    assert (MEMORY.of(got, get), MEMORY.unit(get)) == (50, "MB")
    assert (CPU.of(got, download), CPU.unit(download)) == (pytest.approx(2), "s/GB")
    assert (RATE.of(got, download), RATE.unit(download)) == (pytest.approx(1_600), "Mbit/s")
    assert (CPU.of(got, handshakes), CPU.unit(handshakes)) == (pytest.approx(2), "ms/connection")
    assert (RATE.of(got, handshakes), RATE.unit(handshakes)) == (pytest.approx(200), "connections/s")
    assert cell([], get, CPU) == "not run"
    assert cell([replace(got, status="failed", reason="it broke")], get, CPU) == "it broke"


def test_what_is_no_result_is_an_error(tmp_path, capsys):
    with pytest.raises(ValueError, match="no results"):
        read(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"size": {"what": 1}}))
    (tmp_path / "results.jsonl.gz").write_bytes(b"")
    assert report([str(tmp_path)]) == 1
    assert "no results" in capsys.readouterr().err
