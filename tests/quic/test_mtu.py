"""The search for the path's MTU, alone and in a connection that speaks to a scripted peer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specter._frame_types import Ack, Frame, Padding, Ping
from specter._wire import NEVER
from specter.quic.config import MAXIMUM_DATAGRAM, MILLISECOND, MINIMUM_DATAGRAM, QuicConfig
from specter.quic.connection import Connection
from specter.quic.mtu import GRAIN, MAX_PROBES, QUIET, RAISE_INTERVAL, SUSPICIONS, MtuDiscovery
from tests.quic.scripted import Scripted, connected
from tests.quic.support import Pair

LARGE = MINIMUM_DATAGRAM + 1


def search(mtu: MtuDiscovery, carried: int, now: int = 0) -> list[int]:
    """Answer probes as a path does that carries ``carried`` bytes; return the sizes that were tried."""
    tried = []
    while size := mtu.next_size(now):
        mtu.sent()
        assert mtu.next_size(now) == 0
        tried.append(size)
        if size <= carried:
            mtu.acked(size, now)
        else:
            mtu.lost(size, now)
    return tried


def started(size: int = 1200, ceiling: int = 1472) -> MtuDiscovery:
    mtu = MtuDiscovery(size, ceiling)
    assert mtu.next_size(1 << 60) == 0
    mtu.start()
    return mtu


# -- the search ---------------------------------------------------------------------------------------------


def test_the_first_probe_is_as_large_as_both_ends_allow() -> None:
    mtu = started()
    assert search(mtu, 1472) == [1472]
    assert (mtu.size, mtu.searching) == (1472, False)


@given(carried=st.integers(1200, 1600), ceiling=st.integers(1200, 1472))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_the_search_finds_what_the_path_carries(carried: int, ceiling: int) -> None:
    mtu = started(ceiling=ceiling)
    tried = search(mtu, carried)
    found = min(carried, ceiling)
    assert found - GRAIN <= mtu.size <= found
    assert len(tried) <= MAX_PROBES * 7
    assert all(tried.count(size) == (1 if size <= carried else MAX_PROBES) for size in tried)


def test_a_size_is_given_up_after_three_losses_and_not_before() -> None:
    mtu = started()
    for _ in range(MAX_PROBES - 1):
        assert mtu.next_size(0) == 1472
        mtu.sent()
        mtu.lost(1472, 0)
    mtu.sent()
    mtu.acked(1472, 0)
    assert mtu.size == 1472


def test_no_discovery_when_there_is_nothing_to_gain() -> None:
    for mtu in (started(1452, 1452), started(1452, 1200), started(1200, 1200 + GRAIN)):
        assert mtu.probe_at == NEVER
        assert mtu.next_size(RAISE_INTERVAL) == 0


def test_larger_sizes_are_tried_again_after_ten_minutes() -> None:
    mtu = started()
    search(mtu, 1300, now=7)
    assert mtu.probe_at == 7 + RAISE_INTERVAL
    assert mtu.next_size(6 + RAISE_INTERVAL) == 0
    assert search(mtu, 1472, now=7 + RAISE_INTERVAL) == [1472]
    later = 7 + 2 * RAISE_INTERVAL
    assert mtu.next_size(later) == 0
    assert mtu.probe_at == later + RAISE_INTERVAL


# -- limits -------------------------------------------------------------------------------------------------


def test_a_limit_lowers_ceiling_and_size_but_never_below_the_minimum() -> None:
    mtu = started()
    search(mtu, 1472)
    mtu.limit(1400, 0)
    assert (mtu.size, mtu.ceiling) == (1400, 1400)
    mtu.limit(1450, 0)
    assert mtu.ceiling == 1400
    mtu.limit(68, 0)
    assert (mtu.size, mtu.ceiling) == (MINIMUM_DATAGRAM, MINIMUM_DATAGRAM)
    assert mtu.next_size(0) == 0


def test_a_limit_in_the_search_becomes_the_next_size_to_try() -> None:
    mtu = started()
    mtu.sent()
    mtu.limit(1444, 0)
    assert mtu.next_size(0) == 0, "the probe under way has to end first"
    mtu.lost(1472, 0)
    assert mtu.next_size(0) <= 1444


def test_an_answer_above_the_limit_counts_for_nothing() -> None:
    mtu = started()
    mtu.sent()
    mtu.limit(1300, 0)
    mtu.acked(1472, 0)
    assert mtu.size == 1200


# -- black holes --------------------------------------------------------------------------------------------


def black_hole(mtu: MtuDiscovery, start: int, size: int = 1472) -> bool:
    verdicts = [mtu.packets_lost(size, start + n, start + n) for n in range(SUSPICIONS)]
    return verdicts[-1]


def test_large_packets_that_all_vanish_mean_the_minimum_and_a_new_search() -> None:
    mtu = started()
    search(mtu, 1472)
    assert black_hole(mtu, 1)
    assert mtu.size == MINIMUM_DATAGRAM
    tried = search(mtu, 1400, now=10)
    assert max(tried) < 1472
    assert 1400 - GRAIN <= mtu.size <= 1400


def test_a_large_packet_that_arrives_clears_the_suspicion() -> None:
    mtu = started()
    search(mtu, 1472)
    for start in range(1, 1000, 10):
        assert not mtu.packets_lost(LARGE, start, start)
        assert not mtu.packets_lost(LARGE, start + 1, start)
        mtu.large_acked(start + 2)
    assert mtu.size == 1472


def test_a_loss_older_than_a_large_packet_that_arrived_is_congestion() -> None:
    mtu = started()
    search(mtu, 1472)
    mtu.large_acked(100)
    assert not any(mtu.packets_lost(1472, 100, 200) for _ in range(10))


def test_small_packets_lost_say_nothing_about_the_size() -> None:
    mtu = started()
    search(mtu, 1472)
    assert not any(mtu.packets_lost(MINIMUM_DATAGRAM, n, n) for n in range(1, 50))


# -- in a connection ----------------------------------------------------------------------------------------


def probes(peer: Scripted, answer: list[bytes]) -> list[int]:
    return [len(data) for data in answer if is_probe(peer.open(data))]


def is_probe(frames: list[Frame]) -> bool:
    return [type(frame) for frame in frames] == [Ping, Padding]


def bulk(peer: Scripted, size: int = 100_000) -> list[bytes]:
    """Let the target have more to send than its window lets out; return what leaves."""
    stream = peer.target.open_stream()
    peer.target.write(stream, bytes(size))
    answer = peer.flush()
    while peer.target._core.recovery.allowance(peer.pair.now) or not answer:
        peer.pair.now += MILLISECOND
        answer += peer.flush()
    return answer


def acknowledge(peer: Scripted) -> list[bytes]:
    largest = peer.target._core.app.sent.next_pn - 1
    return peer.say(Ack(((largest, largest),), 0))


def peer_of(config: QuicConfig | None = None) -> Scripted:
    calm = config or QuicConfig(skip_packet_numbers=False)
    return connected(Pair(client_config=calm))


def test_a_probe_is_ping_and_padding_and_weighs_nothing() -> None:
    peer = peer_of()
    answer = bulk(peer)
    assert probes(peer, answer) == [1472]
    core = peer.target._core
    data = [len(sent) for sent in answer if not is_probe(peer.open(sent))]
    assert core.recovery.bytes_in_flight == sum(data) <= core.recovery.window
    assert max(data) == 1200


def test_an_acknowledged_probe_makes_the_datagrams_grow_with_everything_that_counts_in_them() -> None:
    peer = peer_of()
    bulk(peer)
    answer = acknowledge(peer)
    core = peer.target._core
    assert peer.target.stats.datagram_size == core.recovery.max_datagram == 1472
    assert core.recovery.controller.datagram_size == core.recovery.pacer.datagram_size == 1472
    for _ in range(10):
        peer.pair.now += MILLISECOND
        answer += peer.flush()
    assert max(map(len, answer)) == 1472


def test_a_lost_probe_is_no_congestion_and_no_lost_data() -> None:
    peer = peer_of()
    core = peer.target._core
    before = core.recovery.window
    answer = bulk(peer)
    probe = core.app.sent.next_pn - 1
    assert is_probe(peer.open(answer[-1]))
    peer.say(Ack(((0, probe - 1),), 0))
    while core.app.sent.next_pn < probe + 5:
        peer.pair.now += MILLISECOND
        peer.flush()
    again = peer.say(Ack(((probe + 1, core.app.sent.next_pn - 1), (0, probe - 1)), 0))
    assert probes(peer, again) == [1472]
    assert core.recovery.stats.congestion_events == core.recovery.stats.persistent_congestions == 0
    assert core.recovery.window > before
    assert peer.target.stats.packets_lost == 0


@pytest.mark.parametrize("configured", [1200, 1300, 1452])
def test_the_ceiling_is_configuration_interface_and_peer_whichever_is_lowest(configured: int) -> None:
    for interface, theirs in ((9000, 1472), (1290, 1472), (9000, 1250)):
        config = QuicConfig(max_datagram_size=configured, skip_packet_numbers=False)
        pair = Pair(client_config=config, server_config=QuicConfig(max_udp_payload=theirs))
        pair.client.limit_datagrams(interface)
        peer = connected(pair)
        expected = min(configured, interface, theirs)
        assert probes(peer, bulk(peer)) == ([expected] if expected > 1200 else [])


@pytest.mark.security
def test_too_big_never_shrinks_a_connection_below_the_minimum() -> None:
    """quic-go CVE-2024-53259: a forged ICMP "packet too big" must not kill an established connection."""
    peer = peer_of()
    bulk(peer)
    acknowledge(peer)
    for size in (1472, 1471, 576, 68, 1, 0, -5):
        peer.target.limit_datagrams(size)
    assert peer.target.stats.datagram_size == MINIMUM_DATAGRAM
    peer.pair.now += 50 * MILLISECOND
    answer = acknowledge(peer) + peer.flush()
    assert max(map(len, answer)) == MINIMUM_DATAGRAM


def test_no_probe_before_the_handshake_is_confirmed() -> None:
    sizes: list[int] = []
    pair = Pair(filter=lambda from_client, data: sizes.append(len(data)) or data)
    server_data: list[int] = []

    def push() -> bool:
        server = pair.server
        if server is not None and server.handshake_complete and not server_data:
            server_data.append(server.open_stream(True))
            server.write(server_data[0], bytes(200_000))
        return pair.client.confirmed

    pair.run(push)
    assert pair.client.stats.datagram_size == MINIMUM_DATAGRAM


def test_configurations_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="max_datagram_size"):
        QuicConfig(max_datagram_size=MAXIMUM_DATAGRAM + 1)


# -- off the interactive path -------------------------------------------------------------------------------


def test_a_probe_waits_until_interactive_traffic_is_silent() -> None:
    peer = peer_of()
    peer.target.mark_interactive()
    stream = peer.target.open_stream()
    peer.target.write(stream, bytes(100_000))
    peer.target._core.recovery.controller.window = 0
    began = peer.pair.now
    assert probes(peer, peer.flush()) == []
    assert peer.target.next_deadline() == began + QUIET
    peer.pair.now = began + QUIET
    peer.target.handle_deadline(peer.pair.now)
    assert probes(peer, peer.flush()) == [1472]


def test_interactive_traffic_meanwhile_puts_the_probe_off_again() -> None:
    peer = peer_of()
    target, now = peer.target, peer.pair.now
    target.mark_interactive()
    target.write(target.open_stream(), bytes(100_000))
    target._core.recovery.controller.window = 0
    peer.flush()
    for _ in range(20):
        target.mark_interactive()
        now = peer.pair.now = target.next_deadline()
        target.handle_deadline(now)
        assert probes(peer, peer.flush()) == []
        assert target.next_deadline() == now + QUIET


def test_an_idle_connection_does_not_wake_up_to_probe() -> None:
    pair = Pair()
    pair.handshake()
    pair.settle(500 * MILLISECOND)
    for end in (pair.client, pair.server):
        assert isinstance(end, Connection)
        assert end._core.mtu.searching
        assert end.next_deadline() == end.idle_deadline
