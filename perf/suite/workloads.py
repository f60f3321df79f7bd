"""What every client does, and how much of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much work there is; sizes are bytes."""

    requests: int = 2_000
    at_once: int = 100
    download: int = 100_000_000
    large: int = 1_000_000_000
    upload: int = 100_000_000
    handshakes: int = 100
    streams: int = 1_000
    repetitions: int = 2
    patience: float = 1.0
    """What time limits are multiplied with."""

    def as_json(self) -> dict[str, float]:
        return asdict(self)


FULL: Final = Size()
QUICK: Final = Size(
    requests=20,
    at_once=5,
    download=200_000,
    large=400_000,
    upload=200_000,
    handshakes=2,
    streams=20,
    repetitions=1,
    patience=0.1,
)
"""Enough to see that everything runs; its figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One piece of work. ``per`` is what costs are given for: a request, a GB, a connection."""

    name: str
    title: str
    command: Mapping[str, Any]
    operations: int
    bytes: int
    """Body bytes in all."""
    per: str
    limit: float = 60.0
    """Seconds until a client has failed."""
    without: Mapping[str, str] | None = None
    """Servers that cannot take part, and why."""

    @property
    def unit(self) -> float:
        """Return what total costs are divided by."""
        return self.bytes / 1e9 if self.per == "GB" else float(self.operations)

    @property
    def cost_unit(self) -> str:
        return {"GB": "s/GB", "request": "us/request", "connection": "ms/connection"}[self.per]

    def cost(self, nanoseconds: float) -> float:
        """Return processor time in ``cost_unit``."""
        factor = {"GB": 1e-9, "request": 1e-3, "connection": 1e-6}[self.per]
        return nanoseconds * factor / self.unit


TINY: Final = "/bytes/1"
NO_UPLOAD: Final = {"caddy": "Caddy's file server takes no bodies"}
SLOW: Final = {"aioquic": "it would take minutes"}


def workloads(size: Size) -> Sequence[Workload]:
    """Return all of the work at a size."""
    upload = {"do": "upload", "path": "/upload", "size": size.upload}
    handshakes = {"do": "handshakes", "path": TINY, "count": size.handshakes}
    return (
        _requests("get", "GET 1 byte, one by one", size.requests, 1),
        _requests("at-once", f"GET 1 byte, {size.at_once} at once", size.requests, size.at_once),
        _requests("streams", f"{size.streams:,} streams", size.streams, size.streams),
        Workload("handshakes", "handshakes", handshakes, size.handshakes, size.handshakes, "connection"),
        _download("download", size.download, 90),
        _download("large", size.large, 180, SLOW),
        Workload("upload", f"upload {megabytes(size.upload)}", upload, 1, size.upload, "GB", 90, NO_UPLOAD),
    )


def _requests(name: str, title: str, count: int, at_once: int) -> Workload:
    command = {"do": "many", "path": TINY, "count": count, "at_once": at_once}
    return Workload(name, title, command, count, count, "request")


def _download(name: str, size: int, limit: float, without: Mapping[str, str] | None = None) -> Workload:
    command = {"do": "stream", "path": f"/bytes/{size}", "count": 1}
    return Workload(name, f"download {megabytes(size)}", command, 1, size, "GB", limit, without)


def megabytes(size: int) -> str:
    return f"{size / 1e9:g} GB" if size >= 1_000_000_000 else f"{size / 1e6:g} MB"
