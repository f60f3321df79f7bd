"""What is in the wheel and the source distribution, and what happens with and without a compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TREE = (
    "pyproject.toml",
    "setup.py",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Makefile",
)
FOLDERS = ("specter", "tests", "ci", ".ci", "docs")
MANUAL = "data/share/man/man1/specter.1"
TOY = "def add(int a, int b):\n    return a + b\n"
BUILT = shutil.ignore_patterns("*.so", "*.c", "__pycache__", "*.html")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what a build sees, with one small extension module in place of ours."""
    target = tmp_path / "tree"
    target.mkdir()
    for name in TREE:
        shutil.copy(ROOT / name, target)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, target / name, ignore=BUILT)
    for path in (target / "specter" / "_speedups").glob("*.p[yx][xd]"):
        path.unlink()
    (target / "specter" / "_speedups" / "toy.pyx").write_text(TOY)
    return target


def build(tree: Path, hook: str, **environment: str) -> subprocess.CompletedProcess[str]:
    code = f"from setuptools import build_meta; build_meta.{hook}('dist')"
    (tree / "dist").mkdir(exist_ok=True)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SPECTER_")}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=tree,
        env={**inherited, "SPECTER_LAYERS": "0", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def wheel_of(tree: Path) -> zipfile.ZipFile:
    (path,) = (tree / "dist").glob("*.whl")
    return zipfile.ZipFile(path)


def test_a_wheel_without_a_compiler_is_pure_and_says_why(tree: Path) -> None:
    done = build(tree, "build_wheel", CC="/bin/false")
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("specter:")]
    assert len(said) == 1
    assert "compiled core left out" in said[0]
    with wheel_of(tree) as wheel:
        assert str(wheel.filename).endswith("-py3-none-any.whl")
        assert [name for name in wheel.namelist() if "toy" in name] == []


def test_a_compiler_can_be_required(tree: Path) -> None:
    assert build(tree, "build_wheel", CC="/bin/false", SPECTER_BUILD="require").returncode != 0


def test_an_unknown_mode_is_refused(tree: Path) -> None:
    done = build(tree, "build_wheel", SPECTER_BUILD="maybe")
    assert done.returncode != 0
    assert "SPECTER_BUILD must be one of" in done.stderr


def test_the_pure_wheel_has_every_module_and_nothing_else(tree: Path) -> None:
    done = build(tree, "build_wheel", SPECTER_BUILD="pure")
    assert done.returncode == 0, done.stderr
    expected = {
        path.relative_to(tree).as_posix() for path in (tree / "specter").rglob("*.py*") if path.suffix != ".pyx"
    }
    with wheel_of(tree) as wheel:
        names = {name.partition(".data/")[2] or name for name in wheel.namelist() if ".dist-info/" not in name}
        metadata = wheel.read(next(name for name in wheel.namelist() if name.endswith("METADATA"))).decode()
    assert names == {*expected, "specter/py.typed", MANUAL}
    assert "License-Expression: MIT" in metadata
    assert "Requires-Python: >=3.11" in metadata
    wanted = [line.partition(";")[0] for line in metadata.splitlines() if line.startswith("Requires-Dist")]
    assert "<" not in "".join(wanted)


@pytest.mark.parametrize(("platform", "wanted"), [("linux", {"toy", "udp"}), ("darwin", {"toy"}), ("win32", {"toy"})])
def test_batched_udp_is_compiled_for_linux_alone(tree: Path, platform: str, wanted: set[str]) -> None:
    (tree / "specter" / "_speedups" / "udp.pyx").write_text(TOY)
    code = f"""
import runpy, setuptools, setuptools.command.build_ext, sys
setuptools.setup = lambda ext_modules, cmdclass: print(*(module.name for module in ext_modules))
sys.platform = {platform!r}
runpy.run_path("setup.py")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {name.rpartition(".")[2] for name in done.stdout.split()} == wanted


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_the_compiled_wheel_has_the_extension(tree: Path) -> None:
    done = build(tree, "build_wheel", SPECTER_BUILD="require")
    assert done.returncode == 0, done.stdout + done.stderr
    with wheel_of(tree) as wheel:
        assert not str(wheel.filename).endswith("-py3-none-any.whl")
        wheel.extractall(tree / "unpacked")  # noqa: S202  we just built it
    code = "from specter._speedups import toy; print(toy.add(2, 3))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tree / "unpacked", capture_output=True, text=True, check=False
    )
    assert done.stdout == "5\n", done.stderr


def test_the_source_distribution_can_rebuild_and_test_itself(tree: Path) -> None:
    done = build(tree, "build_sdist")
    assert done.returncode == 0, done.stderr
    (path,) = (tree / "dist").glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    expected = {*TREE, "specter/_speedups/toy.pyx", "specter/py.typed", ".ci/run", "ci/test", "tests/test_packaging.py"}
    assert expected - names == set()
    assert not any(name.endswith((".so", ".c", ".pyc")) for name in names)
