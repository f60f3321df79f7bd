"""pytest fixtures: ``pytest_plugins = ["specter.testing.fixtures"]`` in a ``conftest.py`` brings them in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TypeAlias

import pytest

from specter.testing.server import Server

__all__ = ["ServerFactory", "specter_server", "specter_server_factory"]

ServerFactory: TypeAlias = Callable[..., Server]


@pytest.fixture
def specter_server_factory() -> Iterator[ServerFactory]:
    """Return a function that starts a ``Server`` with its arguments; all are stopped when the test ends."""
    with ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(Server(*args, **kwargs))


@pytest.fixture
def specter_server(specter_server_factory: ServerFactory) -> Server:
    """Return a running server with the built-in paths; trust ``specter_server.ca_file``."""
    return specter_server_factory()
