"""Settings that all tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from importlib import import_module

import pytest
from hypothesis import settings

from specter._backend import TWINS
from specter._native import STATE
from tests.loops import LOOPS, Run, running

settings.register_profile("specter", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("specter")


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs coroutines, in a loop of asyncio and in one of uvloop."""
    with running(request.param) as run_in_loop:
        yield run_in_loop


def pytest_configure() -> None:
    _hear_interrupts()
    _require_compiled()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what replaces parts of the protocol layers: their compiled form calls its own directly."""
    if STATE == "compiled":
        skip = pytest.mark.skip(reason="replaces parts of the protocol layers, which are compiled here")
        for item in items:
            if item.get_closest_marker("interpreted"):
                item.add_marker(skip)


def _hear_interrupts() -> None:
    """A shell makes its background jobs ignore SIGINT; tests of Ctrl-C, and the programs they start, must hear it."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _require_compiled() -> None:
    """Refuse to start where a compiled module that has to be there is not: its tests would be skipped in silence."""
    if os.environ.get("SPECTER_REQUIRE_COMPILED", "") in ("", "0"):
        return
    for name in TWINS:
        try:
            import_module(f"specter._speedups.{name}")
        except Exception as error:
            raise pytest.UsageError(f"SPECTER_REQUIRE_COMPILED: {name} does not load ({error})") from error
