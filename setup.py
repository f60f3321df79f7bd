"""Builds the optional compiled parts; everything else about the package is in pyproject.toml.

Each ``specter/_speedups/NAME.pyx`` becomes the extension module ``specter._speedups.NAME``. Without a compiler or
Cython the build says so in one line and goes on without: every compiled module has a pure-Python twin.

The typed Python of the protocol layers (``LAYERS``) is compiled by mypyc as it is, into ``specter/_native``; the
sources stay and do the same, slower. That takes a minute, so builds in place leave it out unless told to.

    SPECTER_BUILD=auto       the default: compile when that works
    SPECTER_BUILD=pure       do not try
    SPECTER_BUILD=require    a module that does not compile fails the build
    SPECTER_LAYERS=1 or 0    compile the protocol layers or do not; the default is to, except in place
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
LAYERS = ("tls", "quic", "quic/congestion", "h3", "net", "client")
HOT = {  # of these packages only what works for every packet, request or handshake: a wheel has to stay small
    "tls": ("extensions", "key_schedule", "reader"),
    "quic": (
        *("cids", "close", "connection", "core", "delivery", "dispatch", "ecn", "events", "flight", "flow"),
        *("handshake", "inbound", "lull", "outbound", "pacing", "packet", "parameters", "path", "paths", "probing"),
        *("recovery", "rtt", "space", "stream_ids", "streams", "timers", "traced"),
    ),
    "h3": (
        *("connection", "events", "exchanges", "fields", "frames", "qlog", "qpack", "receiving", "request_stream"),
        *("sending", "session", "writer"),
    ),
    "net": (
        *("aio", "aio_driver", "blocking", "budget", "channel", "clock", "connection", "driver", "exchange"),
        *("exchanges", "gathering", "inline", "spinning", "transfer", "tunnel"),
    ),
    "client": ("sending",),
}
NATIVE = "specter._native"
COMPACT = ("-fno-asynchronous-unwind-tables",)
"""No exception is thrown in C; where frames are unwound for another reason (a thread exits), that ends there."""


def build_mode() -> str:
    mode = os.environ.get("SPECTER_BUILD") or "auto"
    if mode not in MODES:
        raise SystemExit(f"SPECTER_BUILD must be one of {', '.join(MODES)}, not {mode!r}")
    return mode


def flag(name: str, *, default: bool = False) -> bool:
    value = os.environ.get(name, "")
    return value != "0" if value else default


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
    compile_args = ["-O2", "-g0", *COMPACT] if unix else ["/O2"]
    if sanitize:
        compile_args = [f"-fsanitize={sanitize}", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all", "-O1", "-g"]
    macros = [("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1")] if flag("SPECTER_LINETRACE") else []
    link_args = [f"-fsanitize={sanitize}"] if sanitize else ["-s"] if sys.platform == "linux" else []
    libraries = ["dl"] if sys.platform == "linux" else []  # dlopen is not in older C libraries
    return {
        "extra_compile_args": compile_args,
        "extra_link_args": link_args,
        "libraries": libraries,
        "define_macros": macros,
    }


def layer_sources() -> list[Path]:
    """Return the files of the protocol layers, relative to the project."""
    files = []
    for layer in LAYERS:
        found = sorted((ROOT / "specter" / layer).glob("*.py"))
        files += [path for path in found if path.stem in HOT.get(layer, (path.stem,)) and path.stem != "__init__"]
    return [path.relative_to(ROOT) for path in files]


def layer_extensions() -> list[Extension]:
    """Return one library and a stub for each module of the layers, still without sources."""
    names = [".".join(path.with_suffix("").parts[1:]) for path in layer_sources()]
    return [Extension(f"{NATIVE}.{name}", []) for name in ("layers__mypyc", *names)]


def translate_layers(modules: list[Extension], unix: bool) -> None:
    """Turn the protocol layers into C below build/mypyc and point their extensions there."""
    from mypyc.build import mypycify

    arguments = ["--config-file=", "--ignore-missing-imports", f"--python-version=3.{sys.version_info.minor}"]
    translated = mypycify(
        [*arguments, *(path.as_posix() for path in layer_sources())],
        group_name=f"{NATIVE}.layers",
        target_dir="build/mypyc",
        opt_level="2",
        debug_level="0",
        multi_file=True,
    )
    found = {module.name.removeprefix(f"{NATIVE}.").removeprefix("specter."): module for module in translated}
    for module in modules:
        new = found[module.name.removeprefix(f"{NATIVE}.")]
        module.sources, module.depends = new.sources, new.depends
        module.include_dirs = [*new.include_dirs, *(f"{folder}/specter/_native" for folder in new.include_dirs)]
        module.extra_compile_args = [
            *new.extra_compile_args,
            *(("-Os", "-fvisibility=hidden", *COMPACT) if unix else ()),
        ]
        module.extra_link_args = ["-s"] if sys.platform == "linux" else []


def describe_sources() -> str:
    """Return what the layers are made from: path, size and time of change of each file, a line each."""
    lines = []
    for path in layer_sources():
        found = (ROOT / path).stat()
        lines.append(f"{path.relative_to('specter').as_posix()}\t{found.st_size}\t{found.st_mtime_ns}\n")
    return "".join(lines)


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
    """Compiles all of the twins and layers, or nothing."""

    def run(self) -> None:
        inplace = self.inplace
        sources = describe_sources()  # as they are now: they may be edited during the build
        if not self.with_layers():  # an editable install says that it is one after the options were finalized
            self.extensions = [module for module in self.extensions if not module.name.startswith(NATIVE)]
        try:
            super().run()
        except (Exception, SystemExit) as error:  # compilers fail in every way there is
            if build_mode() == "require":
                raise
            self.inplace = inplace
            self.give_up(error)
        else:
            if inplace and self.with_layers():
                (ROOT / "specter" / "_native" / "sources").write_text(sources, encoding="utf-8")

    def with_layers(self) -> bool:
        if build_mode() == "pure" or os.environ.get("SPECTER_SANITIZE"):
            return False
        return flag("SPECTER_LAYERS", default=not (self.inplace or self.editable_mode))

    def finalize_options(self) -> None:
        if self.with_layers():
            modules = self.distribution.ext_modules
            modules += [module for module in layer_extensions() if module.name not in {known.name for known in modules}]
        super().finalize_options()

    def build_extensions(self) -> None:
        layers = [module for module in self.extensions if module.name.startswith(NATIVE)]
        twins = [module for module in self.extensions if module not in layers]
        unix = self.compiler.compiler_type == "unix"
        write_c(twins, compiler_options(unix))
        if layers:
            translate_layers(layers, unix)
        self.parallel = self.parallel or os.cpu_count()
        super().build_extensions()

    def copy_extensions_to_source(self) -> None:
        if self.with_layers():
            for older in ROOT.joinpath(*NATIVE.split(".")).rglob("*.so"):
                older.unlink()
        for module in self.extensions:
            ROOT.joinpath(*module.name.split(".")).parent.mkdir(exist_ok=True)
        super().copy_extensions_to_source()

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
