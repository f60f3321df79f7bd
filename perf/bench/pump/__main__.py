"""A client stack and the feed in a process of their own: ``python -m perf.bench.pump NAME``.

Reads one JSON object a line, ``{"bursts": N}``, and answers each with ``{"per_packet": [nanoseconds, ...]}``. The first
line it writes says which version it is. It ends with its input.
"""

from __future__ import annotations

import json
import sys
from typing import Final

from perf.bench.pump.client import make_client
from perf.bench.pump.feed import Feed
from perf.bench.pump.pump import Pump

RAMP: Final = 2 << 20


def main(name: str) -> None:
    client = make_client(name)
    pump = Pump(client, Feed())
    pump.connect()
    pump.ramp(RAMP)
    _say({"name": name, "version": client.version})
    for line in sys.stdin:
        count = json.loads(line)["bursts"]
        _say({"per_packet": [pump.burst().per_packet for _ in range(count)]})


def _say(what: object) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
