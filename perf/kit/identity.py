"""What was measured, exactly: commit, tree, machine, hashes of what was built."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from perf.kit.build import ROOT


def sha256(path: Path) -> str:
    """Return the hash of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def specter_build() -> dict[str, Any]:
    """Return which twins this process uses, and a hash over every source and compiled module of the package."""
    from specter._backend import backend

    digest = hashlib.sha256()
    for path in sorted((ROOT / "specter").rglob("*")):
        if path.suffix in (".py", ".so") and path.is_file():
            digest.update(f"{path.relative_to(ROOT)} {sha256(path)}\n".encode())
    return {"backend": backend(), "build": digest.hexdigest()}


def tree() -> dict[str, Any]:
    """Return the commit, and what in the working tree is not in it."""
    return {"commit": _git("rev-parse", "HEAD"), "dirty": _git("status", "--porcelain").splitlines()}


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, cwd=ROOT)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip("\n")


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    from specter._backend import backend

    return {
        "libcrypto": backend()["libcrypto"],
        "processor": processor(),
        "cores": os.cpu_count(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }
