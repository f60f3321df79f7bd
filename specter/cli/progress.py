"""A progress line on standard error for downloads that take a while."""

from __future__ import annotations

import time
from typing import IO, TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["NoProgress", "PlainProgress", "ProgressLine", "RichProgress", "choose_progress", "human_bytes"]

PATIENCE: Final = 0.7
"""Seconds before a line is shown at all."""
INTERVAL: Final = 0.1
_UNITS: Final = ("B", "kB", "MB", "GB", "TB")


class ProgressLine(Protocol):
    """Is told how the body comes in; decides itself whether and what to show."""

    def start(self, total: int | None) -> None: ...

    def advance(self, count: int) -> None: ...

    def stop(self) -> None: ...


class NoProgress:
    """Shows nothing."""

    def start(self, total: int | None) -> None:
        pass

    def advance(self, count: int) -> None:
        pass

    def stop(self) -> None:
        pass


class PlainProgress:
    """One line of text, written over itself."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._total: int | None = None
        self._done = 0
        self._started = self._next = 0.0
        self._width = 0

    def start(self, total: int | None) -> None:
        self._total = total
        self._done = 0
        self._started = time.monotonic()
        self._next = self._started + PATIENCE

    def advance(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if now >= self._next:
            self._next = now + INTERVAL
            self._show(progress_text(self._done, self._total, now - self._started))

    def stop(self) -> None:
        if self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()
            self._width = 0

    def _show(self, text: str) -> None:
        self._stream.write("\r" + text.ljust(self._width))
        self._stream.flush()
        self._width = len(text)


class RichProgress:
    """A bar drawn by ``rich``; it goes away when the download ends."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._total: int | None = None
        self._done = 0
        self._started = 0.0

    def start(self, total: int | None) -> None:
        self._total = total
        self._done = 0
        self._started = time.monotonic()

    def advance(self, count: int) -> None:
        self._done += count
        if self._bar is None and time.monotonic() - self._started >= PATIENCE:
            self._open()
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done)

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

        columns = BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
        self._bar = Progress(*columns, console=Console(file=self._stream), transient=True)
        self._task = self._bar.add_task("download", total=self._total)
        self._bar.start()


def choose_progress(stream: IO[str], *, wanted: bool) -> ProgressLine:
    """Return what suits ``stream``: nothing unless it is a terminal, ``rich`` where it is installed."""
    if not wanted or not stream.isatty():
        return NoProgress()
    try:
        import rich.progress  # noqa: F401
    except ImportError:
        return PlainProgress(stream)
    return RichProgress(stream)


def progress_text(done: int, total: int | None, seconds: float) -> str:
    """Return ``12.3 MB of 100 MB  12%  45.1 MB/s  2 s left``, without the parts that need an unknown total."""
    rate = done / seconds if seconds > 0 else 0.0
    speed = f"{human_bytes(rate)}/s"
    if not total:
        return f"{human_bytes(done)}  {speed}"
    left = f"{(total - done) / rate:.0f} s left" if rate and total > done else "done"
    return f"{human_bytes(done)} of {human_bytes(total)}  {100 * done // total}%  {speed}  {left}"


def human_bytes(count: float) -> str:
    """Return ``count`` in the largest decimal unit that leaves at least 1, with three figures."""
    for unit in _UNITS:
        if count < 999.5 or unit == _UNITS[-1]:
            break
        count /= 1000
    text = f"{count:.0f}" if unit == "B" or count >= 99.95 else f"{count:.3g}"
    return f"{text} {unit}"
