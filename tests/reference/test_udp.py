from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator

import pytest

from specter._reference import udp
from specter._reference.batch import ReceiveBatch, SendBatch
from specter._reference.udp import READABLE, WOKEN, WRITABLE, UdpSocket
from specter.net.waker import Waker

SECOND = 1_000_000_000
LOOPBACKS = ["127.0.0.1"] + (["::1"] if socket.has_ipv6 else [])


def batch_of(*datagrams: bytes, ecn: int = 0, address: udp.SocketAddress | None = None) -> SendBatch:
    batch = SendBatch(capacity=max(64, len(datagrams)))
    for data in datagrams:
        start = batch.begin()
        batch.view[start : start + len(data)] = data
        batch.commit(start + len(data), address, ecn)
    return batch.deliver()


def received(batch: ReceiveBatch) -> list[bytes]:
    return [bytes(batch.view[start:end]) for start, end in map(batch.span, range(len(batch)))]


@pytest.fixture(params=LOOPBACKS)
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[UdpSocket, UdpSocket]]:
    """A bound socket and one connected to it."""
    server = UdpSocket.bind((request.param, 0))
    client = UdpSocket.connect(server.local_address)
    yield server, client
    client.close()
    server.close()


def test_a_burst_arrives_in_order_with_its_source(pair: tuple[UdpSocket, UdpSocket]) -> None:
    server, client = pair
    datagrams = [bytes([number]) * (number + 1) for number in range(50)]
    assert client.send(batch_of(*datagrams)) == 0
    batch = ReceiveBatch()
    assert server.wait(SECOND) == READABLE
    assert server.receive(batch) == 50
    assert received(batch) == datagrams
    assert batch.address(0)[:2] == client.local_address[:2]


def test_a_connected_socket_gives_no_addresses(pair: tuple[UdpSocket, UdpSocket]) -> None:
    server, client = pair
    server.send(batch_of(b"hello", address=client.local_address))
    batch = ReceiveBatch()
    assert client.wait(SECOND) == READABLE
    assert client.receive(batch) == 1
    assert batch.address(0) is None
    assert client.peer_address == server.local_address
    assert server.peer_address is None


def test_a_full_batch_leaves_the_rest_in_the_socket(pair: tuple[UdpSocket, UdpSocket]) -> None:
    server, client = pair
    client.send(batch_of(*[b"x"] * 10))
    batch = ReceiveBatch(capacity=4)
    assert [server.receive(batch), len(batch)] == [4, 4]
    assert server.receive(batch) == 0
    batch.clear()
    assert server.receive(batch) == 4
    batch.clear()
    assert server.receive(batch) == 2


@pytest.mark.skipif(not udp._LINUX, reason="ECN marks are read on Linux")
@pytest.mark.parametrize("ecn", [0, 1, 2, 3])
def test_ecn_codepoints_arrive(pair: tuple[UdpSocket, UdpSocket], ecn: int) -> None:
    server, client = pair
    client.send(batch_of(b"marked", ecn=ecn))
    client.send(batch_of(b"plain", ecn=0))
    batch = ReceiveBatch()
    server.receive(batch)
    assert [batch.ecn(0), batch.ecn(1)] == [ecn, 0]


def test_nothing_to_read_is_no_error(pair: tuple[UdpSocket, UdpSocket]) -> None:
    server, _ = pair
    assert server.receive(ReceiveBatch()) == 0
    assert server.wait(0) == 0


def test_an_empty_datagram_counts(pair: tuple[UdpSocket, UdpSocket]) -> None:
    server, client = pair
    client.send(batch_of(b"", b"after"))
    batch = ReceiveBatch()
    server.receive(batch)
    assert received(batch) == [b"", b"after"]


def test_refusals_are_counted_and_nothing_is_raised() -> None:
    closed = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    closed.bind(("127.0.0.1", 0))
    address = closed.getsockname()
    closed.close()
    client = UdpSocket.connect(address)
    assert client.send(batch_of(b"anyone?")) == 0
    client.wait(SECOND)
    assert client.receive(ReceiveBatch()) == 0
    assert client.refused == 1
    client.send(batch_of(b"one", b"two"))  # the second meets the refusal of the first, and is sent all the same
    client.receive(ReceiveBatch())
    assert client.refused >= 2
    assert client.dropped == 0
    client.close()


