"""The results as tables: a row a client, a column a piece of work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any, Final

from perf.peers.registry import BY_NAME
from perf.suite.runner import Result
from perf.suite.servers import TITLES
from perf.suite.workloads import Size, Workload, workloads


class Figure:
    """Something that is said of each piece of work."""

    def __init__(self, name: str, title: str) -> None:
        self.name = name
        self.title = title

    def of(self, result: Result, work: Workload) -> float:
        if self.name == "cpu":
            return work.cost(result.cpu_ns)
        if self.name == "memory":
            return result.peak_bytes / 1e6
        if work.per == "connection":
            return work.operations * 1e9 / result.wall_ns
        return work.bytes * 8 / result.wall_ns * 1e3 if work.per == "GB" else work.operations * 1e9 / result.wall_ns

    def unit(self, work: Workload) -> str:
        rate = "Mbit/s" if work.per == "GB" else f"{work.per}s/s"
        return {"cpu": work.cost_unit, "memory": "MB", "rate": rate}[self.name]


CPU: Final = Figure("cpu", "client processor time")
RATE: Final = Figure("rate", "rate")
MEMORY: Final = Figure("memory", "peak memory of the client")
FIGURES: Final = (CPU, RATE, MEMORY)


def done(manifest: Mapping[str, Any]) -> Sequence[Workload]:
    """Return the work that was done."""
    return [work for work in workloads(Size(**manifest["size"])) if work.name in manifest["workloads"]]


def of(results: Sequence[Result], server: str, work: Workload, client: str) -> list[Result]:
    key = (server, work.name, client)
    return [result for result in results if (result.server, result.workload, result.client) == key]


def title(results: Sequence[Result], client: str) -> str:
    """Return a client's name and version."""
    version = next((result.version for result in results if result.client == client and result.version), "")
    return f"{BY_NAME[client].title} {version}".strip()


def cell(found: Sequence[Result], work: Workload, figure: Figure) -> str:
    """Return the median of the repetitions, or why there is none."""
    values = [figure.of(result, work) for result in found if result.measured]
    if not values:
        reasons = [result.reason or result.status for result in found]
        return reasons[0] if reasons else "not run"
    return number(median(values))


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def rows(
    manifest: Mapping[str, Any], results: Sequence[Result], server: str, figure: Figure
) -> Iterator[tuple[str, list[str]]]:
    """Give each client and its cells."""
    for client in manifest["clients"]:
        yield client, [cell(of(results, server, work, client), work, figure) for work in done(manifest)]


def render(manifest: Mapping[str, Any], results: Sequence[Result]) -> str:
    """Return everything as text; long reasons are below their table."""
    lines = []
    for server in manifest["servers"]:
        for figure in FIGURES:
            lines += [f"{figure.title}, against {TITLES[server]}"]
            heads = [f"{work.title}, {figure.unit(work)}" for work in done(manifest)]
            lines.append(f"{'':36}" + "".join(f"{head[:31]:>33}" for head in heads))
            notes: list[str] = []
            for client, cells in rows(manifest, results, server, figure):
                shown = "".join(f"{_short(cell, notes):>33}" for cell in cells)
                lines.append(f"{title(results, client):36}{shown}")
            lines += [f"  [{index}] {note}" for index, note in enumerate(notes, 1)] if figure is CPU else []
            lines.append("")
    return "\n".join(lines)


def _short(cell: str, notes: list[str]) -> str:
    if len(cell) <= 12:
        return cell
    if cell not in notes:
        notes.append(cell)
    return f"[{notes.index(cell) + 1}]"
