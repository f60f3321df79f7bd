"""``docs/conformance.md``: each rule that a server can break, the test that breaks it, and how that test ended.

``python -m tests.hostile.conformance`` runs the tests of the table and writes the page; it fails when one of them does,
or is not there. ``ci/conformance`` calls it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.hostile.breaches import QUIC
from tests.hostile.references import FRAMES, HANDSHAKE, WEB
from tests.hostile.table import Breach, Reference
from tests.hostile.web_breaches import HTTP, QPACK

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "conformance.md"
PASSED, FAILED, SKIPPED, MISSING = "passed", "**failed**", "**skipped**", "**no test**"
ROWS: list[Breach | Reference] = [*QUIC, *FRAMES, *HANDSHAKE, *HTTP, *QPACK, *WEB]

HEAD = """# Conformance

What a server can do wrong that a client has to notice, and what this client does about it: the code it closes the
connection with, or gives up the request alone with (stream). `ci/conformance` runs every test named here and writes
this page. A number after a dash counts the paragraphs of the section.

| Rule | The server sends | The client answers | Test | Result |
|---|---|---|---|---|
"""


def function_of(test: str) -> str:
    return test.partition("[")[0]


def order(row: Breach | Reference) -> tuple[list[int], str]:
    """By RFC, section and paragraph."""
    return [int(number) for number in re.findall(r"\d+", row.rule)], row.fault


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def line(row: Breach | Reference, result: str) -> str:
    code = f"{row.code} (stream)" if row.on_stream else row.code
    return f"| {row.rule} | {cell(row.fault)} | {code} | `{function_of(row.test)}` | {result} |\n"


def render(results: dict[str, str]) -> str:
    """Return the page; ``results`` has a word for each test, and a test without one is told to be missing."""
    return HEAD + "".join(line(row, results.get(row.test, MISSING)) for row in sorted(ROWS, key=order))


class Recorder:
    """A plugin that notes which tests passed in all their phases."""

    def __init__(self) -> None:
        self.outcomes: dict[str, set[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or not report.passed:
            self.outcomes.setdefault(report.nodeid.removeprefix("tests/"), set()).add(report.outcome)

    def result(self, test: str) -> str | None:
        """Return how a test ended, a whole function for a name without brackets; ``None`` when it did not run."""
        found = [outcomes for node, outcomes in self.outcomes.items() if test in (node, function_of(node))]
        if not found:
            return None
        outcomes = set().union(*found)
        return FAILED if "failed" in outcomes else SKIPPED if "skipped" in outcomes else PASSED


def run(tests: Iterable[str]) -> dict[str, str]:
    """Run tests; return how each of them ended. Those that are not there are left out."""
    recorder, wanted = Recorder(), set(tests)
    functions = sorted({str(TESTS / function_of(test)) for test in wanted})
    pytest.main(["-q", "-p", "no:cacheprovider", f"--rootdir={TESTS.parent}", *functions], plugins=[recorder])
    return {test: result for test in wanted if (result := recorder.result(test)) is not None}


def main() -> int:
    results = run(row.test for row in ROWS)
    PAGE.write_text(render(results), encoding="utf-8")
    bad = sorted({row.test for row in ROWS if results.get(row.test) != PASSED})
    for test in bad:
        print(f"{results.get(test, MISSING)}: {test}", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
