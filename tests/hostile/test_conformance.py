"""The conformance page: what the table says, and no line without a test."""

from __future__ import annotations

import ast
from functools import cache

import pytest

from tests.hostile import conformance
from tests.hostile.conformance import MISSING, PAGE, PASSED, ROWS, TESTS, function_of, render
from tests.hostile.server import transport_error
from tests.hostile.table import Breach
from tests.hostile.test_breaches import ALL
from tests.quic.test_frame_rules import BROKEN


@cache
def functions(path: str) -> set[str]:
    tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == render({row.test: PASSED for row in ROWS}), "run ci/conformance"


@pytest.mark.parametrize("test", sorted({function_of(row.test) for row in ROWS}))
def test_every_named_test_exists(test: str) -> None:
    path, _, name = test.partition("::")
    assert name in functions(path)


def test_every_named_case_exists() -> None:
    named = {row.test.partition("[")[2].removesuffix("]") for row in ROWS if "[" in row.test}
    cases = {f"{breach.rule}: {breach.fault}" for breach in ALL} | {case[0] for case in BROKEN}
    assert named <= cases
    assert set(ALL) == {row for row in ROWS if isinstance(row, Breach)}


def test_codes_are_those_of_the_cases_named() -> None:
    codes = {name: code for name, _, code in BROKEN}
    named = [row for row in ROWS if function_of(row.test).endswith("::test_a_broken_rule_closes_with_its_code")]
    assert named
    assert [row.code for row in named] == [transport_error(codes[row.test.partition("[")[2][:-1]]) for row in named]


def test_no_rule_is_listed_twice() -> None:
    assert len({(row.rule, row.fault) for row in ROWS}) == len(ROWS)


def test_what_did_not_run_is_not_covered() -> None:
    recorder = conformance.Recorder()
    recorder.outcomes = {
        "a.py::b[1]": {"passed"},
        "a.py::b[2]": {"failed"},
        "a.py::c": {"passed"},
        "a.py::d": {"skipped"},
    }
    results = [recorder.result(test) for test in ("a.py::b[1]", "a.py::b", "a.py::c", "a.py::d", "a.py::none")]
    assert results == [PASSED, conformance.FAILED, PASSED, conformance.SKIPPED, None]
    assert render({}).count(MISSING) == len(ROWS)
