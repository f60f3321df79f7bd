"""Whatever goes wrong is one line and an exit status; never a traceback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import specter.cli.fetch
from specter.cli import main
from specter.testing import CertificateAuthority, Server
from tests.cli.support import POSIX, Run, at_terminal, command


@pytest.fixture
def black_hole() -> Iterator[int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        yield silent.getsockname()[1]


def one_line(err: str) -> None:
    assert err.startswith("specter: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "url",
    [
        "http://h/",
        "ftp://h/",
        "://",
        "https://",
        "https://h:99999/",
        "https://[::1/",
        "https://u@h/",
        "https://a b/",
        "h\x1b[31m",
        f"https://{'a' * 300}/",
    ],
)
def test_wrong_urls(run: Run, url: str) -> None:
    status, out, err = run(url)
    assert (status, out) == (2, b"")
    one_line(err)
    assert "\x1b" not in err


def test_a_dead_port(run: Run) -> None:
    status, _, err = run("https://127.0.0.1:1/")
    assert status == 1
    one_line(err)
    assert "connection refused" in err


def test_a_black_hole_is_left_in_time(run: Run, black_hole: int) -> None:
    started = time.monotonic()
    status, _, err = run("--connect-timeout", "0.5", f"https://127.0.0.1:{black_hole}/")
    assert status == 1
    assert 0.45 < time.monotonic() - started < 3
    one_line(err)


def test_a_name_that_nobody_knows(run: Run) -> None:
    status, _, err = run("--connect-timeout", "5", "https://no-such-host.invalid/")
    assert status == 1
    one_line(err)
    assert "no-such-host.invalid" in err


def test_a_certificate_for_somebody_else(run: Run) -> None:
    authority = CertificateAuthority()
    with Server(credential=authority.issue("elsewhere.test")) as server:
        status, _, err = run(server.url, "--cacert", server.ca_file, trust=False)
    assert status == 1
    one_line(err)
    assert "(name)" in err


@pytest.mark.parametrize("path", ["/reset", "/reset/5000", "/close/100", "/close"])
def test_a_response_that_breaks_off(run: Run, path: str) -> None:
    status, _, err = run(f"URL{path}", "-o", os.devnull)
    assert status == 1
    one_line(err)


def test_a_file_that_is_none(run: Run, tmp_path: Path) -> None:
    for words in (["-d", f"@{tmp_path}"], ["-T", str(tmp_path / "missing")], ["-o", str(tmp_path)]):
        status, _, err = run("URL/echo", *words)
        assert status == 1
        one_line(err)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk(run: Run, server: Server) -> None:
    status, _, err = run("URL/bytes/3000000", "-o", "/dev/full")
    assert status == 1
    one_line(err)
    with open("/dev/full", "wb") as full:
        words = command(f"{server.url}/bytes/3000000", "--cacert", server.ca_file)
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=30, check=False)
    assert done.returncode == 1
    one_line(done.stderr)


def test_a_directory_for_logs_that_is_none(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    status, _, err = run("URL/", "--qlog", str(tmp_path / "file"))
    assert status == 2
    one_line(err)


def test_a_bug_is_one_line_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPECTER_DEBUG", raising=False)
    monkeypatch.setattr(specter.cli.fetch, "open_client", lambda _: 1 / 0)
    status, _, err = run("URL/")
    assert status == 1
    one_line(err)
    assert "unexpected ZeroDivisionError: division by zero" in err
    monkeypatch.setenv("SPECTER_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run("URL/")


def test_without_the_extra_it_says_what_to_install() -> None:
    for package in ("click", "rich"):
        code = f"import sys; sys.modules[{package!r}] = None; from specter.cli import main; sys.exit(main(['--help']))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"specter: the command needs {package}: pip install 'specter[cli]'\n"


@POSIX
def test_a_reader_that_goes_away_while_many_write(server: Server) -> None:
    urls = [f"{server.url}/bytes/20000000"] * 4
    with subprocess.Popen(
        command("-Z", *urls, "--cacert", server.ca_file), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        err = process.stderr.read()
        assert (process.wait(20), err) == (1, b"")


@POSIX
def test_ctrl_c_ends_all_of_them(server: Server) -> None:
    urls = [f"{server.url}/drip?count=1000&interval=0.05&x={number}" for number in range(4)]
    with subprocess.Popen(
        command("-Z", *urls, "--cacert", server.ca_file), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=15)
    assert (process.returncode, err) == (130, b"")


@POSIX
def test_ctrl_c_while_waiting_to_try_again(server: Server) -> None:
    words = command("--retry", "5", "--retry-delay", "60", f"{server.url}/flaky?times=99", "--cacert", server.ca_file)
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert b"again in 60 s" in line
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=15)
    assert (process.returncode, out, err) == (130, b"", b"")


@POSIX
def test_ctrl_c_at_a_terminal_leaves_it_as_it_was(server: Server, tmp_path: Path) -> None:
    """The cursor that the bar hid is shown again."""
    words = command(
        f"{server.url}/drip?count=1000&interval=0.05", "--cacert", server.ca_file, "-o", str(tmp_path / "o")
    )
    status, shown = at_terminal(words, interrupt_at=b"bytes/s")
    assert status == 130
    assert -1 < shown.rfind(b"\x1b[?25l") < shown.rfind(b"\x1b[?25h")


@pytest.mark.parametrize("field", ["x: a\r\nb: c", "x\ny: z", "na me: x", ":path: /x", "connection: close"])
def test_fields_that_cannot_be_sent(run: Run, field: str) -> None:
    status, out, err = run("URL/headers", "-H", field)
    assert (status in (1, 2), out) == (True, b"")
    one_line(err)


def test_max_time_is_for_all_redirects_together(run: Run) -> None:
    started = time.monotonic()
    status, _, err = run("-L", "-m", "1", "URL/slowly/0.4")
    assert status == 1
    assert 0.9 < time.monotonic() - started < 4
    one_line(err)


def test_arguments_that_are_no_text(run: Run) -> None:
    status, _, err = run("URL/headers", "-H", "x: \udcff")
    assert status in (0, 1, 2)
    assert "Traceback" not in err
    assert main(["\udcff"]) == 2
