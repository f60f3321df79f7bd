"""``-L``: how far, with what, and what is left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from specter.testing import Reply, Server
from tests.cli.conftest import Answers
from tests.cli.support import Run


@pytest.fixture(scope="module")
def elsewhere(server: Server) -> Iterator[Server]:
    """Another origin, with the same authority's trust."""
    with Server(credential=server.credential) as running:
        yield running


def seen(out: bytes) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(out)
    return said


def names(out: bytes) -> list[str]:
    return [name for name, _ in seen(out)["headers"]]


def test_redirects_are_answers_unless_followed(run: Run) -> None:
    assert run("URL/to?url=/bytes/3") == (0, b"not this\n", "")
    status, out, err = run("-L", "URL/redirect/3")
    assert (status, len(out), err) == (0, 16, "")


def test_include_shows_each_head(run: Run) -> None:
    _, out, _ = run("-L", "-i", "URL/redirect/2")
    assert out.count(b"HTTP/3 302\r\n") == 2
    assert out.count(b"HTTP/3 200\r\n") == 1


@pytest.mark.parametrize(
    ("status", "words", "method", "keeps_body"),
    [
        (301, ("-d", "x"), "GET", False),
        (302, ("-d", "x"), "GET", False),
        (303, ("-d", "x"), "GET", False),
        (307, ("-d", "x"), "POST", True),
        (308, ("-d", "x"), "POST", True),
        (301, ("-X", "PUT", "-d", "x"), "PUT", True),
        (303, ("-X", "PUT", "-d", "x"), "GET", False),
        (
            303,
            (
                "-X",
                "DELETE",
            ),
            "GET",
            False,
        ),
        (302, (), "GET", False),
    ],
)
def test_what_becomes_of_method_and_body(
    run: Run, status: int, words: tuple[str, ...], method: str, keeps_body: bool
) -> None:
    code, out, _ = run("-L", f"URL/to?url=/headers&status={status}", *words)
    assert code == 0
    assert seen(out)["method"] == method
    fields = dict(seen(out)["headers"])
    assert ("content-type" in fields) is keeps_body
    assert fields.get("content-length") == ("1" if keeps_body else None)


def test_head_stays_head(run: Run) -> None:
    status, out, _ = run("-L", "-I", "URL/to?url=/bytes/7&status=303")
    assert status == 0
    assert out.endswith(b"content-length: 7\r\n\r\n")


def test_a_file_is_sent_again(run: Run, folder: Any) -> None:
    (folder / "file").write_bytes(b"y" * 200_000)
    status, out, _ = run("-L", "-T", "file", "URL/to?url=/digest&status=307")
    assert (status, seen(out)["bytes"]) == (0, 200_000)
    status, out, _ = run("-L", "-F", "a=@file", "URL/to?url=/digest&status=308")
    assert (status, seen(out)["bytes"] > 200_000) == (0, True)


@pytest.mark.parametrize("limit", [0, 2])
def test_there_is_a_limit(run: Run, limit: int, answers: Answers) -> None:
    answers.tried.clear()
    status, out, err = run("-L", "--max-redirs", str(limit), "URL/redirect/9")
    assert (status, out) == (1, b"")
    assert err == f"specter: more than {limit} redirects, the last to /redirect/{8 - limit}\n"
    assert answers.tried.total() == limit + 1


def test_endless_redirects_end(run: Run, answers: Answers) -> None:
    answers.tried.clear()
    status, _, err = run("-L", "URL/to?url=/to%3Furl%3D/to")
    assert status == 0 or err.count("\n") == 1
    assert answers.tried.total() <= 51


@pytest.mark.security
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_credentials_stay_with_their_origin(run: Run, elsewhere: Server, status: int) -> None:
    """hackney CVE-2026-47070, urllib3 GHSA-qccp-gfcp-xxvc: Authorization and Cookie went to another origin."""
    secrets = ("-H", "Authorization: Bearer s3cret", "-H", "COOKIE: s3cret", "-H", "Proxy-Authorization: s3cret")
    target = f"{elsewhere.url}/headers"
    code, out, _ = run("-L", f"URL/to?status={status}&url={target}", *secrets, "-H", "x-mine: kept")
    assert code == 0
    assert "s3cret" not in out.decode()
    assert "x-mine" in names(out)
    code, out, _ = run("-L", f"URL/to?status={status}&url=/headers", *secrets)
    assert out.decode().count("s3cret") == 3


@pytest.mark.security
def test_credentials_do_not_come_back(run: Run, server: Server) -> None:
    """Who was asked along the way may have chosen where the last redirect leads."""
    with Server(
        lambda _: Reply(302, [("location", f"{server.url}/headers")]),
        credential=server.credential,
    ) as middle:
        code, out, _ = run("-L", f"URL/to?url={middle.url}/", "-u", "me:s3cret", "-H", "cookie: s3cret")
    assert code == 0
    assert not {"authorization", "cookie"} & set(names(out))


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("http://127.0.0.1/", "HTTP/3 serves https URLs, not http"),
        ("file:///etc/passwd", "HTTP/3 serves https URLs, not file"),
        ("https://user:pass@host/", "holds credentials"),
        ("https://[::1", "Invalid IPv6 URL"),
    ],
)
def test_redirects_to_where_nobody_can_go(run: Run, location: str, said: str) -> None:
    status, out, err = run("-L", f"URL/to?url={location}")
    assert (status, out) == (1, b"")
    assert err.count("\n") == 1
    assert "redirects to" in err
    assert said in err
    assert "\x1b" not in err


def test_standard_input_cannot_be_sent_twice(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import sys

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"data")))
    status, _, err = run("-L", "-d", "@-", "URL/to?url=/headers&status=307")
    assert status == 1
    assert "standard input was sent already" in err
