"""``python -m perf.suite``: throughput and scale of every client against every server."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from perf.kit.build import ROOT
from perf.peers.registry import PEERS
from perf.suite.runner import read, run_suite
from perf.suite.servers import SERVERS
from perf.suite.table import render
from perf.suite.workloads import FULL, QUICK, workloads


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="perf/suite/run", description=__doc__)
    names = [peer.name for peer in PEERS]
    parser.add_argument("--client", metavar="NAME", action="append", choices=names, help=", ".join(names))
    parser.add_argument("--server", metavar="NAME", action="append", choices=SERVERS, help=", ".join(SERVERS))
    works = [work.name for work in workloads(FULL)]
    parser.add_argument("--only", metavar="WORK", action="append", choices=works, help=", ".join(works))
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that everything runs, nothing else")
    parser.add_argument("--out", type=Path, metavar="DIR", help=".cache/suite/DATE by default")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    directory = options.out or ROOT / ".cache" / "suite" / f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    directory.mkdir(parents=True, exist_ok=True)
    clients = options.client or [peer.name for peer in PEERS]
    run_suite(directory, QUICK if options.quick else FULL, clients, options.server or list(SERVERS), options.only or ())
    print(render(*read(directory)))
    print(f"all of it is in {directory}")
    if options.quick:
        print("--quick: the figures mean nothing")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
