"""Measuring by turns."""

from __future__ import annotations

import pytest

from perf.kit import alternate


def test_rounds_go_there_and_back():
    calls = []

    def measure(name):
        def run():
            calls.append(name)
            return float(len(calls))

        return run

    samples = alternate.rounds({"a": measure("a"), "b": measure("b")}, 3)
    assert calls == ["a", "b", "b", "a", "a", "b"]
    assert samples == {"a": [1, 4, 5], "b": [2, 3, 6]}


def test_ratio_is_the_median_of_the_rounds():
    found = alternate.ratio({"a": [2.0, 9.0, 4.0, 6.0, 100.0], "b": [1.0, 3.0, 2.0, 2.0, 1.0]}, "a", "b")
    assert found.value == 3
    assert (found.low, found.high) == (2, 3)
    assert str(found) == "3.00 (2.00-3.00)"


def test_nothing_measured_is_an_error():
    with pytest.raises(ValueError, match="nothing"):
        alternate.ratio({"a": [], "b": []}, "a", "b")
