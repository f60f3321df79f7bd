"""ECN over networks that mark, clear, change and drop what is marked."""

from __future__ import annotations

import pytest

from specter.quic.config import QuicConfig
from specter.quic.ecn import EcnState
from specter.testing.network import Link, Transit
from specter.testing.pair import Pair
from specter.testing.transfers import Action, Order

MS = 1_000_000
MEGABYTE = 1 << 20
CLEAN = Link(delay=10 * MS)


def transfer(seed: int, up: Link, *, size: int = MEGABYTE, config: QuicConfig | None = None) -> tuple[Pair, list[int]]:
    """Send ``size`` bytes up; return the pair and the marks that left the client, in order."""
    marks: list[int] = []

    def note(transit: Transit) -> None:
        if transit.to_server:
            marks.append(transit.ecn)

    pair = Pair(seed, up, CLEAN, orders=[Order(Action.UPLOAD, size)], client_config=config)
    pair.network.taps.append(note)
    pair.transfer()
    return pair, marks


def state(pair: Pair) -> EcnState:
    return pair.client.connection._core.ecn.state


def test_a_path_that_keeps_marks_is_capable() -> None:
    pair, marks = transfer(1, CLEAN)
    assert state(pair) is EcnState.CAPABLE
    assert state_of_server(pair) is EcnState.CAPABLE
    assert marks.count(2) > 0.9 * len(marks)
    assert pair.client.connection._core.recovery.stats.congestion_events == 0


def state_of_server(pair: Pair) -> EcnState:
    return pair.server.connection._core.ecn.state


@pytest.mark.parametrize("link", [Link(delay=10 * MS, ecn_bleach=True), Link(delay=10 * MS, ecn_mangle=True)])
def test_a_path_that_clears_or_changes_marks_gets_none_any_more(link: Link) -> None:
    pair, marks = transfer(2, link)
    assert state(pair) is EcnState.FAILED
    assert sum(map(bool, marks)) < 40
    assert not any(marks[-100:])
    assert pair.client.connection.stats.packets_lost == 0


def test_a_path_that_drops_marks_costs_one_window() -> None:
    pair, marks = transfer(3, Link(delay=10 * MS, ecn_drop=True))
    assert state(pair) is EcnState.FAILED
    assert not any(marks[-100:])
    recovery = pair.client.connection._core.recovery.stats
    assert (recovery.probe_timeouts, recovery.congestion_events) == (1, 1)
    assert pair.client.connection.stats.packets_lost < 20
    assert pair.network.up.lost <= 20


def test_a_path_that_begins_to_drop_marks_is_noticed() -> None:
    pair = Pair(4, CLEAN, orders=[Order(Action.UPLOAD, 4 * MEGABYTE)])
    pair.run(lambda: pair.client.connection.stats.bytes_sent > MEGABYTE)
    assert state(pair) is EcnState.CAPABLE
    pair.network.set_links(to_server=Link(delay=10 * MS, ecn_drop=True))
    pair.transfer()
    assert state(pair) is EcnState.FAILED


def test_a_line_that_is_cut_for_two_seconds_is_marked_again_afterwards() -> None:
    pair = Pair(5, CLEAN, orders=[Order(Action.UPLOAD, 4 * MEGABYTE)])
    pair.run(lambda: pair.client.connection.stats.bytes_sent > MEGABYTE)
    pair.network.set_links(to_server=Link(delay=10 * MS, loss=1.0))
    pair.advance(2.0)
    pair.network.set_links(to_server=CLEAN)
    pair.transfer()
    assert state(pair) is EcnState.CAPABLE


def test_marks_slow_the_sender_down_without_a_loss() -> None:
    pair, _ = transfer(6, Link(delay=10 * MS, ecn_ce=0.02))
    clean, _ = transfer(6, CLEAN)
    recovery = pair.client.connection._core.recovery
    assert state(pair) is EcnState.CAPABLE
    assert pair.network.up.marked == recovery.stats.ecn_ce > 5
    assert 0 < recovery.stats.congestion_events <= pair.network.up.marked
    assert pair.client.connection.stats.packets_lost == 0
    assert recovery.window < clean.client.connection._core.recovery.window


def test_a_bottleneck_that_marks_keeps_its_rate() -> None:
    """Marks in place of losses: nearly the whole line, and nothing sent twice."""
    link = Link(delay=10 * MS, bandwidth=10_000_000, ecn_ce=0.002)
    pair = Pair(7, link, CLEAN, orders=[Order(Action.UPLOAD, 2 * MEGABYTE)])
    began = pair.now
    pair.transfer()
    seconds = (pair.now - began) / 1e9
    assert 2 * MEGABYTE * 8 / seconds > 7_500_000
    assert pair.client.connection.stats.packets_lost == 0


def test_nothing_is_marked_when_it_is_turned_off() -> None:
    _, marks = transfer(8, CLEAN, config=QuicConfig(ecn=False))
    assert not any(marks)
