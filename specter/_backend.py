"""Picks the compiled or the reference twin of each hot module; the only place that does."""

from __future__ import annotations

import importlib
import os
import warnings
from typing import TYPE_CHECKING

TWINS = ("protection", "frames", "reassembly", "acks", "sent", "sendbuffer", "batch", "datapath", "udp")

if TYPE_CHECKING:
    from specter._reference import acks, batch, datapath, frames, protection, reassembly, sendbuffer, sent, udp
else:
    _pure = os.environ.get("SPECTER_PURE", "") not in ("", "0")
    for _name in TWINS:
        try:
            globals()[_name] = importlib.import_module(f"specter._{'reference' if _pure else 'speedups'}.{_name}")
        except ModuleNotFoundError:  # was not built
            globals()[_name] = importlib.import_module(f"specter._reference.{_name}")
        except ImportError as _error:
            warnings.warn(f"specter: compiled {_name} does not load ({_error})", RuntimeWarning, stacklevel=2)
            globals()[_name] = importlib.import_module(f"specter._reference.{_name}")

__all__ = ["TWINS", "acks", "backend", "batch", "datapath", "frames", "protection", "reassembly", "sendbuffer", "sent"]
__all__ += ["udp"]


def backend() -> dict[str, str]:
    """Return for each twin whether it is ``"compiled"`` or ``"reference"``, and which ``"libcrypto"`` does the AEAD."""
    kinds = {True: "compiled", False: "reference"}
    used = {name: kinds[globals()[name].__name__.startswith("specter._speedups.")] for name in TWINS}
    return {**used, "libcrypto": protection.libcrypto()}
