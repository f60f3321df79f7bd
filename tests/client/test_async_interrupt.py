"""Ctrl-C in programs with an event loop."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

import specter
from specter.testing.server import Server
from tests.loops import LOOPS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGINT does not end a wait there")

PROGRAM = """
import asyncio, sys, specter

url, ca_file, kind, care = sys.argv[1:]

async def body():
    try:
        while True:
            yield bytes(1000)
            await asyncio.sleep(0.01)
    finally:
        print("closed", flush=True)

async def main():
    async with specter.AsyncClient(verify=ca_file, base_url=url, timeout=None) as client:
        await client.get("/bytes/1")
        tasks = [client.get("/delay/30"), client.post("/digest", content=body()), client.get("/bytes/1000000000")]
        print("ready", flush=True)
        await asyncio.gather(*tasks)

run = asyncio.run
if kind == "uvloop":
    from uvloop import run
try:
    run(main())
except KeyboardInterrupt:
    print("interrupted")
    if care == "no":
        raise
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.mark.parametrize("kind", LOOPS)
@pytest.mark.parametrize("care", ["yes", "no"])
def test_a_program(server: Server, kind: str, care: str) -> None:
    if kind == "uvloop":
        pytest.importorskip("uvloop")
    program = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM, server.url, server.ca_file, kind, care],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        text=True,
    )
    with program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        time.sleep(0.3)
        program.send_signal(signal.SIGINT)
        output, errors = program.communicate(timeout=10)
    assert output == "closed\ninterrupted\n"
    if care == "yes":
        assert (errors, program.returncode) == ("", 0)
    else:
        assert errors.rstrip().endswith("KeyboardInterrupt")
        assert "never" not in errors
        assert program.returncode != 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_at_any_moment(server: Server) -> None:
    """The loop turns it into a cancellation: the next request goes over the same connection."""
    main = threading.main_thread().ident
    assert main is not None

    async def ask(client: specter.AsyncClient, timer: threading.Timer) -> None:
        timer.start()  # not before: only a running loop turns the signal into a cancellation
        while True:
            await asyncio.gather(*(client.get("/bytes/3000") for _ in range(3)))

    async def once(client: specter.AsyncClient) -> bool:
        return (await client.get("/bytes/10")).timing.reused

    client = specter.AsyncClient(verify=server.ca_file, base_url=server.url)
    with asyncio.Runner() as runner:
        runner.run(once(client))
        for index in range(30):
            timer = threading.Timer(0.001 + 0.0007 * index, lambda: signal.pthread_kill(main, signal.SIGINT))
            with pytest.raises(KeyboardInterrupt):
                runner.run(ask(client, timer))
            timer.join()
            assert runner.run(once(client))
        runner.run(client.aclose())
