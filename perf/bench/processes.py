"""Worker processes that answer in JSON lines."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from perf.kit import cores
from perf.kit.build import ROOT

LIMIT: Final = 900
"""Seconds that one job may take."""


class WorkerFailed(RuntimeError):
    """A worker ended early; the text is the last line it wrote to standard error."""


def environment(**more: str) -> dict[str, str]:
    """Return this environment with the repository to import from."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **more}


def run(python: Path, module: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Run ``module`` on the clients' core with ``arguments`` as JSON; return the JSON of its last line.

    Raises:
        WorkerFailed: it did not say anything.
    """
    command = cores.pinned(cores.CLIENT, [str(python), "-m", module, json.dumps(dict(arguments))])
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT, env=environment(), cwd=ROOT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise WorkerFailed(f"no result within {LIMIT} s") from error
    if done.returncode:
        raise WorkerFailed(_last_line(done.stderr) or f"exit status {done.returncode}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


class Worker:
    """A process that stays and answers one line with one line."""

    def __init__(self, python: Path, module: str, *arguments: str) -> None:
        command = cores.pinned(cores.CLIENT, [str(python), "-m", module, *arguments])
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            cwd=ROOT,
        )
        try:
            self.greeting = self._read()
        except WorkerFailed:
            self.close()
            raise

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to ``question``."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(dict(question)) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerFailed(_last_line(self._process.stderr.read()) or "it ended without a word")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Let it end, and wait for that."""
        try:
            self._process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
