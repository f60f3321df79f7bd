"""The driver from inside: who leads, who is woken, and what happens when the engine is interrupted."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import specter
from specter._backend import batch, udp
from specter.client.url import Origin
from specter.net.blocking import BlockingConnection
from specter.net.exchange import END, HEAD, NAP, Exchange, Sleeper
from specter.net.keepalive import KeepAlive
from specter.net.waker import Waker
from specter.testing.server import Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[specter.Client]:
    with specter.Client(verify=server.ca_file, base_url=server.url) as running:
        running.get("/bytes/1")
        yield running


@pytest.fixture
def connection(client: specter.Client, server: Server) -> BlockingConnection:
    found: BlockingConnection = client._pool._connections[Origin(server.host, server.port)]
    return found


class Background:
    """A call in a thread of its own."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.result: Any = None
        self._call = call
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result = self._call()
        except BaseException as error:
            self.result = error

    def end(self, seconds: float = 5) -> Any:
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "the thread hangs"
        return self.result


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.002)


class FullSocket:
    """A socket that is full until somebody waits for it to take more."""

    def __init__(self, socket: udp.UdpSocket) -> None:
        self._socket = socket
        self._held: list[tuple[bytes, Any, int]] = []
        self.woken_writers = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    @property
    def unsent(self) -> int:
        return len(self._held)

    def send(self, burst: batch.SendBatch) -> int:
        self._held += [(bytes(data), address, ecn) for data, address, ecn in burst]
        return len(self._held)

    def flush(self) -> int:
        return len(self._held)

    def wait(self, timeout: int, wake_fd: int) -> int:
        if not self._held:
            return self._socket.wait(timeout, wake_fd)
        self.woken_writers += 1
        burst = batch.SendBatch()
        for data, address, ecn in self._held:
            start = burst.begin()
            burst.view[start : start + len(data)] = data
            burst.commit(start + len(data), address, ecn)
        self._held = []
        self._socket.send(burst.deliver())
        return udp.WRITABLE


# -- leading and following --------------------------------------------------------------------------------


def test_one_leads_the_others_sleep_and_the_lead_goes_round(
    client: specter.Client, connection: BlockingConnection
) -> None:
    threads = [Background(lambda: client.get("/delay/0.3").status_code) for _ in range(4)]
    until(lambda: connection._leader and len(connection._sleepers) == 3)
    assert [thread.end() for thread in threads] == [200] * 4
    assert not connection._leader
    assert not connection._sleepers
    assert not connection.busy


