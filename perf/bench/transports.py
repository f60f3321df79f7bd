"""httpx (or httpx2) over our transport and over its own HTTP/2, by turns: ``python -m perf.bench.transports JSON``.

Both clients live in this one process and take turns, so that whatever else the machine does meets them alike. Answers
with one JSON line: for either, processor time per request (seconds), a value a round.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections.abc import Coroutine
from importlib import import_module
from types import ModuleType
from typing import Any

from perf.bench.job import cpu

TIMEOUT = 30


def _versions(library: ModuleType) -> str:
    return str(library.__version__)


def _check(response: Any, name: str) -> None:
    wanted = {"http3": "HTTP/3", "http2": "HTTP/2"}[name]
    if response.status_code != 200 or response.http_version != wanted:
        raise RuntimeError(f"{response.status_code} over {response.http_version}, not {wanted}")


def _options(task: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    ours = {"verify": task["ca_file"], "resolve": {"localhost": "127.0.0.1"}, "head_start": 10}
    context = ssl.create_default_context(cafile=task["ca_file"])
    return ours, {"http1": False, "http2": True, "verify": context, "timeout": TIMEOUT}


def blocking(task: dict[str, Any]) -> dict[str, Any]:
    """GETs one after the other."""
    library = import_module(task["library"])
    transport = import_module(f"specter.integrations.{task['library']}").Transport
    ours, theirs = _options(task)
    results: dict[str, list[float]] = {"http3": [], "http2": []}
    with (
        library.Client(transport=transport(**ours), timeout=TIMEOUT) as http3,
        library.Client(**theirs) as http2,
    ):
        clients = {"http3": http3, "http2": http2}
        for _ in range(task["warm_ups"]):
            for client in clients.values():
                client.get(task["url"])
        for _ in range(task["rounds"]):
            for name, client in clients.items():
                begin = cpu()[0]
                for _ in range(task["count"]):
                    response = client.get(task["url"])
                results[name].append((cpu()[0] - begin) / task["count"])
                _check(response, name)
    return {**results, "version": _versions(library)}


def tasks(task: dict[str, Any]) -> dict[str, Any]:
    """GETs of ``concurrency`` tasks at once."""
    return asyncio.run(_tasks(task))


async def _tasks(task: dict[str, Any]) -> dict[str, Any]:
    library = import_module(task["library"])
    transport = import_module(f"specter.integrations.{task['library']}").AsyncTransport
    ours, theirs = _options(task)
    results: dict[str, list[float]] = {"http3": [], "http2": []}
    each = max(task["count"] // task["concurrency"], 1)

    async def fetch(client: Any, count: int) -> Any:
        for _ in range(count):
            response = await client.get(task["url"])
        return response

    def fetches(client: Any) -> list[Coroutine[Any, Any, Any]]:
        return [fetch(client, each) for _ in range(task["concurrency"])]

    async with (
        library.AsyncClient(transport=transport(**ours), timeout=TIMEOUT) as http3,
        library.AsyncClient(**theirs) as http2,
    ):
        clients = {"http3": http3, "http2": http2}
        for client in clients.values():
            await fetch(client, task["warm_ups"])
        for _ in range(task["rounds"]):
            for name, client in clients.items():
                begin = cpu()[0]
                responses = await asyncio.gather(*fetches(client))
                results[name].append((cpu()[0] - begin) / (each * task["concurrency"]))
                _check(responses[0], name)
    return {**results, "version": _versions(library)}


def main() -> None:
    task = json.loads(sys.argv[1])
    print(json.dumps(tasks(task) if task["concurrency"] else blocking(task)))


if __name__ == "__main__":
    main()
