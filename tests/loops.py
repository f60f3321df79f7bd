"""Event loops for tests: both kinds, each watched for what goes wrong unnoticed and for what it leaves behind."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import pytest

__all__ = ["LOOPS", "Run", "running"]

Run: TypeAlias = Callable[[Coroutine[Any, Any, Any]], Any]
"""Runs a coroutine in an event loop and returns its result."""

LOOPS = ("asyncio", "uvloop")


@contextmanager
def running(kind: str) -> Iterator[Run]:
    """Give a function that runs coroutines in one loop of this ``kind``."""
    factory = pytest.importorskip("uvloop").new_event_loop if kind == "uvloop" else None
    with asyncio.Runner(loop_factory=factory, debug=kind == "asyncio") as runner:
        complaints: list[Any] = []
        loop = runner.get_loop()
        loop.slow_callback_duration = 10  # the machine may be busy
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        yield lambda coroutine: runner.run(_alone(coroutine))
        gc.collect()
        assert not complaints, complaints


async def _alone(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run ``coroutine``; no other task may be left afterwards."""
    result = await coroutine
    await asyncio.sleep(0)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, left
    return result
