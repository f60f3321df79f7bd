"""``python -m tests.fuzz NAME --time SECONDS`` looks for bugs; ``python -m tests.fuzz NAME FILE...`` runs inputs again.

With ``atheris`` installed it is guided by coverage, which only sees the reference (``SPECTER_PURE=1``); ``--plain``, or
without it, inputs are mutations of the corpus. An input that is a bug goes to ``.cache/fuzz``, and so does, as
``NAME-last``, one that ends the process.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

FOUND = Path(__file__).parents[2] / ".cache" / "fuzz"
SAID = 4_000
"""Characters of a failure's log that are shown."""
SLOW = 10.0
"""Seconds of computing for one input that count as a hang."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("name", nargs="?", help="the entry point")
    parser.add_argument("files", nargs="*", type=Path, help="inputs to run, instead of looking for new ones")
    parser.add_argument("--time", type=int, default=60, help="seconds (60)")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations (0)")
    parser.add_argument("--plain", action="store_true", help="mutations only, even where atheris is installed")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--list", action="store_true", help="name the entry points")
    parser.add_argument("--native", action="store_true", help="name those that drive compiled modules")
    options = parser.parse_args(arguments)
    if options.list or options.native:
        return _list(native=options.native)
    if options.name is None:
        parser.error("which entry point? see --list")
    if options.files:
        return _again(options.name, options.files)
    if options.child:
        return _fuzz(options.name, options.time)
    if not options.plain and importlib.util.find_spec("atheris") is not None:
        return _guided(options.name, options.time)
    return _plain(options.name, options.time, options.seed)


def _list(*, native: bool) -> int:
    from tests.fuzz.entries import ENTRIES

    print("\n".join(name for name, entry in ENTRIES.items() if entry.native or not native))
    return 0


def _again(name: str, files: list[Path]) -> int:
    from tests.fuzz.entries import ENTRIES

    for path in files:
        ENTRIES[name].one(path.read_bytes())
    return 0


def _plain(name: str, seconds: int, seed: int) -> int:
    from tests.fuzz.entries import ENTRIES
    from tests.fuzz.mutations import mutate

    entry, chance = ENTRIES[name], random.Random(f"{name} {seed}")
    corpus = entry.corpus()
    with _keeping(name, entry.one) as one:
        end = time.monotonic() + seconds
        for data in corpus:
            one(data)
        runs = len(corpus)
        while time.monotonic() < end:
            one(mutate(chance, chance.choice(corpus), chance.choice(corpus)))
            runs += 1
    print(f"{name}: {runs:,} inputs in {seconds} s, no bug")
    return 0


def _guided(name: str, seconds: int) -> int:
    """Have a process look for bugs, guided by coverage; tell how many inputs it tried, or what it found."""
    FOUND.mkdir(parents=True, exist_ok=True)
    log = FOUND / f"{name}.log"
    command = [sys.executable, "-m", "tests.fuzz", name, "--time", str(seconds), "--child"]
    with log.open("wb") as output:
        code = subprocess.run(command, stdout=output, stderr=output, check=False).returncode
    said = log.read_text(errors="replace")
    if code:
        print(f"{said[-SAID:]}\n{name} failed; all of it is in {log}", file=sys.stderr)
        return 1
    (runs,) = re.findall(r"^stat::number_of_executed_units: *(\d+)$", said, re.MULTILINE)
    print(f"{name}: {int(runs):,} inputs in {seconds} s, no bug")
    return 0


def _fuzz(name: str, seconds: int) -> int:
    """Hand over to libFuzzer, which ends the process; it calls inputs that take longer than ``SLOW`` a bug."""
    import atheris

    with atheris.instrument_imports(include=["specter"], enable_loader_override=False):
        from tests.fuzz.entries import ENTRIES

    entry, directory = ENTRIES[name], FOUND / "corpus" / name
    directory.mkdir(parents=True, exist_ok=True)
    for data in entry.corpus():
        (directory / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    limits = [f"-max_total_time={seconds}", f"-timeout={SLOW:g}", f"-artifact_prefix={FOUND}/{name}-"]
    atheris.Setup(
        [sys.argv[0], "-max_len=4096", "-print_final_stats=1", "-verbosity=0", *limits, str(directory)], entry.one
    )
    atheris.Fuzz()
    return 0


@contextmanager
def _keeping(name: str, one: Callable[[bytes], None]) -> Iterator[Callable[[bytes], None]]:
    """Yield ``one`` with a limit on its time; what it fails for is written to a file, and what ends the process."""
    FOUND.mkdir(parents=True, exist_ok=True)
    last = FOUND / f"{name}-last"

    def run(data: bytes) -> None:
        file.seek(0)
        file.truncate()
        file.write(data)
        began = time.process_time()
        try:
            one(data)
            if time.process_time() - began > SLOW:
                raise TimeoutError(f"more than {SLOW:g} seconds")
        except Exception:
            path = FOUND / f"{name}-{hashlib.sha256(data).hexdigest()[:16]}"
            path.write_bytes(data)
            print(f"{name} failed; again with: python -m tests.fuzz {name} {path}", file=sys.stderr)
            raise

    try:
        with last.open("wb", buffering=0) as file:
            yield run
    finally:
        last.unlink()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
