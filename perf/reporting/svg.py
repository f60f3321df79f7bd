"""Plots as SVG text: cumulative distributions, bars with their spread, curves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from typing import Final, TypeAlias

Points: TypeAlias = Sequence[tuple[float, float]]

WIDTH: Final = 860
HEIGHT: Final = 360
LEFT: Final = 70
RIGHT: Final = 250
TOP: Final = 20
BOTTOM: Final = 48
ROW: Final = 22
LABEL: Final = 260
COLOURS: Final = (
    "#d62728", "#ff9896", "#9467bd", "#c5b0d5", "#1f77b4", "#17becf",
    "#2ca02c", "#98df8a", "#ff7f0e", "#8c564b", "#7f7f7f", "#bcbd22",
)  # fmt: skip
_SCALES: Final = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def short(value: float) -> str:
    """Return a number for an axis."""
    for factor, letter in _SCALES:
        if abs(value) >= factor:
            return f"{value / factor:.3g}{letter}"
    return f"{value:.3g}"


@dataclass(frozen=True, slots=True)
class Axis:
    """Maps ``low`` to ``high`` onto pixels; logarithmic where ``log``."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        if self.log:
            share = (log10(max(value, self.low)) - log10(self.low)) / (log10(self.high) - log10(self.low))
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        if self.log:
            decades = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
            steps = (1.0,) if len(decades) > 4 else (1.0, 2.0, 5.0)
            found = [step * 10.0**decade for decade in decades for step in steps]
        else:
            step = _round_step((self.high - self.low) / 6)
            found = [ceil(self.low / step) * step + step * index for index in range(12)]
        return [value for value in found if self.low <= value <= self.high * 1.000001]


def _round_step(rough: float) -> float:
    decade: float = 10.0 ** floor(log10(rough))
    return next(decade * step for step in (1, 2, 5, 10) if decade * step >= rough)


def axis_over(values: Sequence[float], start: float, end: float, *, log: bool, zero: bool = False) -> Axis:
    """Return an axis on which all ``values`` fit."""
    positive = [value for value in values if value > 0] or [1.0]
    if log:
        low, high = min(positive), max(positive)
        return Axis(low / 1.1, high * 1.1 if high > low else low * 10, start, end, True)
    low, high = (0.0 if zero else min(values)), max(values)
    return Axis(low, high if high > low else low + 1, start, end)


def cdf(series: Mapping[str, Sequence[float]], label: str) -> str:
    """Return how the values of each series are distributed; the axis of the values is logarithmic."""
    curves = {}
    for name, values in series.items():
        ordered = sorted(values)
        curves[name] = [(value, (index + 1) / len(ordered)) for index, value in enumerate(ordered)]
    return plot(curves, label, "share of samples", log_x=True)


def plot(series: Mapping[str, Points], x_label: str, y_label: str, *, log_x: bool = False, log_y: bool = False) -> str:
    """Return curves in one coordinate system, with a legend."""
    points = [point for values in series.values() for point in values]
    if not points:
        return ""
    x = axis_over([point[0] for point in points], LEFT, WIDTH - RIGHT, log=log_x)
    y = axis_over([point[1] for point in points], HEIGHT - BOTTOM, TOP, log=log_y, zero=True)
    parts = [*_grid(x, y, x_label, y_label)]
    for index, (name, values) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        path = " ".join(f"{x(across)},{y(up)}" for across, up in values)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        if len(values) < 30:
            parts += [f'<circle cx="{x(across)}" cy="{y(up)}" r="2.5" fill="{colour}"/>' for across, up in values]
        parts.append(_legend(index, name, colour))
    return _frame(parts, max(HEIGHT, TOP + 18 * len(series) + BOTTOM))


def _grid(x: Axis, y: Axis, x_label: str, y_label: str) -> Iterator[str]:
    for value in x.ticks():
        yield f'<line x1="{x(value)}" y1="{y.start}" x2="{x(value)}" y2="{y.end}" class="grid"/>'
        yield f'<text x="{x(value)}" y="{y.start + 16}" text-anchor="middle">{short(value)}</text>'
    for value in y.ticks():
        yield f'<line x1="{x.start}" y1="{y(value)}" x2="{x.end}" y2="{y(value)}" class="grid"/>'
        yield f'<text x="{x.start - 6}" y="{y(value) + 4}" text-anchor="end">{short(value)}</text>'
    yield f'<text x="{(x.start + x.end) / 2}" y="{y.start + 36}" text-anchor="middle">{escape(x_label)}</text>'
    middle = (y.start + y.end) / 2
    yield f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">{escape(y_label)}</text>'


def _legend(index: int, name: str, colour: str) -> str:
    top = TOP + 6 + 18 * index
    box = f'<rect x="{WIDTH - RIGHT + 14}" y="{top}" width="12" height="12" fill="{colour}"/>'
    return f'{box}<text x="{WIDTH - RIGHT + 32}" y="{top + 10}">{escape(name)}</text>'


@dataclass(frozen=True, slots=True)
class Bar:
    """A value with the range that the repetitions had."""

    name: str
    value: float
    low: float
    high: float
    ours: bool = False


def bars(rows: Sequence[Bar], label: str) -> str:
    """Return a bar for each row; the line across its end is the spread."""
    if not rows:
        return ""
    values = [value for row in rows for value in (row.low, row.high, row.value)]
    log = min(values) > 0 and max(values) > 20 * min(values)
    bottom = TOP + ROW * len(rows)
    axis = axis_over(values, LABEL, WIDTH - 90, log=log, zero=True)
    parts = []
    for value in axis.ticks():
        parts.append(f'<line x1="{axis(value)}" y1="{TOP}" x2="{axis(value)}" y2="{bottom}" class="grid"/>')
        parts.append(f'<text x="{axis(value)}" y="{bottom + 16}" text-anchor="middle">{short(value)}</text>')
    for index, row in enumerate(rows):
        parts += _bar(row, axis, TOP + ROW * index)
    scale = f"{label} (logarithmic)" if log else label
    parts.append(f'<text x="{(LABEL + WIDTH - 90) / 2}" y="{bottom + 36}" text-anchor="middle">{escape(scale)}</text>')
    return _frame(parts, bottom + BOTTOM)


def _bar(row: Bar, axis: Axis, top: float) -> Iterator[str]:
    colour = COLOURS[0] if row.ours else COLOURS[4]
    middle = top + ROW / 2
    width = max(axis(row.value) - LABEL, 1)
    yield f'<text x="{LABEL - 8}" y="{middle + 4}" text-anchor="end">{escape(row.name)}</text>'
    yield f'<rect x="{LABEL}" y="{top + 4}" width="{width:.1f}" height="{ROW - 8}" fill="{colour}" opacity="0.75"/>'
    yield f'<line x1="{axis(row.low)}" y1="{middle}" x2="{axis(row.high)}" y2="{middle}" stroke="black"/>'
    for end in (row.low, row.high):
        yield f'<line x1="{axis(end)}" y1="{middle - 4}" x2="{axis(end)}" y2="{middle + 4}" stroke="black"/>'
    yield f'<text x="{axis(row.high) + 6}" y="{middle + 4}">{short(row.value)}</text>'


def _frame(parts: Sequence[str], height: float) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img">{"".join(parts)}</svg>'
