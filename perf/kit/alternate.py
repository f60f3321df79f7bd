"""Measures by turns, so that what disturbs the machine disturbs all alike: A B, B A, A B ..."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import TypeAlias

Measure: TypeAlias = Callable[[], float]
Samples: TypeAlias = dict[str, list[float]]


def rounds(measures: Mapping[str, Measure], count: int) -> Samples:
    """Run every measure once a round, every second round in reverse order; return the values by name."""
    samples: Samples = {name: [] for name in measures}
    order = list(measures)
    for _ in range(count):
        for name in order:
            samples[name].append(measures[name]())
        order.reverse()
    return samples


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of the per-round ratios of two measures, with the quartiles around it."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f}-{self.high:.2f})"


def ratio(samples: Samples, over: str, under: str) -> Ratio:
    """Return how many times ``under`` one ``over`` is."""
    values = sorted(_ratios(samples[over], samples[under]))
    if not values:
        raise ValueError("nothing was measured")
    return Ratio(median(values), values[len(values) // 4], values[(3 * len(values)) // 4])


def _ratios(over: list[float], under: list[float]) -> Iterator[float]:
    for above, below in zip(over, under, strict=True):
        if below > 0:
            yield above / below
