"""The command line as a value, and the pieces that need no server."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

import specter
from specter.cli import main
from specter.cli.body import request_body
from specter.cli.failure import Failure
from specter.cli.options import Options, parse_options
from specter.cli.output import FileOutput
from specter.cli.progress import NoProgress, PlainProgress, RichProgress, choose_progress, human_bytes, progress_text


def options(*words: str) -> Options:
    parsed = parse_options(words)
    assert parsed is not None
    return parsed


@pytest.mark.parametrize(
    ("words", "method"),
    [
        (["u"], "GET"),
        (["u", "-I"], "HEAD"),
        (["u", "-d", "x"], "POST"),
        (["u", "--json", "{}"], "POST"),
        (["u", "-d", "x", "-X", "PUT"], "PUT"),
    ],
)
def test_the_method_follows_from_the_other_options(words: list[str], method: str) -> None:
    assert options(*words).method == method


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["u", "-H", "no colon"],
        ["u", "-H", ": value"],
        ["u", "-o", "a", "-o", "b"],
        ["u", "--json", "{}", "-d", "x"],
        ["u", "-I", "-d", "x"],
        ["u", "v", "-d", "@-"],
        ["u", "-d", "@-", "-d", "@-"],
        ["u", "--key", "k"],
        ["u", "--max-time", "0"],
        ["u", "--max-time", "nan"],
        ["u", "--connect-timeout", "soon"],
        ["u", "--resolve", "host:443"],
        ["u", "--resolve", "host:0:127.0.0.1"],
        ["u", "--resolve", "host:x:127.0.0.1"],
        ["u", "--no-such-option"],
    ],
)
def test_wrong_usage_exits_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "specter: error:" in capsys.readouterr().err


def test_header_and_resolve_are_taken_apart() -> None:
    parsed = options("u", "-H", "X-A:  b: c ", "-H", "X-E:", "--resolve", "A.test:443:[::1]")
    assert parsed.headers == (("X-A", "b: c"), ("X-E", ""))
    assert parsed.resolve == (("a.test", 443, "::1"),)


def test_version_says_what_runs_compiled(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"specter {specter.__version__}\n")
    for name, twin in specter.backend().items():
        assert any(line.split(None, 1) == [name, twin] for line in out.splitlines())


# -- bodies ------------------------------------------------------------------------------------------


def test_several_data_are_joined(tmp_path: Path) -> None:
    file = tmp_path / "part"
    file.write_bytes(b"c=\0")
    body = request_body(options("u", "-d", "a=1", "-d", f"@{file}", "-d", "b=2"))
    assert body is not None
    assert body.content == b"a=1&c=\0&b=2"
    assert body.headers == (("content-type", "application/x-www-form-urlencoded"),)


def test_a_file_is_not_read_ahead(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(b"12345")
    body = request_body(options("u", "--json", f"@{file}"))
    assert body is not None
    assert not isinstance(body.content, bytes)
    assert body.content.tell() == 0
    body.close()
    assert body.content.closed


def test_a_missing_file_is_a_failure() -> None:
    with pytest.raises(Failure, match="cannot read /no/such/file"):
        request_body(options("u", "-d", "@/no/such/file"))


# -- output ------------------------------------------------------------------------------------------


def test_a_file_is_opened_with_the_first_bytes(tmp_path: Path) -> None:
    path = tmp_path / "old"
    path.write_bytes(b"old")
    output = FileOutput(str(path))
    output.close()
    assert path.read_bytes() == b"old"
    output.write(b"")
    output.write(b"new")
    output.close()
    assert path.read_bytes() == b"new"


# -- progress ----------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_for_terminals() -> None:
    assert isinstance(choose_progress(io.StringIO(), wanted=True), NoProgress)
    assert isinstance(choose_progress(Terminal(), wanted=False), NoProgress)
    assert isinstance(choose_progress(Terminal(), wanted=True), RichProgress)


def test_progress_without_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rich.progress", None)
    assert isinstance(choose_progress(Terminal(), wanted=True), PlainProgress)


@pytest.mark.parametrize("kind", [PlainProgress, RichProgress])
def test_a_quick_download_shows_nothing(kind: type[PlainProgress | RichProgress]) -> None:
    terminal = Terminal()
    line = kind(terminal)
    line.start(100)
    line.advance(100)
    line.stop()
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("kind", [PlainProgress, RichProgress])
def test_a_slow_download_shows_a_line_and_takes_it_away(
    kind: type[PlainProgress | RichProgress], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("specter.cli.progress.time.monotonic", lambda: now[0])
    terminal = Terminal()
    line = kind(terminal)
    line.start(2_000_000)
    now[0] += 1
    line.advance(1_000_000)
    line.stop()
    assert "1" in terminal.getvalue()
    assert terminal.getvalue()[-1] in "\r\n\x1bKhlm"


@pytest.mark.parametrize(
    ("done", "total", "seconds", "text"),
    [
        (12_300_000, 100_000_000, 1.0, "12.3 MB of 100 MB  12%  12.3 MB/s  7 s left"),
        (500, None, 1.0, "500 B  500 B/s"),
        (100, 100, 0.0, "100 B of 100 B  100%  0 B/s  done"),
    ],
)
def test_progress_text(done: int, total: int | None, seconds: float, text: str) -> None:
    assert progress_text(done, total, seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (99_940, "99.9 kB"), (123_456_789, "123 MB"), (5e15, "5000 TB")],
)
def test_human_bytes(count: float, text: str) -> None:
    assert human_bytes(count) == text


def test_json_data_is_not_checked_but_described() -> None:
    body = request_body(options("u", "--json", json.dumps({"a": 1})))
    assert body is not None
    assert dict(body.headers) == {"content-type": "application/json", "accept": "application/json"}
