"""Where an origin is served, when that is not its own address."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Route", "Source"]


class Source(StrEnum):
    """Who said that a route leads to the origin."""

    ORIGIN = "origin"
    ALT_SVC = "Alt-Svc"
    RECORD = "HTTPS record"


@dataclass(frozen=True, slots=True)
class Route:
    """Where to send datagrams for an origin. Whom to believe there, and what to ask for, is the origin's matter alone.

    ``hints`` are addresses for when ``host`` cannot be looked up.
    """

    host: str
    port: int
    source: Source = Source.ORIGIN
    hints: tuple[str, ...] = ()

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"
