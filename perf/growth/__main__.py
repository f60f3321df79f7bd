"""``python -m perf.growth``: measures the curves, prints their slopes, writes ``growth.json`` and a page of plots."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from perf.growth.curves import CURVES, FULL, QUICK, Curve
from perf.kit.build import ROOT
from perf.kit.identity import machine, specter_build, tree
from perf.reporting.growth import report

GROWTH = "growth.json"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="perf/growth/run", description=__doc__)
    parser.add_argument("--only", metavar="CURVE", action="append", choices=CURVES, help=", ".join(CURVES))
    parser.add_argument("--quick", action="store_true", help="two points each: shows that everything runs")
    parser.add_argument("--out", type=Path, metavar="DIR", help=".cache/growth/DATE by default")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    directory = options.out or ROOT / ".cache" / "growth" / f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    directory.mkdir(parents=True, exist_ok=True)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    curves: list[Curve] = []
    for name in options.only or CURVES:
        curves.append(CURVES[name](QUICK if options.quick else FULL))
        print(_line(curves[-1]), flush=True)
    told = {"what": "growth", "started": started, "finished": datetime.now(UTC).isoformat(timespec="seconds")}
    facts = {**told, "tree_before": tree(), "machine": machine(), "specter": specter_build()}
    (directory / GROWTH).write_text(json.dumps({**facts, "curves": [curve.as_json() for curve in curves]}, indent=1))
    (directory / "report.html").write_text(report(directory))
    print(f"all of it is in {directory}")
    return 0


def _line(curve: Curve) -> str:
    points = "  ".join(f"{x:g}: {y:,.0f}" for x, y in curve.points)
    return f"{curve.name} ({curve.label}; ns a packet)  {points}  slope {curve.describe()}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
