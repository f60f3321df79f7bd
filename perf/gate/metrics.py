"""The figures of a run, from its samples and its ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from perf.fixture.paced import CADENCE, CHUNKS
from perf.gate.plan import WORKLOADS
from perf.gate.records import Run, times_of

NOMINAL_SPAN: Final = (CHUNKS - 1) * CADENCE
MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure that clients are compared by; ``factor`` turns nanoseconds or bytes a second into ``unit``."""

    name: str
    title: str
    unit: str
    more_is_better: bool = False

    def beats(self, one: float, other: float) -> bool:
        """Whether ``one`` is better than ``other``; not when they are the same."""
        return one > other if self.more_is_better else one < other

    def best(self, values: Sequence[float]) -> float:
        return max(values) if self.more_is_better else min(values)

    def worst(self, values: Sequence[float]) -> float:
        return min(values) if self.more_is_better else max(values)


PACED: Final = (
    Metric("ttfb_p50", "TTFB p50", "us"),
    Metric("ttfb_p95", "TTFB p95", "us"),
    Metric("tail_p50", "ledger tail p50", "us"),
    Metric("tail_p95", "ledger tail p95", "us"),
    Metric("throughput", "ledger-paced throughput", "MiB/s", more_is_better=True),
)
TUNNEL: Final = (
    Metric("p50", "p50", "us"),
    Metric("p95", "p95", "us"),
    Metric("throughput", "throughput", "MiB/s", more_is_better=True),
)
METRICS: Final[Mapping[str, Sequence[Metric]]] = {"get": PACED, "echo": TUNNEL, "close": TUNNEL, "mixed": TUNNEL}


def percentile(values: Sequence[int], share: float) -> int:
    """Return ``sorted[ceil(p n) - 1]``."""
    return sorted(values)[ceil(share * len(values)) - 1]


def last_sends(run: Run) -> dict[int, int]:
    """Return when the last chunk of each response began to leave."""
    return {entry["response"]: entry["send_start_ns"] for entry in run.ledger if entry["fin"]}


def ttfbs(run: Run, warm_ups: int) -> list[int]:
    return [headers - request for request, headers, *_ in times_of(run, warm_ups)]


def totals(run: Run, warm_ups: int) -> list[int]:
    return [complete - request for request, _, _, complete, _ in times_of(run, warm_ups)]


def tails(run: Run, warm_ups: int) -> list[int]:
    """Return how long after the last chunk began to leave the caller held the last byte, for each sample."""
    sends = last_sends(run)
    return [times[3] - sends[number] for number, times in sorted(run.samples) if number >= warm_ups]


def figures(run: Run, warm_ups: int) -> dict[str, float]:
    """Return the metrics of a run by name. The run must be free of problems."""
    if run.workload == "get":
        return _paced(run, warm_ups)
    spans = ttfbs(run, warm_ups) if run.workload == "mixed" else totals(run, warm_ups)
    size = WORKLOADS[run.workload].bytes
    return {
        "p50": percentile(spans, 0.5) / 1e3,
        "p95": percentile(spans, 0.95) / 1e3,
        "throughput": _rate(size * len(spans), sum(totals(run, warm_ups))),
    }


def _paced(run: Run, warm_ups: int) -> dict[str, float]:
    first, last = ttfbs(run, warm_ups), tails(run, warm_ups)
    size = sum(times[4] for times in times_of(run, warm_ups))
    spent = sum(ttfb + NOMINAL_SPAN + tail for ttfb, tail in zip(first, last, strict=True))
    return {
        "ttfb_p50": percentile(first, 0.5) / 1e3,
        "ttfb_p95": percentile(first, 0.95) / 1e3,
        "tail_p50": percentile(last, 0.5) / 1e3,
        "tail_p95": percentile(last, 0.95) / 1e3,
        "throughput": _rate(size, spent),
    }


def _rate(size: int, spent: int) -> float:
    return size * 1e9 / spent / MIB


def lateness(run: Run) -> list[int]:
    """Return how late each chunk with a due time of its own began to leave (ns)."""
    return [entry["send_start_ns"] - entry["due_ns"] for entry in run.ledger if entry["chunk"]]
