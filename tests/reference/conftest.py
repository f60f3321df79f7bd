"""The module under test is a fixture, so that whatever holds for the reference can be asked of its compiled twin."""

from __future__ import annotations

import importlib
from types import ModuleType, SimpleNamespace

import pytest

from tests.reference.hotpath import End


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


HOT_PATH = ("protection", "frames", "reassembly", "acks", "sent", "sendbuffer", "batch", "datapath")


@pytest.fixture(scope="module", params=["reference", "compiled"])
def twins(request: pytest.FixtureRequest) -> SimpleNamespace:
    """The modules of one backend; compiled ones work only with their like."""
    package = "_reference" if request.param == "reference" else "_speedups"
    modules = {}
    for name in HOT_PATH:
        path = f"specter.{package}.{name}"
        if package == "_speedups":
            modules[name] = pytest.importorskip(path, reason=f"{name} is not compiled", exc_type=ImportError)
        else:
            modules[name] = importlib.import_module(path)
    return SimpleNamespace(**modules)


@pytest.fixture
def end(twins: SimpleNamespace) -> End:
    return End(twins)
