"""The relay does to real datagrams what the virtual network does to others, and stays within its limits."""

from __future__ import annotations

import hashlib
import logging
import socket
import sys
import threading
import time
from collections.abc import Iterator

import pytest

import specter
from specter._backend import batch as batches
from specter._backend import udp
from specter._wire import NEVER
from specter.testing import BurstLoss, Link, Network, Relay, Server
from specter.testing.content import content

MS = 1_000_000
DIRECT = Link(delay=0)
PATIENCE = 5.0
linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="all of 127/8 is local on Linux only")


class Peer:
    """A socket at the far end: keeps what comes, with its source; answers if it is to echo."""

    def __init__(self, host: str = "127.0.0.1", *, echo: bool = False) -> None:
        self.handle = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.handle.bind((host, 0))
        self.handle.settimeout(0.02)
        self.address = self.handle.getsockname()[:2]
        self.echo = echo
        self.received: list[bytes] = []
        self.sources: list[tuple[str, int]] = []
        self._stopping = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping:
            try:
                data, source = self.handle.recvfrom(65_536)
            except (TimeoutError, ConnectionError):
                continue
            self.received.append(data)
            self.sources.append(source[:2])
            if self.echo:
                self.handle.sendto(data, source)

    def wait(self, count: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while len(self.received) < count:
            assert time.monotonic() < deadline, f"{len(self.received)} of {count} came"
            time.sleep(0.002)

    def close(self) -> None:
        self._stopping = True
        self._thread.join()
        self.handle.close()


@pytest.fixture
def peers() -> Iterator[list[Peer]]:
    made: list[Peer] = []
    yield made
    for peer in made:
        peer.close()


def far_end(peers: list[Peer], host: str = "127.0.0.1", *, echo: bool = False) -> Peer:
    peers.append(Peer(host, echo=echo))
    return peers[-1]


def client_of(relay: Relay) -> socket.socket:
    handle = socket.socket(socket.AF_INET6 if ":" in relay.host else socket.AF_INET, socket.SOCK_DGRAM)
    handle.connect(relay.address)
    handle.settimeout(PATIENCE)
    return handle


def settled(relay: Relay, sent: int) -> None:
    """Wait until the relay has dealt with so many datagrams on their way up."""
    deadline = time.monotonic() + PATIENCE
    while relay.up.sent < sent:
        assert time.monotonic() < deadline, relay.up
        time.sleep(0.002)


def payloads(count: int, size: int = 200) -> list[bytes]:
    return [index.to_bytes(4, "big") + bytes(size - 4) for index in range(count)]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("upstream", ["127.0.0.1", "::1"])
def test_both_directions_and_kinds_of_addresses(peers: list[Peer], host: str, upstream: str) -> None:
    far = far_end(peers, upstream, echo=True)
    with Relay(far.address, host=host) as relay, client_of(relay) as near:
        for size in (0, 1, 1200, 1472):
            near.send(bytes(size))
            assert near.recv(2000) == bytes(size)
        assert relay.address == (host, relay.port)
        assert (relay.up.sent, relay.up.delivered, relay.down.sent, relay.down.delivered) == (4, 4, 4, 4)
        assert relay.up.size == relay.down.size == 2673


IMPAIRMENTS = {
    "loss": Link(delay=0, loss=0.3),
    "burst loss": Link(delay=0, burst_loss=BurstLoss(0.1, 0.3)),
    "corruption": Link(delay=0, corrupt=0.3),
    "duplicates": Link(delay=0, duplicate=0.3),
    "all of them": Link(delay=0, loss=0.1, corrupt=0.1, duplicate=0.1),
}


@pytest.mark.parametrize("link", IMPAIRMENTS.values(), ids=IMPAIRMENTS.keys())
def test_its_decisions_are_those_of_the_virtual_network(peers: list[Peer], link: Link) -> None:
    network = Network(5, link)
    for data in payloads(200):
        network.send(("client", 1), network.server, data, 0, 0)
    expected = [transit.data for transits in network.arrivals(NEVER).values() for transit in transits]
    far = far_end(peers)
    with Relay(far.address, link, seed=5) as relay, client_of(relay) as near:
        for data in payloads(200):
            near.send(data)
        far.wait(len(expected))
        assert far.received == expected
        settled(relay, 200)
        assert relay.up == network.up


def test_delay_jitter_and_reordering(peers: list[Peer]) -> None:
    far = far_end(peers)
    link = Link(delay=50 * MS, jitter=10 * MS, reorder=0.3, reorder_delay=40 * MS)
    with Relay(far.address, link, DIRECT, seed=1) as relay, client_of(relay) as near:
        start = time.monotonic()
        for data in payloads(50):
            near.send(data)
        far.wait(50)
        assert time.monotonic() - start >= 0.09
        assert sorted(far.received) == payloads(50)
        late = [data for data, before in zip(far.received[1:], far.received, strict=False) if data < before]
        assert late
        assert relay.up.reordered > 5


def test_bandwidth_and_its_queue(peers: list[Peer]) -> None:
    far = far_end(peers)
    with Relay(far.address, Link(delay=0, bandwidth=800_000, queue=20_000)) as relay, client_of(relay) as near:
        start = time.monotonic()
        for data in payloads(100, 1000):
            near.send(data)
        settled(relay, 100)
        taken = 100 - relay.up.overflowed
        assert 20 <= taken < 60
        far.wait(taken)
        assert time.monotonic() - start >= taken * 0.01


def test_sizes(peers: list[Peer]) -> None:
    far = far_end(peers)
    with Relay(far.address, Link(delay=0, mtu=1300)) as relay, client_of(relay) as near:
        for size in (1300, 1301, 1500, 1536, 1600, 40_000):
            near.send(bytes(size))
        settled(relay, 6)
        relay.set_links(Link(delay=0))
        for size in (1500, 1501, 9000):
            near.send(bytes(size))
        far.wait(2)
        settled(relay, 9)
        assert [len(data) for data in far.received] == [1300, 1500]
        assert relay.up.too_big == 7


def test_a_black_hole(peers: list[Peer]) -> None:
    far = far_end(peers, echo=True)
    with Relay(far.address) as relay, client_of(relay) as near:
        near.send(b"before")
        assert near.recv(100) == b"before"
        relay.blackhole(0.6)
        near.send(b"lost")
        settled(relay, 2)
        time.sleep(0.65)
        relay.blackhole(60, after=60)
        near.send(b"after")
        assert near.recv(100) == b"after"
        assert relay.up.blackholed == 1


def test_links_change_while_it_runs(peers: list[Peer]) -> None:
    far = far_end(peers, echo=True)
    with Relay(far.address, Link(delay=0, loss=1.0)) as relay, client_of(relay) as near:
        near.send(b"lost")
        settled(relay, 1)
        relay.set_links(to_server=DIRECT)
        near.send(b"lost on its way back")
        far.wait(1)
        relay.set_links(to_client=DIRECT)
        near.send(b"twice through")
        assert near.recv(100) == b"twice through"
        assert (relay.up.lost, relay.down.lost) == (1, 1)


def test_port_rebinding(peers: list[Peer]) -> None:
    far = far_end(peers, echo=True)
    with Relay(far.address) as relay, client_of(relay) as near:
        for count in range(1, 4):
            near.send(b"x")
            assert near.recv(100) == b"x"
            assert relay.bindings == count
            relay.rebind()
        assert len(set(far.sources)) == 3


@linux_only
def test_address_rebinding(peers: list[Peer]) -> None:
    far = far_end(peers, echo=True)
    with Relay(far.address, rebinding="address") as relay, client_of(relay) as near:
        for _ in range(3):
            near.send(b"x")
            assert near.recv(100) == b"x"
            relay.rebind()
        assert [host for host, _ in far.sources] == ["127.0.0.1", "127.0.0.2", "127.0.0.3"]


@linux_only
@pytest.mark.parametrize("rebinding", ["port", "address"])
def test_rebinding_by_the_clock(peers: list[Peer], rebinding: str) -> None:
    far = far_end(peers)
    with (
        Relay(far.address, rebind_every=0.05, rebinding=rebinding) as relay,  # type: ignore[arg-type]
        client_of(relay) as near,
    ):
        deadline = time.monotonic() + PATIENCE
        while relay.bindings < 4 and time.monotonic() < deadline:
            near.send(b"x")
            time.sleep(0.01)
        far.wait(4)
    assert len(set(far.sources)) >= 4


def test_where_there_is_only_one_address(peers: list[Peer]) -> None:
    with Relay(far_end(peers, "::1").address) as relay:
        with pytest.raises(ValueError, match="not towards ::1"):
            relay.rebind("address")
        relay.rebind("port")
    with pytest.raises(ValueError, match="not towards ::1"):
        Relay(("::1", 443), rebind_every=1, rebinding="address")
    with (
        Relay(("127.0.0.1", 443), rebind_every=60, rebinding="address") as relay,
        pytest.raises(ValueError, match="not towards ::1"),
    ):
        relay.redirect(("::1", 443))


def test_no_socket_towards_the_server(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.ERROR, "specter.testing"),
        Relay(("255.255.255.255", 9)) as relay,
        client_of(relay) as near,
    ):
        near.send(b"x")
        settled(relay, 1)
        relay.rebind()
        near.send(b"x")
        settled(relay, 2)
        relay.rebind()
        assert relay.bindings == 0
    assert caplog.text.count("a datagram is lost") == 2


