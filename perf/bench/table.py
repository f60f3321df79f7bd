"""Figures, their budgets and verdicts, and the table of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final


class Verdict(StrEnum):
    MET = "met"
    MISSED = "MISSED"
    NOT_MEASURED = "NOT MEASURED"
    CONTEXT = ""
    """There is no budget: the row is there to compare with."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The bound of a figure; ``least`` when more is better."""

    bound: float
    least: bool = False

    def met_by(self, value: float) -> bool:
        return value >= self.bound if self.least else value <= self.bound

    def __str__(self) -> str:
        return f"{'>=' if self.least else '<='} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. ``measured`` is None when it could not be measured; ``note`` then says why."""

    figure: str
    measured: float | None
    unit: str
    budget: Budget | None = None
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        if self.measured is None:
            return Verdict.NOT_MEASURED
        if self.budget is None:
            return Verdict.CONTEXT
        return Verdict.MET if self.budget.met_by(self.measured) else Verdict.MISSED

    def cells(self) -> tuple[str, ...]:
        value = "-" if self.measured is None else f"{_number(self.measured)} {self.unit}".rstrip()
        budget = "" if self.budget is None else f"{self.budget} {self.unit}".rstrip()
        return self.figure, budget, value, str(self.verdict), self.note

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": str(self.verdict)}


def from_json(written: dict[str, Any]) -> Row:
    """Return the row that ``as_json`` wrote."""
    budget = None if written["budget"] is None else Budget(**written["budget"])
    return Row(written["figure"], written["measured"], written["unit"], budget, written["note"])


def at_most(bound: float) -> Budget:
    return Budget(bound)


def at_least(bound: float) -> Budget:
    return Budget(bound, least=True)


def missing(figure: str, unit: str, budget: Budget | None, reason: str) -> Row:
    """Return the row of a figure that could not be measured here."""
    return Row(figure, None, unit, budget, reason)


HEAD: Final = ("figure", "budget", "measured", "verdict", "note")


def _number(value: float) -> str:
    """Three significant digits, more for large whole numbers."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def render(rows: Sequence[Row]) -> str:
    """Return the table as text."""
    lines = [HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD) - 1)]
    rendered = [_line(line, widths) for line in lines]
    rendered.insert(1, "-" * max(map(len, rendered)))
    return "\n".join(rendered)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    figure, budget, measured, verdict, note = cells
    left = f"{figure:<{widths[0]}}  {budget:>{widths[1]}}  {measured:>{widths[2]}}  {verdict:<{widths[3]}}"
    return f"{left}  {note}".rstrip()


def summary(rows: Sequence[Row]) -> str:
    """Return one line that counts the verdicts."""
    verdicts = [row.verdict for row in rows if row.budget is not None]
    counts = {verdict: verdicts.count(verdict) for verdict in (Verdict.MET, Verdict.MISSED, Verdict.NOT_MEASURED)}
    return f"{len(verdicts)} budgets: " + ", ".join(f"{count} {verdict.lower()}" for verdict, count in counts.items())


def all_met(rows: Sequence[Row]) -> bool:
    """Whether every budget was measured and met."""
    return all(row.verdict is Verdict.MET for row in rows if row.budget is not None)
