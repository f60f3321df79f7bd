"""Runs the work: each client in fresh processes, A B and then B A, against each server."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from perf.gate.metrics import percentile
from perf.gate.runner import CONNECT_LIMIT, foreign, prepare
from perf.kit import cores
from perf.kit.identity import machine, tree
from perf.peers.process import Answer, Process, ProcessFailed, WorkUnsupported
from perf.peers.registry import BY_NAME
from perf.suite.servers import SERVERS, ServerMissing, Where
from perf.suite.workloads import Size, Workload, workloads

RESULTS: Final = "results.jsonl.gz"
MANIFEST: Final = "manifest.json"


@dataclass(slots=True)
class Result:
    """What one client took for one piece of work, once. Times are nanoseconds."""

    server: str
    workload: str
    client: str
    repetition: int
    status: str = "measured"
    reason: str = ""
    version: str = ""
    wall_ns: int = 0
    cpu_ns: int = 0
    system_ns: int = 0
    peak_bytes: int = 0
    total_us: dict[str, float] = field(default_factory=dict)
    """Percentiles of the time from request to last byte."""
    ttfb_us: dict[str, float] = field(default_factory=dict)

    @property
    def measured(self) -> bool:
        return self.status == "measured"


def run_suite(
    directory: Path, size: Size, clients: Sequence[str], servers: Sequence[str], only: Sequence[str] = ()
) -> None:
    """Run everything and leave manifest and results in ``directory``."""
    absent = prepare(clients)
    manifest: dict[str, Any] = {
        "what": "the suite",
        "started": _date(),
        "tree_before": tree(),
        "foreign_environment": foreign(),
        "machine": machine(),
        "pins": cores.describe(),
        "size": size.as_json(),
        "clients": list(clients),
        "servers": list(servers),
        "workloads": [work.name for work in workloads(size) if not only or work.name in only],
    }
    results = list(_all(size, clients, servers, manifest["workloads"], absent))
    lines = "".join(json.dumps(asdict(result), separators=(",", ":")) + "\n" for result in results)
    (directory / RESULTS).write_bytes(gzip.compress(lines.encode(), mtime=0))
    (directory / MANIFEST).write_text(json.dumps({**manifest, "finished": _date()}, indent=1) + "\n")


def _date() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _all(
    size: Size, clients: Sequence[str], servers: Sequence[str], names: Sequence[str], absent: Mapping[str, str]
) -> Iterator[Result]:
    for server in servers:
        unreachable: dict[str, str] = {}
        for work in workloads(size):
            if work.name not in names:
                continue
            failed = {**absent, **unreachable}
            for repetition in range(size.repetitions):
                for client in clients if repetition % 2 == 0 else reversed(clients):
                    result = Result(server, work.name, client, repetition)
                    perform(result, work, size, failed, unreachable)
                    _tell(result, work)
                    yield result


class Unreachable(ProcessFailed):
    """The client does not get along with this server at all."""


def perform(result: Result, work: Workload, size: Size, failed: dict[str, str], unreachable: dict[str, str]) -> None:
    """Let a client do the work once. Who failed before is not asked again: a time-out would take as long again."""
    if result.client in failed:
        result.status, result.reason = "failed", failed[result.client]
        return
    if work.without and result.server in work.without:
        result.status, result.reason = "unsupported", work.without[result.server]
        return
    try:
        with SERVERS[result.server]((1, size.download, size.large)) as where:
            _measure(result, work, where, size.patience)
    except WorkUnsupported as error:
        result.status, result.reason = "unsupported", str(error)
    except (ProcessFailed, ServerMissing) as error:
        result.status, result.reason = "failed", str(error)
        if isinstance(error, Unreachable):
            unreachable[result.client] = result.reason
    if not result.measured:
        failed[result.client] = result.reason


def _measure(result: Result, work: Workload, where: Where, patience: float) -> None:
    peer = BY_NAME[result.client]
    with Process(peer.command(), cores.CLIENT, peer.environment) as client:
        result.version = str(peer.identity(client.greeting)["version"])
        try:
            client.ask({"do": "connect", "url": where.url, "ca_file": where.ca_file}, CONNECT_LIMIT)
        except ProcessFailed as error:
            raise Unreachable(f"does not connect: {error}") from error
        answer = client.ask(work.command, work.limit * patience)
    _take(result, work, answer)


def _take(result: Result, work: Workload, answer: Answer) -> None:
    """Read the figures off a client's samples; wrong ones are a failure."""
    samples, end = answer.samples, answer.end
    if len(samples) != work.operations or sum(sample[4] for sample in samples) != work.bytes:
        raise ProcessFailed(f"{len(samples)} samples with {sum(sample[4] for sample in samples)} bytes")
    result.wall_ns = max(sample[3] for sample in samples) - min(sample[0] for sample in samples)
    result.cpu_ns = end["user_ns"] + end["system_ns"]
    result.system_ns = end["system_ns"]
    result.peak_bytes = end["peak_bytes"]
    result.total_us = _percentiles([sample[3] - sample[0] for sample in samples])
    result.ttfb_us = _percentiles([sample[1] - sample[0] for sample in samples])


def _percentiles(values: Sequence[int]) -> dict[str, float]:
    return {f"p{share}": percentile(values, share / 100) / 1e3 for share in (50, 95, 99)}


def _tell(result: Result, work: Workload) -> None:
    said = f"{result.status}: {result.reason}"
    if result.measured:
        cost = f"{work.cost(result.cpu_ns):.4g} {work.cost_unit}"
        said = f"{cost}, wall {result.wall_ns / 1e6:.0f} ms, {result.peak_bytes / 1e6:.0f} MB"
    print(f"{result.server:8} {work.name:10} {result.client:16} {said}"[:160], file=sys.stderr)


def read(directory: Path) -> tuple[dict[str, Any], list[Result]]:
    """Read what a run left.

    Raises:
        ValueError: that is no such directory.
    """
    try:
        manifest = json.loads((directory / MANIFEST).read_text())
        lines = gzip.decompress((directory / RESULTS).read_bytes()).splitlines()
        results = [Result(**json.loads(line)) for line in lines]
        Size(**manifest["size"])
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"no results: {error!r}") from error
    return manifest, results
