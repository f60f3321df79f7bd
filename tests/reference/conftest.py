"""The module under test is a fixture, so that whatever holds for the reference can be asked of its compiled twin."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest


def _load(name: str) -> ModuleType:
    return importlib.import_module(f"specter._reference.{name}")


@pytest.fixture(scope="session")
def protection() -> ModuleType:
    return _load("protection")


@pytest.fixture(scope="session")
def frames() -> ModuleType:
    return _load("frames")


@pytest.fixture(scope="session")
def reassembly() -> ModuleType:
    return _load("reassembly")


@pytest.fixture(scope="session")
def acks() -> ModuleType:
    return _load("acks")


@pytest.fixture(scope="session")
def sent() -> ModuleType:
    return _load("sent")


@pytest.fixture(scope="session")
def sendbuffer() -> ModuleType:
    return _load("sendbuffer")
