"""Path MTU discovery over networks that carry less than they could, or less than they did."""

from __future__ import annotations

import pytest

from specter.quic.config import QuicConfig
from specter.quic.mtu import GRAIN, QUIET
from specter.testing.network import Link, Transit
from specter.testing.pair import Pair
from specter.testing.transfers import Action, Order

MS = 1_000_000
HEADERS = 28
"""Bytes of IPv4 and UDP around a UDP payload."""
MEGABYTE = 1 << 20
STEADY = QuicConfig(max_datagram_size=1200)
CLEAN = Link(delay=10 * MS)


def path(mtu: int, *, loss: float = 0.0) -> Link:
    return Link(delay=10 * MS, mtu=mtu - HEADERS, loss=loss)


def upload(seed: int, link: Link) -> Pair:
    """Send 4 MB in pieces that take a round trip or two each."""
    pair = Pair(seed, link, CLEAN, server_config=STEADY)
    for _ in range(40):
        pair.client.order(Order(Action.UPLOAD, 100_000))
        pair.flush(pair.client_host)
        pair.transfer()
    return pair


@pytest.mark.parametrize("mtu", [1280, 1300, 1336, 1400, 1420, 1452, 1480, 1492, 1500, 9000])
def test_the_sender_finds_what_the_path_carries(mtu: int) -> None:
    pair = upload(mtu, path(mtu))
    found = pair.client.connection.stats.datagram_size
    carried = min(mtu - HEADERS, 1472)
    assert carried - GRAIN <= found <= carried
    recovery = pair.client.connection._core.recovery.stats
    assert recovery.congestion_events == 0
    assert pair.client.connection.stats.packets_lost == 0
    assert pair.network.up.too_big <= 3 * 6
    assert pair.network.up.lost == 0


def test_both_sides_of_a_path_may_carry_different_sizes() -> None:
    pair = Pair(7, path(1400), path(1500))
    for _ in range(30):
        pair.client.order(Order(Action.ECHO, 100_000))
        pair.flush(pair.client_host)
        pair.transfer()
    assert 1372 - GRAIN <= pair.client.connection.stats.datagram_size <= 1372
    assert pair.server.connection.stats.datagram_size == 1472


def test_loss_does_not_pass_for_a_small_path() -> None:
    sizes = [upload(seed, path(1500, loss=0.02)).client.connection.stats.datagram_size for seed in range(10)]
    assert sizes.count(1472) >= 9


@pytest.mark.parametrize("carried", [1200, 1300, 1400])
def test_a_black_hole_in_mid_transfer_is_left_behind(carried: int) -> None:
    """The route changes to one that carries less, and nobody says so."""
    pair = Pair(carried, path(1500), CLEAN, orders=[Order(Action.UPLOAD, 6 * MEGABYTE)], server_config=STEADY)
    client = pair.client.connection
    pair.run(lambda: client.stats.datagram_size == 1472 and client.stats.bytes_sent > MEGABYTE)
    began = pair.now
    pair.network.set_links(to_server=Link(delay=10 * MS, mtu=carried))
    pair.run(lambda: client.stats.datagram_size <= carried)
    assert pair.now - began < 3_000 * MS
    pair.transfer()
    assert carried - GRAIN <= client.stats.datagram_size <= carried


def test_a_line_that_is_cut_for_two_seconds_is_searched_again() -> None:
    pair = Pair(11, path(1500), CLEAN, orders=[Order(Action.UPLOAD, 6 * MEGABYTE)], server_config=STEADY)
    client = pair.client.connection
    pair.run(lambda: client.stats.bytes_sent > MEGABYTE)
    pair.network.set_links(to_server=Link(delay=10 * MS, loss=1.0))
    pair.advance(2.0)
    pair.network.set_links(to_server=path(1500))
    pair.transfer()
    assert client.stats.datagram_size == 1472


def test_an_interface_that_refuses_large_datagrams_is_believed_at_once() -> None:
    pair = Pair(12, path(1500), CLEAN, server_config=STEADY)
    pair.client_host.mtu = 1400
    pair.client.order(Order(Action.UPLOAD, MEGABYTE))
    pair.transfer()
    client = pair.client.connection
    assert 1399 - GRAIN <= client.stats.datagram_size <= 1400
    assert pair.client_host.refused <= 6


