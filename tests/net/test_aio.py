"""The asyncio driver from inside: what it asks of the loop, when it sends, and what it leaves behind."""

from __future__ import annotations

import asyncio
import contextvars
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

import specter
from specter._backend import batch, udp
from specter.client.url import Origin
from specter.net.aio import TURN, AsyncConnection, watch
from specter.net.aio_driver import LoopDriver, LoopEvent
from specter.net.clock import SECOND
from specter.net.exchange import HEAD, Exchange
from specter.quic.config import QuicConfig
from specter.testing.certificates import CertificateAuthority
from specter.testing.content import content
from specter.testing.server import Server
from tests.loops import Run, running

Work = Callable[[specter.AsyncClient, AsyncConnection], Coroutine[Any, Any, None]]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running_server:
        yield running_server


def make_client(server: Server, **options: Any) -> specter.AsyncClient:
    return specter.AsyncClient(**{"verify": server.ca_file, "base_url": server.url, **options})


def connection_of(client: specter.AsyncClient) -> AsyncConnection:
    return next(iter(client.pool._connections.values()))


def connected(run: Run, server: Server, work: Work, **options: Any) -> None:
    """Run ``work`` with a client and its connection."""

    async def main() -> None:
        async with make_client(server, **options) as client:
            await client.get("/bytes/1")
            await work(client, connection_of(client))

    run(main())


