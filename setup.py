"""Builds the optional compiled core; everything else about the package is in pyproject.toml.

Each ``specter/_speedups/NAME.pyx`` becomes the extension module ``specter._speedups.NAME``. Without a compiler or
Cython the build says so in one line and goes on without: every compiled module has a pure-Python twin.

    SPECTER_BUILD=auto       the default: compile when that works
    SPECTER_BUILD=pure       do not try
    SPECTER_BUILD=require    a module that does not compile fails the build
    SPECTER_SANITIZE=LIST    -fsanitize=LIST, for example address,undefined (ci/sanitize)
    SPECTER_LINETRACE=1      let coverage and profilers see Cython lines
    SPECTER_ANNOTATE=1       write Cython's HTML report beside the C files (build/cython)
"""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
SOURCES = Path("specter", "_speedups")
MODES = ("auto", "pure", "require")
LINUX_ONLY = ("udp",)


def build_mode() -> str:
    mode = os.environ.get("SPECTER_BUILD") or "auto"
    if mode not in MODES:
        raise SystemExit(f"SPECTER_BUILD must be one of {', '.join(MODES)}, not {mode!r}")
    return mode


def flag(name: str) -> bool:
    return os.environ.get(name, "") not in ("", "0")


def extensions() -> list[Extension]:
    if build_mode() == "pure":
        return []
    names = sorted(path.stem for path in (ROOT / SOURCES).glob("*.pyx"))
    if sys.platform != "linux":
        names = [name for name in names if name not in LINUX_ONLY]
    return [Extension(f"specter._speedups.{name}", [f"{SOURCES.as_posix()}/{name}.pyx"]) for name in names]


def compiler_options(unix: bool) -> dict[str, list[Any]]:
    """Return what each extension is compiled and linked with."""
    sanitize = os.environ.get("SPECTER_SANITIZE", "")
    compile_args = ["-O3", "-g0"] if unix else ["/O2"]
    if sanitize:
        compile_args = [f"-fsanitize={sanitize}", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all", "-O1", "-g"]
    macros = [("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1")] if flag("SPECTER_LINETRACE") else []
    link_args = [f"-fsanitize={sanitize}"] if sanitize else []
    libraries = ["dl"] if sys.platform == "linux" else []  # dlopen is not in older C libraries
    return {
        "extra_compile_args": compile_args,
        "extra_link_args": link_args,
        "libraries": libraries,
        "define_macros": macros,
    }


def write_c(modules: list[Extension], options: dict[str, list[Any]]) -> None:
    """Turn every .pyx into C under build/cython and point its extension there."""
    from Cython.Build import cythonize

    translated = cythonize(
        modules,
        build_dir="build/cython",
        annotate=flag("SPECTER_ANNOTATE"),
        compiler_directives={"language_level": 3, "linetrace": flag("SPECTER_LINETRACE")},
        quiet=True,
    )
    for module, new in zip(modules, translated, strict=True):
        module.sources = new.sources
        module.depends = new.depends
        for name, values in options.items():
            setattr(module, name, [*getattr(module, name), *values])


class BuildSpeedups(build_ext):
    """Compiles all of the extensions, or none of them."""

    def run(self) -> None:
        inplace = self.inplace
        try:
            super().run()
        except (Exception, SystemExit) as error:  # compilers fail in every way there is
            if build_mode() == "require":
                raise
            self.inplace = inplace
            self.give_up(error)

    def build_extensions(self) -> None:
        write_c(self.extensions, compiler_options(self.compiler.compiler_type == "unix"))
        self.parallel = self.parallel or os.cpu_count()
        super().build_extensions()

    def built(self) -> list[Path]:
        """Return where compiled modules may lie: of this build and, in an editable install, of an older one."""
        older = self.get_output_mapping().values()
        return [Path(name) for name in (*self.get_outputs(), *older)]

    def give_up(self, error: BaseException) -> None:
        reason = textwrap.shorten(str(error) or type(error).__name__, 200)
        print(f"specter: compiled core left out, the pure-Python one will be used ({reason})", file=sys.stderr)
        for path in self.built():
            path.unlink(missing_ok=True)
        self.extensions = []
        self.distribution.ext_modules = []
        wheel = self.distribution.get_command_obj("bdist_wheel", create=False)
        if wheel is not None:
            wheel.root_is_pure = True


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildSpeedups})
