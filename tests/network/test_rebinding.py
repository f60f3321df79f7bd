"""Clients whose address changes under way without their knowledge (NAT), and attackers who make it look so."""

from __future__ import annotations

from collections import Counter

import pytest

from specter.quic.config import QuicConfig
from specter.quic.events import PathChanged
from specter.quic.path import AMPLIFICATION_FACTOR
from specter.quic.paths import MAX_PATHS
from specter.testing.engine import Address
from specter.testing.network import Link, Transit
from specter.testing.pair import Pair
from specter.testing.transfers import Action, Order

MS = 1_000_000
MEGABYTE = 1 << 20
LINE = Link(delay=15 * MS, bandwidth=10_000_000, queue=60_000)


def moves(pair: Pair) -> list[Address]:
    """Return where the server took the client to be, one after the other."""
    return [event.address for event in pair.server.log if isinstance(event, PathChanged)]


@pytest.mark.parametrize("host", [False, True], ids=["port", "address"])
@pytest.mark.parametrize("action", [Action.DOWNLOAD, Action.UPLOAD, Action.ECHO])
def test_a_transfer_goes_on_while_the_address_changes_every_second(action: Action, host: bool) -> None:
    size = 5 * MEGABYTE if action is not Action.ECHO else 4 * MEGABYTE
    pair = Pair(1, LINE, orders=[Order(action, size)])
    pair.every(1.0, lambda: pair.rebind(host=host))
    began = pair.now
    pair.transfer(limit=30)
    assert len(moves(pair)) >= 3
    assert pair.server.connection.address in moves(pair)
    assert (pair.now - began) / 1e9 < 12
    assert pair.client.closed is None


@pytest.mark.parametrize("host", [False, True], ids=["port", "address"])
def test_rebinding_with_loss(host: bool) -> None:
    link = Link(delay=15 * MS, loss=0.05)
    pair = Pair(2, link, orders=[Order(Action.ECHO, MEGABYTE)])
    pair.every(0.5, lambda: pair.rebind(host=host))
    pair.transfer(limit=60)
    assert len(moves(pair)) >= 2


def test_a_kept_alive_connection_is_found_by_its_server_whatever_the_nat_does() -> None:
    """Nobody says a word for two minutes, but for the PINGs; a NAT forgets its binding every 20 seconds."""
    config = QuicConfig(keep_alive=5_000 * MS, idle_timeout=15_000 * MS)
    pair = Pair(2, Link(delay=15 * MS), client_config=config)
    pair.every(20.0, pair.rebind)
    pair.advance(120.0)
    assert len(moves(pair)) == 5
    pair.client.order(Order(Action.ECHO, 1000))
    pair.flush(pair.client_host)
    pair.transfer()


def server_state(pair: Pair) -> tuple[int, int]:
    """Return the server's window and smoothed RTT."""
    stats = pair.server.connection.stats
    return stats.congestion_window, stats.smoothed_rtt


def moved(host: bool) -> tuple[Pair, tuple[int, int], tuple[int, int]]:
    """Return a pair whose client has moved, with the server's state before and after."""
    pair = Pair(3, Link(delay=15 * MS), orders=[Order(Action.DOWNLOAD, 400_000)])
    pair.transfer()
    pair.advance(0.05)
    before = server_state(pair)
    pair.rebind(host=host)
    pair.client.order(Order(Action.ECHO, 10))
    pair.flush(pair.client_host)
    pair.run(lambda: bool(moves(pair)))
    return pair, before, server_state(pair)


def test_another_port_keeps_the_window_and_the_round_trip_time() -> None:
    _, before, after = moved(host=False)
    assert after == before
    assert before[0] > 50_000


def test_another_address_starts_like_a_new_connection() -> None:
    pair, before, after = moved(host=True)
    assert after[0] <= 14_720 < before[0]
    pair.transfer()
    pair.run(lambda: pair.server.connection._core.recovery.rtt.has_sample)


def test_the_new_path_is_searched_and_marked_anew() -> None:
    pair, _, _ = moved(host=True)
    core = pair.server.connection._core
    assert (core.datagram_size, core.ecn.state.value) == (1200, "off")
    pair.client.order(Order(Action.DOWNLOAD, MEGABYTE))
    pair.flush(pair.client_host)
    pair.transfer()
    assert (core.datagram_size, core.ecn.state.value) == (1472, "capable")


def test_no_more_than_three_times_what_came_goes_to_an_address_nobody_has_vouched_for() -> None:
    """The client moves to where it cannot hear the server."""
    received: Counter[Address] = Counter()
    sent: Counter[Address] = Counter()

    def count(transit: Transit) -> None:
        if transit.to_server:
            received[transit.source] += len(transit.data)
        else:
            sent[transit.destination] += len(transit.data)

    pair = Pair(4, Link(delay=15 * MS), orders=[Order(Action.DOWNLOAD, 4 * MEGABYTE)])
    pair.run(lambda: pair.client.connection.stats.bytes_received > 200_000)
    pair.network.taps.append(count)
    pair.rebind(host=True)
    deaf = pair.client_host.address
    pair.network.filters.append(lambda transit: transit.destination != deaf)
    pair.advance(2.5)
    assert received[deaf] > 0
    assert 0 < sent[deaf] <= AMPLIFICATION_FACTOR * received[deaf]


