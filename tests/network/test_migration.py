"""Clients that move on purpose: probe, validate, switch, retire; and stay where they are when that fails."""

from __future__ import annotations

import pytest

from specter._backend import batch as batches
from specter._entropy import SeededEntropy
from specter.quic.cids import encode_stateless_reset
from specter.quic.config import QuicConfig
from specter.quic.errors import CannotMigrate
from specter.quic.events import AddressPreferred, CloseKind, PathAbandoned, PathChanged
from specter.testing.engine import Address
from specter.testing.network import Link, Transit
from specter.testing.pair import CLIENT, Pair
from specter.testing.transfers import Action, Application, Order

MS = 1_000_000
MEGABYTE = 1 << 20
LINE = Link(delay=15 * MS, bandwidth=10_000_000, queue=60_000)
QUICK = Link(delay=15 * MS)


def changes(end: Application) -> list[Address]:
    return [event.address for event in end.log if isinstance(event, PathChanged)]


def abandoned(end: Application) -> list[Address]:
    return [event.address for event in end.log if isinstance(event, PathAbandoned)]


def settled(pair: Pair) -> None:
    """Let the handshake and the first exchange of connection ids pass."""
    pair.run(lambda: pair.client.connection.confirmed)
    pair.advance(0.1)


class Wire:
    """Who sent what from where with which connection id."""

    def __init__(self, pair: Pair) -> None:
        self.ids: dict[tuple[Address, Address], set[bytes]] = {}
        self.sizes: dict[tuple[Address, Address], list[int]] = {}
        pair.network.taps.append(self._note)

    def _note(self, transit: Transit) -> None:
        way = transit.source, transit.destination
        self.ids.setdefault(way, set()).add(transit.data[1:9])
        self.sizes.setdefault(way, []).append(len(transit.data))


@pytest.mark.parametrize("host", [False, True], ids=["port", "address"])
@pytest.mark.parametrize("action", [Action.DOWNLOAD, Action.UPLOAD, Action.ECHO])
def test_a_transfer_goes_on_over_the_new_path(action: Action, host: bool) -> None:
    pair = Pair(1, QUICK, orders=[Order(action, 2 * MEGABYTE)])
    pair.run(lambda: pair.client.connection.stats.bytes_received + pair.client.connection.stats.bytes_sent > 300_000)
    new = pair.migrate(host=host)
    pair.transfer()
    assert changes(pair.client) == changes(pair.server) == [new]
    pair.advance(2.0)
    assert abandoned(pair.client) == [pair.network.server]
    for end in (pair.client, pair.server):
        core = end.connection._core
        assert core.path.validated
        assert core.paths.others == {}
        assert core.stats.packets_lost == 0


def test_no_connection_id_is_seen_on_both_paths() -> None:
    pair = Pair(2, QUICK, orders=[Order(Action.ECHO, MEGABYTE)])
    settled(pair)
    wire = Wire(pair)
    pair.advance(0.1)
    new = pair.migrate(host=True)
    pair.transfer()
    pair.advance(2.0)
    server = pair.network.server
    assert wire.ids[CLIENT, server].isdisjoint(wire.ids[new, server])
    assert wire.ids[server, CLIENT].isdisjoint(wire.ids[server, new])
    assert wire.sizes[new, server][0] == 1200, "the challenge is padded"
    for end in (pair.client, pair.server):
        core = end.connection._core
        assert len(core.local_cids._ids) == core.config.active_connection_id_limit
        assert 0 not in core.remote_cids._active, "the id of the old path is retired"


def test_moving_again_and_again() -> None:
    pair = Pair(3, QUICK, orders=[Order(Action.ECHO, 4 * MEGABYTE)])
    settled(pair)
    news = []
    for _ in range(8):
        pair.advance(0.5)
        news.append(pair.migrate(host=True))
        pair.client.order(Order(Action.ECHO, 50_000))
        pair.flush(pair.client_host)
    pair.transfer()
    assert changes(pair.client) == changes(pair.server) == news


def test_the_window_of_the_old_path_says_nothing_about_the_new() -> None:
    pair = Pair(4, QUICK, orders=[Order(Action.UPLOAD, MEGABYTE)])
    pair.transfer()
    stats = pair.client.connection.stats
    assert stats.congestion_window > 100_000
    pair.migrate(host=True)
    pair.run(lambda: bool(changes(pair.client)))
    assert pair.client.connection.stats.congestion_window <= 14_720
    assert stats.datagram_size == 1200
    assert 29 * MS < pair.client.connection.stats.smoothed_rtt < 40 * MS, "the delay of the validation"
    pair.client.order(Order(Action.UPLOAD, MEGABYTE))
    pair.flush(pair.client_host)
    pair.transfer()
    assert stats.datagram_size == 1472
    assert pair.client.connection._core.ecn.state.value == "capable"


