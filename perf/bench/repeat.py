"""A figure in several fresh processes on the clients' core: ``python -m perf.bench.repeat JSON`` is one of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from statistics import median_low
from typing import Any

from perf.bench.figures import figure
from perf.bench.processes import run
from perf.bench.scale import Scale
from perf.bench.table import Row, from_json
from perf.kit.venvs import python_of


def in_processes(name: str, scale: Scale) -> list[Row]:
    """Return the rows of a figure, each with the median of what the processes measured.

    Raises:
        WorkerFailed: one of them ended early.
    """
    task = {"figure": name, "scale": asdict(scale)}
    runs = [run(python_of("specter"), "perf.bench.repeat", task)["rows"] for _ in range(scale.processes)]
    return [combine([from_json(row) for row in rows]) for rows in zip(*runs, strict=True)]


def combine(rows: Sequence[Row]) -> Row:
    """Return the row in the middle, which also says how far the others were."""
    values = {row.measured: row for row in rows if row.measured is not None}
    if len(values) == 0 or any(row.measured is None for row in rows):
        return next(row for row in rows if row.measured is None)
    middle = values[median_low([row.measured for row in rows if row.measured is not None])]
    if len(rows) == 1:
        return middle
    return replace(middle, note=f"{middle.note}; {min(values):.3g}-{max(values):.3g} in {len(rows)} processes")


def main() -> None:
    task: dict[str, Any] = json.loads(sys.argv[1])
    rows = figure(task["figure"])(Scale(**task["scale"]))
    print(json.dumps({"rows": [row.as_json() for row in rows]}))


if __name__ == "__main__":
    main()
