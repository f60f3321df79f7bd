"""Runs a plan: for each step a fresh fixture and a fresh client, each on its core, and a file of what came of it."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from perf.gate.metrics import figures
from perf.gate.plan import WORKLOADS, Counts, Step, steps
from perf.gate.records import FAILED, MISSING, UNSUPPORTED, Run, write
from perf.gate.verdict import MANIFEST
from perf.kit import cores
from perf.kit.identity import machine, sha256, tree
from perf.peers.process import PREFIXES, Answer, Process, ProcessFailed, WorkUnsupported
from perf.peers.registry import BY_NAME, Peer, PeerMissing

CONNECT_LIMIT: Final = 15.0
SAMPLE_LIMIT: Final = 0.25
"""Seconds that a sample may take on average ..."""
WORK_LIMIT: Final = 15.0
"""... and that are there besides."""
FIXTURE: Final = [sys.executable, "-m", "perf.fixture"]


def foreign() -> list[str]:
    """Return the environment variables that steer Specter or its benchmarks."""
    return sorted(name for name in os.environ if name.startswith(PREFIXES))


def prepare(clients: Sequence[str]) -> dict[str, str]:
    """Install and compile what the clients need; return why some cannot be had."""
    absent = {}
    for name in clients:
        try:
            BY_NAME[name].command()
        except PeerMissing as error:
            absent[name] = str(error)
    return absent


def run_gate(
    directory: Path, workloads: Sequence[str], clients: Sequence[str], counts: Counts, *, realtime: bool = False
) -> None:
    """Run everything and leave manifest and runs in ``directory``.

    ``realtime``: fixture and clients alike go before whatever else the machine does.
    """
    absent = prepare(clients)
    manifest: dict[str, Any] = {
        "what": "the gate",
        "started": _date(),
        "tree_before": tree(),
        "foreign_environment": foreign(),
        "machine": machine(),
        "pinned": len(cores.usable()) > 1,
        "pins": cores.describe() + (", both before all others (SCHED_FIFO)" if realtime else ""),
        "counts": counts.as_json(),
        "workloads": list(workloads),
        "clients": list(clients),
        "settings": {name: _settings(BY_NAME[name]) for name in clients},
        "absent": absent,
        "artifacts": {},
    }
    unable: dict[tuple[str, str], str] = {}
    for step in steps(workloads, clients, counts.repetitions):
        run = _unmeasured(step, absent, unable) or perform(step, counts, realtime=realtime)
        if run.status == UNSUPPORTED:
            unable[step.workload, step.client] = run.reason
        write(run, directory / step.file)
        manifest["artifacts"][step.file] = sha256(directory / step.file)
        _tell(step, run, counts)
    manifest["tree_after"] = tree()
    manifest["finished"] = _date()
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")


def _settings(peer: Peer) -> dict[str, Any]:
    return {"title": peer.title, "options": dict(peer.options), "environment": dict(peer.environment)}


def _date() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _unmeasured(step: Step, absent: Mapping[str, str], unable: Mapping[tuple[str, str], str]) -> Run | None:
    """Return the run of a client that is not here, or that has said before that it cannot do this."""
    if step.client in absent:
        return Run(step.workload, step.client, step.repetition, MISSING, absent[step.client])
    if (step.workload, step.client) in unable:
        reason = unable[step.workload, step.client]
        return Run(step.workload, step.client, step.repetition, UNSUPPORTED, reason)
    return None


def perform(step: Step, counts: Counts, *, realtime: bool = False) -> Run:
    """Run one client once."""
    run = Run(step.workload, step.client, step.repetition)
    with tempfile.TemporaryDirectory(prefix="specter-gate-") as folder:
        ledger = Path(folder, "ledger.jsonl")
        try:
            with Process([*FIXTURE, str(ledger)], cores.SERVER, realtime=realtime) as fixture:
                _measure(run, fixture.greeting, counts, realtime)
                failures = fixture.finish().get("failures", ["the fixture did not say how it went"])
                if failures and run.measured:
                    raise ProcessFailed(f"the fixture: {failures[0]}")
        except WorkUnsupported as error:
            run.status, run.reason = UNSUPPORTED, str(error)
        except ProcessFailed as error:
            run.status, run.reason = FAILED, str(error)
        if run.measured and WORKLOADS[step.workload].paced:
            run.ledger = [json.loads(line) for line in ledger.read_text().splitlines()]
        if not run.measured:
            run.samples = []
    return run


def _measure(run: Run, fixture: dict[str, Any], counts: Counts, realtime: bool) -> None:
    """Start the client, let it do its work, and note what it measured."""
    run.fixture = {name: fixture[name] for name in ("build", "backend")}
    workload, peer = WORKLOADS[run.workload], BY_NAME[run.client]
    before = _disturbance()
    with Process(peer.command(), cores.CLIENT, peer.environment, realtime=realtime) as client:
        run.identity = peer.identity(client.greeting)
        where = {"url": fixture["url"], "ca_file": fixture["ca_file"]}
        client.ask({"do": "connect", **where}, CONNECT_LIMIT)
        answer = client.ask({**workload.command, "count": counts.total}, WORK_LIMIT + counts.total * SAMPLE_LIMIT)
    run.samples = list(enumerate(answer.samples))
    run.notes = _notes(answer, before)


def _disturbance() -> tuple[float, int]:
    """Return the load, and the time so far that the host gave to others (ticks)."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    stat = Path("/proc/stat")
    fields = stat.read_text().split("\n", 1)[0].split() if stat.exists() else []
    return load, int(fields[8]) if len(fields) > 8 else 0


def _notes(answer: Answer, before: tuple[float, int]) -> dict[str, Any]:
    used = {name: answer.end[name] for name in ("user_ns", "system_ns", "peak_bytes") if name in answer.end}
    return {**used, "load": before[0], "stolen_ticks": _disturbance()[1] - before[1], "at": time.time_ns()}


def _tell(step: Step, run: Run, counts: Counts) -> None:
    """Say on standard error how a run went."""
    try:
        found = figures(run, counts.warm_ups) if run.measured else {}
        said = "  ".join(f"{name} {value:.1f}" for name, value in found.items()) or f"{run.status}: {run.reason}"
    except (KeyError, IndexError, ZeroDivisionError):
        said = "inconsistent"
    print(f"{step.workload:6} {step.repetition + 1} {step.client:16} {said}"[:160], file=sys.stderr)
