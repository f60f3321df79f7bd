"""The virtual network's mischief is as asked for, and the same for the same seed."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from specter._wire import NEVER
from specter.testing.network import BurstLoss, Link, Network, Transit

MS = 1_000_000
CLIENT = ("client", 1)
CLEAN = Link()
ALL = Link(
    jitter=3 * MS,
    loss=0.1,
    burst_loss=BurstLoss(0.05, 0.3),
    reorder=0.1,
    duplicate=0.1,
    corrupt=0.1,
    bandwidth=8_000_000,
    queue=30_000,
    ecn_ce=0.2,
)


def deliver(link: Link, count: int = 1000, *, seed: int = 1, size: int = 1000, gap: int = MS) -> list[Transit]:
    network = Network(seed, link)
    for index in range(count):
        payload = index.to_bytes(4, "big") + bytes(size - 4)
        network.send(CLIENT, network.server, payload, 2, index * gap)
    return drain(network)


def drain(network: Network) -> list[Transit]:
    out: list[Transit] = []
    while (instant := network.next_arrival()) != NEVER:
        for transits in network.arrivals(instant).values():
            assert all(transit.time == instant for transit in transits)
            out += transits
    return out


def numbers(transits: list[Transit]) -> list[int]:
    return [int.from_bytes(transit.data[:4], "big") for transit in transits]


def test_a_clean_link_delivers_everything_in_order_after_its_delay() -> None:
    transits = deliver(CLEAN)
    assert numbers(transits) == list(range(1000))
    assert all(transit.time == index * MS + CLEAN.delay for index, transit in enumerate(transits))


def test_the_seed_decides_everything() -> None:
    assert deliver(ALL, seed=7) == deliver(ALL, seed=7)
    assert deliver(ALL, seed=7) != deliver(ALL, seed=8)


def test_jitter_keeps_the_order() -> None:
    transits = deliver(Link(jitter=20 * MS))
    assert numbers(transits) == list(range(1000))
    assert len({transit.time - index * MS for index, transit in enumerate(transits)}) > 100


def test_loss() -> None:
    assert 850 < len(deliver(Link(loss=0.1))) < 950
    assert deliver(Link(loss=1.0)) == []


def test_burst_loss_comes_in_bursts() -> None:
    got = set(numbers(deliver(Link(burst_loss=BurstLoss(0.02, 0.2)))))
    lost = [index for index in range(1000) if index not in got]
    runs = 1 + sum(after - before > 1 for before, after in pairwise(lost))
    assert lost
    assert len(lost) / runs > 2.5


def test_a_burst_of_losses_ends_with_time_too() -> None:
    link = Link(burst_loss=BurstLoss(1.0, 0.0, longest=5 * MS))
    assert deliver(link, 100) == []
    got = numbers(deliver(Link(burst_loss=BurstLoss(0.5, 0.0, longest=5 * MS)), 1000, gap=10 * MS))
    assert 400 < len(got) < 600


def test_reordering_and_duplication() -> None:
    order = numbers(deliver(Link(reorder=0.1)))
    assert order != sorted(order)
    assert sorted(order) == list(range(1000))
    assert 1050 < len(deliver(Link(duplicate=0.1))) < 1150


def test_corruption_changes_or_cuts() -> None:
    transits = deliver(Link(corrupt=1.0), size=100)
    assert len(transits) == 1000
    cut = sum(len(transit.data) < 100 for transit in transits)
    assert 100 < cut < 300
    assert all(transit.data != index.to_bytes(4, "big") + bytes(96) for index, transit in enumerate(transits))


def test_bandwidth_and_queue() -> None:
    link = Link(bandwidth=8_000_000, delay=0)
    transits = deliver(link, 100, gap=0)
    assert [transit.time for transit in transits] == [(index + 1) * MS for index in range(100)]
    assert len(deliver(replace(link, queue=10_000), 100, gap=0)) == 10


def test_mtu_and_ecn() -> None:
    assert deliver(Link(mtu=999)) == []
    marks = [transit.ecn for transit in deliver(Link(ecn_ce=0.5))]
    assert 400 < marks.count(3) < 600
    assert {transit.ecn for transit in deliver(Link(ecn_bleach=True, ecn_ce=0.5))} == {0}


def test_filters_see_and_drop() -> None:
    network = Network(1)
    network.filters.append(lambda transit: transit.index % 2 == 0)
    seen: list[Transit] = []
    network.taps.append(seen.append)
    for index in range(10):
        network.send(CLIENT, network.server, index.to_bytes(4, "big"), 0, 0)
        network.send(network.server, CLIENT, index.to_bytes(4, "big"), 0, 0)
    assert network.up.filtered == network.down.filtered == 5
    assert numbers(drain(network)) == [0, 2, 4, 6, 8] * 2
    assert len(seen) == 20


@pytest.mark.parametrize("field", ["sent", "delivered", "lost", "overflowed", "duplicated", "corrupted", "marked"])
def test_the_counters_count(field: str) -> None:
    network = Network(3, replace(ALL, queue=5_000))
    for index in range(1000):
        network.send(CLIENT, network.server, bytes(1000), 2, index * MS // 2)
    drain(network)
    assert getattr(network.up, field) > 0
    stats = network.up
    assert stats.sent == stats.delivered - stats.duplicated + stats.lost + stats.overflowed


def test_a_black_hole_lets_nothing_in() -> None:
    network = Network(1, CLEAN)
    network.blackhole(100 * MS, 200 * MS)
    for index in range(300):
        network.send(CLIENT, network.server, index.to_bytes(4, "big"), 0, index * MS)
    assert numbers(drain(network)) == [*range(100), *range(200, 300)]
    assert network.up.blackholed == 100


@pytest.mark.parametrize("limits", [{"max_datagrams": 10}, {"max_bytes": 10_500}])
def test_what_is_under_way_may_be_limited(limits: dict[str, int]) -> None:
    network = Network(1, CLEAN, **limits)
    for _ in range(2):
        for index in range(15):
            network.send(CLIENT, network.server, index.to_bytes(4, "big") + bytes(996), 0, 0)
        assert (network.in_transit, network.bytes_in_transit) == (10, 10_000)
        assert numbers(drain(network)) == list(range(10))
    assert (network.up.overflowed, network.bytes_in_transit) == (10, 0)
