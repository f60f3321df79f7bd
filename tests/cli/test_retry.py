"""``--retry``: what is worth another try, how long that waits, and what output it leaves."""

from __future__ import annotations

import datetime
from email.utils import format_datetime
from itertools import islice
from pathlib import Path

import pytest

import specter
from specter.cli.failure import Failure
from specter.cli.retry import LONGEST, StatusFailure, delays, may_pass, retry_after
from specter.testing.content import content
from tests.cli.conftest import Answers
from tests.cli.support import Run

QUICK = ("--retry-delay", "0")


@pytest.fixture(autouse=True)
def forget(answers: Answers) -> None:
    answers.tried.clear()


def test_a_busy_server_is_asked_again(run: Run) -> None:
    assert run("URL/flaky") == (0, b"busy\n", "")
    status, out, err = run("--retry", "3", *QUICK, "URL/flaky?times=2")
    assert (status, out) == (0, b"well\n")
    lines = err.splitlines()
    url = f"{run.server.url}/flaky?times=2"
    assert lines == [
        f"specter: {url} answered 503 Service Unavailable; again in 0 s (3 left)",
        f"specter: {url} answered 503 Service Unavailable; again in 0 s (2 left)",
    ]


def test_the_last_answer_counts(run: Run) -> None:
    status, out, _ = run("--retry", "1", *QUICK, "URL/flaky?times=9")
    assert (status, out) == (0, b"busy\n")
    status, out, _ = run("-f", "--retry", "1", *QUICK, "URL/flaky?times=9&x")
    assert (status, out) == (1, b"")


def test_other_errors_are_no_reason(run: Run, answers: Answers) -> None:
    assert run("--retry", "3", *QUICK, "URL/status/404")[0] == 0
    assert run("-f", "--retry", "3", *QUICK, "URL/status/404?x")[0] == 1
    assert run("--retry", "3", *QUICK, "http://h/")[0] == 2
    assert answers.tried.total() == 2


def test_silence(run: Run) -> None:
    assert run("-s", "--retry", "2", *QUICK, "URL/flaky?times=1") == (0, b"well\n", "")


def test_a_file_starts_over(run: Run, folder: Path) -> None:
    status, _, _ = run("--retry", "2", *QUICK, "URL/broken?times=1", "-o", "out")
    assert status == 0
    assert (folder / "out").read_bytes() == b"whole\n"


def test_what_went_to_standard_output_cannot_be_taken_back(run: Run) -> None:
    status, out, err = run("--retry", "2", *QUICK, "URL/broken?times=1")
    assert status == 1
    assert content(0, 5000).startswith(out)
    assert err.count("\n") == 1


def test_a_body_is_sent_again(run: Run, folder: Path) -> None:
    (folder / "file").write_bytes(b"z" * 100_000)
    for words in (["-T", "file"], ["-d", "@file"], ["-F", "a=@file"]):
        status, out, _ = run("--retry", "1", *QUICK, f"URL/flaky?times=1&{words[0]}", *words)
        assert (status, out) == (0, b"well\n")


def test_a_dead_port_is_tried_so_often(run: Run) -> None:
    status, _, err = run("--retry", "2", *QUICK, "https://127.0.0.1:1/")
    assert status == 1
    assert [line.rpartition("(")[2] for line in err.splitlines()[:2]] == ["2 left)", "1 left)"]
    assert err.count("\n") == 3


def test_retry_after_is_heard(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []
    monkeypatch.setattr("threading.Event.wait", lambda _, seconds=None: waits.append(seconds) or False)
    assert run("--retry", "3", "URL/flaky?times=3&after=7")[1] == b"well\n"
    assert [wait for wait in waits if wait == 7] == [7, 7, 7]


def test_delays_double_up_to_a_limit() -> None:
    assert list(islice(delays(None), 12)) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, LONGEST, LONGEST]
    assert list(islice(delays(0.5), 3)) == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (StatusFailure("busy", 503), True),
        (StatusFailure("gone", 410), False),
        (specter.ConnectError("refused"), True),
        (specter.ReadTimeout("late"), True),
        (specter.NetworkError("lost"), True),
        (specter.StreamReset("reset"), True),
        (specter.CertificateError("bad", check="name", name="h"), False),
        (specter.RemoteProtocolError("rules"), False),
        (specter.DecodingError("bomb"), False),
        (Failure("disk full"), False),
        (OSError("disk"), False),
    ],
)
def test_which_failures_may_pass(error: Exception, passes: bool) -> None:
    assert may_pass(error) is passes


class Answer:
    def __init__(self, value: str) -> None:
        self.headers = {"retry-after": value}


def test_retry_after_in_each_form() -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=30)
    assert retry_after(Answer("12")) == 12  # type: ignore[arg-type]
    assert 20 < (retry_after(Answer(format_datetime(soon, usegmt=True))) or 0) <= 30  # type: ignore[arg-type]
    assert retry_after(Answer("Thu, 01 Jan 1970 00:00:00 GMT")) == 0  # type: ignore[arg-type]
    assert retry_after(Answer("9" * 500)) == LONGEST  # type: ignore[arg-type]
    for nonsense in ("", "soon", "-1", "1.5", "Thu, 99 Jan 99999 00:00:00 GMT", "²"):
        assert retry_after(Answer(nonsense)) is None  # type: ignore[arg-type]
