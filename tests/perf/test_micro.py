"""Every micro-benchmark runs on every twin there is."""

from __future__ import annotations

import pytest

from perf.kit import twins
from perf.micro.registry import benchmarks

ALL = list(benchmarks())


@pytest.mark.parametrize("twin", twins.available(), ids=lambda twin: twin.kind)
@pytest.mark.parametrize("benchmark", ALL, ids=[benchmark.name for benchmark in ALL])
def test_benchmark_runs(benchmark, twin):
    assert benchmark.make(twin)(1) > 0


def test_names_choose():
    assert [benchmark.name for benchmark in benchmarks(["send/1-", "acks/encode/one"])] == [
        "acks/encode/one-range",
        "send/1-datagrams",
    ]


def test_names_are_unique():
    assert len({benchmark.name for benchmark in ALL}) == len(ALL)


def test_comparison_gives_the_ratio():
    pytest.importorskip("pyperf")
    from perf.micro import compare

    times = {"a/b": {"reference": 2e-6, "compiled": 5e-7}, "c": {"reference": 1e-6}}
    _, first, second = compare.table(times)
    assert first.split() == ["a/b", "2000", "ns", "500", "ns", "4.0x"]
    assert second.split() == ["c", "1000", "ns", "-"]