@pytest.mark.parametrize("loss", [0.1, 0.3])
def test_a_path_that_loses_much_is_found_good_in_the_end(loss: float) -> None:
    pair = Pair(5, QUICK, orders=[Order(Action.ECHO, 200_000)])
    settled(pair)
    pair.network.set_links(Link(delay=15 * MS, loss=loss), Link(delay=15 * MS, loss=loss))
    new = pair.migrate(host=True)
    pair.transfer(limit=120)
    assert changes(pair.client) == [new]


# -- failure ------------------------------------------------------------------------------------------------


def test_a_path_that_does_not_work_is_given_up_and_the_old_one_never_left() -> None:
    pair = Pair(6, LINE, orders=[Order(Action.DOWNLOAD, 5 * MEGABYTE)])
    settled(pair)
    home = pair.client_host.address
    pair.network.filters.append(lambda transit: not transit.to_server or transit.source == home)
    began = pair.now
    new = pair.migrate(host=True)
    pair.run(lambda: bool(abandoned(pair.client)))
    assert 1_000 * MS < pair.now - began < 5_000 * MS
    pair.transfer()
    assert (changes(pair.client), abandoned(pair.client), changes(pair.server)) == ([], [new], [])


def test_a_path_too_small_for_quic_is_no_path() -> None:
    pair = Pair(7, QUICK, orders=[Order(Action.ECHO, 100_000)])
    settled(pair)
    home = pair.client_host.address
    pair.network.filters.append(
        lambda transit: home in (transit.source, transit.destination) or len(transit.data) < 1200
    )
    new = pair.migrate(host=True)
    pair.transfer()
    pair.run(lambda: abandoned(pair.client) == [new])
    assert changes(pair.client) == []


def test_after_a_failure_another_try_may_work() -> None:
    pair = Pair(8, QUICK)
    settled(pair)
    bad: list[Address] = []
    home = pair.client_host.address
    broken = True
    pair.network.filters.append(lambda transit: not broken or home in (transit.source, transit.destination))
    for _ in range(6):
        bad.append(pair.migrate(host=True))
        pair.run(lambda: abandoned(pair.client) == bad)
        pair.advance(0.2)
    broken = False
    good = pair.migrate(host=True)
    pair.run(lambda: changes(pair.client) == [good])
    pair.client.order(Order(Action.ECHO, 100_000))
    pair.flush(pair.client_host)
    pair.transfer()
    assert changes(pair.server) == [good]


def test_an_attempt_can_be_called_off() -> None:
    pair = Pair(9, QUICK)
    settled(pair)
    new = pair.migrate()
    pair.client.connection.paths.abandon(new)
    pair.client.connection.paths.abandon(("nobody", 1))
    pair.client.work()
    assert abandoned(pair.client) == [new]
    pair.advance(1.0)
    assert changes(pair.client) == []
    assert pair.client.connection._core.paths.others == {}


# -- who may not --------------------------------------------------------------------------------------------


def test_the_server_may_forbid_it() -> None:
    pair = Pair(10, QUICK, server_config=QuicConfig(disable_active_migration=True))
    settled(pair)
    with pytest.raises(CannotMigrate, match="does not want"):
        pair.migrate()


def test_not_before_the_handshake_is_confirmed_and_not_after_the_end() -> None:
    pair = Pair(11, QUICK)
    with pytest.raises(CannotMigrate, match="confirmed"):
        pair.migrate()
    settled(pair)
    with pytest.raises(CannotMigrate, match="only a client"):
        pair.server.connection.paths.migrate(("elsewhere", 1), pair.now)
    pair.client.connection.close()
    with pytest.raises(CannotMigrate, match="confirmed"):
        pair.migrate()


def test_without_connection_ids_to_spare_there_is_no_other_path() -> None:
    pair = Pair(12, QUICK, client_config=QuicConfig(active_connection_id_limit=2))
    settled(pair)
    pair.migrate()
    with pytest.raises(CannotMigrate, match="no connection id"):
        pair.migrate()


def test_the_same_path_twice_is_one_too_many() -> None:
    pair = Pair(13, QUICK)
    settled(pair)
    new = pair.migrate()
    for address in (new, pair.client.connection.address):
        with pytest.raises(CannotMigrate, match="already"):
            pair.client.connection.paths.migrate(address, pair.now)


# -- the preferred address ----------------------------------------------------------------------------------

PREFERRED = ("preferred", 443)


def with_preferred(seed: int, **config: bool) -> Pair:
    server = QuicConfig(preferred_ipv4=("192.0.2.80", 443), **config)  # type: ignore[arg-type]
    pair = Pair(seed, QUICK, orders=[Order(Action.ECHO, 300_000)], server_config=server)
    pair.network.server_aliases.append(PREFERRED)
    return pair


