"""Compiles the Rust clients, once, into ``.cache/peers/rust``: cargo from the machine, crates from the registry.

quiche's BoringSSL wants cmake, a C++ compiler and libclang; where there is no libclang, PyPI's is used.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Final

from perf.kit.build import ROOT
from perf.kit.venvs import VenvUnavailable, python_of

CRATE: Final = ROOT / "perf" / "peers" / "rust"
TARGET: Final = ROOT / ".cache" / "peers" / "rust"
NEEDED: Final = ("cargo", "cmake", "cc", "c++")
LIMIT: Final = 3600
"""Seconds that the compilation may take."""


class RustUnavailable(RuntimeError):
    """The programs cannot be compiled here; the text says why."""


def program(name: str) -> Path:
    """Return the path of a program.

    Raises:
        RustUnavailable: it does not compile here.
    """
    return _build() / name


@cache
def _build() -> Path:
    """Compile what changed; return where the programs are."""
    missing = [tool for tool in NEEDED if shutil.which(tool) is None]
    if missing:
        raise RustUnavailable(f"not on this machine: {', '.join(missing)}")
    TARGET.mkdir(parents=True, exist_ok=True)
    log = TARGET / "build.log"
    with (TARGET / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (TARGET / "release" / "quiche_direct").exists():
            print(f"compiling the Rust clients (half an hour on two cores; see {log})", file=sys.stderr)
        command = ["nice", "-n", "10", "cargo", "build", "--release", "--locked"]
        with log.open("w") as output:
            _run(command, output.fileno(), log)
    return TARGET / "release"


def _run(command: list[str], output: int, log: Path) -> None:
    try:
        subprocess.run(command, check=True, stdout=output, stderr=output, timeout=LIMIT, env=_environment(), cwd=CRATE)
    except subprocess.CalledProcessError as error:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        said = next((line for line in lines if line.startswith("error")), lines[-1] if lines else "no output")
        raise RustUnavailable(f"cargo failed: {said}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RustUnavailable(str(error)) from error


def _environment() -> dict[str, str]:
    own = {"CARGO_TARGET_DIR": str(TARGET), "RUSTFLAGS": "--cfg reqwest_unstable"}
    environment = {**os.environ, **own}
    if "LIBCLANG_PATH" not in environment and not _has_libclang():
        try:
            folder = next(python_of("libclang").parent.parent.rglob("libclang*.so*")).parent
        except (VenvUnavailable, StopIteration) as error:
            raise RustUnavailable(f"no libclang: {error}") from error
        environment["LIBCLANG_PATH"] = str(folder)
        environment.setdefault("BINDGEN_EXTRA_CLANG_ARGS", f"-I{_headers()}")
    return environment


def _has_libclang() -> bool:
    """Whether clang itself is here, which brings the headers that go with its library."""
    return shutil.which("clang") is not None


def _headers() -> str:
    """Return where the C compiler keeps its own headers, which PyPI's libclang comes without."""
    asked = ["cc", "-print-file-name=include"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


def version_of(crate: str) -> str:
    """Return the version of a crate that the programs are built with."""
    packages = tomllib.loads((CRATE / "Cargo.lock").read_text())["package"]
    return next((str(package["version"]) for package in packages if package["name"] == crate), "?")
