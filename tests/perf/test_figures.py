"""Every figure function runs, at sizes that mean nothing, and says so when what it needs is missing."""

from __future__ import annotations

import shutil

import pytest

from perf.bench import caddy
from perf.bench.figures import caddy as caddy_figures
from perf.bench.figures import direct, engine, figure, parts, peers
from perf.bench.processes import Worker, WorkerFailed, run
from perf.bench.scale import QUICK
from perf.bench.table import Verdict
from perf.kit import bare, cores, recording
from perf.kit.build import NativeUnavailable
from perf.kit.venvs import VenvUnavailable, python_of

AGAINST_CADDY = ("download", "get", "connect", "httpx", "memory", "async-get", "async-download", "async-crowd")


class FakeBare:
    """In place of the compiled loop, which takes seconds to build."""

    def __init__(self, burst):
        self.packets = len(burst.clear)

    def open(self):
        return 400.0 * self.packets

    def seal(self):
        return self.open()


@pytest.fixture
def fake_bare(monkeypatch):
    monkeypatch.setattr(direct, "BareBurst", FakeBare)
    monkeypatch.setattr(engine, "BareBurst", FakeBare)


@pytest.mark.parametrize("name", ["receive-burst", "send-burst", "engine-receive", "engine-send"])
def test_ratios_to_the_bare_cipher(fake_bare, name):
    row, *_ = figure(name)(QUICK)
    assert row.measured > 0
    assert row.verdict in (Verdict.MET, Verdict.MISSED)


@pytest.mark.parametrize("name", ["padding", "reassembly", "one-gigabyte", "open-streams", "import"])
def test_figures_without_servers(name):
    rows = list(figure(name)(QUICK))
    assert rows[0].budget is not None
    assert all(row.measured > 0 for row in rows)


@pytest.mark.parametrize("name", ["receive-burst", "send-burst", "engine-receive", "engine-send", "header-unmask"])
def test_without_a_compiler_the_rows_say_so(monkeypatch, name):
    def unavailable(*_):
        raise NativeUnavailable("no compiler")

    for module in (direct, engine):
        monkeypatch.setattr(module, "BareBurst", unavailable)
    monkeypatch.setattr(parts, "native", unavailable)
    row, *_ = figure(name)(QUICK)
    assert row.verdict is Verdict.NOT_MEASURED
    assert row.note


@pytest.mark.parametrize("name", AGAINST_CADDY)
def test_without_caddy_the_rows_say_so(monkeypatch, name):
    def unavailable():
        raise caddy.CaddyMissing("no Caddy here")

    monkeypatch.setattr(caddy, "find", unavailable)
    (row,) = figure(name)(QUICK)
    assert row.verdict is Verdict.NOT_MEASURED
    assert row.note == "no Caddy here"


def test_clients_that_cannot_be_installed_are_rows_without_a_value(monkeypatch):
    def only_specter(name):
        if name != "specter":
            raise VenvUnavailable("no network")
        return python_of(name)

    monkeypatch.setattr(peers, "python_of", only_specter)
    own, *others = figure("peers")(QUICK)
    assert own.measured > 0
    assert {row.verdict for row in others} == {Verdict.NOT_MEASURED}
    assert {row.note for row in others} == {"no network"}


@pytest.mark.interop
@pytest.mark.parametrize("name", ["download", "get", "connect", "memory", "async-get", "async-download", "async-crowd"])
def test_figures_against_caddy(monkeypatch, name):
    try:
        caddy.find()
    except caddy.CaddyMissing as error:
        pytest.skip(str(error))
    monkeypatch.setattr(caddy_figures, "CLIENTS", ("specter",))
    rows = list(figure(name)(QUICK))
    assert rows[0].measured is not None, rows[0].note
    assert rows[0].budget is not None


@pytest.mark.interop
def test_every_connection_of_the_resume_figure_is_resumed():
    try:
        caddy.find()
    except caddy.CaddyMissing as error:
        pytest.skip(str(error))
    rows = list(figure("resume")(QUICK))
    assert [row.measured is not None for row in rows] == [True, True], [row.note for row in rows]


@pytest.mark.interop
def test_the_transports_are_measured_against_http2():
    try:
        caddy.find()
    except caddy.CaddyMissing as error:
        pytest.skip(str(error))
    rows = list(figure("httpx")(QUICK))
    assert [row.measured is not None for row in rows] == [True] * 6, [row.note for row in rows]
    assert all(row.budget is not None and row.budget.least for row in rows)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_the_bare_cipher_opens_and_seals_what_was_recorded():
    burst = recording.record(1, 4)[0]
    measured = bare.BareBurst(burst)
    assert measured.open() > 0
    assert measured.seal() > 0
    burst.clear.data[50] ^= 1
    with pytest.raises(RuntimeError, match="only 3 of 4"):
        measured.open()


def test_a_worker_that_fails_tells_its_last_words():
    with pytest.raises(WorkerFailed, match="No module named"):
        run(python_of("specter"), "perf.no_such_module", {})
    with pytest.raises(WorkerFailed, match="KeyError"):
        Worker(python_of("specter"), "perf.bench.pump", "nobody")


def test_pinned_commands_run():
    assert cores.pinned(cores.CLIENT, ["true"])[-1] == "true"
    assert isinstance(cores.describe(), str)
