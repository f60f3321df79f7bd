"""The gate from end to end, in small: the real fixture, the real client, the files, the verdict, the page."""

from __future__ import annotations

import json

import pytest

import specter
from perf.fixture.paced import CADENCE, CHUNK, CHUNKS
from perf.fixture.segments import SEGMENT, FlowBlocked, SegmentedTransport
from perf.gate.checks import ledger_problems
from perf.gate.metrics import figures
from perf.gate.plan import Counts, Step
from perf.gate.runner import FIXTURE, perform, run_gate
from perf.gate.show import render
from perf.gate.verdict import VERDICT, judge, load
from perf.kit import cores
from perf.peers.process import Process
from perf.reporting.__main__ import main as report
from specter._backend import batch as batches
from specter.quic.config import QuicConfig
from specter.testing.network import Link
from specter.testing.pair import Pair
from tests.perf.gate_evidence import make

SMALL = Counts(samples=2, warm_ups=1, repetitions=1)


@pytest.fixture
def fixture(tmp_path):
    with Process([*FIXTURE, str(tmp_path / "ledger.jsonl")], cores.SERVER) as running:
        yield running


def ledger_of(tmp_path):
    return [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]


def test_the_fixture_paces_and_writes_it_down(fixture, tmp_path):
    where = fixture.greeting
    with specter.Client(verify=where["ca_file"], base_url=where["url"]) as client:
        assert client.get("/health").text == "ok"
        bodies = [client.get("/stream").content for _ in range(3)]
    assert fixture.finish() == {"failures": []}
    assert {len(body) for body in bodies} == {CHUNK * CHUNKS}
    assert bodies[0] == bytes(range(256)) * (CHUNK * CHUNKS // 256)
    ledger = ledger_of(tmp_path)
    assert list(ledger_problems(ledger, 3)) == []
    first = ledger[0]
    assert first["due_ns"] == first["send_start_ns"]
    assert [entry["due_ns"] - first["due_ns"] for entry in ledger[:5]] == [index * CADENCE for index in range(5)]


def test_a_client_that_leaves_stops_its_chunks(fixture, tmp_path):
    where = fixture.greeting
    with specter.Client(verify=where["ca_file"], base_url=where["url"]) as client:
        with client.stream("GET", "/stream") as response:
            assert response.status_code == 200
        assert len(client.get("/stream").content) == CHUNK * CHUNKS
    assert fixture.finish() == {"failures": []}
    assert {entry["response"] for entry in ledger_of(tmp_path)} >= {1}


def small_server(window=1 << 20):
    """Return a server's connection and a stream on it, the handshake done."""
    config = QuicConfig(stream_window=window)
    pair = Pair(1, Link(delay=1000), server_config=QuicConfig(datagram_size=1350), client_config=config)
    pair.run(lambda: any(peer.connection.handshake_complete for peer in pair.endpoint.peers), limit=5)
    connection = next(iter(pair.endpoint.peers)).connection
    transport = SegmentedTransport(connection)
    transport.unmeter()
    while len(connection.send(pair.now)):
        pass
    return transport, connection.open_stream(True), pair.now + 1_000_000


def test_segments_leave_one_a_datagram():
    transport, stream, now = small_server()
    train = batches.SendBatch()
    transport.held[stream] = bytearray()
    assert transport.write(stream, bytes(CHUNK), True) == CHUNK
    transport.seal(stream, train, now)
    sizes = [len(data) for data, _, _ in train]
    assert len(sizes) == -(-CHUNK // SEGMENT)
    assert max(sizes) - SEGMENT < 64
    assert sizes[0] - sizes[-1] == pytest.approx(SEGMENT - CHUNK % SEGMENT, abs=16)
    assert stream not in transport.held


def test_a_window_too_small_is_a_failure_and_not_a_delay():
    transport, stream, now = small_server(window=8_000)
    transport.held[stream] = bytearray(CHUNK)
    with pytest.raises(FlowBlocked):
        transport.seal(stream, batches.SendBatch(), now)


def test_a_run_of_the_paced_get(tmp_path):
    run = perform(Step(0, "get", "specter", 0), SMALL)
    assert run.measured, run.reason
    assert len(run.samples) == SMALL.total
    assert len(run.ledger) == SMALL.total * CHUNKS
    found = figures(run, SMALL.warm_ups)
    assert found["ttfb_p50"] > 0
    assert 0 < found["throughput"] < 20


def test_a_run_that_cannot_be_had_says_why(monkeypatch):
    monkeypatch.setattr("perf.gate.runner.FIXTURE", ["false"])
    run = perform(Step(0, "get", "specter", 0), SMALL)
    assert (run.status, run.samples, run.ledger) == ("failed", [], [])
    assert run.reason == "it ended with status 1"


@pytest.mark.slow
def test_the_gate_leaves_evidence_that_can_be_judged_again(tmp_path, capsys):
    directory = tmp_path / "gate"
    directory.mkdir()
    run_gate(directory, ["get"], ["specter", "specter-spin"], SMALL)
    evidence = load(directory)
    assert evidence.problems == []
    assert {run.status for run in evidence.runs} == {"measured"}
    verdict = judge(directory)
    assert not verdict.passed
    assert any("proves nothing" in problem for problem in verdict.problems)
    assert any("left out: aioquic" in problem for problem in verdict.problems)
    text = render(directory)
    assert "Specter, blocking" in text
    assert "NOT PASSED" in text


def test_the_report_is_one_page_with_everything(tmp_path, capsys):
    directory = make(tmp_path / "evidence")
    assert report([str(directory)]) == 0
    page = (directory / "report.html").read_text()
    assert "Verdict: passed" in page
    assert page.count("<svg") >= 3 + 5
    assert "aioquic" in page
    assert "missing: not on this machine" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page


def test_a_report_about_nothing_is_an_error(tmp_path, capsys):
    assert report([str(tmp_path)]) == 1
    assert "no manifest" in capsys.readouterr().err


def test_the_verdict_is_among_the_evidence(tmp_path):
    directory = make(tmp_path / "evidence")
    assert json.loads((directory / VERDICT).read_text())["passed"] is True
