"""``python -m perf.gate run|verify``: run the gate, or judge a directory again from its raw samples."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from perf.gate.plan import FULL, GROUPS, QUICK
from perf.gate.runner import foreign, run_gate
from perf.gate.show import render
from perf.gate.verdict import VERDICT, judge
from perf.kit.build import ROOT
from perf.kit.identity import tree
from perf.peers.registry import PEERS

PASSED: Final = 0
LOST: Final = 1
INVALID: Final = 2


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="perf/gate", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure, judge, and leave everything in a directory")
    run.add_argument("group", choices=GROUPS, nargs="?", default="all")
    run.add_argument("--out", type=Path, metavar="DIR", help="an empty directory; .cache/gate/DATE by default")
    run.add_argument("--quick", action="store_true", help="a few samples: shows that everything runs, proves nothing")
    run.add_argument("--only", metavar="CLIENT", action="append", choices=[peer.name for peer in PEERS])
    run.add_argument("--anyway", action="store_true", help="run although the tree is dirty; the verdict says so")
    run.add_argument(
        "--realtime", action="store_true", help="fixture and clients go before all other processes (wants root)"
    )
    verify = commands.add_parser("verify", help="judge again, from the raw samples alone")
    verify.add_argument("directory", type=Path)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    return verify(options.directory) if options.command == "verify" else run(options)


def run(options: argparse.Namespace) -> int:
    """Run the gate; say no at once to what could not pass."""
    obstacles = [f"{name} is set" for name in foreign()]
    if tree()["dirty"]:
        obstacles.append("the tree is dirty")
    if obstacles and not (options.anyway or options.quick):
        print(f"perf/gate: {'; '.join(obstacles)} (--anyway runs all the same, and cannot pass)", file=sys.stderr)
        return INVALID
    directory = options.out or ROOT / ".cache" / "gate" / f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    if directory.exists() and any(directory.iterdir()):
        print(f"perf/gate: {directory} is not empty", file=sys.stderr)
        return INVALID
    directory.mkdir(parents=True, exist_ok=True)
    clients = options.only or [peer.name for peer in PEERS]
    run_gate(directory, GROUPS[options.group], clients, QUICK if options.quick else FULL, realtime=options.realtime)
    verdict = judge(directory)
    (directory / VERDICT).write_text(json.dumps(verdict.as_json(), indent=1) + "\n")
    print(render(directory))
    print(f"\nall of it is in {directory}")
    return status(verdict.passed, verdict.problems)


def verify(directory: Path) -> int:
    """Judge a directory again; what was said about it before must be the same."""
    verdict = judge(directory)
    print(render(directory))
    try:
        told = json.loads((directory / VERDICT).read_text())
    except (OSError, ValueError) as error:
        print(f"no verdict to compare with: {error}")
        return INVALID
    if told != json.loads(json.dumps(verdict.as_json())):
        print("the verdict in the directory is another one")
        return INVALID
    return status(verdict.passed, verdict.problems)


def status(passed: bool, problems: Sequence[str]) -> int:
    if problems:
        return INVALID
    return PASSED if passed else LOST


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
