"""Datagrams too large for the interface, and who only claims that they are: the same in both twins."""

from __future__ import annotations

import errno
import secrets
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.twins.conftest import Twins

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the compiled socket is for Linux")

SECOND = 1_000_000_000
BEYOND = 65_508
"""One byte more than IPv4 carries, on any interface."""


@pytest.fixture(params=["compiled", "reference"])
def twin(request: pytest.FixtureRequest, twins: Callable[[str], Twins]) -> tuple[Any, Any]:
    """The ``udp`` and ``batch`` modules of one backend."""
    return getattr(twins("udp"), request.param), getattr(twins("batch"), request.param)


@pytest.fixture
def pair(twin: tuple[Any, Any]) -> Iterator[tuple[Any, Any]]:
    """A client and a server at an address of its own: the system believes what it is told about an address."""
    udp, _ = twin
    server = udp.UdpSocket.bind((f"127.{128 + secrets.randbelow(128)}.{secrets.randbelow(256)}.9", 0))
    client = udp.UdpSocket.connect(server.local_address)
    yield client, server
    client.close()
    server.close()


def send(twin: tuple[Any, Any], handle: Any, *datagrams: bytes) -> int:
    batch = twin[1].SendBatch(200)
    for data in datagrams:
        start = batch.begin()
        batch.view[start : start + len(data)] = data
        batch.commit(start + len(data), None, 0)
    waiting: int = handle.send(batch.deliver())
    return waiting


def arrived(twin: tuple[Any, Any], handle: Any, count: int) -> list[int]:
    """Return the sizes of ``count`` datagrams."""
    sizes: list[int] = []
    while len(sizes) < count and handle.wait(SECOND):
        batch = twin[1].ReceiveBatch()
        handle.receive(batch)
        sizes += [end - start for start, end in map(batch.span, range(len(batch)))]
    return sizes


def test_a_datagram_too_large_for_the_interface_is_told_and_dropped(twin: tuple[Any, Any], pair: Any) -> None:
    client, server = pair
    assert send(twin, client, bytes(BEYOND)) == 0
    assert send(twin, client, b"after") == 0
    assert arrived(twin, server, 1) == [5]
    assert (client.too_large, client.dropped, client.faults) == (BEYOND, 1, 2)
    assert client.failure.errno == errno.EMSGSIZE


def test_the_interface_tells_what_it_carries(pair: Any) -> None:
    client, server = pair
    assert client.max_payload == 65_507
    assert server.max_payload == 65_507, "a socket without a peer knows nothing"


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def forge_too_big(victim: tuple[str, int], server: tuple[str, int], mtu: int) -> None:
    """Send ``victim`` an ICMP "fragmentation needed" about a datagram it may have sent to ``server``."""
    addresses = socket.inet_aton(victim[0]) + socket.inet_aton(server[0])
    header = struct.pack("!BBHHHBBH", 0x45, 0, 1228, 1, 0x4000, 64, socket.IPPROTO_UDP, 0) + addresses
    quoted = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    quoted += struct.pack("!HHHH", victim[1], server[1], 1208, 0)
    message = struct.pack("!BBHHH", 3, 4, 0, 0, mtu) + quoted
    message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.sendto(message, (victim[0], 0))


@pytest.mark.security
def test_a_forged_too_big_message_costs_nothing(twin: tuple[Any, Any], pair: Any) -> None:
    """quic-go CVE-2024-53259: such a message makes the next send fail, whatever its size."""
    client, server = pair
    for burst in ([b"x" * 1200], [b"x" * 1400] * 20, [b"x"]):
        try:
            forge_too_big(client.local_address, server.local_address, 576)
        except PermissionError:
            pytest.skip("forging ICMP takes a raw socket")
        assert send(twin, client, *burst) == 0
        assert arrived(twin, server, len(burst)) == list(map(len, burst))
    assert (client.too_large, client.dropped) == (0, 0)
    assert client.faults == 3
    if hasattr(client, "offloads"):
        assert client.offloads["gso"], "one refusal is no reason to send datagram by datagram"
