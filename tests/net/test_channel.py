"""What a channel makes of the troubles of its socket."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

import pytest

import specter
from specter._backend import batch, udp
from specter.net.channel import Channel
from specter.testing.content import content
from specter.testing.server import Server


class Narrow(udp.UdpSocket):
    """A socket of an interface that takes no more than ``limit`` bytes of UDP payload, and says so late."""

    limit = 1300

    @property
    def max_payload(self) -> int:
        return 1472 if not self.too_large else self.limit

    def send(self, burst: batch.SendBatch) -> int:
        kept = batch.SendBatch()
        for data, address, ecn in burst:
            if len(data) > self.limit:
                self._refuse(len(data))
                continue
            start = kept.begin()
            kept.slab[start : start + len(data)] = data
            kept.commit(start + len(data), address, ecn)
        return super().send(kept.deliver())

    def _refuse(self, size: int) -> None:
        self.too_large = size
        self.failure = OSError(errno.EMSGSIZE, "Message too long")
        self.dropped += 1
        self.faults += 1


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.mark.interpreted
def test_an_interface_that_refuses_large_datagrams_is_believed(server: Server, monkeypatch: Any) -> None:
    monkeypatch.setattr(udp, "UdpSocket", Narrow)
    body = content(0, 2_000_000)
    with specter.Client(verify=server.ca_file) as client:
        assert client.post(server.url + "/digest", content=body).json()["bytes"] == len(body)
        response = client.get(server.url + "/bytes/1")
        assert response.connection is not None
        assert 1200 < response.connection.path.datagram_size <= Narrow.limit
        (connection,) = [connection for _, connection in client.pool._connections.every()]
        assert 1 <= connection.channel.udp.dropped <= 4


@pytest.mark.security
@pytest.mark.interpreted
def test_no_trouble_makes_datagrams_smaller_than_quic_needs(server: Server, monkeypatch: Any) -> None:
    """quic-go CVE-2024-53259: whoever makes the system refuse large datagrams must not end connections."""
    monkeypatch.setattr(udp, "UdpSocket", Narrow)
    monkeypatch.setattr(Narrow, "limit", 1200)
    monkeypatch.setattr(Narrow, "max_payload", 548)
    with specter.Client(verify=server.ca_file) as client:
        for _ in range(3):
            assert client.post(server.url + "/digest", content=bytes(300_000)).status_code == 200
        response = client.get(server.url + "/bytes/1")
        assert response.connection is not None
        assert response.connection.path.datagram_size == 1200


@pytest.mark.interpreted
def test_each_datagram_leaves_by_the_socket_of_its_path() -> None:
    """And what arrives bears the name of the path that it came by."""

    class Engine:
        def __init__(self) -> None:
            self.out: list[tuple[bytes, Any]] = []
            self.arrived: list[tuple[bytes, Any]] = []

        def send(self, now: int) -> batch.SendBatch:
            burst = batch.SendBatch()
            for data, address in self.out:
                start = burst.begin()
                burst.slab[start : start + len(data)] = data
                burst.commit(start + len(data), address, 0)
            self.out.clear()
            return burst.deliver()

        def receive(self, burst: batch.ReceiveBatch, now: int) -> None:
            for index in range(len(burst)):
                start, end = burst.span(index)
                self.arrived.append((bytes(burst.slab[start:end]), burst.address(index)))

    class Quic:
        trace = None

        def limit_datagrams(self, size: int) -> None: ...

    engine = Engine()
    far = udp.UdpSocket.bind(("127.0.0.1", 0))
    near = [udp.UdpSocket.connect(far.local_address) for _ in range(2)]
    channel = Channel(near[0], Quic(), engine)  # type: ignore[arg-type]
    other = channel.add(near[1])
    engine.out = [(b"one", None), (b"two", None), (b"three", other), (b"four", None), (b"five", other)]
    channel.flush(0)
    burst = batch.ReceiveBatch()
    while len(burst) < 5 and far.wait(1_000_000_000):
        far.receive(burst)
    came = [(bytes(burst.slab[slice(*burst.span(index))]), burst.address(index)) for index in range(5)]
    addresses = {None: near[0].local_address, other: near[1].local_address}
    expected = {(b"one", None), (b"two", None), (b"three", other), (b"four", None), (b"five", other)}
    assert set(came) == {(data, addresses[path]) for data, path in expected}
    for data, address in came:
        reply = batch.SendBatch()
        start = reply.begin()
        reply.slab[start : start + len(data)] = data
        reply.commit(start + len(data), address, 0)
        far.send(reply.deliver())
    while len(engine.arrived) < 5:
        near[0].wait(10_000_000)
        channel.receive(0)
    assert set(engine.arrived) == expected
    channel.switch(other)
    assert (channel.udp, list(channel.others)) == (near[1], [None])
    assert channel.remove(None) is near[0]
    assert channel.remove(None) is None
    near[0].close()
    channel.close()
    far.close()
    assert [socket.fileno() for socket in near] == [-1, -1]
