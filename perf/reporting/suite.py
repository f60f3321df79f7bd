"""The report on throughput and scale."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median

from perf.reporting import page, svg
from perf.reporting.gate import about, is_ours
from perf.suite.runner import Result, read
from perf.suite.servers import TITLES
from perf.suite.table import CPU, FIGURES, RATE, Figure, done, of, rows, title
from perf.suite.workloads import Workload


def report(directory: Path) -> str:
    """Return the page. Raises ``ValueError`` where there is nothing to report."""
    manifest, results = read(directory)
    return page.page("Specter: throughput and scale", _parts(manifest, results))


def _parts(manifest: dict[str, object], results: list[Result]) -> Iterator[str]:
    clients: list[str] = manifest["clients"]  # type: ignore[assignment]
    servers: list[str] = manifest["servers"]  # type: ignore[assignment]
    for server in servers:
        yield page.heading(f"Against {TITLES[server]}")
        for figure in FIGURES:
            yield page.heading(figure.title, 3)
            head = ["client", *(f"{work.title}, {figure.unit(work)}" for work in done(manifest))]
            lines = [
                (is_ours(client), [title(results, client), *cells])
                for client, cells in rows(manifest, results, server, figure)
            ]
            yield page.table(head, lines)
        for work in done(manifest):
            for figure in (CPU, RATE):
                yield svg.bars(
                    _bars(results, server, work, figure, clients), f"{work.title}: {figure.title}, {figure.unit(work)}"
                )
    yield page.heading("How it was measured")
    yield page.facts(about(manifest))


def _bars(results: list[Result], server: str, work: Workload, figure: Figure, clients: list[str]) -> list[svg.Bar]:
    found = []
    for client in clients:
        values = [figure.of(result, work) for result in of(results, server, work, client) if result.measured]
        if values:
            name = title(results, client)
            found.append(svg.Bar(name, median(values), min(values), max(values), is_ours(client)))
    return sorted(found, key=lambda bar: bar.value, reverse=figure is RATE)
