"""Blocking use of what is written once for both clients.

The request logic is made of coroutines. What they await is a driver's, and a blocking driver blocks where an event
loop's suspends: then the whole coroutine runs through in one go, in the caller's thread.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TypeVar

__all__ = ["run_inline"]

T = TypeVar("T")


def run_inline(coroutine: Coroutine[object, None, T]) -> T:
    """Run a coroutine that never suspends; return its result or raise its error."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError("a blocking driver suspended")
