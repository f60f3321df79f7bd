"""``perf/publish DIR...``: keeps directories of measurements, and makes the README's tables again.

What is kept is in ``docs/benchmarks/DATE-KIND``, with KIND ``gate`` or ``peers``; what it supersedes is deleted.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from perf.evidence import tables
from perf.gate.verdict import judge, load
from perf.kit.build import ROOT
from perf.reporting.__main__ import report
from perf.suite.runner import RESULTS, read

KINDS: Final = {"gate": tables.gate, "peers": tables.suite}
BEGIN: Final = "<!-- benchmarks: made by `perf/publish` from docs/benchmarks -->"
END: Final = "<!-- end of benchmarks -->"
NOTHING: Final = "Nothing has been measured for the record yet: `make gate` and `make bench-peers` do."


class NotEvidence(Exception):
    """The directory does not show anything; the text says why."""


def publish(source: Path, root: Path = ROOT) -> Path:
    """Copy ``source`` to where evidence is kept, with its report, in place of what was there of its kind.

    Raises:
        NotEvidence: it is incomplete, or its gate proves nothing.
    """
    kind = "peers" if (source / RESULTS).exists() else "gate"
    try:
        manifest = read(source)[0] if kind == "peers" else load(source).manifest
    except ValueError as error:
        raise NotEvidence(str(error)) from error
    problems = judge(source).problems if kind == "gate" else _suite_problems(manifest)
    if problems:
        raise NotEvidence(problems[0])
    folder = root / "docs" / "benchmarks"
    target = folder / f"{str(manifest['started'])[:10]}-{kind}"
    for old in folder.glob(f"*-{kind}"):
        shutil.rmtree(old)
    shutil.copytree(source, target)
    (target / "report.html").write_text(report(target))
    return target


def _suite_problems(manifest: dict[str, object]) -> list[str]:
    tree = manifest.get("tree_before")
    dirty = not isinstance(tree, dict) or tree.get("dirty") != []
    return (["the tree was dirty"] if dirty else []) + (
        [f"the environment steers what is measured: {manifest.get('foreign_environment')}"]
        if manifest.get("foreign_environment") != []
        else []
    )


def block(root: Path = ROOT) -> str:
    """Return what belongs between the README's markers."""
    lines = list(_lines(root))
    return "\n".join(lines) if lines else NOTHING


def _lines(root: Path) -> Iterator[str]:
    for kind, make in KINDS.items():
        for directory in sorted((root / "docs" / "benchmarks").glob(f"*-{kind}")):
            yield from make(directory, directory.relative_to(root).as_posix())
            yield ""


def fill(text: str, inside: str) -> str:
    """Return a README with ``inside`` between its markers.

    Raises:
        ValueError: the markers are not there.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the README has no markers for benchmarks")
    return f"{before}{BEGIN}\n\n{inside.strip()}\n\n{END}{after}"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="perf/publish", description=__doc__)
    parser.add_argument("directory", type=Path, nargs="*", help="what perf/gate/run or perf/suite/run left")
    options = parser.parse_args(arguments)
    try:
        for directory in options.directory:
            print(publish(directory).relative_to(ROOT))
    except NotEvidence as error:
        print(f"perf/publish: {directory}: {error}", file=sys.stderr)
        return 1
    readme = ROOT / "README.md"
    readme.write_text(fill(readme.read_text(), block()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
