"""Picks the compiled or the reference twin of each hot module; the only place that does."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

TWINS = ("protection", "frames", "reassembly", "acks", "sent", "sendbuffer", "batch", "datapath", "udp")

if TYPE_CHECKING:
    from specter._reference import acks, batch, datapath, frames, protection, reassembly, sendbuffer, sent, udp
else:
    for _name in TWINS:
        globals()[_name] = importlib.import_module(f"specter._reference.{_name}")

__all__ = ["TWINS", "acks", "batch", "datapath", "frames", "protection", "reassembly", "sendbuffer", "sent", "udp"]
