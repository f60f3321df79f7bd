"""The ``specter`` command: ``specter URL...``, ``demo``, ``serve DIR`` and ``completion SHELL``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from specter.cli.failure import FAILED, INTERRUPTED, USAGE, Failure, ReaderGone

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with ``arguments`` (``sys.argv`` without the program by default); return its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        import click
        import rich  # noqa: F401
    except ModuleNotFoundError as error:
        print(f"specter: the command needs {error.name}: pip install 'specter[cli]'", file=sys.stderr)
        return FAILED
    from specter.cli.command import ROOT

    try:
        return int(ROOT.main(words, prog_name="specter", standalone_mode=False) or 0)
    except click.UsageError as error:
        print(f"specter: {_one_line(error.format_message())} (specter --help lists the options)", file=sys.stderr)
        return USAGE
    except (Failure, click.ClickException) as error:
        print(f"specter: {_one_line(str(error))}", file=sys.stderr)
        return error.code if isinstance(error, Failure) else FAILED
    except ReaderGone:
        from specter.cli.output import discard_standard_output

        discard_standard_output()
        return FAILED
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except Exception as error:
        if os.environ.get("SPECTER_DEBUG"):
            raise
        kind = type(error).__name__
        said = f"unexpected {kind}: {_one_line(str(error))}; SPECTER_DEBUG=1 in the environment shows where"
        print(f"specter: {said}", file=sys.stderr)
        return FAILED


def _one_line(text: str) -> str:
    """What others chose may hold anything: keep it to a line that a terminal only prints."""
    return "".join(char if char.isprintable() else " " for char in text)
