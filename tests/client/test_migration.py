"""Established connections that move to other sockets: asked to, or because the network changed under them."""

from __future__ import annotations

import errno
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import specter
from specter.net.moves import is_acceptable
from specter.quic.config import QuicConfig
from specter.testing.content import content
from specter.testing.endpoint import Endpoint
from specter.testing.relay import Relay
from specter.testing.server import Server
from tests.client.support import MakeClient, StartServer

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="all of 127/8 is local on Linux only")
ELSEWHERE = "127.0.0.2"
NOWHERE = "192.0.2.55"
"""An address that nobody has (RFC 5737)."""


def ask(server: Server, question: Callable[[Endpoint], Any]) -> Any:
    """Return what ``question`` has for the server's endpoint, asked on the server's thread."""
    answers: list[Any] = []
    done = threading.Event()

    def on_thread(endpoint: Endpoint) -> None:
        answers.append(question(endpoint))
        done.set()

    server.call(on_thread)
    assert done.wait(10)
    return answers[0]


def client_at(server: Server) -> tuple[str, int]:
    """Return where the server takes its newest client to be."""
    address: tuple[str, int] = ask(server, lambda endpoint: endpoint.connections[-1].address)
    return address[:2]


def deafen(server: Server) -> None:
    """Let the server hear nothing from addresses where no client of it is yet."""

    def change(endpoint: Endpoint) -> None:
        known = {connection.address for connection in endpoint.connections}
        route = endpoint._route

        def selective(data: memoryview, address: Any, *rest: Any) -> Any:
            return route(data, address, *rest) if address in known else None

        endpoint._route = selective  # type: ignore[method-assign]

    ask(server, change)


def local(response: specter.Response) -> tuple[str, int]:
    assert response.connection is not None
    return response.connection.local_address


def get(client: specter.Client, path: str = "/bytes/100") -> specter.Response:
    response = client.get(path)
    assert response.status_code == 200
    return response


def test_a_connection_moves_to_another_port(client: specter.Client, server: Server) -> None:
    before = get(client)
    assert client.migrate() == 1
    after = get(client)
    assert after.connection is not None
    assert after.connection.reused
    assert local(after) != local(before)
    assert after.connection.path.changes == 1
    assert after.connection.path.local_address == after.connection.local_address
    assert client_at(server) == local(after)


@linux_only
def test_a_connection_moves_to_another_address_and_back(client: specter.Client, server: Server) -> None:
    home = local(get(client))[0]
    for address in (ELSEWHERE, "127.0.0.3", home):
        assert client.migrate(server.url, local_address=address) == 1
        assert local(get(client))[0] == address
    assert client_at(server)[0] == home


@linux_only
@pytest.mark.parametrize("path", ["/bytes/20000000", "/echo"])
def test_it_moves_while_requests_run(client: specter.Client, server: Server, path: str) -> None:
    size = 20_000_000 if path != "/echo" else 5_000_000
    body = None if path != "/echo" else content(0, size)
    received: list[bytes] = []

    def transfer() -> None:
        method = "GET" if body is None else "POST"
        received.append(client.request(method, path, content=body, timeout=30).content)

    get(client)
    worker = threading.Thread(target=transfer)
    worker.start()
    moves = 0
    while worker.is_alive() and moves < 6:
        moves += client.migrate(local_address=f"127.0.0.{moves + 10}", timeout=10)
        time.sleep(0.1)  # connection ids have to come for the next move
    worker.join()
    assert received == [content(0, size)]
    assert moves >= 1
    assert local(get(client))[0] == f"127.0.0.{moves + 9}"


