"""Evidence as Markdown: every client a row, whoever wins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from perf.gate.metrics import METRICS
from perf.gate.plan import WORKLOADS
from perf.gate.show import number, reason, title_of
from perf.gate.verdict import PROFILES, Evidence, Verdict, judge, load, table
from perf.peers.registry import BY_NAME
from perf.suite.runner import Result, read
from perf.suite.servers import TITLES
from perf.suite.table import CPU, MEMORY, Figure, cell, done, of, title


def gate(directory: Path, link: str) -> Iterator[str]:
    """Give the lines about a gate."""
    evidence, verdict = load(directory), judge(directory)
    yield f"**The gate** ({_when(evidence.manifest)}; [evidence]({link})). {_verdict(verdict)}"
    yield ""
    yield "Specter by its worst repetition, the others by their best, as the rule compares them."
    for workload in evidence.manifest["workloads"]:
        yield ""
        yield from _gate_table(evidence, workload)


def _when(manifest: dict[str, Any]) -> str:
    """Return when, of what and on what something was measured."""
    machine, tree = manifest.get("machine") or {}, manifest.get("tree_before") or {}
    day = str(manifest.get("started", "?"))[:10]
    return f"{day}, commit {str(tree.get('commit', '?'))[:10]}, {machine.get('processor', '?')}"


def _verdict(verdict: Verdict) -> str:
    if verdict.problems:
        return f"It proves nothing: {verdict.problems[0]}."
    said = []
    for profile in PROFILES:
        own = [item for item in verdict.comparisons if item.profile == profile]
        if own:
            won = sum(item.won for item in own)
            said.append(f"{BY_NAME[profile].title}: {won} of {len(own)} comparisons won")
    return f"{'Passed' if verdict.passed else 'Not passed'}. {'; '.join(said)}."


def _gate_table(evidence: Evidence, workload: str) -> Iterator[str]:
    metrics, found = METRICS[workload], table(evidence)[workload]
    yield _row([WORKLOADS[workload].title, *(f"{metric.title}, {metric.unit}" for metric in metrics)])
    yield _row(["---", *("---:" for _ in metrics)])
    for client in evidence.manifest["clients"]:
        name = _bold(title_of(evidence, client), client)
        if client not in found:
            yield _row([name, reason(evidence, workload, client), *("" for _ in metrics[1:])])
            continue
        cells = []
        for metric in metrics:
            values = [figures[metric.name] for figures in found[client]]
            cells.append(number(metric.worst(values) if BY_NAME[client].ours else metric.best(values)))
        yield _row([name, *cells])


def suite(directory: Path, link: str) -> Iterator[str]:
    """Give the lines about throughput and scale."""
    manifest, results = read(directory)
    yield f"**The same work for all** ({_when(manifest)}; [evidence]({link})). Medians; less is better."
    for server in manifest["servers"]:
        yield ""
        yield from _suite_table(manifest, results, server)


def _suite_table(manifest: dict[str, Any], results: Sequence[Result], server: str) -> Iterator[str]:
    columns: list[tuple[str, Any, Figure]] = [
        (f"{work.title}: CPU, {CPU.unit(work)}", work, CPU) for work in done(manifest)
    ]
    columns += [(f"{work.title}: memory, MB", work, MEMORY) for work in done(manifest) if work.name == "large"]
    yield _row([f"against {TITLES[server]}", *(head for head, _, _ in columns)])
    yield _row(["---", *("---:" for _ in columns)])
    for client in manifest["clients"]:
        cells = [cell(of(results, server, work, client), work, figure) for _, work, figure in columns]
        yield _row([_bold(title(results, client), client), *cells])


def _bold(text: str, client: str) -> str:
    return f"**{text}**" if BY_NAME[client].ours else text


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |"