def test_another_server(peers: list[Peer]) -> None:
    first, second = far_end(peers, echo=True), far_end(peers, echo=True)
    with Relay(first.address, Link(delay=20 * MS)) as relay, client_of(relay) as near:
        near.send(b"one")
        settled(relay, 1)
        relay.redirect(second.address)
        assert near.recv(100) == b"one"
        near.send(b"two")
        assert near.recv(100) == b"two"
    assert [*first.received, *second.received] == [b"one", b"two"]


def test_what_is_under_way_is_limited(peers: list[Peer]) -> None:
    far = far_end(peers)
    slow = Link(delay=60_000 * MS)
    with Relay(far.address, slow, max_datagrams=10) as relay, client_of(relay) as near:
        for data in payloads(30):
            near.send(data)
        settled(relay, 30)
        assert relay.up.overflowed == 20
    with Relay(far.address, slow, max_bytes=1000) as relay, client_of(relay) as near:
        for data in payloads(30):
            near.send(data)
        settled(relay, 30)
        assert relay.up.overflowed == 25
    assert far.received == []


def test_the_client_that_was_silent_the_longest_makes_room(peers: list[Peer]) -> None:
    far = far_end(peers, echo=True)
    with (
        Relay(far.address, max_clients=2) as relay,
        client_of(relay) as one,
        client_of(relay) as two,
        client_of(relay) as three,
    ):
        for near in (one, two, one, three, one):
            near.send(b"x")
            assert near.recv(100) == b"x"
        assert relay.bindings == 3
        two.send(b"x")
        assert two.recv(100) == b"x"
        assert relay.bindings == 4
    assert len(set(far.sources)) == 4


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_ecn_marks_pass_and_are_made(host: str) -> None:
    far = udp.UdpSocket.bind((host, 0))
    with Relay(far.local_address[:2], Link(delay=0, ecn_ce=1.0), DIRECT) as relay:
        near = udp.UdpSocket.connect(relay.address)
        send(near, None, b"up", 2)
        data, address, ecn = receive(far)
        assert (data, ecn) == (b"up", 3)
        send(far, address, b"down", 1)
        assert receive(near)[2] == 1
        assert (relay.up.marked, relay.down.marked) == (1, 0)
        near.close()
    far.close()


