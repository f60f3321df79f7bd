"""What a micro-benchmark is, and all of them by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from time import perf_counter
from typing import Any, Final, TypeAlias

from perf.kit.twins import Twin

Timed: TypeAlias = Callable[[int], float]
"""Does the work so many times and returns the seconds it took; what is not the work is not counted."""

MODULES: Final = (
    "header",
    "aead",
    "frame_decode",
    "reassembly",
    "ack_encode",
    "receive_burst",
    "send_burst",
)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """``make`` prepares the data of one twin; each time of its result is ``operations`` operations long."""

    name: str
    make: Callable[[Twin], Timed]
    operations: int = 1


def repeat(function: Callable[..., Any], *arguments: Any) -> Timed:
    """Return how to time calls that need no preparation."""

    def timed(loops: int) -> float:
        count = range(loops)
        begin = perf_counter()
        for _ in count:
            function(*arguments)
        return perf_counter() - begin

    return timed


def collect(measure: Callable[[], float]) -> Timed:
    """Return how to time what measures itself in nanoseconds."""

    def timed(loops: int) -> float:
        return sum(measure() for _ in range(loops)) / 1e9

    return timed


def benchmarks(names: Iterable[str] = ()) -> Iterator[Benchmark]:
    """Yield the benchmarks whose name begins with one of ``names``, all of them without any."""
    wanted = tuple(names)
    for module in MODULES:
        for benchmark in import_module(f"perf.micro.{module}").BENCHMARKS:
            if not wanted or benchmark.name.startswith(wanted):
                yield benchmark
