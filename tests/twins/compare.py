"""What both twins do with the same call, side by side."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from specter._wire import TransportError

measures_memory = pytest.mark.skipif(
    not sys.platform.startswith("linux") or "ASAN_OPTIONS" in os.environ,
    reason="reads /proc, and a sanitizer keeps what is freed",
)


def outcome(call: Callable[..., object], *arguments: object) -> tuple[object, ...]:
    """What a call returns, with its type, or raises, with everything the error carries."""
    try:
        value = call(*arguments)
    except TransportError as error:
        return TransportError, error.args, str(error), error.code, error.reason, error.frame_type
    except Exception as error:
        return type(error), str(error)
    return "returned", type(value), value


def same(reference: Callable[..., object], compiled: Callable[..., object], *arguments: object) -> tuple[object, ...]:
    """Make one call of both twins and return the outcome they share."""
    expected = outcome(reference, *arguments)
    got = outcome(compiled, *arguments)
    assert got == expected, arguments
    return expected


def same_type(reference: Callable[..., object], compiled: Callable[..., object], *arguments: object) -> None:
    """Make one call, with an argument of a type that makes no sense, of both twins: the text is the interpreter's."""
    expected, got = outcome(reference, *arguments), outcome(compiled, *arguments)
    assert got[0] is expected[0], arguments
    assert isinstance(got[0], type), arguments


class Pair:
    """Two objects, one of each twin; what is asked of the pair is asked of both, and their state compared."""

    def __init__(self, reference: Any, compiled: Any, attributes: Sequence[str]) -> None:
        self.reference = reference
        self.compiled = compiled
        self._attributes = attributes
        self.check("made")

    def __call__(self, name: str, *arguments: object) -> tuple[object, ...]:
        expected = same(getattr(self.reference, name), getattr(self.compiled, name), *arguments)
        self.check((name, arguments))
        return expected

    def check(self, event: object) -> None:
        for name in self._attributes:
            expected, got = getattr(self.reference, name), getattr(self.compiled, name)
            assert (type(got), got) == (type(expected), expected), (event, name)


def resident() -> int:
    """Bytes of memory this process has in use."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
