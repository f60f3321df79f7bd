"""A handshake and a megabyte each way over every kind of bad network, one kind at a time."""

from __future__ import annotations

import pytest

from specter.quic.config import QuicConfig
from specter.testing.network import BurstLoss, Link
from specter.testing.pair import Pair
from specter.testing.transfers import Action, Order

MS = 1_000_000
CLEAN = Link()
MEGABYTE = 1 << 20
PATIENT = QuicConfig(idle_timeout=120_000 * MS, handshake_timeout=120_000 * MS)

LINKS = {
    "clean": Link(),
    "no delay at all": Link(delay=0),
    "slow light": Link(delay=300 * MS),
    "jitter": Link(jitter=40 * MS),
    "loss": Link(loss=0.03),
    "heavy loss": Link(delay=5 * MS, loss=0.15),
    "burst loss": Link(burst_loss=BurstLoss(0.01, 0.3)),
    "reordering": Link(reorder=0.2, reorder_delay=8 * MS),
    "deep reordering": Link(reorder=0.05, reorder_delay=60 * MS),
    "duplication": Link(duplicate=0.3),
    "corruption": Link(corrupt=0.05),
    "bandwidth": Link(bandwidth=10_000_000, queue=60_000),
    "shallow queue": Link(bandwidth=5_000_000, queue=8_000),
    "deep queue": Link(bandwidth=2_000_000, queue=1_000_000),
    "smallest mtu": Link(mtu=1200),
    "congestion marks": Link(ecn_ce=0.05),
    "ecn cleared": Link(ecn_bleach=True),
}


def run(seed: int, up: Link, down: Link | None, *orders: Order) -> Pair:
    pair = Pair(seed, up, down, orders=orders, client_config=PATIENT, server_config=PATIENT)
    pair.transfer(limit=300)
    server = pair.server
    pair.run(lambda: not server.sides)
    assert all(side.received == side.to_receive for side in pair.client.finished.values())
    assert all(side.received == side.to_receive for side in server.finished.values())
    pair.close(limit=300)
    assert pair.endpoint.peers == {}
    return pair


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS.keys())
def test_a_megabyte_down_and_up(link: Link) -> None:
    run(1, link, link, Order(Action.DOWNLOAD, MEGABYTE), Order(Action.UPLOAD, MEGABYTE // 2, 77))


@pytest.mark.parametrize("name", ["loss", "burst loss", "reordering", "bandwidth", "slow light"])
def test_only_the_way_back_is_bad(name: str) -> None:
    run(2, CLEAN, LINKS[name], Order(Action.UPLOAD, MEGABYTE // 2))


def test_the_impairments_really_happened() -> None:
    pair = run(3, Link(loss=0.02, reorder=0.05, duplicate=0.05, corrupt=0.02), None, Order(Action.ECHO, MEGABYTE // 2))
    for way in (pair.network.up, pair.network.down):
        assert min(way.lost, way.reordered, way.duplicated, way.corrupted) > 0
    assert pair.client.connection.stats.packets_lost > 0
    assert pair.client.connection.stats.packets_dropped > 0


def test_a_corrupted_datagram_costs_nothing_but_itself() -> None:
    """Both sides drop what does not open; nobody closes."""
    pair = run(4, Link(corrupt=0.3, delay=MS), None, Order(Action.DOWNLOAD, 100_000))
    assert pair.client.connection.stats.packets_dropped > 10


def test_the_same_seed_gives_the_same_datagrams() -> None:
    def sizes() -> list[tuple[int, int, bool]]:
        seen: list[tuple[int, int, bool]] = []
        pair = Pair(5, Link(loss=0.05, jitter=5 * MS), orders=[Order(Action.ECHO, 60_000)])
        pair.network.taps.append(lambda transit: seen.append((transit.time, len(transit.data), transit.to_server)))
        pair.transfer()
        return seen

    assert sizes() == sizes()


def test_throughput_comes_near_the_bandwidth() -> None:
    """10 Mbit/s for a megabyte is 0.84 s; slow start and the handshake may cost as much again."""
    link = Link(bandwidth=10_000_000, queue=60_000, delay=20 * MS)
    pair = Pair(6, link, orders=[Order(Action.DOWNLOAD, MEGABYTE)])
    begin = pair.now
    pair.transfer()
    assert (pair.now - begin) / 1e9 < 1.8
