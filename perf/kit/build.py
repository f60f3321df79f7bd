"""Compiles the Cython helpers of the benchmarks on demand, into ``.cache/perf``."""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import importlib.util
import sys
import sysconfig
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
CACHE: Final = ROOT / ".cache" / "perf"
SOURCES: Final = Path(__file__).resolve().parent / "native"
SPEEDUPS: Final = ROOT / "specter" / "_speedups"


class NativeUnavailable(RuntimeError):
    """A helper cannot be compiled here; the text says why."""


@cache
def native(name: str) -> ModuleType:
    """Return the compiled helper ``name``, building it when it is missing or older than what it is made from.

    Raises:
        NativeUnavailable: no Cython, no compiler, or a twin it needs is not compiled.
    """
    source = SOURCES / f"{name}.pyx"
    folder = CACHE / f"{name}-{_fingerprint(source)}"
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    target = folder / f"{name}{suffix}"
    if not target.exists():
        _build_once(source, folder, target)
    spec = importlib.util.spec_from_file_location(name, target)
    if spec is None or spec.loader is None:
        raise NativeUnavailable(f"{target} is no extension module")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (ImportError, ValueError) as error:
        raise NativeUnavailable(f"{name} does not load: {error}") from error
    return module


def _fingerprint(source: Path) -> str:
    """Return what changes when the helper has to be compiled again: its text, the twins' layouts, the interpreter."""
    digest = hashlib.sha256(sys.version.encode())
    for path in (source, *sorted(SPEEDUPS.glob("*.pxd"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _build_once(source: Path, folder: Path, target: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _build(source, folder)
    if not target.exists():
        raise NativeUnavailable(f"{source.name} compiled to nothing")


def _build(source: Path, folder: Path) -> None:
    try:
        cython = importlib.import_module("Cython.Build")
        setuptools = importlib.import_module("setuptools")
        commands = importlib.import_module("setuptools.command.build_ext")
    except ImportError as error:
        raise NativeUnavailable(f"{error.name} is not installed") from error
    copy = folder / source.name
    copy.write_bytes(source.read_bytes())
    extension = setuptools.Extension(source.stem, [str(copy)], extra_compile_args=["-O3"])
    try:
        modules = cython.cythonize([extension], include_path=[str(ROOT)], quiet=True)
        options: dict[str, Any] = {"build_lib": str(folder), "build_temp": str(folder)}
        command = commands.build_ext(setuptools.Distribution({"ext_modules": modules}), **options)
        command.ensure_finalized()
        command.run()
    except Exception as error:  # compilers fail in every way there is
        raise NativeUnavailable(f"{source.name} does not compile: {error}") from error
