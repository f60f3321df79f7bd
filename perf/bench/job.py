"""One job of one HTTP client in a process of its own: ``python -m perf.bench.job JSON``; answers with one JSON line."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

from perf.bench.clients import HttpClient, make


def cpu() -> tuple[float, float]:
    """Return the seconds of processor time of this process so far: in all, and of it inside the system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, used.ru_stime


def measured(function: Callable[[], object], count: int) -> dict[str, float]:
    """Return the seconds of ``count`` calls: processor time, of it inside the system, and wall."""
    (begin, begin_system), begin_wall = cpu(), time.perf_counter()
    for _ in range(count):
        function()
    (end, end_system), end_wall = cpu(), time.perf_counter()
    return {"cpu": end - begin, "system": end_system - begin_system, "wall": end_wall - begin_wall}


def get(task: dict[str, Any]) -> dict[str, Any]:
    """Warm GETs of one small body, one after the other."""
    client = make(task["client"], task["ca_file"])
    url = task["url"]
    for _ in range(task["warm_ups"]):
        client.get(url)
    return {**measured(lambda: _expect(client.get(url), task["size"]), task["count"]), "version": client.version}


def download(task: dict[str, Any]) -> dict[str, Any]:
    """One large body on a connection that is there already."""
    client = make(task["client"], task["ca_file"])
    client.get(task["small_url"])
    return {**measured(lambda: _expect(client.download(task["url"]), task["size"]), 1), "version": client.version}


def connect(task: dict[str, Any]) -> dict[str, Any]:
    """New connections, each with a full handshake, the chain check and one GET."""

    def once() -> HttpClient:
        client = make(task["client"], task["ca_file"])
        _expect(client.get(task["url"]), task["size"])
        client.close()
        return client

    version = once().version
    return {**measured(once, task["count"]), "version": version}


def resume(task: dict[str, Any]) -> dict[str, Any]:
    """New connections of Specter, each resuming one before (with ``early_data`` in 0-RTT), and one GET."""
    import specter

    cache = specter.SessionCache()
    told: set[tuple[bool, str | None]] = set()

    def once() -> None:
        early = task["early_data"]
        with specter.Client(verify=task["ca_file"], session_cache=cache, early_data=early) as client:
            response = client.get(task["url"])
            _expect(len(response.content), task["size"])
            told.add((response.connection is not None and response.connection.resumed, response.early_data))
            if early:
                client.get(task["url"])  # the tickets come after an early response

    once()
    told.clear()
    found = measured(once, task["count"])
    if told != {(True, "accepted" if task["early_data"] else None)}:
        raise RuntimeError(f"not every connection was resumed: {told}")
    return {**found, "version": specter.__version__}


def _expect(size: int, wanted: int) -> None:
    if size != wanted:
        raise RuntimeError(f"{size} bytes came, not {wanted}")


def main() -> None:
    task = json.loads(sys.argv[1])
    job = {"get": get, "download": download, "connect": connect, "resume": resume}[task["job"]]
    print(json.dumps(job(task)))


if __name__ == "__main__":
    main()
