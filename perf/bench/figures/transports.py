"""The transports for httpx and httpx2 against those libraries' own HTTP/2, on the same Caddy."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any, Final

from perf.bench.caddy import Caddy, CaddyMissing
from perf.bench.processes import WorkerFailed, run
from perf.bench.scale import Scale
from perf.bench.table import Row, at_least, missing
from perf.kit.venvs import python_of

WORKER: Final = "perf.bench.transports"
LIBRARIES: Final = ("httpx", "httpx2")
CONCURRENCIES: Final = {0: "blocking", 1: "asyncio", 50: "asyncio, 50 tasks"}
ROUNDS: Final = 15
LEAST: Final = at_least(1.0)


def httpx(scale: Scale) -> Iterator[Row]:
    """Requests per processor second: over HTTP/3 with our transport, in multiples of the library's over HTTP/2."""
    titles = [
        (f"GET of 1 byte through {library}, {how}: requests per CPU second, of HTTP/2's", library, concurrency)
        for library in LIBRARIES
        for concurrency, how in CONCURRENCIES.items()
    ]
    try:
        with Caddy((1,)) as server:
            for title, library, concurrency in titles:
                task = {
                    "library": library,
                    "concurrency": concurrency,
                    "url": f"{server.url}/bytes/1",
                    "ca_file": server.ca_file,
                    "warm_ups": scale.warm_ups,
                    "rounds": min(scale.rounds, ROUNDS),
                    "count": max(scale.requests // ROUNDS, 1),
                }
                yield _row(title, task, scale)
    except CaddyMissing as error:
        yield missing(titles[0][0], "x", LEAST, str(error))


def _row(title: str, task: dict[str, Any], scale: Scale) -> Row:
    try:
        results = [run(python_of("specter"), WORKER, task) for _ in range(scale.repetitions)]
    except WorkerFailed as error:
        return missing(title, "x", LEAST, str(error))
    cost = {name: [median(result[name]) * 1e6 for result in results] for name in ("http3", "http2")}
    ratios = [theirs / ours for ours, theirs in zip(cost["http3"], cost["http2"], strict=True)]
    note = (
        f"{task['library']} {results[0]['version']}; {min(ratios):.2f}-{max(ratios):.2f} in {len(ratios)} processes, "
        f"{median(cost['http3']):.0f} us over HTTP/3, {median(cost['http2']):.0f} us over HTTP/2"
    )
    return Row(title, median(ratios), "x", LEAST, note)
