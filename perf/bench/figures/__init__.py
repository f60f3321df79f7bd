"""The figures by name, in the order of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Final, TypeAlias

from perf.bench.scale import Scale
from perf.bench.table import Row

Figure: TypeAlias = Callable[[Scale], Iterable[Row]]

_HOMES: Final = {
    "receive-burst": "direct",
    "send-burst": "direct",
    "engine-receive": "engine",
    "engine-send": "engine",
    "peers": "peers",
    "header-unmask": "parts",
    "padding": "parts",
    "reassembly": "parts",
    "one-gigabyte": "scaling",
    "open-streams": "scaling",
    "download": "caddy",
    "get": "caddy",
    "connect": "caddy",
    "resume": "caddy",
    "httpx": "transports",
    "async-get": "loops",
    "async-download": "loops",
    "async-crowd": "loops",
    "memory": "memory",
    "import": "startup",
}

NAMES: Final = tuple(_HOMES)

IN_PROCESS: Final = frozenset(name for name, home in _HOMES.items() if home in ("direct", "engine", "parts", "scaling"))
"""Those that measure within the process that calls them."""


def figure(name: str) -> Figure:
    """Return the function of a figure; ``ValueError`` for a name that is none."""
    home = _HOMES.get(name)
    if home is None:
        raise ValueError(f"no figure {name!r}; there are {', '.join(NAMES)}")
    module = import_module(f"perf.bench.figures.{home}")
    found: Figure = getattr(module, name.replace("-", "_") if name != "import" else "import_time")
    return found
