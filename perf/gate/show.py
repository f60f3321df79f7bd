"""A directory as text: the table of each workload, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from perf.gate.metrics import METRICS, Metric
from perf.gate.plan import WORKLOADS
from perf.gate.records import Run
from perf.gate.verdict import PROFILES, Evidence, Verdict, judge, load, table
from perf.peers.registry import BY_NAME


def render(directory: Path) -> str:
    """Return tables and verdict as text."""
    verdict = judge(directory)
    lines: list[str] = []
    try:
        evidence = load(directory)
    except ValueError:
        return "\n".join(verdict_lines(verdict))
    for workload in evidence.manifest["workloads"]:
        lines += [*workload_lines(evidence, workload), ""]
    return "\n".join([*lines, *verdict_lines(verdict)])


def workload_lines(evidence: Evidence, workload: str) -> Iterator[str]:
    """Give the table of a workload: the worst and the best repetition of each client, which is what is compared."""
    metrics = METRICS[workload]
    heads = [f"{metric.title}, {metric.unit}" for metric in metrics]
    yield f"{WORKLOADS[workload].title} (worst / best repetition)"
    yield f"{'':34}" + "".join(f"{head:>30}" for head in heads)
    try:
        found = table(evidence)[workload]
    except (KeyError, IndexError, ZeroDivisionError):
        yield "  the runs are inconsistent"
        return
    for client in evidence.manifest["clients"]:
        title = title_of(evidence, client)
        if client in found:
            yield f"{title:34}" + "".join(f"{spread(metric, found[client]):>30}" for metric in metrics)
        else:
            yield f"{title:34}  {reason(evidence, workload, client)}"


def spread(metric: Metric, repetitions: Sequence[dict[str, float]]) -> str:
    values = [figures[metric.name] for figures in repetitions]
    return f"{number(metric.worst(values))} / {number(metric.best(values))}"


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def title_of(evidence: Evidence, client: str) -> str:
    """Return a client's name with the version that ran."""
    peer = BY_NAME.get(client)
    version = next((run.identity.get("version") for run in runs_of(evidence, client) if run.identity), None)
    return " ".join(part for part in (peer.title if peer else client, version) if part)


def runs_of(evidence: Evidence, client: str, workload: str = "") -> list[Run]:
    return [run for run in evidence.runs if run.client == client and workload in ("", run.workload)]


def reason(evidence: Evidence, workload: str, client: str) -> str:
    """Return why there are no figures."""
    run = next((run for run in runs_of(evidence, client, workload) if not run.measured), None)
    return "not run" if run is None else f"{run.status}: {run.reason}"


def verdict_lines(verdict: Verdict) -> Iterator[str]:
    """Give the verdict: what is wrong, what was lost, and how it ends."""
    if verdict.cadence_p95_us is not None:
        yield f"fixture: chunks began to leave within {verdict.cadence_p95_us:.1f} us of their due time at p95"
    for problem in verdict.problems[:20]:
        yield f"INVALID: {problem}"
    if len(verdict.problems) > 20:
        yield f"INVALID: and {len(verdict.problems) - 20} problems more"
    for profile in PROFILES:
        own = [item for item in verdict.comparisons if item.profile == profile]
        lost = [item for item in own if not item.won]
        for item in lost:
            worst, best = number(item.worst), number(item.best)
            yield f"lost: {item.workload} {item.metric}: {profile} {worst}, {item.comparator} {best}"
        if own:
            yield f"{profile}: {len(own) - len(lost)} of {len(own)} comparisons won"
    yield "PASSED" if verdict.passed else "NOT PASSED"
