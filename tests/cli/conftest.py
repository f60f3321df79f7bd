"""The command in this process, against the local server."""

from __future__ import annotations

import gzip
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from specter.testing import Pause, Reply, Request, Server
from specter.testing.content import content
from tests.cli.support import Run


class Answers:
    """Paths that the built-in ones have not, and what was asked for."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.tried: Counter[str] = Counter()
        self.seen: list[Request] = []

    def __call__(self, request: Request) -> Reply | None:
        with self.lock:
            self.seen.append(request)
            self.tried[request.target] += 1
        name = request.path.strip("/").partition("/")[0]
        return getattr(self, f"do_{name}", lambda _: None)(request)

    def do_escape(self, request: Request) -> Reply:
        return Reply(200, [("x-colour", "\xc2\x9b31mred")], b"plain\n")

    def do_to(self, request: Request) -> Reply:
        """Redirect to ``url`` with ``status``."""
        query = request.query
        return Reply(int(query.get("status", "302")), [("location", query["url"])], b"not this\n")

    def do_slowly(self, request: Request) -> Reply:
        """Redirect to itself, each time so many seconds later."""
        reply = Reply(302, [("location", request.target)])
        reply.delay = float(request.path.rpartition("/")[2])
        return reply

    def do_flaky(self, request: Request) -> Reply:
        """Fail with ``status`` so often as ``times`` says, then answer."""
        query = request.query
        if self.tried[request.target] <= int(query.get("times", "1")):
            wait = [("retry-after", query["after"])] if "after" in query else []
            return Reply(int(query.get("status", "503")), wait, b"busy\n")
        return Reply(200, [], b"well\n")

    def do_broken(self, request: Request) -> Reply:
        """Reset the stream in the middle of the body, so often as ``times`` says."""
        if self.tried[request.target] <= int(request.query.get("times", "1")):
            return Reply(200, [], [content(0, 5000), Pause(0.3)], reset=0x102)
        return Reply(200, [], b"whole\n")

    def do_gzip(self, request: Request) -> Reply:
        if "gzip" not in (request.header("accept-encoding") or ""):
            return Reply(200, [], b"plain\n")
        return Reply(200, [("content-encoding", "gzip")], gzip.compress(b"squeezed\n"))

    def do_bomb(self, request: Request) -> Reply:
        return Reply(200, [("content-encoding", "gzip")], gzip.compress(bytes(200_000_000), 9))

    def do_body(self, request: Request) -> Reply:
        """Send the body back, and nothing else."""
        return Reply(200, [("content-type", request.header("content-type") or "none")], request.body)


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers()


@pytest.fixture(scope="module")
def server(answers: Answers) -> Iterator[Server]:
    with Server(answers) as running:
        yield running


@pytest.fixture
def run(server: Server, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    return Run(server, capfdbinary)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
