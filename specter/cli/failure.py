"""How a command ends."""

from __future__ import annotations

from typing import Final

SUCCESS: Final = 0
FAILED: Final = 1
"""A request, a file or a server did not work out."""
USAGE: Final = 2
"""The command line makes no sense."""
INTERRUPTED: Final = 130


class Failure(Exception):
    """The command cannot go on; the message is one line for the person who typed it."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


class ReaderGone(Exception):
    """Whoever read our standard output went away: stop, and say nothing."""