def test_a_single_thread_never_sleeps_on_anything_but_the_socket(
    client: specter.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("not with one thread")

    monkeypatch.setattr(Sleeper, "__init__", forbidden)
    monkeypatch.setattr(Waker, "wake", forbidden)
    client.post("/echo", content=bytes(300_000))


def test_a_follower_takes_over_from_a_leader_that_vanished(
    client: specter.Client, connection: BlockingConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("specter.net.exchange.NAP", NAP // 20)
    connection._leader = -1
    follower = Background(lambda: client.get("/bytes/5").content)
    until(lambda: connection._sleepers)
    connection._leader = 0  # and nobody is woken
    assert len(follower.end(2)) == 5


def test_an_earlier_deadline_wakes_the_leader(client: specter.Client, connection: BlockingConnection) -> None:
    leader = Background(lambda: client.get("/delay/0.6", timeout=None))
    until(lambda: connection._armed > time.monotonic_ns() + 200_000_000)
    follower = Background(lambda: client.get("/bytes/1", timeout=None))
    until(lambda: connection._armed and connection._armed < time.monotonic_ns() + 1_000_000_000)
    follower.end()
    leader.end()


def test_a_full_socket_is_the_leaders_business(client: specter.Client, connection: BlockingConnection) -> None:
    """Another thread's datagrams wait in the socket: the leader is told to look for room."""
    leader = Background(lambda: client.get("/delay/0.5", timeout=None))
    until(lambda: connection._armed)
    socket = connection.channel.udp = FullSocket(connection.channel.udp)  # type: ignore[assignment]
    follower = Background(lambda: client.get("/bytes/9").content)
    until(lambda: socket.woken_writers)
    assert len(follower.end(3)) == 9
    leader.end()


def test_waiting_for_nothing_ends_at_the_deadline(connection: BlockingConnection) -> None:
    exchange = Exchange()
    start = time.monotonic_ns()
    assert connection.wait(exchange, HEAD, start + 30_000_000) is False
    assert time.monotonic_ns() - start >= 30_000_000
    exchange.flags |= END
    assert connection.wait(exchange, END, 0) is True


# -- interruptions ------------------------------------------------------------------------------------------


class Interrupt:
    """Replaces a method of the engine by one that is struck by Ctrl-C half-way, once."""

    def __init__(self, target: Any, name: str, error: BaseException) -> None:
        self._original = getattr(target, name)
        self._error: BaseException | None = error
        setattr(target, name, self)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        result = self._original(*arguments, **options)
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return result


@pytest.mark.interpreted
@pytest.mark.parametrize("name", ["receive", "send", "next_event", "send_request", "read_body"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("bug")])
def test_an_interrupted_engine_is_given_up(
    client: specter.Client, connection: BlockingConnection, name: str, error: BaseException
) -> None:
    waiting = Background(lambda: client.post("/delay/3"))
    until(lambda: connection._leader)
    Interrupt(connection._engine, name, error)
    other = Background(lambda: client.post("/bytes/3000"))
    results = [waiting.end(), other.end()]
    assert [type(result) for result in results].count(type(error)) == 1
    for result in results:  # one was struck; the other lost its connection, or came late and made a new one
        if isinstance(result, specter.NetworkError):
            assert "given up" in str(result)
        else:
            assert isinstance(result, type(error) | specter.Response)
    assert connection.closed
    assert not connection._lock.locked()
    assert not connection._leader
    assert connection.channel.udp.fileno() == -1
    assert len(client.get("/bytes/4").content) == 4


def test_the_callers_mistakes_do_no_harm(client: specter.Client, connection: BlockingConnection) -> None:
    with pytest.raises(specter.LocalProtocolError):
        client.get("/bytes/1", headers={"connection": "close"})
    assert not connection.closed


@pytest.mark.skipif(sys.platform == "win32", reason="needs interval timers")
def test_a_signal_handler_that_uses_the_connection(client: specter.Client, connection: BlockingConnection) -> None:
    caught: list[BaseException] = []

    def handler(*_: object) -> None:
        try:
            client.get("/bytes/1")
        except BaseException as error:
            caught.append(error)
        assert connection._leader == threading.main_thread().ident

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert client.get("/delay/0.3").status_code == 200
    finally:
        signal.signal(signal.SIGALRM, before)
    assert [type(error) for error in caught] == [specter.LocalProtocolError]
    assert client.get("/bytes/1").timing.reused


# -- refusals by the network ----------------------------------------------------------------------------------


def test_one_refusal_is_not_believed(client: specter.Client, connection: BlockingConnection) -> None:
    connection.channel.udp.refused += 1
    response = client.get("/delay/0.1")
    assert response.timing.reused
    assert not connection.closed


def test_a_server_that_vanishes_in_the_middle() -> None:
    with (
        Server() as server,
        specter.Client(verify=server.ca_file, base_url=server.url) as client,
        client.stream("POST", "/echo", content=(bytes(1000) for _ in iter(int, 1))) as response,
    ):
        pieces = response.iter_bytes()
        next(pieces)
        server.stop(abrupt=True)
        start = time.monotonic()
        with pytest.raises(specter.NetworkError, match="refused the connection"):
            list(pieces)
        assert time.monotonic() - start < 2


# -- keeping alive --------------------------------------------------------------------------------------------


def test_tending_does_what_is_due(connection: BlockingConnection) -> None:
    due = connection.tend()
    assert due > time.monotonic_ns() - 1_000_000_000
    connection.close()
    assert connection.tend() > time.monotonic_ns() + 1_000_000_000_000


def test_the_keep_alive_thread_ends_with_its_connections(connection: BlockingConnection) -> None:
    keeper = KeepAlive(0.02, lambda: [connection])
    keeper.start()
    thread = keeper._worker
    assert thread is not None
    time.sleep(0.1)
    assert thread.is_alive()
    connection.close()
    thread.join(2)
    assert not thread.is_alive()
    keeper.stop()
    keeper.start()
    assert keeper._worker is None


def test_the_keep_alive_thread_ends_with_its_owner() -> None:
    keeper = KeepAlive(0.02, lambda: None)
    keeper.start()
    thread = keeper._worker
    assert thread is not None
    thread.join(2)
    assert not thread.is_alive()


def test_closing_is_final(connection: BlockingConnection) -> None:
    connection.close()
    connection.close()
    connection.retire()
    connection.release(Exchange())
    assert not connection.usable()
    assert connection.info.remote_address[1] > 0


class Watched:
    """A socket that notes how long its waits were allowed to sleep."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self.waits: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def wait(self, timeout: int, wake_fd: int = -1) -> int:
        self.waits.append(timeout)
        return self._socket.wait(timeout, wake_fd)


def watched(client: specter.Client, server: Server) -> Watched:
    client.get("/bytes/1")
    channel = client._pool._connections[Origin(server.host, server.port)].channel
    channel.udp = Watched(channel.udp)
    return channel.udp


class TestSpin:
    def test_an_answer_that_comes_while_spinning_costs_no_sleep(self, server: Server) -> None:
        with specter.Client(verify=server.ca_file, base_url=server.url, spin=1_000_000) as client:
            socket = watched(client, server)
            assert client.get("/bytes/5000").content
            assert socket.waits
            assert set(socket.waits) == {0}

    def test_who_has_spun_for_long_enough_sleeps(self, server: Server) -> None:
        with specter.Client(verify=server.ca_file, base_url=server.url, spin=2_000) as client:
            socket = watched(client, server)
            assert client.get("/delay/0.1").text == "late\n"
            assert any(wait != 0 for wait in socket.waits)

    def test_the_spin_counts_towards_time_limits(self, server: Server) -> None:
        with specter.Client(verify=server.ca_file, base_url=server.url, spin=1_000_000) as client:
            client.get("/bytes/1")
            begin = time.monotonic()
            with pytest.raises(specter.ReadTimeout):
                client.get("/delay/2", timeout=0.1)
            assert time.monotonic() - begin < 0.9

    def test_without_it_nobody_spins(self, server: Server, client: specter.Client) -> None:
        socket = watched(client, server)
        client.get("/delay/0.05")
        assert 0 < len(socket.waits) < 50

    @pytest.mark.parametrize("spin", [-1, 1_000_001, float("nan")])
    def test_nonsense_is_refused(self, spin: float) -> None:
        with pytest.raises(ValueError, match="spin is a number of microseconds from 0 to 1,000,000"):
            specter.Client(spin=spin)
