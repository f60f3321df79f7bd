"""The module under test is a fixture, so that whatever holds for the reference can be asked of its compiled twin."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest


def _load(name: str) -> ModuleType:
    return importlib.import_module(f"specter._reference.{name}")


def _load_twin(request: pytest.FixtureRequest, name: str) -> ModuleType:
    """Return the twin that ``params`` asks for; tests/twins complains about a compiled one that is missing."""
    if request.param == "compiled":
        return pytest.importorskip(f"specter._speedups.{name}", reason=f"{name} is not compiled", exc_type=ImportError)
    return _load(name)


@pytest.fixture(scope="session", params=["reference", "compiled"])
def protection(request: pytest.FixtureRequest) -> ModuleType:
    return _load_twin(request, "protection")


@pytest.fixture(scope="session", params=["reference", "compiled"])
def frames(request: pytest.FixtureRequest) -> ModuleType:
    return _load_twin(request, "frames")


@pytest.fixture(scope="session", params=["reference", "compiled"])
def reassembly(request: pytest.FixtureRequest) -> ModuleType:
    return _load_twin(request, "reassembly")


@pytest.fixture(scope="session", params=["reference", "compiled"])
def acks(request: pytest.FixtureRequest) -> ModuleType:
    return _load_twin(request, "acks")


@pytest.fixture(scope="session", params=["reference", "compiled"])
def sent(request: pytest.FixtureRequest) -> ModuleType:
    return _load_twin(request, "sent")


@pytest.fixture(scope="session", params=["reference", "compiled"])
def sendbuffer(request: pytest.FixtureRequest) -> ModuleType:
    return _load_twin(request, "sendbuffer")
