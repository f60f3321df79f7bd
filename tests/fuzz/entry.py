"""What an entry point of the fuzzer is, and the small tools that all of them share."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

CORPUS = Path(__file__).parent / "corpus"


class Bug(Exception):
    """An invariant does not hold; what a parser raises by itself is a bug too."""


def require(condition: object, message: str) -> None:
    if not condition:
        raise Bug(message)


@dataclass(frozen=True)
class Entry:
    """``one`` takes any bytes and raises for a bug only; ``seeds`` makes inputs to begin with, always the same ones.

    ``runs`` is how many mutations the plain tests try; ``native`` tells that it drives compiled modules.
    """

    name: str
    one: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    runs: int = 150
    native: bool = False

    def corpus(self) -> list[bytes]:
        """Return the seeds, and the inputs that once were bugs."""
        return self.seeds() + [path.read_bytes() for path in sorted((CORPUS / self.name).glob("*"))]


class Input:
    """Reads numbers and pieces from the bytes of the fuzzer; behind their end everything is zero or empty."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._pos = 0

    def __bool__(self) -> bool:
        return self._pos < len(self._data)

    def take(self, size: int) -> bytes:
        piece = self._data[self._pos : self._pos + size]
        self._pos += size
        return piece

    def number(self, size: int = 1) -> int:
        return int.from_bytes(self.take(size), "big")

    def piece(self) -> bytes:
        """Return what :func:`piece` wrote."""
        return self.take(self.number(2))

    def rest(self) -> bytes:
        return self.take(len(self._data))


def piece(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def twins(name: str) -> list[ModuleType]:
    """Return the modules of this name to compare: the reference, and the compiled one unless that is not wanted."""
    modules = [importlib.import_module(f"specter._reference.{name}")]
    if os.environ.get("SPECTER_PURE", "") in ("", "0", "layers"):
        try:
            modules.append(importlib.import_module(f"specter._speedups.{name}"))
        except ImportError:
            require(not os.environ.get("SPECTER_REQUIRE_COMPILED"), f"the compiled {name} does not load")
    return modules


def outcome(call: Callable[[], Any], *allowed: type[Exception]) -> Any:
    """Return what ``call`` returns, or the text of an error that is allowed."""
    try:
        return call()
    except allowed as error:
        return f"{type(error).__name__}: {error}"


def same(results: list[Any]) -> Any:
    """Return what all backends agree on."""
    require(all(result == results[0] for result in results), f"the twins differ: {results}")
    return results[0]
