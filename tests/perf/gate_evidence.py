"""A directory such as the gate leaves behind, made up: Specter is a little faster than two others every time."""

from __future__ import annotations

import json
from pathlib import Path

from perf.fixture.paced import CADENCE, CHUNK, CHUNKS
from perf.gate.plan import FULL, STREAM_BYTES, steps
from perf.gate.records import MISSING, Run, read, write
from perf.gate.verdict import MANIFEST, VERDICT, judge
from perf.kit.identity import sha256
from perf.peers.registry import COMPARATORS

COMMIT = "0123456789" * 4
OURS = ("specter", "specter-spin")
MEASURED = (*OURS, "aioquic", "quiche")
CLIENTS = (*OURS, *COMPARATORS)
TTFB = {"specter": 100_000, "specter-spin": 90_000, "aioquic": 300_000, "quiche": 150_000}
TAIL = {"specter": 20_000, "specter-spin": 10_000, "aioquic": 90_000, "quiche": 40_000}
PERIOD = 10_000_000
BUILDS = {"backend": {"protection": "compiled", "layers": "compiled", "libcrypto": "OpenSSL"}, "build": "ab" * 32}


def response(number, begin):
    """Return the ledger's lines of a response that was asked for at ``begin``."""
    due = begin + 50_000
    return [
        {
            "connection": 0,
            "stream_id": 4 * number,
            "response": number,
            "chunk": chunk,
            "due_ns": due + chunk * CADENCE,
            "send_start_ns": due + chunk * CADENCE + 100,
            "send_done_ns": due + chunk * CADENCE + 9_000,
            "bytes": CHUNK,
            "fin": chunk == CHUNKS - 1,
        }
        for chunk in range(CHUNKS)
    ]


def made_up(client, repetition):
    """Return a run of the paced GET; later samples and repetitions are a little slower."""
    if client not in MEASURED:
        return Run("get", client, repetition, MISSING, "not on this machine")
    run = Run("get", client, repetition, identity={"version": "1.0", "build": client, "profile": "release"})
    if client in OURS:
        run.identity = {"version": "0.1.0", **BUILDS}
    run.fixture = dict(BUILDS)
    for number in range(FULL.total):
        begin = 1_000_000_000 + number * PERIOD
        run.ledger += response(number, begin)
        headers = begin + TTFB[client] + 10 * number + 100 * repetition
        complete = run.ledger[-1]["send_start_ns"] + TAIL[client] + 10 * number + 100 * repetition
        run.samples.append((number, [begin, headers, headers + 1_000, complete, STREAM_BYTES]))
    return run


def make(directory: Path) -> Path:
    """Write it, with the verdict on it."""
    artifacts = {}
    for step in steps(["get"], CLIENTS, FULL.repetitions):
        write(made_up(step.client, step.repetition), directory / step.file)
        artifacts[step.file] = sha256(directory / step.file)
    tree = {"commit": COMMIT, "dirty": []}
    manifest = {
        "tree_before": tree,
        "tree_after": tree,
        "foreign_environment": [],
        "pinned": True,
        "machine": {"processor": "made up", "kernel": "none"},
        "counts": FULL.as_json(),
        "workloads": ["get"],
        "clients": list(CLIENTS),
        "artifacts": artifacts,
        "started": "2026-01-01T00:00:00+00:00",
    }
    (directory / MANIFEST).write_text(json.dumps(manifest))
    (directory / VERDICT).write_text(json.dumps(judge(directory).as_json()))
    return directory


def change_manifest(directory: Path, **changes) -> None:
    path = directory / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def file_of(directory: Path, client: str, repetition: int) -> Path:
    for step in steps(["get"], CLIENTS, FULL.repetitions):
        if (step.client, step.repetition) == (client, repetition):
            return directory / step.file
    raise AssertionError(client)


def change_run(directory: Path, change, *, client="quiche", repetition=2) -> None:
    """Let ``change`` loose on a run and make the manifest fit, as one who cheats would."""
    path = file_of(directory, client, repetition)
    run = read(path)
    change(run)
    write(run, path)
    manifest = json.loads((directory / MANIFEST).read_text())
    manifest["artifacts"][path.relative_to(directory).as_posix()] = sha256(path)
    (directory / MANIFEST).write_text(json.dumps(manifest))
