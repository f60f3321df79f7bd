"""Which core does what: servers on the first, clients on the second, when there are two."""

from __future__ import annotations

import os
import sys
from typing import Final

SERVER: Final = 0
CLIENT: Final = 1

_START: Final = (
    "import os, sys\n"
    "core = int(sys.argv[1])\n"
    "if hasattr(os, 'sched_setaffinity') and len(os.sched_getaffinity(0)) > 1:\n"
    "    os.sched_setaffinity(0, {core})\n"
    "if sys.argv[2] == 'realtime':\n"
    "    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))\n"
    "os.execvp(sys.argv[3], sys.argv[3:])\n"
)


def pinned(role: int, command: list[str], *, realtime: bool = False) -> list[str]:
    """Return ``command`` such that it runs on the core of its role, from its first instruction on.

    ``realtime`` puts it before whatever else wants that core (SCHED_FIFO, which the system must allow).
    """
    cores = usable()
    if len(cores) < 2:
        return command
    return [sys.executable, "-c", _START, str(cores[role]), "realtime" if realtime else "usual", *command]


def usable() -> list[int]:
    """Return the cores this process may use, in order; empty where the system does not say."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def describe() -> str:
    cores = usable()
    if len(cores) < 2:
        return "nothing is pinned"
    return f"servers on core {cores[SERVER]}, clients on core {cores[CLIENT]}"