def test_a_path_that_cannot_be_validated_is_left_for_the_last_good_one() -> None:
    pair = Pair(5, Link(delay=15 * MS), orders=[Order(Action.DOWNLOAD, 300_000)])
    pair.transfer()
    home = pair.client_host.address
    pair.rebind(host=True)
    away = pair.client_host.address
    pair.network.filters.append(lambda transit: transit.destination != away)
    pair.client.order(Order(Action.ECHO, 1000))
    pair.flush(pair.client_host)
    pair.run(lambda: moves(pair) == [away])
    pair.client_host.address = home
    pair.run(lambda: moves(pair) == [away, home])
    pair.transfer()
    assert pair.server.connection.stats.congestion_window > 14_720, "what is known of the old path counts again"


# -- attackers ----------------------------------------------------------------------------------------------


def forward(pair: Pair, sources: list[Address], *, copies: int = 1) -> None:
    """An attacker lets copies of the client's datagrams overtake them, each from another address (section 9.3.3)."""
    waiting = iter(sources)

    def overtake(transit: Transit) -> None:
        if not transit.to_server or transit.source != pair.client_host.address:
            return
        for _ in range(copies):
            source = next(waiting, None)
            if source is not None:
                copy = Transit(source, transit.destination, transit.data, 0, pair.now, True, 0)
                pair.network.inject(copy, pair.now + 1 * MS)

    pair.network.taps.append(overtake)


@pytest.mark.security
def test_forwarded_packets_do_not_take_the_connection_away() -> None:
    pair = Pair(6, Link(delay=15 * MS), orders=[Order(Action.ECHO, MEGABYTE)])
    pair.run(lambda: pair.client.connection.confirmed)
    forward(pair, [(f"spoofed {number}", 666) for number in range(20)])
    pair.transfer(limit=30)
    assert pair.client.closed is None
    pair.advance(5.0)
    assert pair.server.connection.address == pair.client_host.address


@pytest.mark.security
def test_thousands_of_addresses_cost_the_server_no_memory() -> None:
    """Each datagram of the client comes from an address of its own; answers reach it wherever they go."""
    pair = Pair(7, Link(delay=15 * MS), orders=[Order(Action.UPLOAD, 2 * MEGABYTE)])
    pair.run(lambda: pair.client.connection.confirmed)
    addresses: Counter[Address] = Counter()

    def scatter(transit: Transit) -> bool:
        if transit.to_server:
            source = (f"nat {len(addresses)}", 1)
            addresses[source] += 1
            copy = Transit(source, transit.destination, transit.data, 0, pair.now, True, 0)
            pair.network.inject(copy, pair.now + 15 * MS)
        else:
            home = pair.client_host.address
            pair.network.inject(Transit(transit.source, home, transit.data, 0, pair.now, False, 0), pair.now + 15 * MS)
        return False

    pair.network.filters.append(scatter)
    core = pair.server.connection._core
    most = 0

    def done() -> bool:
        nonlocal most
        most = max(most, len(core.paths.others))
        return pair.client.done

    pair.run(done, limit=300)
    assert len(addresses) > 1000
    assert 0 < most <= MAX_PATHS
    assert len(core.remote_cids._active) <= core.config.active_connection_id_limit
    assert not core.remote_cids.has_pending, "no connection id was spent: the client never changed its own"


@pytest.mark.security
def test_old_packets_from_new_addresses_move_nothing() -> None:
    """Replayed or overtaken packets are not the highest-numbered ones."""
    pair = Pair(8, Link(delay=15 * MS))
    pair.transfer()
    seen: list[Transit] = []
    pair.network.taps.append(seen.append)
    pair.client.order(Order(Action.UPLOAD, 50_000))
    pair.flush(pair.client_host)
    pair.transfer()
    pair.advance(0.1)
    for transit in [transit for transit in seen if transit.to_server]:
        pair.network.inject(Transit(("replayed", 1), transit.destination, transit.data, 0, pair.now, True, 0), pair.now)
    pair.advance(1.0)
    assert moves(pair) == []
    assert pair.server.connection._core.paths.others == {}


def test_no_move_before_the_handshake_is_over() -> None:
    pair = Pair(9, Link(delay=15 * MS), orders=[Order(Action.ECHO, 1000)], start=False)
    pair.client_host = pair.add(pair.client, pair.client_host.address)
    home = pair.client_host.address
    pair.advance(0.02)
    pair.rebind()
    pair.advance(0.04)
    assert pair.server.connection.address == home
    pair.client_host.address = home
    pair.transfer()
    assert moves(pair) == []
