"""Verdicts and the table: what is missed is shown as missed."""

from __future__ import annotations

import json

import pytest

from perf.bench import __main__ as bench
from perf.bench import figures
from perf.bench.repeat import combine, in_processes
from perf.bench.scale import QUICK
from perf.bench.table import Row, Verdict, all_met, at_least, at_most, from_json, missing, render, summary

MET = Row("quick", 50.0, "us", at_most(60), "fine")
MISSED = Row("slow", 61.0, "us", at_most(60))
CONTEXT = Row("  somebody else", 250.0, "us")
ABSENT = missing("far away", "s", at_most(1.2), "no server here")


@pytest.mark.parametrize(
    ("value", "budget", "verdict"),
    [
        (1.25, at_most(1.25), Verdict.MET),
        (1.2501, at_most(1.25), Verdict.MISSED),
        (4.0, at_least(4), Verdict.MET),
        (3.99, at_least(4), Verdict.MISSED),
        (None, at_most(1), Verdict.NOT_MEASURED),
        (7.0, None, Verdict.CONTEXT),
    ],
)
def test_verdict(value, budget, verdict):
    assert Row("x", value, "", budget).verdict is verdict


def test_table_shows_figure_budget_measured_and_verdict():
    lines = render([MET, MISSED, CONTEXT, ABSENT]).splitlines()
    assert lines[0].split() == ["figure", "budget", "measured", "verdict", "note"]
    assert lines[2].split() == ["quick", "<=", "60", "us", "50.0", "us", "met", "fine"]
    assert lines[3].split() == ["slow", "<=", "60", "us", "61.0", "us", "MISSED"]
    assert lines[4].split() == ["somebody", "else", "250", "us"]
    assert lines[5].split() == ["far", "away", "<=", "1.2", "s", "-", "NOT", "MEASURED", "no", "server", "here"]


def test_summary_counts_only_what_has_a_budget():
    assert summary([MET, MISSED, CONTEXT, ABSENT]) == "3 budgets: 1 met, 1 missed, 1 not measured"


def test_only_a_measured_and_met_budget_counts_as_met():
    assert all_met([MET, CONTEXT])
    assert not all_met([MET, MISSED])
    assert not all_met([MET, ABSENT])


@pytest.mark.parametrize("row", [MET, MISSED, CONTEXT, ABSENT], ids=lambda row: row.figure)
def test_rows_survive_json(row):
    assert from_json(json.loads(json.dumps(row.as_json()))) == row


def test_the_middle_of_several_processes_counts():
    rows = [Row("x", value, "us", at_most(60), f"at {value:g}") for value in (70.0, 50.0, 61.0)]
    found = combine(rows)
    assert found.measured == 61
    assert found.verdict is Verdict.MISSED
    assert found.note == "at 61; 50-70 in 3 processes"


def test_what_one_process_could_not_measure_is_not_measured():
    assert combine([MET, ABSENT]) is ABSENT
    assert combine([MET]) is MET


@pytest.fixture
def one_missed(monkeypatch):
    monkeypatch.setattr(bench, "in_processes", lambda name, scale: [MET, MISSED])
    monkeypatch.setattr(bench.machine, "describe", lambda: {"python": "3"})


def test_a_missed_budget_is_printed_and_is_no_failure(one_missed, capsys):
    assert bench.main(["--only", "padding"]) == 0
    assert "MISSED" in capsys.readouterr().out


def test_strict_fails_for_a_missed_budget(one_missed, capsys):
    assert bench.main(["--only", "padding", "--strict"]) == 1
    assert "1 missed" in capsys.readouterr().out


def test_rows_are_written_as_json(one_missed, tmp_path):
    file = tmp_path / "rows.json"
    bench.main(["--only", "padding", "--json", str(file)])
    written = json.loads(file.read_text())
    assert [row["verdict"] for row in written["rows"]] == ["met", "MISSED"]
    assert written["machine"] == {"python": "3"}


def test_unknown_figures_are_refused(capsys):
    with pytest.raises(SystemExit):
        bench.main(["--only", "nonsense"])
    with pytest.raises(ValueError, match="no figure 'nonsense'"):
        figures.figure("nonsense")


def test_every_name_is_a_figure():
    for name in figures.NAMES:
        assert callable(figures.figure(name))


def test_a_figure_runs_in_a_process_of_its_own():
    (row,) = in_processes("padding", QUICK)
    assert row.measured > 0
    assert row.budget == at_most(2)