def send(handle: udp.UdpSocket, address: batches.Address, data: bytes, ecn: int) -> None:
    batch = batches.SendBatch()
    start = batch.begin()
    batch.view[start : start + len(data)] = data
    batch.commit(start + len(data), address, ecn)
    handle.send(batch)


def receive(handle: udp.UdpSocket) -> tuple[bytes, batches.Address, int]:
    batch = batches.ReceiveBatch()
    assert handle.wait(int(PATIENCE * 1e9)) == udp.READABLE
    assert handle.receive(batch) == 1
    start, end = batch.span(0)
    return bytes(batch.view[start:end]), batch.address(0), batch.ecn(0)


def test_taps_and_filters(peers: list[Peer]) -> None:
    far = far_end(peers, echo=True)
    seen: list[tuple[bool, int, bytes]] = []
    relay = Relay(far.address)
    relay.taps.append(lambda transit: seen.append((transit.to_server, transit.index, transit.data)))
    relay.filters.append(lambda transit: not (transit.to_server and transit.index == 0))
    with relay, client_of(relay) as near:
        near.send(b"first")
        near.send(b"second")
        assert near.recv(100) == b"second"
    assert seen == [(True, 0, b"first"), (True, 1, b"second"), (False, 0, b"second")]
    assert (relay.up.filtered, relay.up.delivered) == (1, 1)


