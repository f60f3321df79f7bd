"""Where bodies go: names from URLs, compressed ones, several at once."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from specter.testing.content import content
from tests.cli.support import Run


def test_remote_names(run: Run, folder: Path) -> None:
    assert run("-O", "URL/bytes/300?x=1", "-o", "mine", "URL/bytes/5", "URL/bytes/2") == (0, content(0, 2), "")
    assert (folder / "300").read_bytes() == content(0, 300)
    assert (folder / "mine").read_bytes() == content(0, 5)


def test_the_name_is_the_one_that_was_typed(run: Run, folder: Path) -> None:
    """A server that redirects does not choose what is written over."""
    assert run("-L", "-O", "URL/to?url=/bytes/9")[0] == 0
    assert [path.name for path in folder.iterdir()] == ["to"]


def test_no_name_is_wrong_usage(run: Run, folder: Path) -> None:
    status, _, err = run("-O", "URL/", "-O", "URL/bytes/4")
    assert status == 2
    assert err == f"specter: {run.server.url}/ has no file name for -O; use -o FILE\n"
    assert (folder / "4").read_bytes() == content(0, 4)


def test_compressed(run: Run) -> None:
    assert run("URL/gzip")[1] == b"plain\n"
    assert run("--compressed", "URL/gzip") == (0, b"squeezed\n", "")


@pytest.mark.security
def test_a_bomb_is_one_line(run: Run, folder: Path) -> None:
    status, _, err = run("--compressed", "URL/bomb", "-o", "out")
    assert status == 1
    assert err.count("\n") == 1
    assert (folder / "out").stat().st_size < 150_000_000


def test_parallel_is_as_slow_as_the_slowest(run: Run, folder: Path) -> None:
    started = time.monotonic()
    words = [
        word for number in range(8) for word in ("-o", f"out{number}", f"URL/drip?count=6&interval=0.1&x={number}")
    ]
    assert run("-Z", *words) == (0, b"", "")
    assert time.monotonic() - started < 3
    assert all((folder / f"out{number}").read_bytes() == content(0, 6) for number in range(8))


def test_parallel_bodies_do_not_mix(run: Run) -> None:
    sizes = [300_000 + number for number in range(6)]
    status, out, _ = run("--parallel", *(f"URL/bytes/{size}" for size in sizes))
    assert status == 0
    assert len(out) == sum(sizes)
    left = set(sizes)
    while out:
        size = next(
            size for size in left if out.startswith(content(0, size)) and (len(out) == size or _starts(out[size:]))
        )
        left.remove(size)
        out = out[size:]
    assert not left


def _starts(rest: bytes) -> bool:
    return rest.startswith(content(0, 1000))


def test_parallel_shares_a_connection_and_reports_each_failure(run: Run) -> None:
    status, out, err = run("-Z", "--parallel-max", "2", "-f", "URL/status/404", "URL/bytes/2", "URL/status/500")
    assert (status, out) == (1, content(0, 2))
    assert sorted(line.split()[-1] for line in err.splitlines()) == ["Error", "Found"]


def test_parallel_timing_lines_are_whole(run: Run) -> None:
    _, _, err = run("-Z", "--json-timing", *(f"URL/bytes/{size}" for size in range(10)))
    said = [json.loads(line) for line in err.splitlines()]
    assert sorted(line["body_bytes"] for line in said) == list(range(10))
