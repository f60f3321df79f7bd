"""``python -m perf.reporting DIR``: writes ``DIR/report.html``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from perf.reporting import gate, growth, suite


def report(directory: Path) -> str:
    """Return the page for whatever the directory holds. Raises ``ValueError`` where that is nothing."""
    if (directory / "growth.json").exists():
        return growth.report(directory)
    return suite.report(directory) if (directory / "results.jsonl.gz").exists() else gate.report(directory)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="perf/report", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--out", type=Path, help="the page; report.html in the directory by default")
    options = parser.parse_args(arguments)
    try:
        text = report(options.directory)
    except ValueError as error:
        print(f"perf/report: {error}", file=sys.stderr)
        return 1
    out = options.out or options.directory / "report.html"
    out.write_text(text)
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
