"""A client in a process of its own: ``python -m perf.peers.worker MODULE OPTIONS``.

The line protocol, which the Rust programs speak as well; every line is JSON:

* The worker begins with ``{"version": ..., ...}``: what it is.
* The harness says ``{"do": "connect", "url": ..., "ca_file": ...}``, then any number of workloads by the names and
  arguments of ``Adapter``: ``{"do": "stream", "path": "/stream", "count": 100}``. The end of its input means goodbye.
* The worker answers with its samples, a line ``[request_ns, headers_ns, first_body_ns, complete_ns, bytes]`` each,
  written when all are taken, and ``{"done": COUNT, "user_ns": ..., "system_ns": ..., "peak_bytes": ...}``: processor
  time of the process during the work, and its memory high-water mark so far. Where it cannot do the work it says
  ``{"unsupported": REASON}``, where it failed ``{"error": TEXT}``.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from perf.peers.adapter import Adapter, Unsupported


def usage() -> tuple[int, int]:
    """Return the nanoseconds of processor time so far, outside and inside the system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return int(used.ru_utime * 1e9), int(used.ru_stime * 1e9)


def peak() -> int:
    """Return the most bytes of memory that were resident at once."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def serve(adapter: Adapter) -> None:
    """Answer commands until there are no more."""
    say({"version": adapter.version, "python": sys.version.split()[0], **adapter.details()})
    for line in sys.stdin:
        command = json.loads(line)
        try:
            perform(adapter, command.pop("do"), command)
        except Unsupported as error:
            say({"unsupported": str(error)})
        except Exception as error:  # whatever a client raises is its result
            say({"error": f"{type(error).__name__}: {error}"[:500]})


def perform(adapter: Adapter, name: str, arguments: dict[str, Any]) -> None:
    """Do one piece of work and report it."""
    work = getattr(adapter, name)
    gc.collect()
    user, system = usage()
    samples = work(**arguments) or []
    user_end, system_end = usage()
    for sample in samples:
        say(sample)
    used = {"user_ns": user_end - user, "system_ns": system_end - system, "peak_bytes": peak()}
    say({"done": len(samples), **used})


def say(line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    if isinstance(line, dict):
        sys.stdout.flush()


def main() -> None:
    name, options = sys.argv[1], json.loads(sys.argv[2])
    adapter: Adapter = import_module(f"perf.peers.clients.{name}").Client(options)
    try:
        serve(adapter)
    finally:
        adapter.close()


if __name__ == "__main__":
    main()