@pytest.mark.parametrize("forbidden", [False, True])
def test_a_preferred_address_is_moved_to_with_the_id_that_came_with_it(forbidden: bool) -> None:
    """RFC 9000, section 9.6; section 18.2: disable_active_migration does not speak of this move."""
    pair = with_preferred(14, disable_active_migration=forbidden)
    pair.run(lambda: pair.client.connection.confirmed)
    assert AddressPreferred((("192.0.2.80", 443),)) in pair.client.log
    peer = pair.client.connection._core.peer_parameters
    assert peer is not None
    assert peer.preferred_address is not None
    wire = Wire(pair)
    new = pair.migrate(remote=PREFERRED)
    pair.transfer()
    assert changes(pair.client) == [new]
    assert wire.ids[new, PREFERRED] == {peer.preferred_address.connection_id}
    assert (PREFERRED, new) in wire.sizes


def test_a_preferred_address_that_does_not_answer_is_none() -> None:
    pair = with_preferred(15)
    pair.run(lambda: pair.client.connection.confirmed)
    pair.network.filters.append(lambda transit: transit.destination != PREFERRED)
    new = pair.migrate(remote=PREFERRED)
    pair.transfer()
    pair.run(lambda: abandoned(pair.client) == [new])
    assert changes(pair.client) == []
    assert pair.client.closed is None


# -- stateless reset ----------------------------------------------------------------------------------------


def forget(pair: Pair) -> None:
    """The server restarts: it knows no connection, only its reset key."""
    pair.endpoint = pair.new_endpoint("after the restart")
    pair.server_host.engine = pair.endpoint


def ended(pair: Pair) -> CloseKind:
    pair.run(lambda: pair.client.closed is not None)
    closed = pair.client.closed
    assert closed is not None
    return closed.kind


def test_a_reset_on_the_path_that_is_probed_ends_the_connection() -> None:
    pair = Pair(16, QUICK)
    settled(pair)
    forget(pair)
    began = pair.now
    pair.migrate(host=True)
    assert ended(pair) is CloseKind.RESET
    assert pair.now - began < 100 * MS


def test_a_reset_after_the_move_ends_the_connection() -> None:
    pair = Pair(17, QUICK)
    settled(pair)
    new = pair.migrate(host=True)
    pair.run(lambda: changes(pair.client) == [new])
    pair.advance(1.0)
    forget(pair)
    pair.client.order(Order(Action.DOWNLOAD, 1000))
    pair.flush(pair.client_host)
    assert ended(pair) is CloseKind.RESET


@pytest.mark.security
def test_tokens_of_retired_ids_and_of_ids_not_used_yet_reset_nothing() -> None:
    """RFC 9000, section 10.3.1: only those of ids in use count, and only from where the server is spoken to."""
    pair = Pair(18, QUICK)
    settled(pair)
    remote = pair.client.connection._core.remote_cids
    retired = [known.reset_token for known in remote._active.values() if known.used]
    new = pair.migrate(host=True)
    pair.run(lambda: changes(pair.client) == [new])
    pair.advance(1.0)
    unused = [known.reset_token for known in remote._active.values() if not known.used]
    assert retired
    assert unused
    for token in retired + unused:
        assert token is not None
        inject_reset(pair, pair.network.server, new, token)
    inject_reset(pair, ("somebody else", 443), CLIENT, remote.reset_tokens[0])
    pair.advance(0.1)
    assert pair.client.closed is None
    inject_reset(pair, pair.network.server, new, remote.reset_tokens[0])
    assert ended(pair) is CloseKind.RESET


def inject_reset(pair: Pair, source: Address, destination: Address, token: bytes) -> None:
    reset = encode_stateless_reset(token, 100, SeededEntropy("reset"))
    assert reset is not None
    pair.network.inject(Transit(source, destination, reset, 0, pair.now, False, 0), pair.now)


def test_two_servers_without_a_memory_do_not_reset_each_other_for_ever() -> None:
    """RFC 9000, section 10.3.3: every answer is smaller than what it answers."""
    ends = [Pair(seed, QUICK).new_endpoint() for seed in (19, 20)]
    datagram, sizes = b"\x41" + bytes(1199), []
    for turn in range(100):
        burst = batches.ReceiveBatch()
        burst.append(datagram, ("the other", turn))
        ends[turn % 2].receive(burst, turn)
        answers = [bytes(data) for data, _, _ in ends[turn % 2].send(turn)]
        if not answers:
            break
        (datagram,) = answers
        sizes.append(len(datagram))
    assert 1 < len(sizes) < 50
    assert sizes == sorted(set(sizes), reverse=True)
