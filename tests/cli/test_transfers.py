"""The command against the local server: what it prints, writes and returns."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from specter.cli import main
from specter.testing import CertificateAuthority, Server
from specter.testing.content import content
from tests.cli.support import POSIX, Run, at_terminal, command

# -- what comes out ----------------------------------------------------------------------------------


def test_the_body_goes_to_standard_output_and_nothing_else(run: Run) -> None:
    assert run("URL/bytes/1000") == (0, content(0, 1000), "")


def test_urls_follow_one_another(run: Run) -> None:
    status, out, _ = run("URL/bytes/10", "URL/bytes/20")
    assert (status, out) == (0, content(0, 10) + content(0, 20))


def test_outputs_belong_to_urls_in_order(run: Run, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    status, out, _ = run("-o", str(first), "-o", str(second), "URL/bytes/10", "URL/bytes/0", "URL/bytes/5")
    assert (status, out) == (0, content(0, 5))
    assert first.read_bytes() == content(0, 10)
    assert second.read_bytes() == b""


def test_a_file_that_cannot_be_written(run: Run) -> None:
    assert run("URL/bytes/10", "-o", "/no/such/folder/x") == (
        1,
        b"",
        "specter: cannot write /no/such/folder/x: No such file or directory\n",
    )


def test_head_shows_the_header_fields(run: Run) -> None:
    status, out, _ = run("-I", "URL/bytes/1000")
    assert status == 0
    assert out.startswith(b"HTTP/3 200\r\n")
    assert b"\r\ncontent-length: 1000\r\n" in out
    assert out.endswith(b"\r\n\r\n")


def test_include_puts_the_header_fields_first(run: Run) -> None:
    _, out, _ = run("-i", "URL/bytes/3")
    head, _, body = out.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/3 200\r\n")
    assert body == content(0, 3)


def test_verbose_shows_connection_request_and_response(run: Run) -> None:
    _, _, err = run("-v", "URL/early-hints", "-H", "x-mine: 1")
    lines = err.splitlines()
    for wanted in ("> GET /early-hints HTTP/3", "> x-mine: 1", "< HTTP/3 103", "< HTTP/3 200"):
        assert wanted in lines
    assert any(line.startswith("* TLS: TLSv1.3, TLS_") for line in lines)
    assert any(line.startswith("* certificate: CN=127.0.0.1") for line in lines)


def test_verbose_keeps_escape_sequences_of_the_server_out(run: Run) -> None:
    _, _, err = run("-v", "URL/escape")
    assert "< x-colour: ?31mred" in err.splitlines()


def test_timing_is_one_line_of_json_per_url(run: Run) -> None:
    _, out, err = run("--json-timing", "URL/bytes/7", "URL/bytes/8")
    first, second = map(json.loads, err.splitlines())
    assert out == content(0, 7) + content(0, 8)
    assert [first["body_bytes"], second["body_bytes"]] == [7, 8]
    assert [first["connection_reused"], second["connection_reused"]] == [False, True]
    steps = [
        first["seconds"][step] for step in ("looked_up", "answered", "secured", "connected", "headers", "complete")
    ]
    assert steps == sorted(steps)
    assert second["seconds"]["secured"] is None
    assert first["quic"]["bytes_received"] < second["quic"]["bytes_received"]
    assert 0 < first["seconds"]["connected"] <= first["seconds"]["headers"] <= first["seconds"]["complete"]
    assert first["tls"]["alpn"] == "h3"


# -- what goes in ------------------------------------------------------------------------------------


def test_data_is_a_form(run: Run) -> None:
    _, out, _ = run("URL/echo", "-i", "-d", "a=1", "-d", "b=2")
    head, _, body = out.partition(b"\r\n\r\n")
    assert body == b"a=1&b=2"
    assert b"content-type: application/x-www-form-urlencoded" in head


def test_own_header_fields_win(run: Run) -> None:
    _, out, _ = run("URL/headers", "-d", "x", "-X", "PUT", "-H", "Content-Type: text/x", "-H", "X-A: 1", "-H", "X-A: 2")
    said = json.loads(out)
    assert said["method"] == "PUT"
    assert [value for name, value in said["headers"] if name == "content-type"] == ["text/x"]
    assert [value for name, value in said["headers"] if name == "x-a"] == ["1", "2"]


def test_json_data(run: Run) -> None:
    _, out, _ = run("URL/headers", "--json", '{"a": 1}')
    fields = dict(json.loads(out)["headers"])
    assert (fields["content-type"], fields["accept"]) == ("application/json", "application/json")


def test_a_file_is_uploaded_with_its_length(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "upload"
    file.write_bytes(content(0, 300_000))
    _, out, _ = run("URL/digest", "-d", f"@{file}")
    assert json.loads(out) == {"bytes": 300_000, "sha256": hashlib.sha256(content(0, 300_000)).hexdigest()}


def test_standard_input_is_uploaded(server: Server) -> None:
    words = command(f"{server.url}/digest", "--cacert", server.ca_file, "-d", "@-")
    done = subprocess.run(words, input=content(0, 200_000), capture_output=True, check=True, timeout=30)
    assert json.loads(done.stdout)["sha256"] == hashlib.sha256(content(0, 200_000)).hexdigest()


# -- what can go wrong -------------------------------------------------------------------------------


def test_an_error_status_is_an_answer_unless_fail_is_given(run: Run) -> None:
    assert run("URL/status/404") == (0, b"404\n", "")
    status, out, err = run("-f", "URL/status/404")
    assert (status, out) == (1, b"")
    assert err == f"specter: {run.server.url}/status/404 answered 404 Not Found\n"


@pytest.mark.parametrize(("words", "said"), [((), True), (("-s",), False), (("-s", "-S"), True)])
def test_errors_are_one_line_unless_silent(run: Run, words: tuple[str, ...], said: bool) -> None:
    status, out, err = run(*words, "URL/reset", "URL/bytes/4")
    assert (status, out) == (1, content(0, 4))
    assert err.count("\n") == (1 if said else 0)
    assert err.startswith("specter: ") is said


def test_an_unknown_authority_is_refused(run: Run) -> None:
    status, out, err = run("URL/bytes/1", trust=False)
    assert (status, out) == (1, b"")
    assert err.startswith("specter: the certificate of 127.0.0.1 was not accepted (chain)")


def test_insecure_accepts_it_without_a_word(run: Run) -> None:
    assert run("-k", "URL/bytes/1", trust=False) == (0, content(0, 1), "")


def test_resolve_and_the_name_in_the_certificate(run: Run) -> None:
    port = run.server.port
    status, _, err = run(f"https://wrong.test:{port}/", "--resolve", f"wrong.test:{port}:127.0.0.1")
    assert status == 1
    assert "(name)" in err
    status, out, _ = run(f"localhost:{port}/bytes/2", "--resolve", f"localhost:{port}:127.0.0.1")
    assert (status, out) == (0, content(0, 2))


def test_max_time(run: Run) -> None:
    started = time.monotonic()
    status, _, err = run("--max-time", "0.3", "URL/delay/20")
    assert status == 1
    assert time.monotonic() - started < 5
    assert err.startswith("specter: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("url", ["http://localhost/", "https://", "https://user@host/", "https://a b/"])
def test_urls_that_make_no_sense_are_wrong_usage(run: Run, url: str) -> None:
    status, _, err = run(url)
    assert status == 2
    assert err.startswith("specter: ")


@pytest.mark.parametrize("option", ["--cacert", "--cert"])
def test_missing_files_are_wrong_usage(run: Run, option: str, tmp_path: Path) -> None:
    status, _, err = run("URL/", option, str(tmp_path / "missing"), trust=False)
    assert status == 2
    assert "missing" in err


def timing(err: str) -> dict[str, Any]:
    """Return the line of ``--json-timing`` among those of ``-v``."""
    facts: dict[str, Any] = json.loads(next(line for line in err.splitlines() if line.startswith("{")))
    return facts


def test_sessions_in_a_file(run: Run, tmp_path: Path) -> None:
    words = ("URL/delay/0.2", "--ssl-sessions", str(tmp_path / "sessions"), "-v", "--json-timing")
    _, _, first = run(*words)
    assert "resumed" not in first.splitlines()[2]
    _, out, second = run(*words)
    assert "X25519MLKEM768, resumed" in second
    assert "early data" not in second.replace("early_data", "")
    facts = timing(second)
    assert (facts["tls"]["resumed"], facts["early_data"]) == (True, None)
    _, out, third = run("URL/bytes/3", *words[1:], "--tls-earlydata")
    assert "* early data: accepted" in third
    assert timing(third)["early_data"] == "accepted"
    assert out == content(0, 3)


@POSIX
def test_a_session_file_that_others_may_read(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "sessions"
    path.write_text("{}")
    path.chmod(0o644)
    status, _, err = run("URL/bytes/1", "--ssl-sessions", str(path))
    assert status == 2
    assert f"chmod 600 {path}" in err


def test_keylog(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    assert run("URL/bytes/1", "--keylog", str(path))[0] == 0
    labels = {line.split()[0] for line in path.read_text().splitlines()}
    assert {"CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_TRAFFIC_SECRET_0"} <= labels


# -- signals, pipes, terminals -----------------------------------------------------------------------


@POSIX
def test_ctrl_c_is_quiet(server: Server) -> None:
    words = command(f"{server.url}/drip?count=1000&interval=0.05", "--cacert", server.ca_file)
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (130, b"")


@POSIX
def test_a_reader_that_goes_away_is_no_news(server: Server) -> None:
    words = command(f"{server.url}/bytes/30000000", "--cacert", server.ca_file)
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        err = process.stderr.read()
        assert (process.wait(10), err) == (1, b"")


@POSIX
def test_binary_data_is_kept_from_the_terminal(server: Server) -> None:
    trust = ["--cacert", server.ca_file]
    status, shown = at_terminal(command(f"{server.url}/bytes/5000", *trust))
    assert (status, shown.count(b"\n")) == (1, 1)
    assert b"use -o FILE" in shown
    status, shown = at_terminal(command(f"{server.url}/bytes/5000", *trust, "-o", "-"))
    assert status == 0
    assert len(shown) >= 5000
    status, shown = at_terminal(command(f"{server.url}/trailers", *trust))
    assert (status, shown) == (0, b"with trailers\r\n")


@POSIX
@pytest.mark.slow
def test_a_slow_download_shows_progress(server: Server, tmp_path: Path) -> None:
    url = f"{server.url}/drip?count=13&interval=0.1&bytes=1000"
    status, shown = at_terminal(command(url, "--cacert", server.ca_file, "-o", str(tmp_path / "out")))
    assert status == 0
    assert b"kB" in shown
    assert (tmp_path / "out").read_bytes() == content(0, 13_000)


# -- serve and demo ----------------------------------------------------------------------------------


@POSIX
def test_serve_until_terminated(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("hello\n")
    authority = CertificateAuthority()
    trusted = authority.write(tmp_path / "ca.pem")
    chain, key = authority.issue("localhost", "127.0.0.1").write(tmp_path)
    words = command("serve", str(tmp_path), "--port", "0", "--cert", str(chain), "--key", str(key), "--retry")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            assert main([f"{url}/", "-o", str(tmp_path / "got"), "--cacert", str(trusted)]) == 0
        finally:
            process.terminate()
        _, err = process.communicate(timeout=10)
    assert (tmp_path / "got").read_text() == "hello\n"
    assert (process.returncode, err) == (0, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["/no/such/folder"], "is not a directory"),
        ([".", "--cert", "missing", "--key", "missing"], "cannot read missing"),
        ([".", "--cert", "README.md", "--key", "README.md"], "are no use"),
    ],
)
def test_serve_refuses_what_cannot_work(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    assert main(["serve", *words]) == 2
    assert said in capsys.readouterr().err


def test_serve_on_a_port_that_is_taken(server: Server, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert main(["serve", str(tmp_path), "--port", str(server.port)]) == 1
    assert "cannot listen" in capsys.readouterr().err
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_demo(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--size", "2"]) == 0
    out = capsys.readouterr().out
    for wanted in ("HTTP/3 over QUICv1, ALPN h3", "TLSv1.3", "warm GET", "every byte checked", "core"):
        assert wanted in out
