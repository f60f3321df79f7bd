"""``python -m perf.micro [NAME ...] [pyperf options]``: runs the benchmarks, each on both twins."""

from __future__ import annotations

import argparse
from functools import cache
from importlib import import_module
from typing import Any

from perf.kit.twins import Twin, available
from perf.micro.registry import Benchmark, Timed, benchmarks

_pyperf: Any = import_module("pyperf")  # it has no type information


def label(benchmark: Benchmark, twin: Twin) -> str:
    """Return the name that a result has in pyperf's files."""
    return f"{benchmark.name} [{twin.kind}]"


def prepared(benchmark: Benchmark, twin: Twin) -> Timed:
    """Return the timing function, whose data are made by the first call: every worker process sees all benchmarks."""
    made = cache(benchmark.make)

    def timed(loops: int) -> float:
        return made(twin)(loops)

    return timed


def pass_names(command: list[str], options: argparse.Namespace) -> None:
    """Let worker processes see the same selection."""
    command.extend(options.names)


def main() -> None:
    runner: Any = _pyperf.Runner(program_args=("-m", "perf.micro"), add_cmdline_args=pass_names)
    runner.argparser.add_argument("names", nargs="*", metavar="NAME", help="what the benchmarks' names begin with")
    options = runner.parse_args()
    for benchmark in benchmarks(options.names):
        for twin in available():
            runner.bench_time_func(label(benchmark, twin), prepared(benchmark, twin), inner_loops=benchmark.operations)


if __name__ == "__main__":
    main()