def test_an_interface_that_refuses_everything_above_a_size_never_ends_the_connection() -> None:
    pair = Pair(13, path(1500), CLEAN, server_config=STEADY)
    pair.client_host.mtu = 1200
    pair.client.order(Order(Action.UPLOAD, MEGABYTE))
    pair.transfer()
    assert pair.client.connection.stats.datagram_size == 1200


# -- off the interactive path -------------------------------------------------------------------------------


class Watch:
    """When the client sent what: probes are the datagrams larger than any before."""

    def __init__(self, pair: Pair) -> None:
        self.sent: list[tuple[int, int]] = []
        pair.network.taps.append(self._note)

    def _note(self, transit: Transit) -> None:
        if transit.to_server:
            self.sent.append((transit.time, len(transit.data)))

    def probes(self) -> list[int]:
        """Return when each probe left: a datagram above the largest size that data had until then."""
        largest, found = 1200, []
        for time, size in self.sent:
            if size > largest:
                found.append(time)
                largest = size
        return found


def exchange(pair: Pair, size: int, *, interactive: bool) -> None:
    """Echo ``size`` bytes: more than the window lets out at once."""
    if interactive:
        pair.client.connection.mark_interactive()
    pair.client.order(Order(Action.ECHO, size))
    pair.flush(pair.client_host)
    pair.transfer()


def test_no_probe_gets_between_the_messages_of_an_interactive_exchange() -> None:
    """A burst of messages, a pause, again: every probe is in a pause and 2 ms away from the traffic before it."""
    pair = Pair(21, path(1500), CLEAN, server_config=STEADY)
    watch = Watch(pair)
    pair.transfer()
    marks: list[int] = []
    for _ in range(20):
        for _ in range(3):
            marks.append(pair.now)
            exchange(pair, 16_000, interactive=True)
        pair.advance(0.005)
    probes = watch.probes()
    assert probes
    for probe in probes:
        assert min(abs(probe - mark) for mark in marks) >= QUIET


def test_a_bulk_transfer_probes_at_once() -> None:
    pair = Pair(22, path(1500), CLEAN, server_config=STEADY)
    watch = Watch(pair)
    pair.run(lambda: pair.client.connection.confirmed)
    began = pair.now
    exchange(pair, 100_000, interactive=False)
    assert 0 <= watch.probes()[0] - began < 5 * MS


def test_small_messages_never_probe() -> None:
    pair = Pair(23, path(1500), CLEAN)
    watch = Watch(pair)
    for _ in range(50):
        exchange(pair, 500, interactive=True)
        pair.advance(0.01)
    pair.advance(20.0)
    assert watch.probes() == []


def latencies(*, interactive: bool, discovery: bool) -> tuple[list[int], int]:
    """Return how long each of many exchanges took on a short and slow line, and how many probes left meanwhile."""
    line = Link(delay=MS // 20, bandwidth=10_000_000)
    config = QuicConfig() if discovery else STEADY
    pair = Pair(24, line, line, client_config=config, server_config=STEADY)
    watch = Watch(pair)
    pair.run(lambda: pair.client.connection.confirmed)
    taken = []
    for number in range(60):
        began = pair.now
        exchange(pair, 16_000, interactive=interactive)
        taken.append(pair.now - began)
        pair.advance(0.05 if number % 3 == 2 else 0.0)
    return taken, len(watch.probes())


def spikes(*, interactive: bool) -> int:
    """Count the exchanges that took longer than they take without any discovery."""
    without, _ = latencies(interactive=interactive, discovery=False)
    taken, probes = latencies(interactive=interactive, discovery=True)
    assert probes > 0
    return sum(latency > usual + MS // 2 for latency, usual in zip(taken, without, strict=True))


def test_interactive_exchanges_have_no_spikes() -> None:
    """A probe takes the line for more than a millisecond: that costs bulk transfers something, and messages nothing."""
    assert spikes(interactive=True) == 0
    assert spikes(interactive=False) > 0
