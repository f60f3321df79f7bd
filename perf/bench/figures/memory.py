"""Resident memory of a client while a gigabyte passes through it."""

from __future__ import annotations

from collections.abc import Iterator

from perf.bench.caddy import Caddy, CaddyMissing
from perf.bench.processes import WorkerFailed, run
from perf.bench.scale import Scale
from perf.bench.table import Row, at_most, missing
from perf.kit.venvs import python_of

MODULE = "perf.bench.resident"


def memory(scale: Scale) -> Iterator[Row]:
    """The peak above a bare interpreter, and how much it grew between the first tenth and the end."""
    size = scale.large
    figure = f"memory above the interpreter, {size / 1e9:g} GB"
    try:
        with Caddy((1, size)) as server:
            task = {"url": f"{server.url}/bytes/{size}", "size": size, "ca_file": server.ca_file}
            found = run(python_of("specter"), MODULE, task)
    except (CaddyMissing, WorkerFailed) as error:
        yield missing(figure, "MB", at_most(64), str(error))
        return
    note = (
        f"interpreter {found['bare']:.0f} MB, with Specter imported {found['imported']:.0f}, peak {found['peak']:.0f}"
    )
    yield Row(figure, found["peak"] - found["bare"], "MB", at_most(64), note)
    early, late = found["early"], found["late"]
    note = f"resident {early:.1f} MB after a tenth, {late:.1f} at the end"
    yield Row("growth from a tenth of it to the end", late - early, "MB", at_most(4), note)
