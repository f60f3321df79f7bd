"""Clients in processes of their own: whatever they do, the harness hears of it in time."""

from __future__ import annotations

import sys

import pytest

from perf.kit import cores
from perf.peers import process
from perf.peers.adapter import Adapter, BlockingAdapter, Unsupported, zeros
from perf.peers.process import Process, ProcessFailed, WorkUnsupported, environment
from perf.peers.registry import BY_NAME, COMPARATORS, PEERS
from perf.peers.worker import peak, perform, usage


def script(body):
    """Return a process that greets and then does ``body`` with each line of its input."""
    greeting = "print(json.dumps({'version': '1'}), flush=True)"
    lines = ["import json, sys, time", greeting, "for line in sys.stdin:", f"    {body}"]
    return Process([sys.executable, "-c", "\n".join(lines)], cores.CLIENT)


def test_samples_and_the_line_that_ends_them():
    with script("print('[1, 2, 3, 4, 5]'); print(json.dumps({'done': 1}), flush=True)") as client:
        assert client.greeting == {"version": "1"}
        answer = client.ask({"do": "stream"}, 10)
    assert answer.samples == [[1, 2, 3, 4, 5]]
    assert answer.end == {"done": 1}


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        ("print(json.dumps({'unsupported': 'no tunnels'}), flush=True)", WorkUnsupported, "no tunnels"),
        ("print(json.dumps({'error': 'it broke'}), flush=True)", ProcessFailed, "it broke"),
        ("print('{what?', flush=True)", ProcessFailed, "it said"),
        ("print('what?', flush=True)", ProcessFailed, "it said"),
        ("sys.exit('the end')", ProcessFailed, "the end"),
        ("raise SystemExit(7)", ProcessFailed, "it ended with status 7"),
    ],
)
def test_what_a_client_says_for_itself(body, kind, said):
    with script(body) as client, pytest.raises(kind, match=said):
        client.ask({"do": "stream"}, 10)


def test_a_client_that_hangs_is_not_waited_for():
    with script("time.sleep(30)") as client:
        with pytest.raises(ProcessFailed, match="no answer in time"):
            client.ask({"do": "stream"}, 0.2)
        client._process.kill()


def test_a_client_that_does_not_start_says_why(monkeypatch):
    with pytest.raises(ProcessFailed, match="No module named nothing"):
        Process([sys.executable, "-m", "nothing"], cores.CLIENT)
    monkeypatch.setattr(process, "GREETING", 0.2)
    monkeypatch.setattr(process, "GOODBYE", 0.2)
    with pytest.raises(ProcessFailed, match="no answer in time"):
        Process([sys.executable, "-c", "import time; time.sleep(20)"], cores.CLIENT)


def test_only_what_is_declared_steers_a_client(monkeypatch):
    monkeypatch.setenv("SPECTER_PURE", "1")
    monkeypatch.setenv("PERF_ANYTHING", "1")
    found = environment({"SPECTER_LIBCRYPTO": "none"})
    assert [name for name in found if name.startswith(("SPECTER_", "PERF_"))] == ["SPECTER_LIBCRYPTO"]


def test_every_comparator_is_somebody_else():
    assert len(BY_NAME) == len(PEERS)
    assert COMPARATORS == (
        "aioquic", "niquests", "curl_cffi", "warpsock", "quiche", "tokio-quiche", "h3-quinn", "reqwest",
    )  # fmt: skip
    assert all(not BY_NAME[name].environment and not BY_NAME[name].options for name in COMPARATORS)


class Idle(BlockingAdapter):
    version = "0"

    def __init__(self):
        pass


@pytest.mark.parametrize(
    ("work", "arguments"),
    [
        ("stream", {"path": "/", "count": 1}),
        ("many", {"path": "/", "count": 1, "at_once": 2}),
        ("upload", {"path": "/", "size": 1}),
        ("handshakes", {"path": "/", "count": 1}),
        ("echo", {"path": "/", "count": 1, "size": 1}),
        ("close_fin", {"path": "/", "count": 1, "size": 1}),
        ("mixed", {"path": "/", "tunnel": "/", "count": 1, "size": 1, "writes": 1}),
    ],
)
def test_what_an_adapter_lacks_is_said(work, arguments):
    with pytest.raises(Unsupported):
        getattr(Adapter({}), work)(**arguments)


@pytest.mark.parametrize("work", ["upload", "handshakes", "echo", "close_fin"])
def test_a_blocking_adapter_says_what_it_lacks(work):
    arguments = {"path": "/", "count": 1, "size": 1}
    if work in ("upload", "handshakes"):
        arguments.pop("size" if work == "handshakes" else "count")
    with pytest.raises(Unsupported):
        getattr(Idle(), work)(**arguments)


def test_work_is_reported_with_what_it_cost(capsys):
    class Busy(Idle):
        def stream(self, path, count):
            return [(1, 2, 3, 4, 5)] * count

    perform(Busy(), "stream", {"path": "/", "count": 2})
    first, second, end = capsys.readouterr().out.splitlines()
    assert first == second == "[1, 2, 3, 4, 5]"
    assert '"done": 2' in end
    assert peak() > 1 << 20
    assert sum(usage()) > 0


def test_zeros_are_as_many_as_asked_for():
    assert sum(map(len, zeros(200_000))) == 200_000
    assert list(zeros(0)) == []


def test_realtime_is_an_order_to_the_system():
    usual, urgent = (cores.pinned(cores.CLIENT, ["true"], realtime=realtime) for realtime in (False, True))
    if len(cores.usable()) < 2:
        assert usual == urgent == ["true"]
    else:
        assert usual[-2:] == ["usual", "true"]
        assert urgent[-2:] == ["realtime", "true"]