def test_a_datagram_too_large_is_dropped_and_the_rest_goes_out(pair: tuple[UdpSocket, UdpSocket]) -> None:
    server, client = pair
    client._transmit(b"x" * 70_000, None, 0)
    assert client.dropped == 1
    assert client.failure is not None
    client.send(batch_of(b"still fine"))
    batch = ReceiveBatch()
    server.receive(batch)
    assert received(batch) == [b"still fine"]


class FullSocket:
    """Takes a few datagrams, then would block."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sent: list[bytes] = []

    def send(self, data: bytes | memoryview) -> int:
        if len(self.sent) >= self.room:
            raise BlockingIOError
        self.sent.append(bytes(data))
        return len(data)


def test_a_full_socket_keeps_what_is_left_in_order() -> None:
    handle = FullSocket(room=2)
    client = UdpSocket(handle, connected=True)  # type: ignore[arg-type]
    assert client.send(batch_of(b"1", b"2", b"3", b"4")) == 2
    assert client.unsent == 2
    assert client.send(batch_of(b"5")) == 3
    handle.room = 4
    assert client.flush() == 1
    handle.room = 9
    assert client.flush() == 0
    assert handle.sent == [b"1", b"2", b"3", b"4", b"5"]


def test_waiting_datagrams_are_copies() -> None:
    handle = FullSocket(room=0)
    client = UdpSocket(handle, connected=True)  # type: ignore[arg-type]
    batch = batch_of(b"original")
    client.send(batch)
    batch.slab[:8] = b"replaced"
    handle.room = 1
    client.flush()
    assert handle.sent == [b"original"]


def test_wait_looks_for_room_only_while_datagrams_wait(pair: tuple[UdpSocket, UdpSocket]) -> None:
    _, client = pair
    assert client.wait(0) == 0
    client._unsent.append((b"x", None, 0))
    assert client.wait(0) == WRITABLE


@pytest.mark.parametrize("timeout", [-1, 0, 1_000_000, SECOND])
def test_a_waker_ends_the_wait(pair: tuple[UdpSocket, UdpSocket], timeout: int) -> None:
    server, _ = pair
    waker = Waker()
    waker.wake()
    waker.wake()
    assert server.wait(timeout, waker.fd) == WOKEN
    waker.clear()
    assert server.wait(0, waker.fd) == 0
    waker.close()
    waker.wake()


@pytest.mark.parametrize("timeout", [300_000, 5_000_000])
def test_wait_is_never_early(pair: tuple[UdpSocket, UdpSocket], timeout: int) -> None:
    server, _ = pair
    start = time.monotonic_ns()
    assert server.wait(timeout) == 0
    assert time.monotonic_ns() - start >= timeout


def test_wait_without_poll(pair: tuple[UdpSocket, UdpSocket], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "poll")
    server, client = pair
    waker = Waker()
    assert server.wait(1_000_000, waker.fd) == 0
    waker.wake()
    client.send(batch_of(b"x"))
    assert server.wait(-1, waker.fd) == READABLE | WOKEN
    waker.close()


def test_buffers_are_raised() -> None:
    server = UdpSocket.bind(("127.0.0.1", 0))
    plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    assert server._handle.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= plain.getsockopt(
        socket.SOL_SOCKET, socket.SO_RCVBUF
    )
    plain.close()
    server.close()


@pytest.mark.skipif(not udp._LINUX, reason="asks the Linux option")
def test_fragmentation_is_off() -> None:
    server = UdpSocket.bind(("127.0.0.1", 0))
    assert server._handle.getsockopt(socket.IPPROTO_IP, 10) == 3
    server.close()


def test_a_local_address_can_be_chosen() -> None:
    server = UdpSocket.bind(("127.0.0.1", 0))
    client = UdpSocket.connect(server.local_address, local=("127.0.0.2", 0))
    assert client.local_address[0] == "127.0.0.2"
    client.close()
    server.close()


def test_opening_raises_and_leaks_nothing() -> None:
    with pytest.raises(OSError):  # noqa: PT011  the errno differs between systems
        UdpSocket.bind(("192.0.2.1", 0))
    with pytest.raises(OSError):  # noqa: PT011
        UdpSocket.connect(("127.0.0.1", 1), local=("192.0.2.1", 0))


def test_close_twice() -> None:
    server = UdpSocket.bind(("127.0.0.1", 0))
    server.close()
    server.close()
    assert server.fileno() == -1