async def until(condition: Callable[[], object], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        await asyncio.sleep(0.002)


class CountingSocket:
    """Counts bursts that are sent; while ``full``, keeps them."""

    def __init__(self, inner: udp.UdpSocket) -> None:
        self._inner = inner
        self._held: list[bytes] = []
        self.full = False
        self.sends = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @property
    def unsent(self) -> int:
        return len(self._held)

    def send(self, burst: batch.SendBatch) -> int:
        self.sends += 1
        if not self.full:
            return self._inner.send(burst)
        self._held += [bytes(data) for data, _, _ in burst]
        return len(self._held)

    def flush(self) -> int:
        if not self.full:
            burst = batch.SendBatch()
            for data in self._held:
                start = burst.begin()
                burst.view[start : start + len(data)] = data
                burst.commit(start + len(data), None, 0)
            self._held = []
            self._inner.send(burst.deliver())
        return len(self._held)


def count(connection: AsyncConnection) -> CountingSocket:
    counting = CountingSocket(connection.channel.udp)
    connection.channel.udp = counting  # type: ignore[assignment]
    return counting


# -- sending --------------------------------------------------------------------------------------------------


@pytest.mark.interpreted
def test_requests_of_one_turn_leave_together(run: Run, server: Server) -> None:
    async def work(client: specter.AsyncClient, connection: AsyncConnection) -> None:
        await asyncio.sleep(0.05)  # for what the server still had to say
        counting = count(connection)
        tasks = [asyncio.create_task(client.get("/delay/0.2")) for _ in range(50)]
        await asyncio.sleep(0)
        assert counting.sends == 1  # the first is not kept waiting for the others
        await asyncio.sleep(0.05)
        assert counting.sends <= 4  # and those go together
        await asyncio.gather(*tasks)

    connected(run, server, work)


@pytest.mark.interpreted
def test_a_request_leaves_in_the_turn_it_is_made(run: Run, server: Server) -> None:
    async def work(client: specter.AsyncClient, connection: AsyncConnection) -> None:
        await asyncio.sleep(0.05)
        counting = count(connection)
        request = client.send(client.build_request("GET", "/bytes/3"))
        step = request.__await__()
        next(step)  # up to its first wait, without the loop
        assert counting.sends == 1
        step.close()

    connected(run, server, work)


@pytest.mark.interpreted
def test_a_full_socket_is_watched_for_room(run: Run, server: Server) -> None:
    async def work(client: specter.AsyncClient, connection: AsyncConnection) -> None:
        counting = count(connection)
        counting.full = True
        task = asyncio.create_task(client.get("/bytes/70000"))
        await until(lambda: connection._writing)
        assert not task.done()
        counting.full = False
        assert len((await task).content) == 70_000
        await until(lambda: not connection._writing)

    connected(run, server, work)


# -- the timer ------------------------------------------------------------------------------------------------


class CountedLoop:
    """Stands in for a connection's loop and counts the timers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.timers: list[asyncio.TimerHandle] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def call_at(self, *arguments: Any, **options: Any) -> asyncio.TimerHandle:
        self.timers.append(self._loop.call_at(*arguments, **options))
        return self.timers[-1]

    def alive(self) -> int:
        return sum(not timer.cancelled() and timer.when() > self._loop.time() for timer in self.timers)


@pytest.mark.interpreted
def test_one_timer_that_is_seldom_set(run: Run, server: Server) -> None:
    async def work(client: specter.AsyncClient, connection: AsyncConnection) -> None:
        connection._require_loop = lambda: None  # type: ignore[method-assign]
        loop = connection._loop = CountedLoop(connection._loop)  # type: ignore[assignment]
        for _ in range(100):
            await client.get("/bytes/1")
        assert len(loop.timers) < 50
        assert loop.alive() <= 1
        await asyncio.gather(*(client.get("/delay/0.1", timeout=4 + index) for index in range(20)))
        assert loop.alive() <= 1

    connected(run, server, work)


def test_waits_end_at_their_deadlines(run: Run, server: Server) -> None:
    async def work(client: specter.AsyncClient, connection: AsyncConnection) -> None:
        async def wait(seconds: float) -> float:
            start = time.monotonic_ns()
            assert not await connection.until(Exchange(), HEAD, start + int(seconds * SECOND))
            return (time.monotonic_ns() - start) / SECOND

        for seconds, took in zip((0.3, 0.1, 0.2), await asyncio.gather(*map(wait, (0.3, 0.1, 0.2))), strict=True):
            assert seconds <= took < seconds + 0.2
        assert not connection._waiters

    connected(run, server, work)


def test_an_idle_connection_closes_itself(run: Run) -> None:
    with Server() as server:

        async def work(client: specter.AsyncClient, connection: AsyncConnection) -> None:
            assert connection.channel.udp.fileno() >= 0
            await until(lambda: connection.closed)
            assert connection.channel.udp.fileno() == -1

        connected(run, server, work, quic=QuicConfig(idle_timeout=300_000_000))


def test_keep_alive_needs_no_thread(run: Run) -> None:
    with Server() as server:

        async def work(client: specter.AsyncClient, connection: AsyncConnection) -> None:
            threads = threading.active_count()
            await asyncio.sleep(1)
            assert threading.active_count() == threads
            assert (await client.get("/bytes/1")).timing.reused

        connected(run, server, work, keep_alive=0.1, quic=QuicConfig(idle_timeout=400_000_000))


def test_a_server_that_closes_is_noticed_at_once(run: Run) -> None:
    with Server() as server:

        async def work(client: specter.AsyncClient, connection: AsyncConnection) -> None:
            await asyncio.to_thread(server.stop)
            await until(lambda: connection.closed)
            assert connection.channel.udp.fileno() == -1

        connected(run, server, work)


def test_what_came_while_the_loop_was_held_up_is_read_before_a_request(run: Run) -> None:
    with Server() as server:

        async def work(client: specter.AsyncClient, connection: AsyncConnection) -> None:
            server.stop()  # holds up the loop
            time.sleep(0.02)  # noqa: ASYNC251
            server.start()
            assert not (await client.post("/echo", content=b"x")).timing.reused

        connected(run, server, work)


# -- turns ----------------------------------------------------------------------------------------------------


def test_a_reader_that_never_waits_lets_others_have_their_turn(run: Run, server: Server) -> None:
    async def work(client: specter.AsyncClient, connection: AsyncConnection) -> None:
        turns = 0
        done = False

        async def others() -> None:
            nonlocal turns
            while not done:
                turns += 1
                await asyncio.sleep(0)

        async with client.stream("GET", "/bytes/6000000") as response:
            await asyncio.sleep(0.5)  # now there is a lot that need not be waited for
            task = asyncio.create_task(others())
            await asyncio.sleep(0)
            before = turns
            most = size = 0
            async for piece in response.aiter_bytes():
                if turns != before:
                    before, size = turns, 0
                size += len(piece)
                most = max(most, size)
            done = True
            await task
        assert turns > 6_000_000 // TURN
        assert most <= 2 * TURN

    connected(run, server, work)


def test_nobody_is_kept_waiting_by_a_large_download(run: Run, server: Server) -> None:
    async def work(client: specter.AsyncClient, connection: AsyncConnection) -> None:
        async def download() -> None:
            async with client.stream("GET", "/bytes/40000000") as response:
                async for _ in response.aiter_bytes():
                    pass

        task = asyncio.create_task(download())
        waits = []
        while not task.done():
            start = time.monotonic()
            await asyncio.sleep(0.001)
            waits.append(time.monotonic() - start)
        await task
        assert len(waits) > 10  # a loop that only downloads would not have let them be taken
        assert sorted(waits)[len(waits) * 9 // 10] < 0.25

    connected(run, server, work)


def test_a_slow_reader_makes_the_server_wait(run: Run, server: Server) -> None:
    async def work(client: specter.AsyncClient, connection: AsyncConnection) -> None:
        def received() -> int:
            assert first.connection is not None
            return first.connection.bytes_received

        async with client.stream("GET", "/bytes/100000000") as first:
            await asyncio.sleep(0.3)
            before = received()
            for _ in range(5):  # the others go on meanwhile
                assert len((await client.get("/bytes/50000")).content) == 50_000
            await asyncio.sleep(0.2)
            assert received() - before < 2_000_000
            assert received() < 40_000_000

    connected(run, server, work)


# -- loops ----------------------------------------------------------------------------------------------------


def test_another_loop(server: Server) -> None:
    client = make_client(server)
    with running("asyncio") as first:
        first(client.get("/bytes/1"))
        with running("asyncio") as second:
            with pytest.raises(specter.LocalProtocolError, match="is another one; make a client for each loop"):
                second(client.get("/bytes/1"))
            first(client.get("/bytes/1"))
    with running("asyncio") as third:
        with pytest.raises(specter.LocalProtocolError, match="is closed; make a client for each loop"):
            third(client.get("/bytes/1"))
        connection = connection_of(client)
        third(client.aclose())
    assert connection.closed
    assert connection.channel.udp.fileno() == -1


def test_a_response_in_another_loop(server: Server) -> None:
    async def ask(client: specter.AsyncClient) -> specter.AsyncResponse:
        return await client.send(client.build_request("GET", "/drip?count=3&interval=0.2"), stream=True)

    async def finish(client: specter.AsyncClient, response: specter.AsyncResponse) -> None:
        await response.aclose()
        await client.aclose()

    client = make_client(server)
    with running("asyncio") as first:
        response = first(ask(client))
        with running("asyncio") as second, pytest.raises(specter.LocalProtocolError, match="another event loop"):
            second(response.aread())
        first(finish(client, response))


def test_a_client_in_use_in_another_thread(server: Server) -> None:
    async def main() -> None:
        async with make_client(server) as client:
            await client.get("/bytes/1")
            for call in (client.aclose, lambda: client.get("/bytes/1")):
                with pytest.raises(specter.LocalProtocolError, match="loop"):
                    await asyncio.to_thread(asyncio.run, call())
            assert (await client.get("/bytes/1")).timing.reused

    asyncio.run(main())


def test_without_a_loop(server: Server) -> None:
    client = make_client(server)
    with pytest.raises(specter.LocalProtocolError, match="running asyncio event loop"):
        client.get("/bytes/1").send(None)


def test_a_loop_that_watches_no_sockets() -> None:
    class Proactor(asyncio.SelectorEventLoop):
        def add_reader(self, *_: Any) -> Any:
            raise NotImplementedError

    loop = Proactor()
    with pytest.raises(specter.LocalProtocolError, match="Proactor"):
        watch(loop, 0, lambda: None)
    loop.close()


def test_the_loop_is_closed_with_tasks_in_it(server: Server) -> None:
    """Nothing can be done for them; closing the client afterwards does no harm."""
    loop = asyncio.new_event_loop()
    client = make_client(server)
    loop.run_until_complete(client.get("/bytes/1"))
    task = loop.create_task(client.get("/delay/5"))
    loop.run_until_complete(asyncio.sleep(0.05))
    loop.close()
    connection = connection_of(client)
    client.pool.close()
    assert connection.closed
    assert connection.channel.udp.fileno() == -1
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_callbacks_have_no_part_in_the_context_of_the_task_that_connected(run: Run, server: Server) -> None:
    variable = contextvars.ContextVar("variable", default="nothing")
    seen: list[str] = []

    async def main() -> None:
        async with make_client(server) as client:
            variable.set("the first task")
            await client.get("/bytes/1")
            connection_of(client).on_token(lambda _: seen.append(variable.get()))
            server.call(lambda endpoint: [peer.issue_token(b"t") for peer in endpoint.connections])
            await until(lambda: seen)

    run(main())
    assert seen == ["nothing"]


# -- what is left behind ----------------------------------------------------------------------------------------


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors")
def test_nothing_is_left_behind(run: Run, server: Server) -> None:
    def open_now() -> int:
        return len(os.listdir("/proc/self/fd"))

    async def use() -> None:
        async with make_client(server) as client:
            await asyncio.gather(*(client.get(f"/bytes/{size}") for size in range(0, 30_000, 1000)))
            with pytest.raises(specter.ReadTimeout):
                await client.get("/delay/3", timeout=0.05)
            async with client.stream("GET", "/bytes/10000000") as response:
                await anext(response.aiter_bytes())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            async with specter.AsyncClient(timeout=0.1) as client:
                with pytest.raises(specter.ConnectTimeout):
                    await client.get(f"https://127.0.0.1:{silent.getsockname()[1]}/")

    async def main() -> None:
        await use()
        descriptors, threads = open_now(), threading.active_count()
        for _ in range(3):
            await use()
        assert open_now() <= descriptors
        assert threading.active_count() <= threads
        loop = asyncio.get_running_loop()
        if isinstance(loop, asyncio.SelectorEventLoop):
            waiting = [handle for handle in loop._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
            assert not waiting
            assert len(loop._selector.get_map()) == 1  # type: ignore[attr-defined]

    run(main())


def test_a_client_that_is_forgotten(server: Server) -> None:
    """It costs nothing but the idle timeout; its program ends as if it were not there."""
    program = f"""
import asyncio, specter
async def main():
    client = specter.AsyncClient(verify={server.ca_file!r}, base_url={server.url!r})
    print(len((await client.get("/bytes/5")).content))
    asyncio.create_task(client.get("/delay/5"))
    await asyncio.sleep(0.1)
asyncio.run(main())
"""
    import subprocess

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=20, check=False
    )
    assert (result.stdout, result.stderr, result.returncode) == ("5\n", "", 0)


# -- interruptions ----------------------------------------------------------------------------------------------


@pytest.mark.interpreted
@pytest.mark.parametrize("name", ["receive", "send", "next_event", "handle_deadline"])
def test_an_engine_that_stops_half_way_is_given_up(server: Server, name: str) -> None:
    async def work() -> None:
        async with make_client(server, quic=QuicConfig(keep_alive=50_000_000)) as client:
            await client.get("/bytes/1")
            connection = connection_of(client)
            task = asyncio.create_task(client.post("/delay/3"))
            await asyncio.sleep(0.02)

            def broken(*_: Any) -> Any:
                raise RuntimeError("bug")

            setattr(connection._engine, name, broken)
            with pytest.raises(specter.NetworkError, match="given up"):
                await task
            assert connection.closed
            assert connection.channel.udp.fileno() == -1
            assert len((await client.get("/bytes/4")).content) == 4

    complaints: list[Any] = []
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda _, context: complaints.append(context["exception"]))
        runner.run(work())
    assert [str(complaint) for complaint in complaints] == ["bug"]


# -- the driver ---------------------------------------------------------------------------------------------------


def test_events(run: Run) -> None:
    async def main() -> None:
        event = LoopEvent(asyncio.get_running_loop())
        assert not await event.wait(time.monotonic_ns() + 10_000_000)
        waiting = [asyncio.create_task(event.wait(time.monotonic_ns() + 5 * SECOND)) for _ in range(3)]
        given_up = asyncio.create_task(event.wait(time.monotonic_ns() + 5 * SECOND))
        await asyncio.sleep(0)
        given_up.cancel()
        threading.Thread(target=event.set).start()
        assert await asyncio.gather(*waiting) == [True, True, True]
        assert await event.wait(0)

    run(main())


def test_an_event_that_happens_after_the_loop_is_gone() -> None:
    loop = asyncio.new_event_loop()
    event = LoopEvent(loop)
    loop.close()
    event.set()
    assert event._happened


def test_a_driver_that_was_woken_waits_no_more(run: Run) -> None:
    async def main() -> None:
        driver = LoopDriver()
        waiting = asyncio.create_task(driver.park([], time.monotonic_ns() + 5 * SECOND))
        await asyncio.sleep(0)
        driver.wake()
        await asyncio.wait_for(waiting, 1)
        await asyncio.wait_for(driver.park([], time.monotonic_ns() + 5 * SECOND), 1)

    run(main())


def test_a_lookup_in_another_thread_holds_nobody_up(run: Run) -> None:
    answer, authority = threading.Event(), CertificateAuthority()

    def slow(host: str, port: int) -> Any:
        answer.wait(5)
        return [("127.0.0.1", port)]

    async def main(server: Server) -> None:
        async with specter.AsyncClient(verify=[authority.certificate], base_url=server.url) as client:
            client.pool._dialer.resolver._lookup = slow
            task = asyncio.create_task(client.get(f"https://a.example:{server.port}/bytes/3"))
            await client.get("/bytes/1")
            assert not task.done()
            answer.set()
            assert (await task).content == content(0, 3)
            assert set(client.pool._connections) == {
                Origin(server.host, server.port),
                Origin("a.example", server.port),
            }

    with Server(credential=authority.issue("127.0.0.1", "a.example")) as server:
        run(main(server))


def test_closing_while_it_connects(run: Run) -> None:
    async def main(port: int) -> None:
        client = specter.AsyncClient()
        task = asyncio.create_task(client.get(f"https://127.0.0.1:{port}/"))
        await asyncio.sleep(0.05)
        start = time.monotonic()
        await client.aclose()
        with pytest.raises(specter.NetworkError, match="closed"):
            await task
        assert time.monotonic() - start < 1

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        run(main(silent.getsockname()[1]))
