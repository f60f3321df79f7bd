"""How connections end: closed, reset, idle, forgotten; and what both ends know of it afterwards."""

from __future__ import annotations

import pytest

from specter.quic.config import QuicConfig
from specter.quic.events import CloseKind, ConnectionClosed
from specter.testing.network import Link, Transit
from specter.testing.pair import Pair
from specter.testing.transfers import Action, Application, Order

MS = 1_000_000
SECOND = 1_000_000_000
DOWNLOAD = Order(Action.DOWNLOAD, 20_000)
SILENT = Link(loss=1.0)


def connected(seed: int, **options: object) -> Pair:
    pair = Pair(seed, **options)  # type: ignore[arg-type]
    pair.run(lambda: pair.client.connection.confirmed)
    pair.advance(1.0)
    return pair


def closed(end: ConnectionClosed | None) -> ConnectionClosed:
    assert end is not None
    return end


def is_closed(application: Application) -> bool:
    return application.closed is not None


# -- CONNECTION_CLOSE -------------------------------------------------------------------------------


def test_a_close_is_delivered_and_drained() -> None:
    pair = connected(1)
    server = pair.server
    before = pair.now
    pair.client.connection.close(0x1234, "good bye")
    pair.client.work()
    pair.flush(pair.client_host)
    pair.run(lambda: is_closed(server))
    end = closed(server.closed)
    assert (end.kind, end.error_code, end.reason, end.application) == (CloseKind.REMOTE, 0x1234, "good bye", True)
    assert closed(pair.client.closed).kind is CloseKind.LOCAL
    assert pair.endpoint.peers != {}
    pair.settle()
    assert pair.endpoint.peers == {}
    assert pair.now - before < 2 * SECOND


def test_the_drained_side_says_nothing_more() -> None:
    pair = connected(2)
    sent = pair.network.down.sent
    pair.close()
    assert pair.network.down.sent == sent


def test_a_lost_close_is_repeated_when_the_peer_goes_on() -> None:
    """The server keeps sending; each of its packets may bring the close again, ever more rarely."""
    pair = Pair(3, Link(bandwidth=8_000_000, queue=50_000), orders=[Order(Action.DOWNLOAD, 3 << 20)])
    pair.advance(1.0)
    server = pair.server
    pair.network.set_links(to_server=SILENT)
    pair.client.connection.close(7)
    pair.flush(pair.client_host)
    sent = pair.network.up.sent
    pair.network.set_links(to_server=Link())
    pair.poke()
    pair.run(lambda: server.closed is not None, limit=5)
    assert closed(server.closed).error_code == 7
    assert 1 <= pair.network.up.sent - sent <= 8
    pair.settle()


def test_a_close_that_never_arrives_leaves_the_peer_to_its_idle_timeout() -> None:
    pair = connected(4)
    server = pair.server
    pair.network.set_links(to_server=SILENT)
    pair.client.connection.close()
    pair.flush(pair.client_host)
    pair.settle()
    assert closed(server.closed).kind is CloseKind.IDLE
    assert pair.endpoint.peers == {}


def test_both_close_at_once() -> None:
    pair = connected(5)
    server = pair.server
    for side in (pair.client, server):
        side.connection.close(9)
        side.work()
    pair.poke()
    pair.settle()
    assert [closed(side.closed).kind for side in (pair.client, server)] == [CloseKind.LOCAL] * 2
    assert pair.endpoint.peers == {}


def test_a_close_during_the_handshake() -> None:
    pair = Pair(6)
    pair.advance(0.015)
    server = pair.server
    pair.client.connection.close(0x55, "changed my mind")
    pair.flush(pair.client_host)
    pair.settle()
    end = closed(server.closed)
    assert end.kind is CloseKind.REMOTE
    assert pair.endpoint.peers == {}


@pytest.mark.parametrize("moment", [0.0, 0.011, 0.021, 0.031, 0.041])
def test_the_server_closes_at_any_moment(moment: float) -> None:
    pair = Pair(7, orders=[DOWNLOAD])
    pair.advance(moment)
    pair.endpoint.close(0x77, "no")
    pair.poke()
    pair.run(lambda: pair.client.closed is not None)
    assert closed(pair.client.closed).kind is CloseKind.REMOTE
    pair.settle()
    assert pair.endpoint.peers == {}


def test_nothing_is_accepted_after_the_end() -> None:
    pair = connected(8)
    pair.close()
    connection = pair.client.connection
    assert not connection.can_open()
    assert connection.next_event() is None
    connection.close(1)
    pair.flush(pair.client_host)
    assert pair.network.in_transit == 0


# -- stateless reset --------------------------------------------------------------------------------


def forget(pair: Pair) -> None:
    """The server restarts: it knows no connection, only its reset key."""
    pair.endpoint = pair.new_endpoint("after the restart")
    pair.server_host.engine = pair.endpoint


