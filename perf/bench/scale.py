"""How much work a run does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Sizes are bytes."""

    rounds: int = 61
    """Alternations of what is compared within one process."""
    bursts: int = 25
    """Bursts behind one value of a round; it is their median."""
    worker_rounds: int = 15
    """Alternations between worker processes that stay."""
    processes: int = 5
    """Fresh processes for what is compared within one: where code and data come to lie matters by some percent."""
    repetitions: int = 5
    """Fresh processes of each client, by turns."""
    requests: int = 3000
    warm_ups: int = 300
    connections: int = 150
    download: int = 100_000_000
    large: int = 1_000_000_000
    small: int = 1_000_000
    segments: int = 10_000
    open_streams: int = 1000
    imports: int = 15


FULL: Final = Scale()

QUICK: Final = Scale(
    rounds=3,
    bursts=2,
    worker_rounds=1,
    processes=1,
    repetitions=1,
    requests=20,
    warm_ups=5,
    connections=2,
    download=300_000,
    large=600_000,
    small=300_000,
    segments=200,
    open_streams=20,
    imports=1,
)
"""Enough to see that everything runs; its figures mean nothing."""
