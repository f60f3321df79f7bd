"""Where a response body goes: a file, a pipe or a terminal."""

from __future__ import annotations

import os
import sys
from typing import BinaryIO, Protocol

from specter.cli.failure import Failure, ReaderGone

__all__ = ["FileOutput", "Output", "StandardOutput", "discard_standard_output", "open_output"]


class Output(Protocol):
    """Takes the bytes of one response in order."""

    name: str
    to_terminal: bool

    def write(self, data: bytes | memoryview) -> None: ...

    def close(self) -> None: ...


class FileOutput:
    """A file, opened when the first response bytes are there: a failed request leaves an old file alone."""

    to_terminal = False

    def __init__(self, name: str) -> None:
        self.name = name
        self._file: BinaryIO | None = None

    def write(self, data: bytes | memoryview) -> None:
        try:
            if self._file is None:
                self._file = open(self.name, "wb")  # noqa: SIM115  closed in close()
            self._file.write(data)
        except OSError as error:
            raise Failure(f"cannot write {self.name}: {error.strerror}") from error

    def close(self) -> None:
        if self._file is None:
            return
        try:
            self._file.close()
        except OSError as error:
            raise Failure(f"cannot write {self.name}: {error.strerror}") from error


class StandardOutput:
    """Standard output. Binary data does not go to a terminal unless the caller insists."""

    name = "standard output"

    def __init__(self, insist: bool = False) -> None:
        self.to_terminal = sys.stdout.isatty()
        self._guard = self.to_terminal and not insist

    def write(self, data: bytes | memoryview) -> None:
        if self._guard and b"\0" in bytes(data):
            raise Failure("binary data would garble the terminal; use -o FILE, or -o - to see it anyway")
        try:
            sys.stdout.buffer.write(data)
            if self.to_terminal:
                sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise ReaderGone from None

    def close(self) -> None:
        try:
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise ReaderGone from None


def open_output(name: str | None) -> Output:
    """Return where ``-o name`` sends the body; ``None`` is no ``-o``, ``"-"`` standard output on purpose."""
    if name is None or name == "-":
        return StandardOutput(insist=name == "-")
    return FileOutput(name)


def discard_standard_output() -> None:
    """Point standard output at nothing, so that the interpreter's last flush cannot fail again."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
