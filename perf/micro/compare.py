"""Compiled against reference, and the receive burst against the bare cipher.

``python -m perf.micro.compare [FILE]``: FILE is what ``perf/micro/run -o FILE`` wrote; without it the benchmarks are
run now, briefly.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from perf.kit import alternate, recording
from perf.kit.bare import BareBurst
from perf.kit.build import ROOT, NativeUnavailable
from perf.kit.chains import ReceiveChain
from perf.kit.twins import available

ROUNDS = 300

_pyperf: Any = import_module("pyperf")  # it has no type information


def load(path: Path) -> dict[str, dict[str, float]]:
    """Return the median seconds by benchmark and twin."""
    times: dict[str, dict[str, float]] = {}
    suite: Any = _pyperf.BenchmarkSuite.load(str(path))
    for benchmark in suite.get_benchmarks():
        name, _, kind = benchmark.get_name().rpartition(" ")
        times.setdefault(name, {})[kind.strip("[]")] = benchmark.median()
    return times


def table(times: dict[str, dict[str, float]]) -> Iterator[str]:
    """Yield the lines of the comparison; times are nanoseconds, and context: the ratio is the result."""
    yield f"{'per operation':34} {'reference':>12} {'compiled':>12} {'ratio':>8}"
    for name, by_kind in times.items():
        reference, compiled = by_kind.get("reference"), by_kind.get("compiled")
        ratio = f"{reference / compiled:7.1f}x" if reference and compiled else ""
        yield f"{name:34} {_nanoseconds(reference)} {_nanoseconds(compiled)} {ratio:>8}"


def _nanoseconds(seconds: float | None) -> str:
    return f"{'-':>12}" if seconds is None else f"{1e9 * seconds:9.0f} ns"


def against_bare(rounds: int = ROUNDS) -> Iterator[str]:
    """Yield what a receive burst costs in bare openings of the same bytes, measured by turns in this process."""
    bursts = recording.record(recording.BURST, recording.BURST)
    try:
        measures = {"bare": BareBurst(bursts[0]).open}
    except NativeUnavailable as error:
        yield f"no bare cipher to compare with: {error}"
        return
    measures |= {twin.kind: ReceiveChain(twin, bursts).measure for twin in available()}
    samples = alternate.rounds(measures, rounds)
    for twin in available():
        times = [median(samples[name]) / recording.BURST for name in (twin.kind, "bare")]
        found = alternate.ratio(samples, twin.kind, "bare")
        yield f"receive burst of 64, {twin.kind}: {times[0]:.0f} ns a datagram, bare {times[1]:.0f}: {found}x"


def measure_now(path: Path) -> None:
    command = [sys.executable, "-m", "perf.micro", "--fast", "--quiet", "-o", str(path)]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def main(arguments: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(arguments[0]) if arguments else Path(folder) / "micro.json"
        if not arguments:
            measure_now(path)
        print("\n".join(table(load(path))))
    print()
    print("\n".join(against_bare()))


if __name__ == "__main__":
    main(sys.argv[1:])
