"""The manual page: complete, current, and nothing that its formatter complains about."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from specter.cli.command import COMMANDS, FETCH
from specter.cli.manual import manual_page

PAGE = Path(__file__).parents[2] / "docs" / "specter.1"


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == manual_page(), "run ci/manual"


def test_the_module_prints_it() -> None:
    command = [sys.executable, "-m", "specter.cli.manual"]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout == manual_page()


def test_every_option_and_command_is_in_it() -> None:
    page = manual_page().replace("\\-", "-")
    for command in (FETCH, *COMMANDS):
        for parameter in command.params:
            for name in parameter.opts:
                assert not name.startswith("-") or name in page
    for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", '"EXIT STATUS"', "ENVIRONMENT", "EXAMPLES"):
        assert f"\n.SH {heading}\n" in page


def test_no_line_is_taken_for_a_request() -> None:
    known = {".TH", ".SH", ".SS", ".TP", ".PP", ".RS", ".RE", ".nf", ".fi", ".br"}
    for line in manual_page().splitlines():
        assert not line.startswith("'")
        assert not line.startswith(".") or line.split()[0] in known


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff formats it")
def test_groff_has_no_complaint() -> None:
    command = ["groff", "-man", "-Tutf8", "-ww", "-z"]
    done = subprocess.run(command, input=manual_page(), capture_output=True, text=True, check=True, timeout=30)
    assert done.stderr == ""
