"""``-v``: what was negotiated, as it happens, in colour for terminals."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from specter.testing import Server
from tests.cli.support import POSIX, Run, at_terminal, command
from tests.qlog_schema import check_file


def test_the_whole_story(run: Run) -> None:
    status, _, err = run("-v", "URL/trailers", "-H", "x-mine: 1")
    lines = err.splitlines()
    port = run.server.port
    patterns = [
        rf"\* connecting to 127\.0\.0\.1 at 127\.0\.0\.1 port {port}",
        rf"\* connected to 127\.0\.0\.1 at 127\.0\.0\.1 port {port}: QUICv1, TLS_\w+, \w+, h3",
        rf"\* connection: 127\.0\.0\.1 port \d+ to 127\.0\.0\.1 port {port}",
        r"\* protocol: HTTP/3 over QUICv1, ALPN h3",
        r"\* TLS: TLSv1\.3, TLS_\w+, key exchange \w+",
        r"\* certificate: CN=127\.0\.0\.1, from 20.* to 20.* UTC",
        r"\* issuer: CN=.*",
        r"\* verified: chain, dates and name for 127\.0\.0\.1",
        r"> GET /trailers HTTP/3",
        rf"> host: 127\.0\.0\.1:{port}",
        r"> x-mine: 1",
        r">",
        r"< HTTP/3 200",
        r"<",
        r"< \(trailers\)",
        r"< x-checksum: abc123",
        r"\* 14 bytes of body in \d+\.\d\d\d s",
        r"\* the connection to 127\.0\.0\.1 is over: .*",
    ]
    assert status == 0
    position = 0
    for pattern in patterns:
        while not re.fullmatch(pattern, lines[position]):
            position += 1
            assert position < len(lines), pattern


def test_a_failure_is_told_up_to_where_it_came(run: Run) -> None:
    status, _, err = run("-v", "https://127.0.0.1:1/")
    lines = err.splitlines()
    assert status == 1
    assert lines[0] == "* connecting to 127.0.0.1 at 127.0.0.1 port 1"
    assert lines[-1].startswith("specter: ")


def test_redirects_and_reuse_are_told(run: Run) -> None:
    _, _, err = run("-v", "-L", "URL/redirect/1")
    assert f"* redirected to {run.server.url}/bytes/16 (GET)" in err.splitlines()
    assert err.count("(used again)") == 1
    assert err.count("* certificate: ") == 1


def test_no_check_is_no_check(run: Run) -> None:
    _, _, err = run("-v", "-k", "URL/bytes/1", trust=False)
    assert "* verified: nothing (-k)" in err.splitlines()


def test_the_loggers_are_left_as_they_were(run: Run) -> None:
    logger = logging.getLogger("specter")
    before = logger.level, logger.propagate, list(logger.handlers)
    run("-v", "URL/bytes/1")
    assert (logger.level, logger.propagate, list(logger.handlers)) == before


@pytest.mark.parametrize(("words", "said"), [((), True), (("-s",), False)])
def test_warnings_of_the_library_are_lines_of_the_command(
    run: Run, tmp_path: Path, words: tuple[str, ...], said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give_up(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    names = ("getpid", "O_WRONLY", "O_CREAT", "O_TRUNC", "PathLike")
    fake = SimpleNamespace(open=give_up, **{name: getattr(os, name) for name in names})
    monkeypatch.setattr("specter.net.qlog.os", fake)
    status, _, err = run(*words, "URL/bytes/1", "--qlog", str(tmp_path))
    assert status == 0
    assert err.count("\n") == int(said)
    assert ("specter: no qlog in " in err) is said


def test_qlog(run: Run, tmp_path: Path) -> None:
    assert run("URL/bytes/1", "--qlog", str(tmp_path / "logs"))[0] == 0
    (path,) = (tmp_path / "logs").iterdir()
    assert check_file(path.read_text())


@POSIX
def test_colours_are_for_terminals(server: Server, run: Run) -> None:
    words = [f"{server.url}/trailers", "--cacert", server.ca_file, "-v"]
    assert "\x1b" not in run(*words, trust=False)[2]
    _, shown = at_terminal(command(*words))
    assert b"\x1b[32m< \x1b[0mHTTP/3 200" in shown
    assert b"\x1b[36m> \x1b[0mGET /trailers HTTP/3" in shown
    _, shown = at_terminal(command(*words), NO_COLOR="1")
    assert b"\x1b[3" not in shown


@POSIX
def test_long_lines_are_not_cut(server: Server) -> None:
    value = "x" * 300
    _, shown = at_terminal(
        command(f"{server.url}/bytes/1", "--cacert", server.ca_file, "-v", "-H", f"a: {value}", "-o", "-")
    )
    assert value.encode() in shown
