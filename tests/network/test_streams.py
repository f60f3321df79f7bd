"""Many streams, slow readers, and streams that somebody gives up."""

from __future__ import annotations

import tracemalloc

import pytest

from specter.quic.config import QuicConfig
from specter.testing.network import Link
from specter.testing.pair import Pair
from specter.testing.transfers import Action, Order

MS = 1_000_000
MEGABYTE = 1 << 20


def finish(pair: Pair, *, limit: float = 120.0) -> None:
    pair.transfer(limit=limit)
    server = pair.server
    pair.run(lambda: not server.sides)
    pair.close()
    assert pair.endpoint.peers == {}


# -- flow control -----------------------------------------------------------------------------------


def test_a_slow_reader_bounds_what_is_sent_and_kept() -> None:
    """The client reads nothing: the server stops at the window, neither side's memory grows, then all arrives."""
    small = QuicConfig(stream_window=64 << 10, connection_window=128 << 10, idle_timeout=600_000 * MS)
    pair = Pair(1, orders=[Order(Action.DOWNLOAD, 8 * MEGABYTE)], client_config=small)
    pair.client.paused = True
    pair.advance(1.0)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    pair.advance(20.0)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 100_000
    assert pair.client.connection.readable(0) == 64 << 10
    assert pair.network.down.size < 100_000
    pair.client.resume()
    pair.flush(pair.client_host)
    finish(pair)


def test_a_slow_reader_of_many_streams_is_bounded_by_the_connection_window() -> None:
    small = QuicConfig(stream_window=64 << 10, connection_window=100 << 10, idle_timeout=600_000 * MS)
    pair = Pair(2, orders=[Order(Action.DOWNLOAD, 100_000, number) for number in range(20)], client_config=small)
    pair.client.paused = True
    pair.advance(5.0)
    held = sum(pair.client.connection.readable(4 * number) for number in range(20))
    assert held == 100 << 10
    pair.client.resume()
    pair.flush(pair.client_host)
    finish(pair)


def test_a_slow_server_holds_back_an_upload() -> None:
    small = QuicConfig(stream_window=32 << 10, connection_window=64 << 10, idle_timeout=600_000 * MS)
    pair = Pair(3, orders=[Order(Action.UPLOAD, 2 * MEGABYTE)], server_config=small, client_config=small)
    pair.run(lambda: pair.client.connection.handshake_complete)
    pair.run(lambda: bool(pair.endpoint.peers))
    pair.server.paused = True
    pair.advance(5.0)
    assert pair.network.up.size < 64 << 10
    assert pair.client.sides[0].sent <= (32 << 10) + small.send_buffer + 24
    pair.server.resume()
    pair.poke()
    finish(pair)


@pytest.mark.parametrize("window", [1, 50, 1_500])
def test_tiny_windows_crawl_but_arrive(window: int) -> None:
    config = QuicConfig(
        stream_window=window, stream_window_max=window, connection_window=2 * window, connection_window_max=2 * window
    )
    pair = Pair(4, Link(delay=MS), orders=[Order(Action.ECHO, 100)], client_config=config, server_config=config)
    finish(pair)


def test_windows_grow_on_a_long_fat_path() -> None:
    """100 ms and a 64 KiB window would be 5 Mbit/s; with growing windows 8 MB take far less than 13 s."""
    config = QuicConfig(stream_window=64 << 10, connection_window=64 << 10)
    pair = Pair(5, Link(delay=50 * MS), orders=[Order(Action.DOWNLOAD, 4 * MEGABYTE)], client_config=config)
    begin = pair.now
    pair.transfer()
    assert (pair.now - begin) / 1e9 < 3.5


# -- stream limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("action", "limit"), [(Action.DOWNLOAD, 10), (Action.NOTIFY, 10), (Action.ECHO, 1)])
def test_limits_rise_over_five_hundred_streams(action: Action, limit: int) -> None:
    config = QuicConfig(max_streams_bidi=limit, max_streams_uni=limit)
    pair = Pair(6, Link(delay=MS), orders=[Order(action, 100, n) for n in range(550)], server_config=config)
    worst = 0

    def watch(_: object) -> None:
        nonlocal worst
        worst = max(worst, len(pair.client.sides))

    pair.network.taps.append(watch)
    pair.transfer()
    server = pair.server
    pair.run(lambda: len(server.finished) == 550)
    pair.close()
    assert len(pair.client.finished) == 550
    assert worst <= limit


def test_limits_rise_under_loss() -> None:
    config = QuicConfig(max_streams_bidi=3, max_streams_uni=3)
    orders = [Order(action, 300, n) for n in range(60) for action in (Action.ECHO, Action.NOTIFY)]
    pair = Pair(7, Link(delay=MS, loss=0.1), orders=orders, server_config=config)
    finish(pair)


def test_streams_share_the_connection() -> None:
    """A small download that starts behind a large one does not wait for its end."""
    pair = Pair(8, Link(bandwidth=10_000_000, queue=100_000), orders=[Order(Action.DOWNLOAD, 4 * MEGABYTE)])
    pair.run(lambda: pair.network.down.sent > 300)
    pair.client.order(Order(Action.DOWNLOAD, 30_000, 5))
    pair.flush(pair.client_host)
    pair.run(lambda: bool(pair.client.finished), limit=2.0)
    assert list(pair.client.finished) == [4]
    finish(pair)


def test_lost_data_of_one_stream_does_not_hold_up_another() -> None:
    pair = Pair(9, orders=[Order(Action.DOWNLOAD, 1_000, n) for n in range(20)])
    pair.network.filters.append(lambda transit: transit.to_server or not 10 <= transit.index < 13)
    begin = pair.now
    pair.transfer(15)
    early = pair.now - begin
    pair.transfer()
    assert early <= pair.now - begin
    finish(pair)


# -- RESET_STREAM and STOP_SENDING ------------------------------------------------------------------


GIVING_UP = [Action.CLIENT_RESETS, Action.CLIENT_STOPS, Action.SERVER_RESETS, Action.SERVER_STOPS]


@pytest.mark.parametrize("action", GIVING_UP)
@pytest.mark.parametrize("size", [0, 1, 1_000, 400_000])
@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_a_stream_given_up(action: Action, size: int, loss: float) -> None:
    pair = Pair(10, Link(loss=loss), orders=[Order(action, size), Order(Action.ECHO, 5_000)])
    finish(pair)


def test_hundreds_of_streams_given_up_leak_no_credit() -> None:
    """Flow control credit of dropped data comes back, or the small connection window would run dry."""
    config = QuicConfig(
        stream_window=20_000, connection_window=30_000, connection_window_max=30_000, max_streams_bidi=5
    )
    orders = [Order(action, 15_000, n) for n in range(75) for action in GIVING_UP]
    pair = Pair(11, Link(delay=2 * MS, loss=0.02), orders=orders, client_config=config, server_config=config)
    finish(pair, limit=600)
    assert len(pair.client.finished) == 300


def test_resets_free_the_memory_of_what_was_buffered() -> None:
    pair = Pair(12, orders=[Order(Action.CLIENT_STOPS, MEGABYTE // 8, n) for n in range(40)])
    pair.transfer()
    for application in (pair.client, pair.server):
        pair.run(lambda application=application: not application.connection._core.streams.by_id)  # type: ignore[misc]
    pair.close()
