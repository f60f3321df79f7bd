from __future__ import annotations

import asyncio

import pytest

from specter.net.inline import run_inline


async def twice(value: int) -> int:
    return 2 * value


async def fails() -> int:
    await twice(1)
    raise StopAsyncIteration("the caller's")


def test_the_result_and_the_error_come_out() -> None:
    assert run_inline(twice(21)) == 42
    with pytest.raises(StopAsyncIteration, match="the caller's"):
        run_inline(fails())


def test_a_driver_that_suspends_is_found_out() -> None:
    ended = []

    async def suspends() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            ended.append(True)

    with pytest.raises(RuntimeError, match="suspended"):
        run_inline(suspends())
    assert ended