def test_a_filter_that_fails_costs_its_datagram(peers: list[Peer], caplog: pytest.LogCaptureFixture) -> None:
    far = far_end(peers, echo=True)
    relay = Relay(far.address)
    relay.filters.append(lambda transit: 1 // len(transit.data) > 0)
    with caplog.at_level(logging.ERROR, "specter.testing"), relay, client_of(relay) as near:
        for data in (b"", b"x", b"", b"y"):
            near.send(data)
        assert (near.recv(100), near.recv(100)) == (b"x", b"y")
    assert "ZeroDivisionError" in caplog.text


def test_a_server_that_is_gone_and_back() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        address = gone.getsockname()
    with Relay(address) as relay, client_of(relay) as near:
        for _ in range(3):
            near.send(b"x")
        settled(relay, 3)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back:
            back.settimeout(PATIENCE)
            back.bind(address)
            near.send(b"y")
            assert back.recv(100) == b"y"


def test_starting_and_stopping(peers: list[Peer]) -> None:
    far = far_end(peers)
    relay = Relay(far.address)
    with pytest.raises(RuntimeError, match="does not run"):
        relay.rebind()
    relay.stop()
    before = threading.active_count()
    with relay:
        port = relay.port
        with pytest.raises(RuntimeError, match="runs already"):
            relay.start()
        with client_of(relay) as near:
            near.send(b"x")
            far.wait(1)
    assert threading.active_count() == before
    relay.stop()
    with pytest.raises(RuntimeError, match="does not run"):
        relay.blackhole(1)
    with relay, client_of(relay) as near:
        assert relay.port == port
        near.send(b"x")
        far.wait(2)
    with Relay(far.address) as running, pytest.raises(OSError, match="in use"):
        Relay(far.address, port=running.port).start()


def test_a_client_and_a_server_on_a_bad_path() -> None:
    link = Link(delay=3 * MS, jitter=2 * MS, loss=0.02, corrupt=0.02, duplicate=0.02, reorder=0.02)
    with Server() as server, Relay((server.host, server.port), link, seed=2) as relay:
        response = specter.get(f"https://127.0.0.1:{relay.port}/bytes/300000", verify=server.ca_file, timeout=20)
        assert hashlib.sha256(response.content).digest() == hashlib.sha256(content(0, 300_000)).digest()
        assert relay.down.lost + relay.down.corrupted > 0
