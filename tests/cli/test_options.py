"""The command line as a value, and the pieces that need no server."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

import specter
from specter.cli import main
from specter.cli.body import request_body
from specter.cli.command import FETCH
from specter.cli.display import Display, human_bytes
from specter.cli.failure import Failure
from specter.cli.options import REMOTE_NAME, Options, make_options
from specter.cli.output import FileOutput, remote_name


def options(*words: str) -> Options:
    with FETCH.make_context("specter", list(words)) as context:
        return make_options(context.params)


@pytest.mark.parametrize(
    ("words", "method"),
    [
        (["u"], "GET"),
        (["u", "-I"], "HEAD"),
        (["u", "-d", "x"], "POST"),
        (["u", "--json", "{}"], "POST"),
        (["u", "-d", "x", "-X", "PUT"], "PUT"),
        (["u", "-F", "a=1"], "POST"),
        (["u", "-T", "file"], "PUT"),
        (["u", "-G", "-d", "x"], "GET"),
        (["u", "-G", "-d", "x", "-I"], "HEAD"),
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
        ["u", "-F", "a=1", "-d", "x"],
        ["u", "-F", "a=1", "-I"],
        ["u", "-T", "file", "--json", "{}"],
        ["u", "v", "-T", "-"],
        ["u", "-F", "a=@-", "-F", "b=<-"],
        ["u", "-G", "-F", "a=1"],
        ["u", "-O", "-o", "x"],
        ["u", "--retry", "-1"],
        ["u", "--retry", "often"],
        ["u", "--parallel-max", "0"],
        ["u", "--max-redirs", "-1"],
    ],
)
def test_wrong_usage_exits_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("specter: ")
    assert err.count("\n") == 1


def test_header_and_resolve_are_taken_apart() -> None:
    parsed = options("u", "-H", "X-A:  b: c ", "-H", "X-E:", "--resolve", "A.test:443:[::1]")
    assert parsed.headers == (("X-A", "b: c"), ("X-E", ""))
    assert parsed.resolve == (("a.test", 443, "::1"),)
    assert options("u", "--resolve", "[2001:DB8::7]:443:::1").resolve == (("2001:db8::7", 443, "::1"),)


def test_outputs_keep_their_order() -> None:
    assert options("u", "-o", "a", "v", "-O", "w", "-ob").outputs == ("a", REMOTE_NAME, "b")
    assert options("-sO", "u").outputs == (REMOTE_NAME,)


def test_options_with_fields_of_their_own() -> None:
    assert options("u", "-A", "me", "-u", "a:b:c").headers == (
        ("user-agent", "me"),
        ("authorization", "Basic YTpiOmM="),
    )
    said = ("-H", "User-Agent: x", "-H", "AUTHORIZATION: y")
    assert options("u", "-A", "me", "-u", "a:b", *said).headers == (("User-Agent", "x"), ("AUTHORIZATION", "y"))


def test_a_password_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def prompt(text: str, **how: object) -> str:
        asked.append((text, how))
        return "secret"

    monkeypatch.setattr("click.prompt", prompt)
    assert options("u", "-u", "me").headers == (("authorization", "Basic bWU6c2VjcmV0"),)
    assert asked == [("password of me", {"hide_input": True, "err": True})]


def test_nothing_is_spoken_but_http3() -> None:
    assert options("u", "--http3-only") == options("u")


@pytest.mark.parametrize(
    "words", [["demo", "--size", "0"], ["demo", "x"], ["serve"], ["serve", ".", "--port", "70000"]]
)
def test_commands_have_their_usage_too(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_help_has_every_option_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Usage: specter [OPTION...] URL...\n")
    specs = [line.strip().split("  ")[0] for line in out.splitlines() if line.startswith("  -")]
    said = " ".join(specs).replace(",", " ").split()
    for parameter in FETCH.params:
        for name in parameter.opts:
            if name.startswith("-"):
                assert said.count(name) == 1, name
    for heading in ("Request:", "Output:", "Connection:", "Several transfers:", "Commands:", "Exit status:"):
        assert heading in out.splitlines()
    assert "  specter serve DIR" in out


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


# -- lines and bars --------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h/a/b.tar.gz?x=/y#/z", "b.tar.gz"),
        ("https://h/%2e%2e", "%2e%2e"),
        ("https://h/a b", "a b"),
    ],
)
def test_remote_names(url: str, name: str) -> None:
    assert remote_name(url) == name


@pytest.mark.parametrize(
    "url", ["https://h", "https://h/", "https://h/a/", "https://h/..", "https://h/a/.", "https://h?/x"]
)
def test_urls_without_a_name(url: str) -> None:
    with pytest.raises(Failure, match="has no file name for -O") as caught:
        remote_name(url)
    assert caught.value.code == 2


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_are_plain_unless_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    plain, terminal = io.StringIO(), Terminal()
    for stream in (plain, terminal):
        Display(stream).line("[red]text[/] :smile: " + "long " * 50, "red", lead="lead ")
    assert plain.getvalue() == "lead [red]text[/] :smile: " + "long " * 50 + "\n"
    assert terminal.getvalue() == "\x1b[31mlead \x1b[0m[red]text[/] :smile: " + "long " * 50 + "\n"
    monkeypatch.setenv("NO_COLOR", "1")
    colourless = Terminal()
    Display(colourless).line("text", "red")
    assert colourless.getvalue() == "text\n"


@pytest.mark.parametrize(("stream", "progress"), [(io.StringIO(), True), (Terminal(), False)])
def test_bars_are_for_terminals(stream: io.StringIO, progress: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specter.cli.display.PATIENCE", 0.0)
    with Display(stream, progress=progress) as display:
        bar = display.bar("file", 100)
        bar.advance(50)
        bar.finish()
    assert stream.getvalue() == ""


def test_a_quick_transfer_shows_nothing() -> None:
    terminal = Terminal()
    with Display(terminal) as display:
        bar = display.bar("file", 100)
        bar.advance(100)
        bar.finish()
    assert terminal.getvalue() == ""


def test_bars_show_what_people_ask_for_and_go_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specter.cli.display.PATIENCE", 0.0)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm-256color")
    terminal = Terminal()
    with Display(terminal) as display:
        first, second = display.bar("[one]", 2_000_000), display.bar("two", None)
        for bar in (first, second):
            bar.advance(1_000_000)
            bar.advance(500_000)
        display.line("said meanwhile")
        first.finish()
        second.finish()
        second.finish()
    shown = terminal.getvalue()
    assert "[one]" in shown
    assert "1.5/2.0 MB" in shown
    assert "two" in shown
    assert "said meanwhile\n" in shown
    assert "?" in shown  # the rate, of which nothing is known that early
    assert shown.rstrip("\n").endswith("\x1b[?25h") or "\x1b[?25h" in shown
