"""Many threads on one connection, and Ctrl-C in any of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import specter
from specter.testing.content import content
from specter.testing.server import Server
from tests.client.support import MakeClient, StartServer, blocking_only

MIB = 1 << 20


def run_all(*works: Callable[[], None], limit: float = 30) -> None:
    """Run each in a thread of its own; fail with the first exception, or when one does not end."""
    errors: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    end = time.monotonic() + limit
    for thread in threads:
        thread.join(max(end - time.monotonic(), 0))
    if errors:
        raise errors[0]
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"


def test_eight_threads_fifty_requests_one_connection(start_server: StartServer, make_client: MakeClient) -> None:
    server = start_server()
    client = make_client(server)

    def work(number: int) -> Callable[[], None]:
        def run() -> None:
            for turn in range(50):
                size = (number * 977 + turn * 331) % 9000
                assert client.get(f"/bytes/{size}").content == content(0, size)

        return run

    run_all(*(work(number) for number in range(8)))
    assert server.endpoint is not None
    assert server.endpoint.stats.accepted == 1


def test_uploads_downloads_and_cancellations_together(client: specter.Client) -> None:
    def download() -> None:
        for _ in range(3):
            assert client.get(f"/bytes/{MIB // 2}").content == content(0, MIB // 2)

    def upload() -> None:
        for _ in range(3):
            assert client.post("/echo", content=content(0, MIB // 3)).content == content(0, MIB // 3)

    def leave_early() -> None:
        for _ in range(20):
            with client.stream("GET", f"/bytes/{MIB}") as response:
                next(response.iter_bytes())

    def fail() -> None:
        for _ in range(20):
            with pytest.raises(specter.StreamReset):
                client.get("/reset/5000")

    run_all(download, download, upload, upload, leave_early, fail)
    assert client.get("/bytes/3").content == content(0, 3)


def test_a_slow_reader_starves_nobody(client: specter.Client) -> None:
    done = threading.Event()

    def slow() -> None:
        with client.stream("GET", f"/bytes/{40 * MIB}") as response:
            pieces = response.iter_bytes(1000)
            while not done.is_set():
                next(pieces)
                time.sleep(0.01)

    def quick() -> None:
        try:
            for _ in range(50):
                assert len(client.get("/bytes/20000").content) == 20_000
        finally:
            done.set()

    run_all(slow, quick, limit=15)


def test_a_fast_download_starves_nobody(client: specter.Client) -> None:
    times: list[float] = []
    done = threading.Event()

    def fast() -> None:
        with client.stream("GET", f"/bytes/{200 * MIB}") as response:
            for _ in response.iter_bytes():
                if done.is_set():
                    return

    def small() -> None:
        try:
            time.sleep(0.05)
            for _ in range(15):
                start = time.monotonic()
                client.get("/bytes/1")
                times.append(time.monotonic() - start)
        finally:
            done.set()

    run_all(fast, small)
    assert sorted(times)[len(times) // 2] < 0.5


def test_the_lead_is_handed_over(client: specter.Client) -> None:
    """The first to wait leads, and is done before the others."""
    client.get("/bytes/1")
    order: list[float] = []

    def wait(seconds: float) -> Callable[[], None]:
        def run() -> None:
            client.get(f"/delay/{seconds}")
            order.append(seconds)

        return run

    start = time.monotonic()
    run_all(wait(0.1), wait(0.2), wait(0.3), wait(0.4))
    assert order == [0.1, 0.2, 0.3, 0.4]
    assert time.monotonic() - start < 2


def test_a_leader_that_runs_out_of_time_hands_over(client: specter.Client) -> None:
    client.get("/bytes/1")

    def leader() -> None:
        with pytest.raises(specter.ReadTimeout):
            client.get("/delay/5", timeout=specter.Timeouts(5, read=0.2))

    def follower() -> None:
        time.sleep(0.05)
        start = time.monotonic()
        client.get("/delay/0.4")
        assert time.monotonic() - start < 0.9

    run_all(leader, follower, follower)


def test_work_of_others_wakes_a_sleeping_leader(client: specter.Client) -> None:
    """The leader sleeps for long; an upload of another thread needs timers and acknowledgments meanwhile."""
    client.get("/bytes/1")

    def leader() -> None:
        client.get("/delay/1", timeout=5)

    def uploader() -> None:
        time.sleep(0.05)
        for _ in range(3):
            assert client.post("/digest", content=bytes(MIB)).json()["bytes"] == MIB

    run_all(leader, uploader)


def test_closing_a_response_that_somebody_reads(client: specter.Client) -> None:
    errors: list[Exception] = []

    def read(response: specter.Response) -> None:
        try:
            response.read()
        except specter.Error as error:
            errors.append(error)

    for busy in (False, True):
        with client.stream("GET", "/drip?count=2&interval=10", timeout=None) as response:
            other = threading.Thread(target=lambda: client.get("/delay/0.5"))
            if busy:
                other.start()
            reader = threading.Thread(target=read, args=(response,))
            reader.start()
            time.sleep(0.1)
            response.close()
            reader.join(5)
            assert not reader.is_alive()
            if busy:
                other.join(5)
    assert [type(error) for error in errors] == [specter.StreamClosed] * 2
    assert client.get("/bytes/1").timing.reused


# -- Ctrl-C ---------------------------------------------------------------------------------------------


def interrupt_after(seconds: float) -> threading.Timer:
    """Send SIGINT to the main thread, which is where the system delivers a Ctrl-C."""
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(seconds, lambda: signal.pthread_kill(main, signal.SIGINT))
    timer.daemon = True
    timer.start()
    return timer


needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="SIGINT does not end a wait there")


@needs_signals
@blocking_only
def test_ctrl_c_while_leading(client: specter.Client) -> None:
    client.get("/bytes/1")
    start = time.monotonic()
    interrupt_after(0.1)
    with pytest.raises(KeyboardInterrupt):
        client.get("/delay/5")
    assert time.monotonic() - start < 1
    response = client.get("/bytes/2")
    assert response.timing.reused
    assert len(response.content) == 2


@needs_signals
@blocking_only
def test_ctrl_c_while_following(client: specter.Client) -> None:
    client.get("/bytes/1")
    leader = threading.Thread(target=lambda: client.get("/delay/0.5"))
    leader.start()
    time.sleep(0.05)
    interrupt_after(0.1)
    with pytest.raises(KeyboardInterrupt):
        client.get("/delay/5")
    leader.join(5)
    assert not leader.is_alive()
    assert client.get("/bytes/2").timing.reused


@needs_signals
@blocking_only
def test_ctrl_c_hands_the_lead_over(client: specter.Client) -> None:
    client.get("/bytes/1")
    results: list[Any] = []

    def follow() -> None:
        time.sleep(0.05)
        start = time.monotonic()
        client.get("/delay/0.3")
        results.append(time.monotonic() - start)

    follower = threading.Thread(target=follow)
    follower.start()
    interrupt_after(0.15)
    with pytest.raises(KeyboardInterrupt):
        client.get("/delay/5")
    follower.join(5)
    assert len(results) == 1
    assert results[0] < 0.8


@needs_signals
def test_ctrl_c_while_connecting() -> None:
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent, specter.Client(timeout=10) as client:
        silent.bind(("127.0.0.1", 0))
        interrupt_after(0.1)
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            client.get(f"https://127.0.0.1:{silent.getsockname()[1]}/")
        assert time.monotonic() - start < 1
        assert not client._pool._dials


@needs_signals
@blocking_only
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_at_any_moment(client: specter.Client) -> None:
    """Wherever it strikes: the next request works, on the same connection or on a new one."""

    def keep_asking(seconds: float) -> None:
        while True:  # an interrupt that strikes a callback of the garbage collector is lost
            interrupt_after(seconds)
            end = time.monotonic() + seconds + 0.5
            while time.monotonic() < end:
                client.get("/bytes/3000")

    for index in range(40):
        with pytest.raises(KeyboardInterrupt):
            keep_asking(0.001 + 0.0007 * index)
        assert len(client.get("/bytes/10").content) == 10


SCRIPT = """
import sys, specter
print("ready", flush=True)
specter.get(sys.argv[1] + "/delay/30", verify=sys.argv[2], timeout=None)
"""


@needs_signals
def test_ctrl_c_in_a_program(server: Server) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, server.url, server.ca_file],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        text=True,
    )
    with program:
        assert program.stdout is not None
        program.stdout.readline()
        time.sleep(0.7)
        program.send_signal(signal.SIGINT)
        _, errors = program.communicate(timeout=5)
    assert "KeyboardInterrupt" in errors
    assert program.returncode != 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@blocking_only
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_makes_its_own_connections(server: Server, make_client: MakeClient) -> None:
    client = make_client(server)
    client.get("/bytes/1")
    child = os.fork()
    if child == 0:
        try:
            response = client.get("/bytes/7")
            os._exit(0 if len(response.content) == 7 and not response.timing.reused else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert client.get("/bytes/1").timing.reused
