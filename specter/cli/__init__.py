"""The ``specter`` command: ``specter URL...``, ``specter demo``, ``specter serve DIR``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from specter.cli.failure import FAILED, INTERRUPTED, Failure, ReaderGone
from specter.cli.output import discard_standard_output

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with ``arguments`` (``sys.argv`` without the program by default); return its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _command(words)(words)
    except Failure as failure:
        print(f"specter: {failure}", file=sys.stderr)
        return failure.code
    except ReaderGone:
        discard_standard_output()
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _command(words: list[str]) -> Callable[[list[str]], int]:
    """Return what runs ``words``; a name in front is taken away."""
    name = words[0] if words else ""
    if name == "demo":
        from specter.cli.demo import run_demo

        del words[0]
        return run_demo
    if name == "serve":
        from specter.cli.serve import run_serve

        del words[0]
        return run_serve
    from specter.cli.fetch import run_fetch

    return run_fetch
