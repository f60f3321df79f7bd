"""What an import costs, in new interpreters."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from statistics import median
from typing import Final

from perf.bench.processes import environment
from perf.bench.scale import Scale
from perf.bench.table import Row, at_most
from perf.kit import cores
from perf.kit.build import ROOT

_TIMED: Final = "import time; b = time.perf_counter(); {statement}; print(time.perf_counter() - b)"


def import_time(scale: Scale) -> Iterator[Row]:
    """``import specter`` alone, and with the names that a first request loads."""
    first = [_once("import specter") for _ in range(scale.imports + 1)][1:]
    client = [_once("import specter; specter.Client, specter.get") for _ in range(scale.imports + 1)][1:]
    note = f"worst of {len(first)}: {1e3 * max(first):.0f} ms"
    yield Row("import specter", 1e3 * median(first), "ms", at_most(60), note)
    yield Row("import specter and its client", 1e3 * median(client), "ms", None, "what the first request loads")


def _once(statement: str) -> float:
    command = cores.pinned(cores.CLIENT, [sys.executable, "-c", _TIMED.format(statement=statement)])
    variables = environment()
    del variables["PYTHONDONTWRITEBYTECODE"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=variables, cwd=ROOT)
    return float(done.stdout)