def test_a_stateless_reset_ends_the_client_at_once() -> None:
    pair = connected(9)
    forget(pair)
    before = pair.now
    pair.client.order(DOWNLOAD)
    pair.flush(pair.client_host)
    pair.run(lambda: pair.client.closed is not None)
    assert closed(pair.client.closed).kind is CloseKind.RESET
    assert pair.now - before < SECOND
    assert pair.endpoint.stats.resets >= 1
    sent = pair.network.up.sent
    pair.settle()
    assert pair.network.up.sent == sent


def test_a_stateless_reset_in_mid_download() -> None:
    pair = Pair(10, orders=[Order(Action.DOWNLOAD, 4 << 20)])
    pair.run(lambda: pair.network.down.sent > 500)
    forget(pair)
    pair.run(lambda: pair.client.closed is not None)
    assert closed(pair.client.closed).kind is CloseKind.RESET


def test_resets_are_smaller_than_what_they_answer() -> None:
    pair = connected(11)
    forget(pair)
    sizes: list[tuple[int, int]] = []
    last = [0]

    def watch(transit: Transit) -> None:
        if transit.to_server:
            last[0] = len(transit.data)
        else:
            sizes.append((last[0], len(transit.data)))

    pair.network.taps.append(watch)
    pair.client.connection.ping()
    pair.flush(pair.client_host)
    pair.run(lambda: pair.client.closed is not None)
    assert sizes
    assert all(21 <= reset < trigger for trigger, reset in sizes)


def test_resets_are_rationed() -> None:
    """A flood of strange 1-RTT packets gets a hundred answers a second, not one each."""
    pair = Pair(12, start=False)
    for number in range(1000):
        data = b"\x40" + number.to_bytes(8, "big") + bytes(91)
        pair.network.inject(Transit(("stray", 1), pair.network.server, data, 0, pair.now, True, number), pair.now)
    pair.advance(0.5)
    assert 1 <= pair.endpoint.stats.resets <= 150


def test_a_forged_reset_is_only_a_bad_packet() -> None:
    pair = connected(13)
    data = b"\x40" + bytes(40)
    client = pair.client_host.address
    pair.network.inject(Transit(pair.network.server, client, data, 0, pair.now, False, 0), pair.now)
    pair.client.order(DOWNLOAD)
    pair.flush(pair.client_host)
    pair.transfer()
    assert pair.client.connection.stats.packets_dropped >= 1


# -- idle -------------------------------------------------------------------------------------------


def test_idle_ends_silently_on_both_sides() -> None:
    pair = connected(14)
    server = pair.server
    pair.advance(2.0)
    sent = pair.network.up.sent, pair.network.down.sent
    begin = pair.now
    pair.settle()
    assert (pair.network.up.sent, pair.network.down.sent) == sent
    assert [closed(side.closed).kind for side in (pair.client, server)] == [CloseKind.IDLE] * 2
    assert 25 * SECOND < pair.now - begin <= 30 * SECOND


def test_the_smaller_idle_timeout_counts() -> None:
    pair = connected(15, server_config=QuicConfig(idle_timeout=5 * SECOND))
    begin = pair.now
    pair.settle()
    assert closed(pair.client.closed).kind is CloseKind.IDLE
    assert pair.now - begin < 5 * SECOND


def test_keep_alive_keeps_alive() -> None:
    pair = connected(
        16, client_config=QuicConfig(keep_alive=2 * SECOND), server_config=QuicConfig(idle_timeout=5 * SECOND)
    )
    pings = pair.network.up.sent
    pair.advance(60.0)
    assert pair.client.closed is None
    assert 20 <= pair.network.up.sent - pings <= 70


def test_a_cut_line_is_noticed_by_the_idle_timeout() -> None:
    """In the middle of a transfer everything stops: no packet storm, then IDLE on both sides."""
    pair = Pair(17, orders=[Order(Action.ECHO, 1 << 20)])
    pair.run(lambda: pair.network.down.sent > 200)
    server = pair.server
    pair.network.set_links(SILENT, SILENT)
    pair.advance(0.2)
    sent = pair.network.up.sent, pair.network.down.sent
    pair.settle()
    assert [closed(side.closed).kind for side in (pair.client, server)] == [CloseKind.IDLE] * 2
    assert pair.network.up.sent - sent[0] < 30
    assert pair.network.down.sent - sent[1] < 30


def test_a_short_blackout_is_survived() -> None:
    pair = Pair(18, orders=[Order(Action.ECHO, 1 << 20)])
    pair.run(lambda: pair.network.down.sent > 200)
    pair.network.set_links(SILENT, SILENT)
    pair.advance(8.0)
    pair.network.set_links(Link(), Link())
    begin = pair.now
    pair.transfer()
    assert pair.now - begin < 15 * SECOND
    pair.close()
