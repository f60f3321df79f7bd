"""Both twins of every hot module in one process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Final

PACKAGES: Final = {"reference": "specter._reference", "compiled": "specter._speedups"}
MODULES: Final = ("protection", "frames", "reassembly", "acks", "sent", "sendbuffer", "batch", "datapath")


@dataclass(frozen=True, slots=True)
class Twin:
    """The modules of one side."""

    kind: str
    protection: Any
    frames: Any
    reassembly: Any
    acks: Any
    sent: Any
    sendbuffer: Any
    batch: Any
    datapath: Any


@cache
def load(kind: str) -> Twin:
    """Return the ``"reference"`` or the ``"compiled"`` side.

    Raises:
        ImportError: not all of it is there.
    """
    return Twin(kind, **{name: import_module(f"{PACKAGES[kind]}.{name}") for name in MODULES})


def available() -> list[Twin]:
    """Return the twins that can be imported, the reference first."""
    found = []
    for kind in PACKAGES:
        try:
            found.append(load(kind))
        except ImportError:
            continue
    return found


def best() -> Twin:
    """Return the compiled twins, or the reference where they are not built."""
    return available()[-1]
