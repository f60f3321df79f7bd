"""What the figures were measured on."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

from perf.kit import cores
from perf.kit.build import ROOT


def describe() -> dict[str, str]:
    """Return what someone needs to know who wants the same figures again."""
    from specter import __version__
    from specter._backend import backend

    twins = backend()
    libcrypto, layers = twins.pop("libcrypto"), twins.pop("layers")
    kinds = {kind: [name for name, used in twins.items() if used == kind] for kind in dict.fromkeys(twins.values())}
    described = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items())
    return {
        "specter": f"{__version__}, commit {_commit()}",
        "twins": described if len(kinds) > 1 else f"all {next(iter(kinds))}",
        "layers": layers,
        "libcrypto": libcrypto,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "machine": f"{_processor()}, {len(cores.usable())} cores, {platform.system()} {platform.release()}",
        "cores": cores.describe(),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
