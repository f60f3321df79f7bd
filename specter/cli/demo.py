"""``specter demo``: a local server in a process of its own, and a few requests to it over HTTP/3."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import specter
from specter.cli.describe import connection_facts
from specter.cli.display import Display, human_bytes
from specter.cli.failure import SUCCESS, Failure

__all__ = ["run_demo", "serve_for_demo"]

CHUNK: Final = 1 << 18
WARM: Final = 50
MEGABYTE: Final = 1_000_000
SERVER: Final = "from specter.cli.demo import serve_for_demo; serve_for_demo()"


def run_demo(size: int) -> int:
    """Run the demonstration with a download of ``size`` megabytes."""
    print(f"Specter {specter.__version__}: a local HTTP/3 server and this client, over UDP on the loopback interface")
    try:
        with demo_server() as (url, ca_file), specter.Client(verify=ca_file) as client:
            _small(client, url)
            _warm(client, url)
            _large(client, url, size * MEGABYTE)
    except specter.Error as error:
        raise Failure(str(error)) from error
    _tell("core", _core())
    return SUCCESS


# -- the server --------------------------------------------------------------------------------------


def serve_for_demo() -> None:
    """Serve in this process until standard input ends; say where as a line of JSON."""
    from specter.testing.server import Server

    with Server() as server:
        print(json.dumps([server.url, server.ca_file]), flush=True)
        sys.stdin.read()


@contextmanager
def demo_server() -> Iterator[tuple[str, str]]:
    """Start ``serve_for_demo`` in a process of its own; give its URL and the file with its authority."""
    command = [sys.executable, "-c", SERVER]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:  # noqa: S603  our own words
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise Failure("the demo server did not start")
            url, ca_file = json.loads(line)
            yield url, ca_file
        finally:
            if process.stdin:
                process.stdin.close()


# -- the client --------------------------------------------------------------------------------------


def _small(client: specter.Client, url: str) -> None:
    response = client.get(f"{url}/bytes/1")
    response.raise_for_status()
    for label, fact in connection_facts(response):
        _tell(label, fact)
    connected, complete = response.timing.connected or 0.0, response.timing.complete or 0.0
    _tell("first GET", f"{response.status_code}, 1 byte in {_ms(complete)}, {_ms(connected)} of it for the handshake")


def _warm(client: specter.Client, url: str) -> None:
    """Repeat the small GET on the connection that is there."""
    times = []
    for _ in range(WARM):
        start = time.perf_counter()
        client.get(f"{url}/bytes/1").raise_for_status()
        times.append(time.perf_counter() - start)
    _tell("warm GET", f"median of {WARM}: {_ms(statistics.median(times))}")


def _large(client: specter.Client, url: str, size: int) -> None:
    """Download ``size`` bytes, check every one of them, and tell how fast they came."""
    expected = _Expected()
    start, processor = time.perf_counter(), time.process_time()
    with Display() as display:
        bar = display.bar("download", size)
        with client.stream("GET", f"{url}/bytes/{size}") as response:
            response.raise_for_status()
            buffer = memoryview(bytearray(CHUNK))
            while count := response.readinto(buffer):
                expected.check(buffer[:count])
                bar.advance(count)
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    if expected.offset != size:
        raise Failure(f"{expected.offset} bytes came, not {size}")
    speed = f"{human_bytes(size / seconds)}/s ({size * 8 / seconds / 1e6:.0f} Mbit/s)"
    _tell("large GET", f"{human_bytes(size)} in {seconds:.2f} s: {speed}, every byte checked")
    _tell("", f"{processor:.2f} s of processor time in the client")


class _Expected:
    """Compares a download with the test content, piece by piece."""

    def __init__(self) -> None:
        from specter.testing.content import content

        self.offset = 0
        self._content = content

    def check(self, piece: memoryview) -> None:
        if bytes(piece) != self._content(self.offset, len(piece)):
            raise Failure(f"wrong bytes at offset {self.offset} or soon after")
        self.offset += len(piece)


def _core() -> str:
    """Tell which core ran."""
    modules = specter.backend()
    compiled = [name for name, twin in modules.items() if twin == "compiled"]
    reference = [name for name, twin in modules.items() if twin == "reference"]
    if not compiled:
        return "pure Python"
    return "compiled" if not reference else f"compiled: {', '.join(compiled)}; pure Python: {', '.join(reference)}"


def _tell(label: str, text: str) -> None:
    print(f"  {label:<12}{text}", flush=True)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
