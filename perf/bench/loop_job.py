"""One job of the asyncio client in a process of its own: ``python -m perf.bench.loop_job JSON``; answers with JSON."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import specter
from perf.bench.job import cpu
from perf.bench.resident import resident

Job = Callable[[specter.AsyncClient, dict[str, Any]], Awaitable[dict[str, Any]]]


async def measured(work: Callable[[], Awaitable[object]]) -> dict[str, Any]:
    """Return the seconds that ``work`` takes: processor time, of it inside the system, and wall."""
    (begin, begin_system), begin_wall = cpu(), time.perf_counter()
    await work()
    (end, end_system), end_wall = cpu(), time.perf_counter()
    return {"cpu": end - begin, "system": end_system - begin_system, "wall": end_wall - begin_wall}


async def fetch(client: specter.AsyncClient, url: str, size: int) -> None:
    response = await client.get(url)
    if len(response.content) != size:
        raise RuntimeError(f"{len(response.content)} bytes came, not {size}")


async def get(client: specter.AsyncClient, task: dict[str, Any]) -> dict[str, Any]:
    """Warm GETs, ``at_once`` at a time."""
    url, size, at_once = task["url"], task["size"], task["at_once"]

    async def many(count: int) -> None:
        for _ in range(count // at_once):
            if at_once == 1:
                await fetch(client, url, size)
            else:
                await asyncio.gather(*(fetch(client, url, size) for _ in range(at_once)))

    await many(task["warm_ups"])
    return await measured(lambda: many(task["count"]))


async def download(client: specter.AsyncClient, task: dict[str, Any]) -> dict[str, Any]:
    """One large body on a connection that is there already."""

    async def read() -> None:
        received = 0
        async with client.stream("GET", task["url"]) as response:
            async for piece in response.aiter_bytes():
                received += len(piece)
        if received != task["size"]:
            raise RuntimeError(f"{received} bytes came, not {task['size']}")

    await client.get(task["small_url"])
    return await measured(read)


async def crowd(client: specter.AsyncClient, task: dict[str, Any]) -> dict[str, Any]:
    """Many downloads at once, passed through in pieces; then many bodies at once, all of them kept."""

    async def one() -> int:
        async with client.stream("GET", task["url"], timeout=None) as response:
            return sum([len(piece) async for piece in response.aiter_bytes()])

    await client.get(task["small_url"])
    sizes = await asyncio.gather(*(one() for _ in range(task["count"])))
    peak = resident(peak=True)
    responses = await asyncio.gather(*(client.get(task["url"], timeout=None) for _ in range(task["count"])))
    if {*sizes, *(len(response.content) for response in responses)} != {task["size"]}:
        raise RuntimeError("a body is not as long as it should be")
    return {"peak": peak, "kept": resident(peak=True)}


async def main(job: Job, task: dict[str, Any]) -> dict[str, Any]:
    async with specter.AsyncClient(verify=task["ca_file"]) as client:
        return {**await job(client, task), "version": specter.__version__}


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    jobs: dict[str, Job] = {"get": get, "download": download, "crowd": crowd}
    run = asyncio.run
    if given["loop"] == "uvloop":
        from uvloop import run
    print(json.dumps(run(main(jobs[given["job"]], given))))
