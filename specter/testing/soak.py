"""Many random connections at once: ``python -m specter.testing.soak SEEDS``, spread over processes.

Failures are told as they are found, each made smaller and with the line that runs it again. At the end come how many
connections there were, how they ended, and how long it took. A process whose memory grows counts as a failure too.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Final

from specter._backend import backend
from specter.testing.replay import Failed, replay, shrunk

__all__ = ["Tally", "main", "run"]

CHUNK: Final = 50
"""Seeds that a process takes at a time."""
WARM: Final = 200
"""Seeds after which a process has filled its caches."""
ROOM: Final = 500
"""Blocks of memory that a process may have more after any number of further seeds; it has a hundred thousand."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How some seeds ended."""

    ends: Counter[str]
    failures: tuple[str, ...] = ()

    @property
    def runs(self) -> int:
        return self.ends.total()


def run(first: int, last: int) -> Tally:
    """Run the seeds from ``first`` to ``last``; connections that went wrong count as ``failed``."""
    ends: Counter[str] = Counter()
    failures = []
    for seed in range(first, last + 1):
        try:
            ends[replay(seed).how] += 1
        except Failed as failed:
            ends["failed"] += 1
            failures.append(str(shrunk(failed, seed)))
    if grown := _memory.grown(last - first + 1):
        failures.append(f"seeds {first}-{last}: {grown} blocks of memory more than after the first {WARM} seeds")
    return Tally(ends, tuple(failures))


class _Memory:
    """What this process has allocated once all connections are gone."""

    def __init__(self) -> None:
        self._seeds = 0
        self._blocks = 0

    def grown(self, seeds: int) -> int:
        """Return how many blocks there are too many after so many more seeds."""
        self._seeds += seeds
        if self._seeds < WARM:
            return 0
        gc.collect()
        blocks = sys.getallocatedblocks()
        self._blocks = self._blocks or blocks
        more = blocks - self._blocks
        return more if more > ROOM else 0


_memory = _Memory()


def main(arguments: list[str]) -> int:
    """Run as many seeds as the command line says. Returns 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m specter.testing.soak")
    parser.add_argument("seeds", nargs="?", type=int, default=10_000, help="how many (10,000)")
    parser.add_argument("--first", type=int, default=0, help="the first one (0)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="how many (one a processor)")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    last = options.first + options.seeds - 1
    chunks = [(first, min(first + CHUNK - 1, last)) for first in range(options.first, last + 1, CHUNK)]
    ends: Counter[str] = Counter()
    failures = 0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.processes, mp_context=context) as pool:
        for tally in pool.map(run, *zip(*chunks, strict=True)):
            ends += tally.ends
            failures += len(tally.failures)
            for text in tally.failures:
                sys.stdout.write(f"{text}\n")
                sys.stdout.flush()
    _summarize(ends, failures, time.monotonic() - began)
    return 1 if failures else 0


def _summarize(ends: Counter[str], failures: int, seconds: float) -> None:
    lines = [f"{ends.total():,} connections ({backend()['datapath']}) in {seconds:,.0f} s, {failures} failures"]
    lines += [f"{count:>8,}  {how}" for how, count in ends.most_common()]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
