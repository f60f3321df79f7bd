"""The same bursts through Specter's engine and through those of aioquic and qh3, each in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median
from typing import Final

from perf.bench.processes import Worker, WorkerFailed
from perf.bench.scale import Scale
from perf.bench.table import Row, at_least, missing
from perf.kit import alternate
from perf.kit.venvs import VenvUnavailable, python_of

# What runs, the environment it runs in, and how many times cheaper Specter has to be.
RIVALS: Final = {
    "qh3": ("qh3", at_least(4), "a datagram a call"),
    "qh3-burst": ("qh3", at_least(4), "its call for a whole burst"),
    "aioquic": ("aioquic", at_least(30), "a datagram a call, it has no other"),
}
MODULE: Final = "perf.bench.pump"


def peers(scale: Scale) -> Iterator[Row]:
    """Client time per packet, 64 datagrams of 1,200 bytes a flush, the same server engine for all."""
    with ExitStack() as stack:
        workers = {"specter": stack.enter_context(Worker(python_of("specter"), MODULE, "specter"))}
        absent: dict[str, str] = {}
        for name, (venv, _, _) in RIVALS.items():
            try:
                workers[name] = stack.enter_context(Worker(python_of(venv), MODULE, name))
            except (VenvUnavailable, WorkerFailed) as error:
                absent[name] = str(error)
        samples = alternate.rounds(
            {name: _measure(worker, scale.bursts) for name, worker in workers.items()}, scale.worker_rounds
        )
        versions = {name: worker.greeting["version"] for name, worker in workers.items()}
    own = median(samples["specter"])
    yield Row("engine: receive, a packet", own, "ns", None, f"specter {versions['specter']}, 64 datagrams a flush")
    for name, (venv, budget, how) in RIVALS.items():
        figure = f"engine: {name} / specter"
        if name in absent:
            yield missing(figure, "x", budget, absent[name])
            continue
        found = alternate.ratio(samples, name, "specter")
        note = f"{venv} {versions[name]} {median(samples[name]):.0f} ns a packet; {how}"
        yield Row(figure, found.value, "x", budget, note)


def _measure(worker: Worker, bursts: int) -> alternate.Measure:
    def measure() -> float:
        return float(median(worker.ask({"bursts": bursts})["per_packet"]))

    return measure
