"""Where a response body goes: a file, a pipe or a terminal."""

from __future__ import annotations

import os
import sys
import threading
from typing import BinaryIO, Final, Protocol

from specter.cli.failure import USAGE, Failure, ReaderGone
from specter.cli.options import REMOTE_NAME

__all__ = ["FileOutput", "Output", "StandardOutput", "discard_standard_output", "open_output", "remote_name"]

_NO_NAMES: Final = ("", ".", "..")


class Output(Protocol):
    """Takes the bytes of one response in order."""

    to_terminal: bool

    @property
    def began(self) -> bool:
        """Whether bytes went where they cannot be taken back from."""

    def write(self, data: bytes | memoryview) -> None: ...

    def restart(self) -> None:
        """Forget what was written: another attempt begins."""

    def close(self) -> None: ...


class FileOutput:
    """A file, opened when the first response bytes are there: a failed request leaves an old file alone."""

    to_terminal = False
    began = False

    def __init__(self, name: str) -> None:
        self.name = name
        self._file: BinaryIO | None = None

    def write(self, data: bytes | memoryview) -> None:
        try:
            if self._file is None:
                self._file = open(self.name, "wb")  # noqa: SIM115  closed in close()
            self._file.write(data)
        except OSError as error:
            raise self._failure(error) from error

    def restart(self) -> None:
        if self._file is None:
            return
        try:
            self._file.seek(0)
            self._file.truncate()
        except OSError as error:
            raise self._failure(error) from error

    def close(self) -> None:
        if self._file is None:
            return
        try:
            self._file.close()
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> Failure:
        return Failure(f"cannot write {self.name}: {error.strerror}")


class StandardOutput:
    """Standard output. Binary data does not go to a terminal unless the caller insists.

    Of several transfers at once each has it for itself (``turn``) from its first byte to its end.
    """

    def __init__(self, turn: threading.Lock, insist: bool = False) -> None:
        self.to_terminal = sys.stdout.isatty()
        self.began = False
        self._guard = self.to_terminal and not insist
        self._turn = turn
        self._has_turn = False

    def write(self, data: bytes | memoryview) -> None:
        if self._guard and b"\0" in bytes(data):
            raise Failure("binary data would garble the terminal; use -o FILE, or -o - to see it anyway")
        if not self._has_turn:
            self._turn.acquire()
            self._has_turn = True
        self.began = self.began or len(data) > 0
        try:
            sys.stdout.buffer.write(data)
            if self.to_terminal:
                sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise ReaderGone from None

    def restart(self) -> None:
        """Nothing was written, or nobody restarts."""

    def close(self) -> None:
        try:
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise ReaderGone from None
        finally:
            if self._has_turn:
                self._has_turn = False
                self._turn.release()


def open_output(name: str | None, url: str, turn: threading.Lock) -> Output:
    """Return where the body of ``url`` goes: ``name`` is None without ``-o`` and ``-O``.

    Raises:
        Failure: the URL holds no name for ``-O``.
    """
    if name is None or name == "-":
        return StandardOutput(turn, insist=name == "-")
    return FileOutput(remote_name(url) if name == REMOTE_NAME else name)


def remote_name(url: str) -> str:
    """Return the last name in the path of ``url``, as it is written there."""
    path = url.partition("?")[0].partition("#")[0].partition("://")[2]
    name = path.rpartition("/")[2] if "/" in path else ""
    if name in _NO_NAMES or "\0" in name or (os.name == "nt" and any(char in name for char in '\\:*?"<>|')):
        raise Failure(f"{url} has no file name for -O; use -o FILE", USAGE)
    return name


def discard_standard_output() -> None:
    """Point standard output at nothing, so that the interpreter's last flush cannot fail again."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
