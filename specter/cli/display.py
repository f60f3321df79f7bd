"""Standard error as people see it: lines and progress bars, in colour on a terminal alone."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

__all__ = ["Bar", "Display", "human_bytes"]

PATIENCE: Final = 0.7
"""Seconds before a bar is shown at all."""
SHOW_CURSOR: Final = "\x1b[?25h"
_UNITS: Final = ("B", "kB", "MB", "GB", "TB")


class Display:
    """Writes to ``stream`` (standard error), for any number of threads; a context that takes the bars away.

    Without ``progress`` there are no bars. What is not a terminal gets plain lines and none either.
    """

    def __init__(self, stream: TextIO | None = None, *, progress: bool = True) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._wants_bars = progress and self._terminal
        self._lock = threading.Lock()
        self._console: Console | None = None
        self._bars: Progress | None = None

    def line(self, text: str, style: str = "", *, lead: str = "") -> None:
        """Write a line; ``style`` is rich's word for how it looks on a terminal, for all of it or its ``lead``."""
        self.lines([(lead, style, text)])

    def lines(self, lines: Iterable[tuple[str, str, str]]) -> None:
        """Write lines that belong together, each as ``(lead, style, text)``."""
        if not self._terminal:
            block = "".join(f"{lead}{text}\n" for lead, _, text in lines)
            with self._lock:
                self._stream.write(block)
                self._stream.flush()
            return
        from rich.text import Text

        shown = [Text.assemble((lead, style), text) if lead else Text(text, style) for lead, style, text in lines]
        self._get_console().print(Text("\n").join(shown), soft_wrap=True)

    def bar(self, label: str, total: int | None) -> Bar:
        """Return a bar for ``total`` bytes, which shows up if they take a while."""
        return Bar(self, label, total)

    def _get_console(self) -> Console:
        with self._lock:
            if self._console is None:
                from rich.console import Console

                self._console = Console(file=self._stream, highlight=False, markup=False, emoji=False)
            return self._console

    def add(self, label: str, total: int | None) -> TaskID | None:
        """Show a bar; None where none are wanted."""
        if not self._wants_bars:
            return None
        console = self._get_console()
        with self._lock:
            if self._bars is None:
                self._bars = _make_bars(console)
                self._bars.start()
            return self._bars.add_task(label, total=total)

    def update(self, task: TaskID, completed: int) -> None:
        if self._bars is not None:
            self._bars.update(task, completed=completed)

    def remove(self, task: TaskID) -> None:
        """Take a bar away, and all of the display with the last one."""
        with self._lock:
            if self._bars is None:
                return
            self._bars.remove_task(task)
            if not self._bars.task_ids:
                self._bars.stop()
                self._bars = None

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        bars, self._bars = self._bars, None
        if bars is None:
            return
        bars.stop()
        if isinstance(error, KeyboardInterrupt):  # perhaps while rich hid the cursor, or was about to show it
            self._stream.write(SHOW_CURSOR)
            self._stream.flush()


class Bar:
    """The progress of one transfer in one direction: how much, how fast, how long it still takes."""

    def __init__(self, display: Display, label: str, total: int | None) -> None:
        self._display = display
        self._label = label
        self._total = total
        self._done = 0
        self._due = time.monotonic() + PATIENCE
        self._task: Any = None

    def advance(self, count: int) -> None:
        self._done += count
        if self._task is not None:
            self._display.update(self._task, self._done)
        elif time.monotonic() >= self._due:
            self._task = self._display.add(self._label, self._total)
            self._due = time.monotonic() + PATIENCE
            if self._task is not None:
                self._display.update(self._task, self._done)

    def finish(self) -> None:
        if self._task is not None:
            self._display.remove(self._task)
            self._task = None


def _make_bars(console: Console) -> Progress:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True)


def human_bytes(count: float) -> str:
    """Return ``count`` in the largest decimal unit that leaves at least 1, with three figures."""
    for unit in _UNITS:
        if count < 999.5 or unit == _UNITS[-1]:
            break
        count /= 1000
    text = f"{count:.0f}" if unit == "B" or count >= 99.95 else f"{count:.3g}"
    return f"{text} {unit}"
