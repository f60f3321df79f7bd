"""Virtual environments of other clients, one each under ``.cache/venvs``, made once."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from perf.kit.build import ROOT

FOLDER: Final = ROOT / ".cache" / "venvs"
LIMIT: Final = 600
"""Seconds that an installation may take."""

_ENGINE: Final = ("certifi", "cryptography>=48", "pylsqpack>=1.0")
"""What Specter's own engine needs, which is the server of the pump."""

REQUIREMENTS: Final[dict[str, tuple[str, ...]]] = {
    "aioquic": ("aioquic==1.7.2", *_ENGINE),
    "qh3": ("qh3==2.1.0", *_ENGINE),
    "curl_cffi": ("curl_cffi==0.16.3",),
    "niquests": ("niquests==3.21.2",),
    "warpsock": ("warpsock==4.3.2",),
    "libclang": ("libclang==18.1.1",),
}


class VenvUnavailable(RuntimeError):
    """The environment cannot be made here; the text says why."""


def python_of(name: str) -> Path:
    """Return the interpreter of the environment ``name``, making it on the first call.

    Raises:
        VenvUnavailable: its packages cannot be installed.
    """
    if name == "specter":
        return Path(sys.executable)
    wanted = REQUIREMENTS[name]
    mark = hashlib.sha256(repr((wanted, sys.version)).encode()).hexdigest()[:12]
    folder = FOLDER / f"{name}-{mark}"
    python = folder / "bin" / "python"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            _make(folder, python, wanted)
            (folder / "complete").touch()
    return python


def _make(folder: Path, python: Path, wanted: tuple[str, ...]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    print(f"installing {' '.join(wanted)} into {folder.relative_to(ROOT)}", file=sys.stderr)
    _run([sys.executable, "-m", "venv", str(folder)])
    _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted])


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or error.stdout or "").strip().splitlines() or [f"exit status {error.returncode}"]
        raise VenvUnavailable(lines[-1]) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise VenvUnavailable(str(error)) from error
