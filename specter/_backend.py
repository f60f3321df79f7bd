"""Picks the compiled or the reference twin of each hot module; the only place that does."""

from __future__ import annotations

import importlib
import os
import warnings
from typing import TYPE_CHECKING

from specter._native import STATE

TWINS = ("protection", "frames", "reassembly", "acks", "sent", "sendbuffer", "batch", "datapath", "udp")

if TYPE_CHECKING:
    from specter._reference import acks, batch, datapath, frames, protection, reassembly, sendbuffer, sent, udp
else:
    _kind = "speedups" if os.environ.get("SPECTER_PURE", "") in ("", "0", "layers") else "reference"
    _broken = {}
    for _name in TWINS:
        try:
            globals()[_name] = importlib.import_module(f"specter._{_kind}.{_name}")
        except Exception as _error:  # built against another interpreter or another twin: more than ImportError
            if not isinstance(_error, ModuleNotFoundError):  # else it was not built
                _broken[_name] = f"{_name} ({_error})"
            globals()[_name] = importlib.import_module(f"specter._reference.{_name}")
    if _broken:
        warnings.warn(f"specter: compiled, but not loaded: {', '.join(_broken.values())}", RuntimeWarning, stacklevel=2)

__all__ = ["TWINS", "acks", "backend", "batch", "datapath", "frames", "protection", "reassembly", "sendbuffer", "sent"]
__all__ += ["udp"]


def backend() -> dict[str, str]:
    """Return for each twin whether it is ``"compiled"`` or ``"reference"``, which ``"libcrypto"`` does the AEAD, and
    whether the protocol ``"layers"`` are ``"compiled"`` or ``"interpreted"`` (``"stale"``: see ``specter._native``).
    """
    kinds = {True: "compiled", False: "reference"}
    used = {name: kinds[globals()[name].__name__.startswith("specter._speedups.")] for name in TWINS}
    return {**used, "libcrypto": protection.libcrypto(), "layers": STATE}
