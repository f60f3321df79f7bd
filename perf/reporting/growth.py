"""The report on how costs grow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perf.growth.curves import Curve, from_json
from perf.reporting import page, svg
from perf.reporting.gate import about


def report(directory: Path) -> str:
    """Return the page. Raises ``ValueError`` where there is nothing to report."""
    written, curves = read(directory)
    return page.page("Specter: how the cost of a packet grows", _parts(written, curves))


def read(directory: Path) -> tuple[dict[str, Any], list[Curve]]:
    """Read what a run left. Raises ``ValueError`` where that is not readable."""
    try:
        written = json.loads((directory / "growth.json").read_text())
        return written, [from_json(curve) for curve in written["curves"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"no curves: {error!r}") from error


def _parts(written: dict[str, Any], curves: list[Curve]) -> Iterator[str]:
    rows = [(True, [curve.name, curve.label, f"{curve.points[0][1]:,.0f} ns", curve.describe()]) for curve in curves]
    yield page.table(["curve", "over", "at the first point", "slope"], rows)
    for curve in curves:
        yield page.heading(curve.name)
        series = {"Specter, client": curve.points}
        yield svg.plot(series, curve.label, "ns of processor time a packet", log_x=curve.logarithmic)
    yield page.heading("How it was measured")
    yield page.facts(about(written))