def test_several_threads_may_move_it_at_once(client: specter.Client) -> None:
    get(client)
    outcomes: list[object] = []

    def move() -> None:
        try:
            outcomes.append(client.migrate())
        except specter.LocalProtocolError as error:
            outcomes.append(str(error))

    workers = [threading.Thread(target=move) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert outcomes.count(1) >= 1
    assert all(outcome == 1 or "no connection id" in str(outcome) for outcome in outcomes)
    get(client)


def test_old_sockets_are_closed(client: specter.Client) -> None:
    get(client)
    (connection,) = [connection for _, connection in client.pool._connections.every()]
    old = connection.channel.udp
    client.migrate()
    assert old.fileno() >= 0, "packets may still be on their way"
    deadline = time.monotonic() + 5
    while old.fileno() >= 0 and time.monotonic() < deadline:
        get(client)
        time.sleep(0.01)
    assert old.fileno() == -1
    assert connection.channel.others == {}


def test_where_there_is_no_connection_nothing_moves(client: specter.Client, server: Server) -> None:
    assert client.migrate() == 0
    get(client)
    assert client.migrate("https://example.org") == 0
    assert client.migrate(server.url + "/any/path") == 1


# -- failure ------------------------------------------------------------------------------------------------


def test_a_server_may_forbid_it(make_client: MakeClient, start_server: StartServer) -> None:
    client = make_client(start_server(config=QuicConfig(disable_active_migration=True)))
    before = get(client)
    with pytest.raises(specter.LocalProtocolError, match="does not want"):
        client.migrate()
    assert local(get(client)) == local(before)


def test_an_address_that_nobody_has_changes_nothing(client: specter.Client) -> None:
    before = get(client)
    with pytest.raises(specter.ConnectError, match="cannot move"):
        client.migrate(local_address=NOWHERE)
    assert local(get(client)) == local(before)


def test_a_path_that_leads_nowhere_changes_nothing(make_client: MakeClient, start_server: StartServer) -> None:
    server = start_server()
    client = make_client(server, quic=QuicConfig(initial_rtt=50_000_000))
    before = get(client)
    deafen(server)
    with pytest.raises(specter.NetworkError, match="cannot be reached from"):
        client.migrate(timeout=10)
    assert local(get(client)) == local(before)


def test_it_takes_no_longer_than_connecting_may(make_client: MakeClient, start_server: StartServer) -> None:
    server = start_server()
    client = make_client(server)
    before = get(client)
    deafen(server)
    began = time.monotonic()
    with pytest.raises(specter.ConnectTimeout, match="moving"):
        client.migrate(timeout=0.2)
    assert 0.15 < time.monotonic() - began < 2
    assert local(get(client)) == local(before)
    (connection,) = [connection for _, connection in client.pool._connections.every()]
    assert connection.channel.others == {}


def test_the_end_of_the_connection_ends_the_move(make_client: MakeClient, start_server: StartServer) -> None:
    server = start_server()
    client = make_client(server)
    get(client)
    deafen(server)
    stop = threading.Timer(0.2, server.stop)
    stop.start()
    began = time.monotonic()
    with pytest.raises(specter.NetworkError):
        client.migrate(timeout=20)
    assert time.monotonic() - began < 5
    stop.join()


# -- the network changes --------------------------------------------------------------------------------------


def break_socket(client: specter.Client, code: int) -> Any:
    """Make it look as if the system had refused to send."""
    (connection,) = [connection for _, connection in client.pool._connections.every()]
    socket = connection.channel.udp

    def report() -> None:
        socket.failure = OSError(code, "the network changed")
        socket.dropped += 1
        socket.faults += 1

    on_loop = getattr(client, "on_loop", lambda function: function())
    on_loop(lambda: connection.act(report))
    return connection


@pytest.mark.parametrize("code", [errno.ENETUNREACH, errno.EADDRNOTAVAIL])
def test_a_socket_that_sends_nothing_any_more_is_replaced(client: specter.Client, server: Server, code: int) -> None:
    before = get(client)
    break_socket(client, code)
    deadline = time.monotonic() + 5
    while local(get(client)) == local(before) and time.monotonic() < deadline:
        time.sleep(0.01)
    after = get(client)
    assert local(after) != local(before)
    assert after.connection is not None
    assert after.connection.path.changes >= 1
    assert client_at(server) == local(after)


def test_it_is_tried_once_and_not_again_and_again(make_client: MakeClient, start_server: StartServer) -> None:
    server = start_server()
    client = make_client(server)
    get(client)
    deafen(server)
    connection = break_socket(client, errno.ENETUNREACH)
    assert len(connection.channel.others) == 1
    for _ in range(10):
        break_socket(client, errno.ENETUNREACH)
    assert len(connection.channel.others) == 1


def test_other_troubles_of_a_socket_move_nothing(client: specter.Client) -> None:
    get(client)
    connection = break_socket(client, errno.EPERM)
    assert connection.channel.others == {}


# -- preferred addresses --------------------------------------------------------------------------------------


@pytest.fixture
def preferring(start_server: StartServer) -> Iterator[tuple[Server, Relay]]:
    """A server that would rather be spoken to at another address, where a relay is."""
    with Relay(("127.0.0.1", 9), host="127.0.0.9") as relay:
        server = start_server(config=QuicConfig(preferred_ipv4=relay.address, disable_active_migration=True))
        relay.redirect(("127.0.0.1", server.port))
        yield server, relay


def remote_after(client: specter.Client, patience: float = 5.0) -> tuple[str, int]:
    """Return the server's address once it is another one than at first, or after ``patience`` seconds."""
    first = get(client).connection
    deadline = time.monotonic() + patience
    while True:
        connection = get(client).connection
        assert first is not None
        assert connection is not None
        if connection.remote_address != first.remote_address or time.monotonic() > deadline:
            return connection.remote_address
        time.sleep(0.01)


@linux_only
def test_a_preferred_address_is_moved_to(make_client: MakeClient, preferring: tuple[Server, Relay]) -> None:
    server, relay = preferring
    client = make_client(server)
    assert remote_after(client) == relay.address
    response = get(client, "/bytes/3000000")
    assert response.content == content(0, 3_000_000)
    assert response.connection is not None
    assert response.connection.path.changes == 1


@linux_only
def test_a_preferred_address_where_nobody_answers_is_left_alone(
    make_client: MakeClient, start_server: StartServer, black_hole: int
) -> None:
    client = make_client(start_server(config=QuicConfig(preferred_ipv4=("127.0.0.1", black_hole))))
    home = get(client).connection
    assert home is not None
    assert remote_after(client, 0.5) == home.remote_address


@pytest.mark.parametrize(
    ("wanted", "present", "acceptable"),
    [
        ("127.0.0.9", "127.0.0.1", True),
        ("10.1.2.3", "192.168.0.7", True),
        ("1.1.1.1", "8.8.8.8", True),
        ("1.1.1.1", "10.0.0.1", True),
        ("127.0.0.1", "8.8.8.8", False),
        ("192.168.1.1", "8.8.8.8", False),
        ("169.254.169.254", "8.8.8.8", False),
        ("224.0.0.1", "10.0.0.1", False),
        ("2606:4700::1111", "8.8.8.8", False),
        ("2606:4700::1111", "2001:4860:4860::8888", True),
        ("fe80::1", "2001:4860:4860::8888", False),
        ("::1", "fe80::2%eth0", True),
    ],
)
@pytest.mark.security
def test_a_server_sends_nobody_into_a_network_it_is_not_in(wanted: str, present: str, acceptable: bool) -> None:
    """RFC 9000, section 21.5.3: request forgery with preferred addresses."""
    assert is_acceptable(wanted, present) is acceptable
