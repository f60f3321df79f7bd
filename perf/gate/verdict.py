"""The verdict on a directory, from what is in it and nothing else. Whatever is not as it must be fails it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from perf.gate.checks import run_problems
from perf.gate.metrics import METRICS, Metric, figures, lateness, percentile
from perf.gate.plan import FULL, WORKLOADS, Counts, steps
from perf.gate.records import Run, read
from perf.kit.identity import sha256
from perf.peers.registry import COMPARATORS

MANIFEST: Final = "manifest.json"
VERDICT: Final = "verdict.json"
HEADLINE: Final = "specter"
"""The profile that the verdict is about: the blocking client as it comes."""
PROFILES: Final = (HEADLINE, "specter-spin")
CADENCE_LIMIT: Final = 150.0
"""Microseconds after its due time within which a chunk begins to leave, at p95."""


@dataclass(slots=True)
class Comparison:
    """The worst repetition of a profile against the best of a comparator."""

    profile: str
    workload: str
    metric: str
    comparator: str
    worst: float
    best: float
    won: bool


@dataclass(slots=True)
class Evidence:
    """A directory, read."""

    manifest: dict[str, Any]
    counts: Counts
    runs: list[Run]
    problems: list[str]


@dataclass(slots=True)
class Verdict:
    """``passed``: the headline profile won every comparison, and nothing is wrong."""

    problems: list[str]
    comparisons: list[Comparison] = field(default_factory=list)
    cadence_p95_us: float | None = None

    def won(self, profile: str) -> bool:
        """Whether a profile beats every comparator in everything."""
        own = [comparison for comparison in self.comparisons if comparison.profile == profile]
        return not self.problems and bool(own) and all(comparison.won for comparison in own)

    @property
    def passed(self) -> bool:
        return self.won(HEADLINE)

    def as_json(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "profiles": {profile: self.won(profile) for profile in PROFILES},
            "cadence_p95_us": self.cadence_p95_us,
            "problems": self.problems,
            "comparisons": [
                {name: getattr(comparison, name) for name in Comparison.__slots__} for comparison in self.comparisons
            ],
        }


def judge(directory: Path) -> Verdict:
    """Return the verdict on the runs in ``directory``."""
    try:
        evidence = load(directory)
    except ValueError as error:
        return Verdict([str(error)])
    problems = [*evidence.problems, *manifest_problems(evidence.manifest), *cohort_problems(evidence)]
    late = [value for run in evidence.runs for value in lateness(run)]
    cadence = percentile(late, 0.95) / 1e3 if late else None
    if cadence is not None and cadence > CADENCE_LIMIT:
        problems.append(f"the fixture was late: {cadence:.0f} us at p95, {CADENCE_LIMIT:.0f} are allowed")
    if problems:
        return Verdict(problems, cadence_p95_us=cadence)
    comparisons = list(_compare(evidence))
    missing = [name for name in evidence.manifest["workloads"] if name not in {item.workload for item in comparisons}]
    return Verdict([f"{name}: nothing was compared" for name in missing], comparisons, cadence)


# -- reading ------------------------------------------------------------------------------------------


def load(directory: Path) -> Evidence:
    """Read a directory.

    Raises:
        ValueError: there is no manifest in it that could be read.
    """
    try:
        manifest = json.loads((directory / MANIFEST).read_text())
        counts = Counts(**manifest["counts"])
        planned = list(steps(manifest["workloads"], manifest["clients"], counts.repetitions))
        hashes: Mapping[str, str] = dict(manifest["artifacts"])
        known = set(manifest["workloads"]) <= set(WORKLOADS)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no manifest: {error!r}") from error
    if not known:
        raise ValueError("the manifest names unknown workloads")
    problems = list(_artifact_problems(directory, [step.file for step in planned], hashes))
    runs = []
    for step in planned:
        if not (directory / step.file).exists():
            continue
        try:
            run = read(directory / step.file)
        except ValueError as error:
            problems.append(str(error))
            continue
        if (run.workload, run.client, run.repetition) != (step.workload, step.client, step.repetition):
            problems.append(f"{step.file} is the run of something else")
        problems += [f"{step.file}: {problem}" for problem in run_problems(run, counts)]
        runs.append(run)
    return Evidence(manifest, counts, runs, problems)


def _artifact_problems(directory: Path, planned: Sequence[str], hashes: Mapping[str, str]) -> Iterator[str]:
    found = {path.relative_to(directory).as_posix() for path in (directory / "runs").glob("*")}
    for name in planned:
        if name not in found:
            yield f"{name} is missing"
        elif name not in hashes:
            yield f"{name} is not in the manifest"
        elif sha256(directory / name) != hashes[name]:
            yield f"{name} was changed"
    for name in sorted(found - set(planned)):
        yield f"{name} is there, and is no part of the plan"


# -- the whole ----------------------------------------------------------------------------------------


def manifest_problems(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Give what is wrong with how the gate was run."""
    before, after = manifest.get("tree_before") or {}, manifest.get("tree_after") or {}
    for tree in (before, after):
        if tree.get("dirty") != []:
            yield f"the tree was dirty: {', '.join(tree.get('dirty') or ['it was not looked at'])[:200]}"
            break
    if before.get("commit") != after.get("commit"):
        yield "the commit changed while the gate ran"
    if not re.fullmatch("[0-9a-f]{40}", str(before.get("commit"))):
        yield "the commit is unknown"
    if manifest.get("foreign_environment") != []:
        yield f"the environment steers what is measured: {manifest.get('foreign_environment')}"
    if manifest.get("counts") != FULL.as_json():
        yield f"the counts are {manifest.get('counts')}, which proves nothing"
    if not manifest.get("pinned"):
        yield "nothing was pinned"
    absent = [name for name in (HEADLINE, *COMPARATORS) if name not in manifest["clients"]]
    if absent:
        yield f"left out: {', '.join(absent)}"


