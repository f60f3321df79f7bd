"""Both twins of a module, side by side; a compiled twin that does not load fails every test that asks for it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import pytest
from hypothesis import settings

settings.register_profile("twins", max_examples=100, deadline=None, derandomize=True)
settings.load_profile("twins")


@dataclass(frozen=True, slots=True)
class Twins:
    reference: ModuleType
    compiled: ModuleType


def _load(name: str) -> Twins:
    if os.environ.get("SPECTER_PURE", "0") not in ("", "0", "layers"):
        pytest.skip("SPECTER_PURE: the compiled twins are not wanted")
    reference = importlib.import_module(f"specter._reference.{name}")
    try:
        compiled = importlib.import_module(f"specter._speedups.{name}")
    except ImportError as error:
        pytest.fail(f"the compiled twin of {name} did not load ({error}); build it, or say SPECTER_PURE=1")
    return Twins(reference, compiled)


@pytest.fixture(scope="session")
def twins() -> Callable[[str], Twins]:
    """``twins("sent")`` is the pair of ``sent`` modules."""
    return _load
