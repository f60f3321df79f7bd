"""Ways to run the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from specter.cli import main
from specter.testing import Server

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals, pipes and terminals of POSIX")


class Run:
    """One call of the command in this process; ``URL`` in its words stands for the server's."""

    def __init__(self, server: Server, capture: pytest.CaptureFixture[bytes]) -> None:
        self.server = server
        self._capture = capture

    def __call__(self, *words: str, trust: bool = True) -> tuple[int, bytes, str]:
        placed = [word.replace("URL", self.server.url) for word in words]
        status = main([*placed, *(["--cacert", self.server.ca_file] if trust else [])])
        out, err = self._capture.readouterr()
        return status, out, err.decode()


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "specter", *words]


def at_terminal(words: list[str], interrupt_at: bytes = b"", **environment: str) -> tuple[int, bytes]:
    """Run ``words`` with a terminal for standard output and error; return the status and what it showed.

    With ``interrupt_at`` Ctrl-C comes when that was shown.
    """
    master, slave = os.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **environment}
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, env=env) as process:
        os.close(slave)
        shown = b""
        try:
            while piece := os.read(master, 65536):
                shown += piece
                if interrupt_at and interrupt_at in shown:
                    interrupt_at = b""
                    process.send_signal(signal.SIGINT)
        except OSError:  # how Linux says that the other side is closed
            pass
        os.close(master)
        return process.wait(10), shown