def cohort_problems(evidence: Evidence) -> Iterator[str]:
    """Give what does not fit together: builds, statuses, the twins that Specter ran with."""
    fixtures = {json.dumps(run.fixture, sort_keys=True) for run in evidence.runs if run.measured}
    if len(fixtures) > 1:
        yield "the fixture was not the same build throughout"
    for client in evidence.manifest["clients"]:
        runs = [run for run in evidence.runs if run.client == client]
        if len({json.dumps(run.identity, sort_keys=True) for run in runs if run.identity}) > 1:
            yield f"{client} was not the same build in all repetitions"
        if any(run.measured and not run.identity for run in runs):
            yield f"{client} does not say which build it is"
        for workload in evidence.manifest["workloads"]:
            statuses = {run.status: run.reason for run in runs if run.workload == workload}
            if len(statuses) > 1:
                yield f"{client} did {workload} only some of the time: {statuses}"
            elif client == HEADLINE and "measured" not in statuses:
                yield f"{client} did not do {workload}: {next(iter(statuses.values()), 'it was not run')}"
    yield from _compiled_problems(evidence)


def _compiled_problems(evidence: Evidence) -> Iterator[str]:
    builds = {run.client: run.identity for run in evidence.runs if run.client in PROFILES and run.identity}
    for client, identity in builds.items():
        twins = {name: used for name, used in identity.get("backend", {}).items() if name != "libcrypto"}
        slow = [name for name, used in twins.items() if used != "compiled"]
        if slow or not twins:
            yield f"{client} did not run compiled: {', '.join(slow)}"
    if len({identity.get("build") for identity in builds.values()}) > 1:
        yield "the profiles are not the same build"


# -- comparing ----------------------------------------------------------------------------------------


def table(evidence: Evidence) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Return the metrics of each repetition by workload and client."""
    found: dict[str, dict[str, list[dict[str, float]]]] = {name: {} for name in evidence.manifest["workloads"]}
    for run in evidence.runs:
        if run.measured:
            found[run.workload].setdefault(run.client, []).append(figures(run, evidence.counts.warm_ups))
    return found


def _compare(evidence: Evidence) -> Iterator[Comparison]:
    for workload, clients in table(evidence).items():
        for profile in PROFILES:
            for comparator in COMPARATORS:
                if profile in clients and comparator in clients:
                    for metric in METRICS[workload]:
                        yield _comparison(profile, workload, metric, comparator, clients)


def _comparison(
    profile: str, workload: str, metric: Metric, comparator: str, clients: Mapping[str, list[dict[str, float]]]
) -> Comparison:
    worst = metric.worst([figure[metric.name] for figure in clients[profile]])
    best = metric.best([figure[metric.name] for figure in clients[comparator]])
    return Comparison(profile, workload, metric.name, comparator, worst, best, metric.beats(worst, best))
