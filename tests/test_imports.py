"""Who imports whom, and what an import costs."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import specter

ROOT = Path(__file__).parents[1]
OPTIONAL = (
    "aioquic",
    "backports",
    "brotli",
    "click",
    "httpx",
    "hypothesis",
    "pytest",
    "rich",
    "specter.cli",
    "specter.testing",
)
NEEDS_OTHERS = ("specter.integrations.", "specter.testing.fixtures")
"""Modules that exist for a package which need not be installed."""


def modules() -> list[str]:
    found = pkgutil.walk_packages([str(ROOT / "specter")], "specter.")
    return sorted(["specter", *(module.name for module in found if module.name != "specter.__main__")])


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_import_order_is_kept() -> None:
    code = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(cache_dir=None))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks to start each import from nothing")
def test_each_module_can_be_imported_first() -> None:
    """A circular import shows only when it is entered at the wrong end. One process forks for each module."""
    names = [name for name in modules() if not name.startswith(NEEDS_OTHERS)]
    code = f"""
import importlib, os, sys, traceback
import asyncio, cryptography.x509, cryptography.hazmat.primitives.ciphers.aead, pylsqpack  # paid once
failed = 0
for name in {names!r}:
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
        except BaseException:
            print(name)
            traceback.print_exc(file=sys.stdout)
            sys.stdout.flush()
            os._exit(1)
        os._exit(0)
    failed |= os.waitpid(child, 0)[1]
sys.exit("see above" if failed else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_optional_is_imported_before_it_is_used() -> None:
    loaded = run("import sys, specter; print(*sys.modules)").split()
    assert [name for name in OPTIONAL if name in loaded] == []


def test_every_public_name_exists_and_is_listed_once() -> None:
    assert len(specter.__all__) == len(set(specter.__all__))
    for name in specter.__all__:
        assert hasattr(specter, name), name


@pytest.mark.parametrize("name", [name for name in modules() if not name.startswith(NEEDS_OTHERS)])
def test_every_name_in_all_exists(name: str) -> None:
    module = importlib.import_module(name)
    for public in getattr(module, "__all__", ()):
        assert hasattr(module, public), f"{name}.{public}"
