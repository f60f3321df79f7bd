"""Sockets of both twins talk to each other: whoever sends and whoever receives, the datagrams are the same."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from tests.twins.conftest import Twins

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the compiled socket is for Linux")

SECOND = 1_000_000_000
UDP_GRO = 104
SO_NO_CHECK = 11
HOSTS = ["127.0.0.1"] + (["::1"] if socket.has_ipv6 else [])
SIDES = [("compiled", "compiled"), ("compiled", "reference"), ("reference", "compiled")]


@dataclass(frozen=True, slots=True)
class Side:
    """A socket with the batches of its own backend."""

    socket: Any
    batches: ModuleType

    def send(self, datagrams: list[bytes], address: Any = None, ecn: int = 0) -> int:
        batch = self.batches.SendBatch(max(64, len(datagrams)))
        for data in datagrams:
            start = batch.begin()
            batch.view[start : start + len(data)] = data
            batch.commit(start + len(data), address, ecn)
        waiting: int = self.socket.send(batch.deliver())
        return waiting

    def receive(self, count: int) -> list[tuple[bytes, Any, int]]:
        """Return ``count`` datagrams with source and mark."""
        got: list[tuple[bytes, Any, int]] = []
        while len(got) < count and self.socket.wait(SECOND):
            batch = self.batches.ReceiveBatch()
            self.socket.receive(batch)
            for index in range(len(batch)):
                start, end = batch.span(index)
                got.append((bytes(batch.view[start:end]), batch.address(index), batch.ecn(index)))
        return got


@pytest.fixture(params=SIDES, ids=lambda pair: "-to-".join(pair))
def ends(request: pytest.FixtureRequest, twins: Callable[[str], Twins]) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """``(udp, batch)`` modules of the client and of the server."""
    udp, batch = twins("udp"), twins("batch")
    client, server = request.param
    return (getattr(udp, client), getattr(batch, client)), (getattr(udp, server), getattr(batch, server))


@pytest.fixture(params=HOSTS)
def pair(request: pytest.FixtureRequest, ends: tuple[tuple[Any, Any], tuple[Any, Any]]) -> Iterator[tuple[Side, Side]]:
    (client_udp, client_batch), (server_udp, server_batch) = ends
    server = server_udp.UdpSocket.bind((request.param, 0))
    client = client_udp.UdpSocket.connect(server.local_address)
    yield Side(client, client_batch), Side(server, server_batch)
    client.close()
    server.close()


def sizes(*lengths: int) -> list[bytes]:
    return [bytes([number % 251]) * length for number, length in enumerate(lengths)]


BURSTS = {
    "one": sizes(1200),
    "equal": sizes(*[1200] * 64),
    "last shorter": sizes(*[1200] * 9, 300),
    "two trains": sizes(*[1200] * 5, 700, *[1200] * 5),
    "growing": sizes(*range(1, 60)),
    "shrinking": sizes(*range(60, 0, -1)),
    "empty among them": sizes(5, 0, 5, 5),
    "tiny": sizes(*[1] * 64),
}


@pytest.mark.parametrize("burst", BURSTS.values(), ids=list(BURSTS))
def test_bursts_arrive_as_they_were_sent(pair: tuple[Side, Side], burst: list[bytes]) -> None:
    client, server = pair
    assert client.send(burst) == 0
    got = server.receive(len(burst))
    assert [data for data, _, _ in got] == burst
    assert {address[:2] for _, address, _ in got} == {client.socket.local_address[:2]}


def test_bursts_to_several_peers_each_find_theirs(pair: tuple[Side, Side]) -> None:
    client, server = pair
    client.send([b"hello"])
    ((_, address, _),) = server.receive(1)
    for _ in range(3):
        assert server.send(sizes(*[1200] * 20), address) == 0
        got = client.receive(20)
        assert [data for data, _, _ in got] == sizes(*[1200] * 20)
        assert {source for _, source, _ in got} == {None}


def test_what_a_labelled_socket_receives_bears_its_label(pair: tuple[Side, Side]) -> None:
    client, server = pair
    client.socket.label = label = client.socket.local_address
    client.send([b"hello"])
    ((_, address, _),) = server.receive(1)
    server.send(sizes(*[1200] * 20), address)
    got = client.receive(20)
    assert [data for data, _, _ in got] == sizes(*[1200] * 20)
    assert all(source is label for _, source, _ in got)


@pytest.mark.parametrize("ecn", [0, 1, 2, 3])
def test_marks_arrive_on_every_datagram_of_a_burst(pair: tuple[Side, Side], ecn: int) -> None:
    client, server = pair
    client.send(sizes(*[1200] * 10), ecn=ecn)
    assert {mark for _, _, mark in server.receive(10)} == {ecn}
    client.send([b"unmarked"])
    assert server.receive(1)[0][2] == 0


def test_more_than_a_batch_arrives_in_order(pair: tuple[Side, Side]) -> None:
    client, server = pair
    burst = [number.to_bytes(2, "big") * 100 for number in range(300)]
    for start in range(0, 300, 60):
        client.send(burst[start : start + 60])
    assert [data for data, _, _ in server.receive(300)] == burst


@pytest.fixture
def compiled_pair(twins: Callable[[str], Twins]) -> Iterator[tuple[Side, Side]]:
    udp, batch = twins("udp").compiled, twins("batch").compiled
    server = udp.UdpSocket.bind(("127.0.0.1", 0))
    client = udp.UdpSocket.connect(server.local_address)
    yield Side(client, batch), Side(server, batch)
    client.close()
    server.close()


def test_segmentation_that_fails_is_given_up_and_loses_nothing(compiled_pair: tuple[Side, Side]) -> None:
    """The kernel refuses to segment for a socket without checksums, as some network cards do."""
    client, server = compiled_pair
    with socket.socket(fileno=os.dup(client.socket.fileno())) as handle:
        handle.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    assert client.socket.offloads["gso"]
    burst = sizes(*[1200] * 30)
    assert client.send(burst) == 0
    assert [data for data, _, _ in server.receive(30)] == burst
    assert not client.socket.offloads["gso"]
    assert client.socket.dropped == 0
    client.send(burst)
    assert len(server.receive(30)) == 30


def kernel_coalesces() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        try:
            handle.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        except OSError:
            return False
    return True


def receive_bulk_until_it_coalesces(client: Side, server: Side) -> int:
    """Return how many datagrams that took."""
    sent = 0
    while not server.socket.offloads["gro"]:
        client.send(sizes(*[1200] * 60))
        assert len(server.receive(60)) == 60
        sent += 60
        assert sent < 10_000
    return sent


@pytest.mark.skipif(not kernel_coalesces(), reason="this kernel does not coalesce")
def test_coalescing_is_for_who_receives_something_and_left_when_nothing_coalesces(
    compiled_pair: tuple[Side, Side],
) -> None:
    client, server = compiled_pair
    assert not server.socket.offloads["gro"]
    assert receive_bulk_until_it_coalesces(client, server) <= 180
    for number in range(100):
        client.send([bytes([number]) * 50])
        assert server.receive(1)[0][0] == bytes([number]) * 50
    assert not server.socket.offloads["gro"]
    receive_bulk_until_it_coalesces(client, server)
    client.send(sizes(*[1200] * 60))
    assert len(server.receive(60)) == 60


def test_a_full_socket_keeps_the_rest_in_order(compiled_pair: tuple[Side, Side]) -> None:
    client, server = compiled_pair
    with socket.socket(fileno=os.dup(client.socket.fileno())) as handle:
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
    burst = [number.to_bytes(2, "big") * 700 for number in range(200)]
    got: list[bytes] = []
    for start in range(0, 200, 50):
        client.send(burst[start : start + 50])
        while True:
            waiting = client.socket.unsent
            batch = server.batches.ReceiveBatch()
            server.socket.receive(batch)
            got += [bytes(batch.view[slice(*batch.span(index))]) for index in range(len(batch))]
            if not waiting:
                break
            client.socket.wait(SECOND)
            client.socket.flush()
    got += [data for data, _, _ in server.receive(200 - len(got))]
    assert got == burst


def test_refusals_are_counted(compiled_pair: tuple[Side, Side]) -> None:
    client, server = compiled_pair
    server.socket.close()
    client.send([b"anyone?"])
    client.socket.wait(SECOND)
    assert client.socket.receive(client.batches.ReceiveBatch()) == 0
    assert client.socket.refused == 1
    client.send(sizes(*[1200] * 5))
    client.socket.receive(client.batches.ReceiveBatch())
    assert client.socket.refused >= 2
    assert client.socket.dropped == 0


@pytest.mark.parametrize("timeout", [300_000, 5_000_000])
def test_wait_is_never_early(compiled_pair: tuple[Side, Side], timeout: int) -> None:
    client, _ = compiled_pair
    start = time.monotonic_ns()
    assert client.socket.wait(timeout) == 0
    assert time.monotonic_ns() - start >= timeout
    assert client.socket.wait(0) == 0
