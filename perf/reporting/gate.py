"""The gate's report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from perf.gate.metrics import METRICS, lateness, tails, totals, ttfbs
from perf.gate.plan import WORKLOADS
from perf.gate.show import number, reason, runs_of, spread, title_of
from perf.gate.verdict import PROFILES, Comparison, Evidence, Verdict, judge, load, table
from perf.peers.registry import BY_NAME
from perf.reporting import page, svg


def report(directory: Path) -> str:
    """Return the page. Raises ``ValueError`` where there is nothing to report."""
    evidence, verdict = load(directory), judge(directory)
    return page.page("Specter: the gate", _parts(evidence, verdict))


def _parts(evidence: Evidence, verdict: Verdict) -> Iterator[str]:
    yield from _verdict(verdict)
    figures = {} if verdict.problems and evidence.problems else table(evidence)
    for workload in figures:
        yield page.heading(WORKLOADS[workload].title)
        yield _table(evidence, workload, figures[workload])
        yield from _distributions(evidence, workload)
        yield from _bars(evidence, workload, figures[workload])
    yield page.heading("The fixture")
    late = {title_of(evidence, run.client): lateness(run) for run in evidence.runs if run.workload == "get"}
    yield svg.cdf(_microseconds({name: values for name, values in late.items() if values}), "late, us")
    yield page.heading("How it was measured")
    yield page.facts(about(evidence.manifest))


def _verdict(verdict: Verdict) -> Iterator[str]:
    said = "passed" if verdict.passed else "not passed"
    yield page.paragraph(f"Verdict: {said}", "good" if verdict.passed else "bad")
    for profile in PROFILES:
        own = [item for item in verdict.comparisons if item.profile == profile]
        if own:
            lost = [item for item in own if not item.won]
            yield page.paragraph(f"{profile}: {len(own) - len(lost)} of {len(own)} comparisons won")
            yield page.listing([_loss(item) for item in lost])
    yield page.listing([f"invalid: {problem}" for problem in verdict.problems])


def _loss(item: Comparison) -> str:
    return f"lost: {item.workload} {item.metric}: {number(item.worst)} against {number(item.best)} ({item.comparator})"


def _table(evidence: Evidence, workload: str, found: dict[str, list[dict[str, float]]]) -> str:
    metrics = METRICS[workload]
    rows: list[tuple[bool, Sequence[str]]] = []
    for client in evidence.manifest["clients"]:
        title, ours = title_of(evidence, client), is_ours(client)
        if client in found:
            rows.append((ours, [title, *(spread(metric, found[client]) for metric in metrics)]))
        else:
            rows.append((ours, [title, reason(evidence, workload, client)]))
    return page.table(["worst / best repetition", *(f"{metric.title}, {metric.unit}" for metric in metrics)], rows)


def is_ours(client: str) -> bool:
    return client in BY_NAME and BY_NAME[client].ours


def _distributions(evidence: Evidence, workload: str) -> Iterator[str]:
    kinds = {"TTFB, us": ttfbs, "ledger tail, us": tails} if workload == "get" else {"time, us": totals}
    if workload == "mixed":
        kinds = {"TTFB of the GET, us": ttfbs}
    for label, measure in kinds.items():
        series = {}
        for client in evidence.manifest["clients"]:
            runs = [run for run in runs_of(evidence, client, workload) if run.measured]
            if runs:
                warm_ups = evidence.counts.warm_ups
                series[title_of(evidence, client)] = [value for run in runs for value in measure(run, warm_ups)]
        yield svg.cdf(_microseconds(series), label)


def _microseconds(series: dict[str, list[int]]) -> dict[str, list[float]]:
    return {name: [value / 1e3 for value in values] for name, values in series.items()}


def _bars(evidence: Evidence, workload: str, found: dict[str, list[dict[str, float]]]) -> Iterator[str]:
    for metric in METRICS[workload]:
        rows = []
        for client, repetitions in found.items():
            values = [figures[metric.name] for figures in repetitions]
            bar = svg.Bar(title_of(evidence, client), median(values), min(values), max(values), is_ours(client))
            rows.append(bar)
        rows.sort(key=lambda row: row.value, reverse=metric.more_is_better)
        yield svg.bars(rows, f"{metric.title}, {metric.unit}: median, worst and best repetition")


def about(manifest: dict[str, Any]) -> dict[str, object]:
    """Return what someone needs to know who wants the same figures again."""
    machine = manifest.get("machine") or {}
    counts = manifest.get("counts") or {}
    return {
        "commit": (manifest.get("tree_before") or {}).get("commit", "?"),
        "when": f"{manifest.get('started', '?')} to {manifest.get('finished', '?')}",
        "processor": f"{machine.get('processor', '?')}, {machine.get('cores', '?')} cores",
        "system": f"{machine.get('kernel', '?')}, {machine.get('python', '?')}",
        "libcrypto": machine.get("libcrypto", "?"),
        "cores": manifest.get("pins", "?"),
        "counts": ", ".join(f"{value} {name}" for name, value in counts.items()),
    }
