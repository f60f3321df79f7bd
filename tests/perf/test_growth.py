"""Curves of the cost of a packet: each runs in small, and their slopes are what they say."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from perf.growth import __main__ as command
from perf.growth.curves import CURVES, QUICK, Curve, from_json
from perf.growth.network import download, path
from perf.reporting.__main__ import main as report

SMALL = replace(QUICK, sizes=(100_000, 300_000), streams=(1, 3), transfer=1_100_000, bursts=1)


@pytest.mark.parametrize("name", CURVES)
def test_every_curve_has_a_cost_at_each_point(name):
    curve = CURVES[name](SMALL)
    assert len(curve.points) == 2
    assert all(cost > 0 for _, cost in curve.points)
    assert from_json(json.loads(json.dumps(curve.as_json()))) == replace(curve, points=list(curve.points))


def test_a_slope_over_tenfolds():
    curve = Curve("size", "MB", [(1, 100.0), (10, 110.0), (100, 120.0)], True)
    assert curve.slope == pytest.approx(0.1)
    assert curve.describe() == "+10.0% for ten times as much"


def test_a_slope_over_steps():
    curve = Curve("loss", "%", [(0, 200.0), (1, 190.0), (5, 150.0)], False)
    assert curve.slope == pytest.approx(-0.05)
    assert curve.describe() == "-5.0% for 1 more"
    assert Curve("rtt", "ms", [(0, 200.0), (200, 240.0)], False, 100).slope == pytest.approx(0.1)


def test_one_point_has_no_slope():
    assert Curve("size", "MB", [(1, 100.0)], True).slope == 0


def test_the_paths_are_as_bad_as_asked_for():
    down, up = path(rtt=30, loss=2, depth=10)
    assert (down.delay, up.delay) == (15_000_000, 15_000_000)
    assert (down.loss, up.loss) == (0.02, 0.0)
    assert down.reorder == pytest.approx(0.1)
    assert down.reorder_delay == 480_000
    assert path()[0].reorder == 0


def test_the_same_seed_is_the_same_download():
    down, up = path(loss=1)
    assert download(1_100_000, down, up, seed=3) > 0


def test_what_was_measured_is_written_down(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "QUICK", SMALL)
    assert command.main(["--quick", "--only", "loss", "--only", "size", "--out", str(tmp_path)]) == 0
    assert "slope" in capsys.readouterr().out
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 2
    assert report([str(tmp_path)]) == 0
    (tmp_path / "growth.json").write_text("{}")
    assert report([str(tmp_path)]) == 1
