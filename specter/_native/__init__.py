"""The protocol layers compiled: the same source files as extension modules, where the build made them.

``tls``, ``quic``, ``h3``, ``net`` and ``client`` are plain typed Python. A wheel for a platform has their hot part too,
compiled by mypyc, one shared library and a stub a module, in folders below this one that mirror the packages.
``prefer`` puts such a folder in front of a package's search path; nothing else knows of it. In a working copy modules
older than their sources are not used.
"""

from __future__ import annotations

import os
from typing import Final

HERE: Final = os.path.dirname(os.path.abspath(__file__))
SOURCES: Final = os.path.join(HERE, "sources")
"""In a working copy: a line for each compiled source file, its size and time of change (ns)."""


def _pure() -> bool:
    return os.environ.get("SPECTER_PURE", "") not in ("", "0")


def _stale() -> bool:
    try:
        with open(SOURCES, encoding="utf-8") as lines:
            return any(_changed(*line.rstrip("\n").split("\t")) for line in lines)
    except FileNotFoundError:
        return False


def _changed(name: str, size: str, changed: str) -> bool:
    try:
        found = os.stat(os.path.join(os.path.dirname(HERE), name))
    except OSError:
        return True
    return (str(found.st_size), str(found.st_mtime_ns)) != (size, changed)


def _state() -> str:
    if not any(name.startswith("layers__mypyc.") for name in os.listdir(HERE)):
        return "interpreted"
    if _pure():
        return "interpreted"
    return "stale" if _stale() else "compiled"


STATE: Final = _state()
"""``"compiled"``, ``"interpreted"``, or ``"stale"``: compiled, but older than the sources, which are used."""


def prefer(package: str, path: list[str]) -> None:
    """Let the compiled modules of ``package`` (its dotted name) be found before those in ``path``."""
    if STATE == "compiled":
        path.insert(0, os.path.join(HERE, *package.split(".")[1:]))
