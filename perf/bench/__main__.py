"""``python -m perf.bench``: measures the figures and prints the table."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from perf.bench import machine
from perf.bench.figures import IN_PROCESS, NAMES, figure
from perf.bench.repeat import in_processes
from perf.bench.scale import FULL, QUICK, Scale
from perf.bench.table import Row, all_met, render, summary


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="perf/bench/run", description="Measure Specter's figures and compare them with their budgets."
    )
    parser.add_argument("--only", metavar="NAME", action="append", choices=NAMES, help=", ".join(NAMES))
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that everything runs, nothing else")
    parser.add_argument("--strict", action="store_true", help="exit 1 unless every budget was measured and met")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the rows there too")
    return parser.parse_args(arguments)


def measure(names: Iterable[str], scale: Scale) -> list[Row]:
    """Measure the figures of ``names``, telling on standard error which one is at work."""
    rows: list[Row] = []
    for name in names:
        print(f"measuring {name} ...", end=" ", file=sys.stderr, flush=True)
        begin = time.monotonic()
        rows.extend(in_processes(name, scale) if name in IN_PROCESS else figure(name)(scale))
        print(f"{time.monotonic() - begin:.1f} s", file=sys.stderr, flush=True)
    return rows


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    facts = machine.describe()
    rows = measure(options.only or NAMES, QUICK if options.quick else FULL)
    for fact, value in facts.items():
        print(f"{fact}: {value}")
    print()
    print(render(rows))
    print()
    print(summary(rows))
    if options.quick:
        print("--quick: the figures mean nothing")
    if options.json:
        options.json.write_text(json.dumps({"machine": facts, "rows": [row.as_json() for row in rows]}, indent=1))
    return int(options.strict and not all_met(rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
