"""Shell completion: the scripts, and what they get to offer."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from specter.cli import main
from tests.cli.support import command


def offered(*words: str) -> list[str]:
    """Return what is offered for the last of ``words``."""
    env = os.environ | {
        "_SPECTER_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["specter", *words]),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run(command(), env=env, capture_output=True, text=True, check=True, timeout=30)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offers"),
    [
        (("--ret",), ["plain,--retry", "plain,--retry-delay"]),
        (("-v", "--conn"), ["plain,--connect-timeout"]),
        (("d",), ["plain,demo"]),
        (("serve", "--po"), ["plain,--port"]),
        (("completion", "z"), ["plain,zsh"]),
        (("--cacert", "x"), ["file,x"]),
        (("-o", "x"), ["file,x"]),
        (("https://h/", "d"), []),
    ],
)
def test_offers(words: tuple[str, ...], offers: list[str]) -> None:
    assert offered(*words) == offers


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_the_shell_reads(shell: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    if shell == "bash" and shutil.which("bash") is None:
        pytest.skip("click asks bash for its version")
    assert main(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert f"{shell}_complete" in out
    assert "_SPECTER_COMPLETE" in out
    if shutil.which(shell) is not None:
        script = tmp_path / "script"
        script.write_text(out)
        subprocess.run([shell, "-n", str(script)], check=True, timeout=30)


def test_another_shell_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "tcsh" in capsys.readouterr().err
