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

__all__ = ["TWINS", "backend"]
__all__ += ["acks", "batch", "datapath", "frames", "protection", "reassembly", "sendbuffer", "sent", "udp"]


def backend() -> dict[str, str]:
    """Return for each twin whether it is ``"compiled"`` or ``"reference"``, and which ``"libcrypto"`` does the AEAD."""
    kinds = {True: "compiled", False: "reference"}
    used = {name: kinds[globals()[name].__name__.startswith("specter._speedups.")] for name in TWINS}
    return {**used, "libcrypto": _libcrypto()}


def _libcrypto() -> str:
    own: str | None = getattr(protection, "LIBCRYPTO", None)
    if own is not None:
        return own
    from cryptography.hazmat.backends.openssl.backend import backend as openssl

    return f"{openssl.openssl_version_text()} (cryptography)"
