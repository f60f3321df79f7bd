"""Key updates in the middle of everything, and a congestion window that falls and rises."""

from __future__ import annotations

import pytest

from specter._wire import NEVER
from specter.quic.config import QuicConfig
from specter.quic.outbound import KEY_UPDATE_MARGIN
from specter.testing.network import BurstLoss, Link
from specter.testing.pair import Pair
from specter.testing.transfers import Action, Application, Order

MS = 1_000_000
SECOND = 1_000_000_000
MEGABYTE = 1 << 20


def updates(application: Application) -> tuple[int, int]:
    """Return how often an end moved to new keys: reading, writing."""
    space = application.connection._core.app
    assert space.opener is not None
    assert space.sealer is not None
    return space.opener.updates, space.sealer.updates


def old_keys_are_gone(application: Application) -> bool:
    """Whether an end is ready for the next update: it waits three PTOs after the last."""
    return application.connection._core.previous_keys_until == NEVER


@pytest.mark.parametrize("by", ["client", "server", "both"])
def test_key_updates_under_loss(by: str) -> None:
    link = Link(loss=0.05, reorder=0.1, reorder_delay=15 * MS, duplicate=0.05)
    pair = Pair(1, link, orders=[Order(Action.ECHO, 40_000, number) for number in range(4)])
    for _ in range(3):
        pair.transfer()
        pair.run(lambda: old_keys_are_gone(pair.client) and old_keys_are_gone(pair.server))
        ends: list[Application] = [pair.client] if by == "client" else [pair.server]
        if by == "both":
            ends.append(pair.client)
        for end in ends:
            end.connection.update_keys()
        pair.client.order(*(Order(Action.ECHO, 40_000, number) for number in range(4)))
        pair.poke()
    pair.transfer()
    server = pair.server
    pair.run(lambda: not server.sides)
    for end in (pair.client, server):
        reading, writing = updates(end)
        assert min(reading, writing) >= 2
        assert abs(reading - writing) <= 1
    pair.close()


def test_a_key_update_asked_for_before_the_handshake_is_confirmed_waits() -> None:
    pair = Pair(2, Link(loss=0.1), orders=[Order(Action.ECHO, 50_000)])
    pair.client.connection.update_keys()
    pair.transfer()
    server = pair.server
    pair.run(lambda: updates(server) == updates(pair.client) == (1, 1))
    pair.close()


def test_keys_change_by_themselves_at_the_limit() -> None:
    pair = Pair(3, orders=[Order(Action.DOWNLOAD, 2 * MEGABYTE)])
    pair.run(lambda: pair.client.connection.confirmed)
    keys = pair.server.connection._core.app.sealer
    assert keys is not None
    keys.confidentiality_limit = KEY_UPDATE_MARGIN + 100
    pair.transfer()
    assert updates(pair.server)[1] >= 3
    assert pair.client.closed is None


@pytest.mark.security
@pytest.mark.parametrize("algorithm", ["cubic", "newreno"])
def test_the_window_recovers_after_heavy_loss(algorithm: str) -> None:
    """quiche's CUBIC "death spiral": after 2 s of 30 % loss the window must not stay at its floor."""
    config = QuicConfig(congestion=algorithm)
    pair = Pair(4, Link(delay=15 * MS), orders=[Order(Action.DOWNLOAD, 24 * MEGABYTE)], server_config=config)
    pair.run(lambda: pair.network.down.sent > 200)
    pair.network.set_links(Link(delay=15 * MS, loss=0.3), Link(delay=15 * MS, loss=0.3))
    pair.advance(2.0)
    assert pair.server.connection.stats.congestion_window < 20_000
    pair.network.set_links(Link(delay=15 * MS), Link(delay=15 * MS))
    pair.advance(3.0)
    assert pair.server.connection.stats.congestion_window > 60_000


@pytest.mark.parametrize("algorithm", ["cubic", "newreno"])
def test_two_connections_share_a_bottleneck(algorithm: str) -> None:
    config = QuicConfig(congestion=algorithm)
    pair = Pair(5, Link(bandwidth=20_000_000, queue=80_000), server_config=config, start=False)
    clients = [pair.new_client([Order(Action.DOWNLOAD, 4 * MEGABYTE)], name=f"client {n}") for n in range(2)]
    for number, client in enumerate(clients):
        pair.add(client, ("client", number))
    pair.run(lambda: any(client.done for client in clients))
    received = sorted(sum(side.received for side in [*c.sides.values(), *c.finished.values()]) for c in clients)
    assert received[0] > 0.25 * received[1]


def test_a_full_queue_is_not_flooded() -> None:
    pair = Pair(6, Link(bandwidth=4_000_000, queue=20_000), orders=[Order(Action.DOWNLOAD, MEGABYTE)])
    pair.transfer()
    assert pair.network.down.overflowed < 0.15 * pair.network.down.sent


def test_spurious_losses_of_a_reordering_path_do_not_stop_it() -> None:
    link = Link(delay=10 * MS, reorder=0.3, reorder_delay=12 * MS)
    pair = Pair(7, link, orders=[Order(Action.DOWNLOAD, MEGABYTE)])
    begin = pair.now
    pair.transfer()
    assert pair.now - begin < 12 * SECOND


def test_acknowledgments_lost_in_bursts() -> None:
    pair = Pair(8, Link(burst_loss=BurstLoss(0.1, 0.2)), Link(), orders=[Order(Action.DOWNLOAD, MEGABYTE)])
    begin = pair.now
    pair.transfer()
    assert pair.now - begin < 20 * SECOND
