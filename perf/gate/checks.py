"""What is wrong with a run: each function returns sentences, none when all is well."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from perf.fixture.paced import CADENCE, CHUNK, CHUNKS
from perf.gate.plan import WORKLOADS, Counts
from perf.gate.records import MEASURED, Run

STATUSES: Final = frozenset({"measured", "unsupported", "missing", "failed"})
ENTRY: Final = frozenset(
    {"connection", "stream_id", "response", "chunk", "due_ns", "send_start_ns", "send_done_ns", "bytes", "fin"}
)


def run_problems(run: Run, counts: Counts) -> Iterator[str]:
    """Give what is wrong with a run by itself."""
    if run.status not in STATUSES:
        yield f"unknown status {run.status!r}"
    elif run.status != MEASURED:
        if not run.reason:
            yield "did not run, and does not say why"
        if run.samples or run.ledger:
            yield "did not run, and has samples"
    else:
        yield from _sample_problems(run, counts)
        if WORKLOADS[run.workload].paced:
            problems = list(ledger_problems(run.ledger, counts.total))
            yield from problems or _match_problems(run)


def _sample_problems(run: Run, counts: Counts) -> Iterator[str]:
    numbers = Counter(number for number, _ in run.samples)
    for number, times in numbers.items():
        if times > 1:
            yield f"sample {number} is there {times} times"
    if set(numbers) != set(range(counts.total)):
        yield f"has {len(numbers)} samples, not {counts.total}"
    wanted = WORKLOADS[run.workload].bytes
    before = 0
    for number, times in sorted(run.samples):
        if len(times) != 5 or not all(isinstance(value, int) for value in times):
            yield f"sample {number} is malformed"
            continue
        request, headers, first, complete, size = times
        if not before <= request <= headers <= complete or not request <= first <= complete:
            yield f"sample {number} has times in an impossible order"
        if size != wanted:
            yield f"sample {number} has {size} bytes, not {wanted}"
        before = complete


def ledger_problems(ledger: list[dict[str, Any]], responses: int) -> Iterator[str]:
    """Give what is wrong with a ledger by itself: counts, ids, due steps, FIN."""
    if any(set(entry) != ENTRY for entry in ledger):
        yield "the ledger has a malformed line"
        return
    if len({entry["connection"] for entry in ledger}) > 1:
        yield "the ledger has more than one connection: requests were to share a warm one"
        return
    seen = Counter((entry["response"], entry["chunk"]) for entry in ledger)
    wanted = set(itertools.product(range(responses), range(CHUNKS)))
    if missing := sorted(wanted - set(seen)):
        yield f"the ledger lacks chunk {missing[0][1]} of response {missing[0][0]} ({len(missing)} lines in all)"
    if extra := sorted(set(seen) - wanted):
        yield f"the ledger has chunk {extra[0][1]} of response {extra[0][0]}, which nobody asked for"
    if twice := [key for key, times in seen.items() if times > 1]:
        yield f"the ledger has chunk {twice[0][1]} of response {twice[0][0]} twice"
    yield from _chunk_problems(ledger)
    yield from _cadence_problems(ledger)


def _chunk_problems(ledger: list[dict[str, Any]]) -> Iterator[str]:
    for entry in ledger:
        name = f"chunk {entry['chunk']} of response {entry['response']}"
        if entry["bytes"] != CHUNK:
            yield f"{name} has {entry['bytes']} bytes, not {CHUNK}"
        if entry["fin"] is not (entry["chunk"] == CHUNKS - 1):
            yield f"{name} has FIN where it should not, or none where it should"
        if not entry["due_ns"] <= entry["send_start_ns"] <= entry["send_done_ns"]:
            yield f"{name} has times in an impossible order"


def _cadence_problems(ledger: list[dict[str, Any]]) -> Iterator[str]:
    """Due times are absolute: those of a response are exactly a step apart."""
    begins = {entry["response"]: entry for entry in ledger if entry["chunk"] == 0}
    for entry in ledger:
        begin = begins.get(entry["response"])
        if begin is None:
            continue
        if entry["due_ns"] - begin["due_ns"] != entry["chunk"] * CADENCE:
            yield f"chunk {entry['chunk']} of response {entry['response']} was due at the wrong time"
        if entry["stream_id"] != begin["stream_id"]:
            yield f"response {entry['response']} changes its stream"
    streams = Counter(entry["stream_id"] for entry in begins.values())
    if any(times > 1 for times in streams.values()):
        yield "two responses have the same stream"


def _match_problems(run: Run) -> Iterator[str]:
    """Samples and ledger must tell the same story: response N was asked for and taken in by sample N."""
    by_response = {(entry["response"], entry["chunk"]): entry for entry in run.ledger}
    for number, (request, headers, _, complete, _) in sorted(run.samples):
        first, last = by_response.get((number, 0)), by_response.get((number, CHUNKS - 1))
        if first is None or last is None:
            continue
        if not request <= first["due_ns"] <= complete or headers > complete:
            yield f"sample {number} and response {number} are not of the same time"
        elif last["send_start_ns"] > complete:
            yield f"sample {number} was complete before its last chunk left"
