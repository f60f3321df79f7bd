from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

import specter
from specter.testing.server import Server
from tests.client import facade
from tests.client.support import MakeClient, StartServer


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One server for the tests of a file."""
    with Server() as running:
        yield running


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """Servers of a test's own."""
    with ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(Server(*args, **options))


@pytest.fixture(params=["blocking", "asyncio"])
def kind(request: pytest.FixtureRequest) -> str:
    """The client that ``make_client`` makes. Tests that are about one of them say ``@pytest.mark.parametrize``."""
    return str(request.param)


@pytest.fixture
def make_client(kind: str) -> Iterator[MakeClient]:
    """Clients that are closed when the test ends: ``make_client(server, option=...)``."""
    with ExitStack() as stack:
        constructor: Callable[..., Any] = specter.Client
        if kind == "asyncio":
            runner = facade.LoopThread()
            stack.callback(runner.stop)
            constructor = lambda **options: facade.Client(runner, **options)  # noqa: E731

        def make(server: Server, **options: Any) -> specter.Client:
            options = {"verify": server.ca_file, "base_url": server.url, **options}
            client: specter.Client = stack.enter_context(constructor(**options))
            return client

        yield make


@pytest.fixture
def client(server: Server, make_client: MakeClient) -> specter.Client:
    return make_client(server)


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port on which nobody answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        yield silent.getsockname()[1]
