"""The asyncio client against Caddy, by turns with the blocking one where it is compared with it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from statistics import median
from typing import Any, Final

from perf.bench.caddy import Caddy, CaddyMissing
from perf.bench.processes import WorkerFailed, run
from perf.bench.scale import Scale
from perf.bench.table import Row, at_most, missing
from perf.kit.venvs import python_of

LOOP_JOB: Final = "perf.bench.loop_job"
JOB: Final = "perf.bench.job"
CROWD: Final = 1000
CROWD_SIZE: Final = 100_000
AT_ONCE: Final = 100


def _loops() -> tuple[str, ...]:
    return ("asyncio", "uvloop") if importlib.util.find_spec("uvloop") else ("asyncio",)


def _in_turns(tasks: dict[str, tuple[str, dict[str, Any]]], repetitions: int) -> dict[str, list[dict[str, Any]]]:
    """Run each task in fresh processes, by turns."""
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in tasks}
    for _ in range(repetitions):
        for name, (module, task) in tasks.items():
            results[name].append(run(python_of("specter"), module, task))
    return results


def async_get(scale: Scale) -> Iterator[Row]:
    """GETs of one byte on a warm connection, one after the other and many at once."""
    figure = "asyncio GET of 1 byte, warm, client CPU"
    try:
        with Caddy((1,)) as server:
            common = {"job": "get", "url": f"{server.url}/bytes/1", "size": 1, "ca_file": server.ca_file}
            common |= {"warm_ups": max(scale.warm_ups, AT_ONCE), "count": max(scale.requests, AT_ONCE)}
            tasks = {
                (loop, at_once): (LOOP_JOB, {**common, "loop": loop, "at_once": at_once})
                for loop in _loops()
                for at_once in (1, AT_ONCE)
            }
            named = {f"{loop} {at_once}": task for (loop, at_once), task in tasks.items()}
            results = _in_turns(named, scale.repetitions)
    except (CaddyMissing, WorkerFailed) as error:
        yield missing(figure, "us", at_most(110), str(error))
        return
    factor = 1e6 / common["count"]
    for (loop, at_once), name in zip(tasks, named, strict=True):
        judged = (loop, at_once) == ("asyncio", 1)
        title = figure if judged else f"  {loop}, {at_once} at once" if at_once > 1 else f"  {loop}"
        yield _row(title, "us", factor, results[name], at_most(110) if judged else None)


def async_download(scale: Scale) -> Iterator[Row]:
    """A large body: the asyncio client's processor time beside the blocking one's."""
    figure = f"asyncio / blocking download of {scale.download / 1e6:g} MB, client CPU"
    try:
        with Caddy((1, scale.download)) as server:
            common = {
                "job": "download",
                "url": f"{server.url}/bytes/{scale.download}",
                "small_url": f"{server.url}/bytes/1",
                "size": scale.download,
                "ca_file": server.ca_file,
            }
            tasks = {loop: (LOOP_JOB, {**common, "loop": loop}) for loop in _loops()}
            tasks["blocking"] = (JOB, {**common, "client": "specter"})
            results = _in_turns(tasks, scale.repetitions)
    except (CaddyMissing, WorkerFailed) as error:
        yield missing(figure, "x", at_most(1.15), str(error))
        return
    factor = 1e9 / scale.download
    own, blocking = (median(result["cpu"] for result in results[name]) for name in ("asyncio", "blocking"))
    yield Row(figure, own / blocking, "x", at_most(1.15), "medians of processes by turns")
    for name in tasks:
        yield _row(f"  {name}, per GB", "s", factor, results[name], None)


def async_crowd(scale: Scale) -> Iterator[Row]:
    """Many downloads at once, and what they cost in memory."""
    count = min(CROWD, scale.open_streams)
    figure = f"memory of the process, {count:,} downloads of {CROWD_SIZE:,} bytes at once"
    try:
        with Caddy((1, CROWD_SIZE)) as server:
            task = {"job": "crowd", "loop": "asyncio", "count": count, "size": CROWD_SIZE, "ca_file": server.ca_file}
            task |= {"url": f"{server.url}/bytes/{CROWD_SIZE}", "small_url": f"{server.url}/bytes/1"}
            found = run(python_of("specter"), LOOP_JOB, task)
    except (CaddyMissing, WorkerFailed) as error:
        yield missing(figure, "MB", at_most(150), str(error))
        return
    yield Row(figure, found["peak"], "MB", at_most(150), "passed through in pieces")
    bodies = count * CROWD_SIZE / 1e6
    yield Row("  with every body kept", found["kept"], "MB", None, f"{bodies:.0f} MB of them are the bodies")


def _row(title: str, unit: str, factor: float, results: list[dict[str, Any]], budget: Any) -> Row:
    values = [result["cpu"] * factor for result in results]
    share = median(result["system"] / result["cpu"] for result in results)
    wall = median(result["wall"] * factor for result in results)
    note = (
        f"{min(values):.3g}-{max(values):.3g} in {len(values)} processes, "
        f"{share:.0%} of it system calls, wall {wall:.3g} {unit}"
    )
    return Row(title, median(values), unit, budget, note)
