"""A process that answers in JSON lines, within limits: it may hang, die or talk nonsense, and then says so."""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final

from perf.kit import cores
from perf.kit.build import ROOT

GREETING: Final = 30.0
"""Seconds until a process must have said what it is."""
GOODBYE: Final = 5.0

PREFIXES: Final = ("SPECTER_", "PERF_")


class ProcessFailed(RuntimeError):
    """A process did not do what it was asked to; the text says what it did."""


class WorkUnsupported(RuntimeError):
    """The client says that it cannot do this; the text says why."""


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return this environment without anything that steers Specter, with ``more``."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(PREFIXES)}
    return {**own, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0", **more}


@dataclass(slots=True)
class Answer:
    """What came back: sample lines, and the line that ended them."""

    samples: list[list[int]]
    end: dict[str, Any] = field(default_factory=dict)


class Process:
    """``command`` on the core of ``role``; its first line is ``greeting``.

    Raises:
        ProcessFailed: it did not start.
    """

    def __init__(
        self, command: Sequence[str], role: int, more: Mapping[str, str] | None = None, *, realtime: bool = False
    ) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by kill
        self._buffer = b""
        self._process = subprocess.Popen(
            cores.pinned(role, list(command), realtime=realtime),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment(more or {}),
            cwd=ROOT,
        )
        try:
            self.greeting: dict[str, Any] = self._object(self._line(time.monotonic() + GREETING))
        except ProcessFailed:
            self.kill()
            raise

    def ask(self, question: Mapping[str, Any], limit: float) -> Answer:
        """Return what is answered within ``limit`` seconds.

        Raises:
            WorkUnsupported: the client cannot do it.
            ProcessFailed: it failed, hangs, or died.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(dict(question)).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise ProcessFailed(self._last_words()) from error
        deadline, answer = time.monotonic() + limit, Answer([])
        while True:
            line = self._line(deadline)
            if not line.startswith(b"{"):
                answer.samples.append(self._sample(line))
                continue
            answer.end = self._object(line)
            if "unsupported" in answer.end:
                raise WorkUnsupported(str(answer.end["unsupported"]))
            if "error" in answer.end:
                raise ProcessFailed(str(answer.end["error"]))
            return answer

    @staticmethod
    def _sample(line: bytes) -> list[int]:
        try:
            found: list[int] = json.loads(line)
        except ValueError as error:
            raise ProcessFailed(f"it said {line[:100]!r}") from error
        return found

    def _object(self, line: bytes) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise ProcessFailed(f"it said {line[:100]!r}") from error
        return found

    def _line(self, deadline: float) -> bytes:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                raise ProcessFailed("no answer in time")
            piece = os.read(descriptor, 1 << 20)
            if not piece:
                raise ProcessFailed(self._last_words())
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _last_words(self) -> str:
        """Return the last line it wrote to standard error."""
        try:
            self._process.wait(GOODBYE)
        except subprocess.TimeoutExpired:
            return "it went silent"
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        return lines[-1][:300] if lines else f"it ended with status {self._process.returncode}"

    def finish(self) -> dict[str, Any]:
        """End its input; return its last line if there is one."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        last: dict[str, Any] = {}
        try:
            while True:
                last = self._object(self._line(time.monotonic() + GOODBYE))
        except ProcessFailed:
            return last

    def kill(self) -> None:
        """End it, whatever it does."""
        try:
            if self._process.stdin is not None and not self._process.stdin.closed:
                self._process.stdin.close()
            self._process.wait(GOODBYE)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
