"""Every Python example of the guide runs, against a local server that stands in for example.com."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import certifi
import pytest

from specter.testing import CertificateAuthority, Reply, Request, Server

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LARGE = bytes(range(256)) * 4096


def examples() -> Iterator[Any]:
    for page in PAGES:
        text = page.read_text()
        for found in BLOCK.finditer(text):
            line = text.count("\n", 0, found.start()) + 2
            name = f"{page.relative_to(ROOT / 'docs')}:{line}"
            yield pytest.param("\n" * (line - 1) + found[1], str(page), id=name)


def answer(request: Request) -> Reply | None:
    """What example.com says to the examples."""
    if request.method in ("POST", "PUT"):
        return Reply(200, [("content-type", "text/plain")], request.body)
    if request.path.endswith(".bin"):
        return Reply(200, [("content-type", "application/octet-stream"), ("content-length", str(len(LARGE)))], LARGE)
    if request.path.endswith(".json"):
        return Reply(200, [("content-type", "application/json")], b'{"items": [1, 2]}')
    if request.path.endswith(".txt"):
        return Reply(200, [("content-type", "text/plain")], b"one\ntwo\n")
    return Reply(200, [("content-type", "text/html; charset=utf-8"), ("set-cookie", "a=1")], b"<p>hello</p>")


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return CertificateAuthority()


@pytest.fixture(scope="module")
def server(authority: CertificateAuthority) -> Iterator[Server]:
    with Server(answer, credential=authority.issue("example.com")) as running:
        yield running


@pytest.fixture
def example_com(
    server: Server, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[None]:
    """Lead every name to the server, and trust its authority as one trusts the usual ones."""
    look_up = socket.getaddrinfo

    def local(host: Any, port: Any, *rest: Any, **named: Any) -> Any:
        if str(host).endswith(("example.com", ".example")):
            return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("127.0.0.1", server.port))]
        return look_up(host, port, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", local)
    monkeypatch.chdir(tmp_path)
    authority.write(tmp_path / "company-ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "company-ca.pem"))  # what httpx heeds
    monkeypatch.setattr(certifi, "where", lambda: str(tmp_path / "company-ca.pem"))
    (tmp_path / "large.bin").write_bytes(LARGE)
    levels = {name: logging.getLogger(name).level for name in ("", "specter", "specter.httpx")}
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.usefixtures("example_com")
@pytest.mark.parametrize(("code", "page"), list(examples()))
def test_example(code: str, page: str) -> None:
    exec(compile(code, page, "exec"), {"__name__": "__example__"})  # noqa: S102  our own page


def test_there_are_examples() -> None:
    found = [page.name for page in PAGES if BLOCK.search(page.read_text())]
    assert len(found) >= 9
