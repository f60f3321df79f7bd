"""Client processor time against Caddy: Specter, and what people use today, by turns in fresh processes."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any, Final

from perf.bench.caddy import Caddy, CaddyMissing
from perf.bench.processes import WorkerFailed, run
from perf.bench.scale import Scale
from perf.bench.table import Budget, Row, at_most, missing
from perf.kit.venvs import VenvUnavailable, python_of

CLIENTS: Final = ("specter", "curl_cffi", "niquests")
JOB: Final = "perf.bench.job"


def download(scale: Scale) -> Iterator[Row]:
    """A large file on a warm connection."""
    figure = f"download {scale.download / 1e6:g} MB from Caddy, client CPU per GB"
    try:
        with Caddy((1, scale.download)) as server:
            task = {
                "job": "download",
                "url": f"{server.url}/bytes/{scale.download}",
                "small_url": f"{server.url}/bytes/1",
                "size": scale.download,
                "ca_file": server.ca_file,
            }
            yield from _rows(figure, "s", 1e9 / scale.download, at_most(1.2), task, scale)
    except CaddyMissing as error:
        yield missing(figure, "s", at_most(1.2), str(error))


def get(scale: Scale) -> Iterator[Row]:
    """Blocking GETs of one byte on a warm connection."""
    figure = "blocking GET of 1 byte, warm, client CPU"
    try:
        with Caddy((1,)) as server:
            task = {
                "job": "get",
                "url": f"{server.url}/bytes/1",
                "size": 1,
                "count": scale.requests,
                "warm_ups": scale.warm_ups,
                "ca_file": server.ca_file,
            }
            yield from _rows(figure, "us", 1e6 / scale.requests, at_most(60), task, scale)
    except CaddyMissing as error:
        yield missing(figure, "us", at_most(60), str(error))


def connect(scale: Scale) -> Iterator[Row]:
    """A new connection for every request."""
    figure = "new connection and one GET, client CPU"
    try:
        with Caddy((1,)) as server:
            task = {
                "job": "connect",
                "url": f"{server.url}/bytes/1",
                "size": 1,
                "count": scale.connections,
                "ca_file": server.ca_file,
            }
            yield from _rows(figure, "ms", 1e3 / scale.connections, at_most(2.2), task, scale)
    except CaddyMissing as error:
        yield missing(figure, "ms", at_most(2.2), str(error))


def resume(scale: Scale) -> Iterator[Row]:
    """A new connection for every request, resumed; and with early data, followed by another GET for the tickets."""
    figure = "resumed connection and one GET, client CPU"
    try:
        with Caddy((1,)) as server:
            task = {
                "job": "resume",
                "url": f"{server.url}/bytes/1",
                "size": 1,
                "count": scale.connections,
                "ca_file": server.ca_file,
            }
            for early, title in ((False, figure), (True, "  with early data, and one more GET")):
                work = {**task, "early_data": early}
                yield from _rows(title, "ms", 1e3 / scale.connections, None, work, scale, ("specter",))
    except CaddyMissing as error:
        yield missing(figure, "ms", None, str(error))


def _rows(
    figure: str,
    unit: str,
    factor: float,
    budget: Budget | None,
    task: dict[str, Any],
    scale: Scale,
    clients: tuple[str, ...] = (),
) -> Iterator[Row]:
    """Let ``clients`` (or all) do ``task`` in ``repetitions`` fresh processes; ``factor`` turns seconds to the unit."""
    clients = clients or CLIENTS
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in clients}
    absent: dict[str, str] = {}
    order = list(clients)
    for _ in range(scale.repetitions):
        for name in order:
            if name not in absent:
                try:
                    results[name].append(run(python_of(name), JOB, {**task, "client": name}))
                except (VenvUnavailable, WorkerFailed) as error:
                    absent[name] = str(error)
        order.reverse()
    for name in clients:
        own = name == "specter"
        title = figure if own else f"  {name}"
        if name in absent:
            yield missing(title, unit, budget if own else None, absent[name])
        else:
            yield _row(title, unit, factor, budget if own else None, name, results[name])


def _row(title: str, unit: str, factor: float, budget: Budget | None, name: str, results: list[dict[str, Any]]) -> Row:
    values = [result["cpu"] * factor for result in results]
    wall = median(result["wall"] * factor for result in results)
    share = median(result["system"] / result["cpu"] for result in results)
    note = (
        f"{name} {results[0]['version']}; {min(values):.3g}-{max(values):.3g} in {len(values)} processes, "
        f"{share:.0%} of it system calls, wall {wall:.3g} {unit}"
    )
    return Row(title, median(values), unit, budget, note)
