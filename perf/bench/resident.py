"""Downloads a body in a process of its own and watches its memory: ``python -m perf.bench.resident JSON``."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Final

MEGABYTE: Final = 1e6
_STATUS: Final = Path("/proc/self/status")


def resident(peak: bool = False) -> float:
    """Return the resident megabytes of this process, now or at most so far."""
    field = "VmHWM:" if peak else "VmRSS:"
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024 / MEGABYTE
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGABYTE


def main() -> None:
    task = json.loads(sys.argv[1])
    bare = resident(peak=True)
    import specter

    with specter.Client(verify=task["ca_file"]) as client:
        imported = resident()
        early, received = 0.0, 0
        with client.stream("GET", task["url"]) as response:
            for piece in response.iter_bytes():
                received += len(piece)
                if not early and received >= task["size"] // 10:
                    early = resident()
        late, peak = resident(), resident(peak=True)
    if received != task["size"]:
        raise RuntimeError(f"{received} bytes came, not {task['size']}")
    print(json.dumps({"bare": bare, "imported": imported, "early": early, "late": late, "peak": peak}))


if __name__ == "__main__":
    main()
