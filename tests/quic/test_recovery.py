"""Loss detection, probe timeouts and their congestion response: RFC 9002, sections 6 and 7, with exact numbers."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specter._reference.sent import Lost, SentPackets
from specter._wire import NEVER
from specter.quic.config import QuicConfig
from specter.quic.recovery import APPLICATION, HANDSHAKE, INITIAL, PTO_MAX, Recovery, Timeout

MS = 1_000_000
SECOND = 1_000_000_000
MSS = 1200
FIRST_PTO = 999 * MS


class Endpoint:
    """A recovery with its three tables, and short words for what happens to them."""

    def __init__(self, *, is_client: bool = True, confirmed: bool = False, congestion: str = "newreno") -> None:
        self.tables = (SentPackets(), SentPackets(), SentPackets())
        self.recovery = Recovery(QuicConfig(congestion=congestion), self.tables, is_client=is_client)
        self.recovery.handshake_confirmed = confirmed

    def send(self, space: int, now: int, size: int = MSS, *, eliciting: bool = True, in_flight: bool = True) -> int:
        number = self.tables[space].next_pn
        self.tables[space].record(number, now, size, eliciting, in_flight)
        self.recovery.on_sent(space, now, size, eliciting, in_flight)
        return number

    def ack(self, space: int, now: int, *numbers: int, delay: int = 0) -> Lost:
        ranges = [(number, number) for number in sorted(numbers, reverse=True)]
        return self.recovery.on_acked(space, self.tables[space].acknowledge(ranges, now), delay, now)

    def sample(self, rtt: int, space: int = APPLICATION, at: int = 0) -> None:
        """Send one packet at ``at`` and have it acknowledged ``rtt`` later."""
        self.ack(space, at + rtt, self.send(space, at))

    def fill(self, now: int) -> list[int]:
        """Send full datagrams until the window is full, whatever the pacer says."""
        numbers = []
        while self.recovery.bytes_in_flight + MSS <= self.recovery.window:
            numbers.append(self.send(APPLICATION, now))
        return numbers


def confirmed(rtt: int = 40 * MS, **options: str) -> Endpoint:
    """Return a client past its handshake, with one RTT sample that ended at ``rtt``."""
    end = Endpoint(confirmed=True, **options)  # type: ignore[arg-type]
    end.sample(rtt)
    return end


# RTT samples (5.1)


def test_sample_needs_the_largest_newly_acknowledged() -> None:
    end = Endpoint(confirmed=True)
    numbers = [end.send(APPLICATION, at * MS) for at in range(3)]
    end.ack(APPLICATION, 50 * MS, numbers[2])
    assert end.recovery.rtt.latest == 48 * MS
    end.ack(APPLICATION, 90 * MS, numbers[2], numbers[1])
    assert end.recovery.rtt.latest == 48 * MS


def test_sample_needs_an_ack_eliciting_packet() -> None:
    end = Endpoint(confirmed=True)
    end.ack(APPLICATION, 50 * MS, end.send(APPLICATION, 0, eliciting=False))
    assert not end.recovery.rtt.has_sample
    eliciting, padding = end.send(APPLICATION, 50 * MS), end.send(APPLICATION, 60 * MS, eliciting=False)
    end.ack(APPLICATION, 100 * MS, eliciting, padding)
    assert end.recovery.rtt.latest == 40 * MS


@pytest.mark.parametrize(
    ("space", "is_confirmed", "adjusted"),
    [(INITIAL, False, 100), (HANDSHAKE, False, 60), (APPLICATION, False, 60), (APPLICATION, True, 75)],
)
def test_ack_delay_by_space_and_confirmation(space: int, is_confirmed: bool, adjusted: int) -> None:
    end = Endpoint(confirmed=is_confirmed)
    end.sample(20 * MS, space)
    end.ack(space, 200 * MS, end.send(space, 100 * MS), delay=40 * MS)
    assert end.recovery.rtt.smoothed == (7 * 20 * MS + adjusted * MS) // 8


# Loss by packets and by time (6.1)


def test_packet_threshold_is_three() -> None:
    end = confirmed()
    numbers = [end.send(APPLICATION, SECOND) for _ in range(4)]
    lost = end.ack(APPLICATION, SECOND + 40 * MS, numbers[2])
    assert lost.count == 0
    lost = end.ack(APPLICATION, SECOND + 40 * MS, numbers[3])
    assert (lost.count, lost.size) == (1, MSS)
    assert end.recovery.stats.packets_lost == 1
    assert end.recovery.bytes_in_flight == MSS


def test_time_threshold_arms_a_timer_that_finds_the_loss() -> None:
    end = confirmed(40 * MS)
    end.send(APPLICATION, SECOND)
    end.ack(APPLICATION, SECOND + 42 * MS, end.send(APPLICATION, SECOND + 2 * MS))
    due = SECOND + 45 * MS
    assert end.recovery.deadline() == due
    assert end.recovery.on_deadline(due - 1) == Timeout()
    timeout = end.recovery.on_deadline(due)
    assert timeout.probe is None
    assert [(space, lost.count) for space, lost in timeout.lost] == [(APPLICATION, 1)]
    assert end.recovery.pto_count == 0
    assert end.recovery.deadline() == NEVER


def test_loss_timer_comes_before_the_probe_timer() -> None:
    end = Endpoint()
    end.send(INITIAL, 0)
    end.send(HANDSHAKE, 10 * MS)
    end.ack(HANDSHAKE, 50 * MS, end.send(HANDSHAKE, 10 * MS))
    assert end.recovery.deadline() == 55 * MS
    assert end.recovery.on_deadline(55 * MS).lost[0][0] == HANDSHAKE
    timeout = end.recovery.on_deadline(end.recovery.deadline())
    assert timeout.probe == (INITIAL, 2)


# Probe timeout (6.2)


def test_first_probe_after_three_initial_rtts() -> None:
    end = Endpoint()
    end.send(INITIAL, 5)
    assert end.recovery.deadline() == 5 + FIRST_PTO
    assert end.recovery.on_deadline(5 + FIRST_PTO).probe == (INITIAL, 2)


def test_probe_marks_nothing_lost_and_doubles() -> None:
    end = Endpoint()
    end.send(INITIAL, 0)
    now = 0
    for count in range(3):
        now += FIRST_PTO << count
        assert end.recovery.deadline() == now
        assert end.recovery.on_deadline(now) == Timeout(probe=(INITIAL, 2))
        assert end.recovery.pto_count == count + 1
        end.send(INITIAL, now)
    assert end.recovery.bytes_in_flight == 4 * MSS
    assert end.recovery.window == 10 * MSS
    assert end.recovery.stats.probe_timeouts == 3


def test_application_pto_includes_max_ack_delay_and_restarts_with_each_packet() -> None:
    end = confirmed(40 * MS)
    end.recovery.peer_max_ack_delay = 30 * MS
    end.send(APPLICATION, SECOND)
    end.send(APPLICATION, SECOND + 7 * MS)
    # 40 ms smoothed, 4 * 20 ms variation, 30 ms delay.
    assert end.recovery.deadline() == SECOND + 157 * MS
    end.recovery.on_deadline(SECOND + 157 * MS)
    assert end.recovery.deadline() == SECOND + 7 * MS + 2 * 150 * MS


def test_handshake_pto_has_no_max_ack_delay() -> None:
    end = Endpoint(is_client=False)
    end.sample(40 * MS, INITIAL)
    end.send(HANDSHAKE, SECOND)
    assert end.recovery.deadline() == SECOND + 120 * MS


def test_no_application_pto_before_confirmation() -> None:
    end = Endpoint(is_client=False)
    end.sample(40 * MS, INITIAL)
    end.send(APPLICATION, SECOND)
    assert end.recovery.deadline() == NEVER
    end.send(HANDSHAKE, SECOND + 20 * MS)
    assert end.recovery.deadline() == SECOND + 140 * MS
    end.recovery.handshake_confirmed = True
    end.recovery.discard_space(HANDSHAKE)
    assert end.recovery.deadline() == SECOND + 145 * MS


def test_earlier_of_initial_and_handshake() -> None:
    end = Endpoint()
    end.send(INITIAL, 0)
    end.send(HANDSHAKE, 10)
    assert end.recovery.deadline() == FIRST_PTO
    end.send(INITIAL, 20)
    assert end.recovery.deadline() == 10 + FIRST_PTO
    assert end.recovery.on_deadline(10 + FIRST_PTO).probe == (HANDSHAKE, 2)


def test_backoff_stops_at_a_minute() -> None:
    end = Endpoint()
    now = 0
    for _ in range(100):
        end.send(INITIAL, now)
        assert end.recovery.deadline() - now <= PTO_MAX
        now = end.recovery.deadline()
        end.recovery.on_deadline(now)
    assert end.recovery.pto(APPLICATION) == PTO_MAX


def test_acknowledgment_resets_the_backoff() -> None:
    end = confirmed()
    number = end.send(APPLICATION, SECOND)
    end.recovery.on_deadline(end.recovery.deadline())
    end.ack(APPLICATION, 2 * SECOND, number)
    assert end.recovery.pto_count == 0


def test_initial_acknowledgment_does_not_reset_a_clients_backoff() -> None:
    end = Endpoint()
    first, second = end.send(INITIAL, 0), end.send(HANDSHAKE, 0)
    end.recovery.on_deadline(FIRST_PTO)
    end.ack(INITIAL, SECOND, first)
    assert end.recovery.pto_count == 1
    end.ack(HANDSHAKE, SECOND, second)
    assert end.recovery.pto_count == 0
    assert end.recovery.peer_validated_address


def test_server_resets_its_backoff_with_any_new_acknowledgment() -> None:
    end = Endpoint(is_client=False)
    end.sample(40 * MS, INITIAL)
    number = end.send(INITIAL, 50 * MS)
    end.recovery.on_deadline(end.recovery.deadline())
    end.ack(INITIAL, SECOND, 0)
    assert end.recovery.pto_count == 1
    end.ack(INITIAL, SECOND, 0, number)
    assert end.recovery.pto_count == 0


@pytest.mark.parametrize("space", [INITIAL, HANDSHAKE])
def test_client_breaks_the_amplification_deadlock(space: int) -> None:
    end = Endpoint()
    end.sample(40 * MS, INITIAL)
    end.recovery.has_handshake_keys = space == HANDSHAKE
    assert end.recovery.bytes_in_flight == 0
    assert end.recovery.deadline() == 40 * MS + 120 * MS
    assert end.recovery.on_deadline(160 * MS).probe == (space, 1)
    assert end.recovery.deadline() == 160 * MS + 240 * MS


def test_client_with_only_early_data_in_flight_still_breaks_the_deadlock() -> None:
    end = Endpoint()
    end.send(APPLICATION, 0)
    end.sample(40 * MS, INITIAL)
    assert end.recovery.deadline() == 160 * MS
    assert end.recovery.on_deadline(160 * MS).probe == (INITIAL, 1)


def test_nothing_is_overdue_before_the_first_packet() -> None:
    end = Endpoint()
    assert end.recovery.deadline() == NEVER
    assert end.recovery.on_deadline(1000 * SECOND) == Timeout()
    assert end.recovery.pto_count == 0


def test_no_timer_once_the_server_has_validated_the_address() -> None:
    end = Endpoint()
    end.sample(40 * MS, HANDSHAKE)
    assert end.recovery.deadline() == NEVER
    assert end.recovery.on_deadline(100 * SECOND) == Timeout()
    fresh = Endpoint(confirmed=True)
    assert fresh.recovery.deadline() == NEVER


def test_server_at_the_amplification_limit_has_no_probe_timer() -> None:
    end = Endpoint(is_client=False)
    end.send(INITIAL, 0)
    end.recovery.amplification_limited = True
    assert end.recovery.deadline() == NEVER
    end.recovery.amplification_limited = False
    assert end.recovery.deadline() == FIRST_PTO
    assert end.recovery.on_deadline(3 * SECOND).probe == (INITIAL, 2)


# Spaces and restarts (6.3, 6.4)


def test_discarding_a_space_frees_the_window_and_resets_the_backoff() -> None:
    end = Endpoint()
    end.send(INITIAL, 0)
    end.recovery.on_deadline(FIRST_PTO)
    end.send(HANDSHAKE, FIRST_PTO, 500)
    end.recovery.discard_space(INITIAL)
    assert end.recovery.bytes_in_flight == 500
    assert end.recovery.pto_count == 0
    assert end.recovery.deadline() == 2 * FIRST_PTO
    end.recovery.discard_space(INITIAL)
    assert end.recovery.bytes_in_flight == 500


def test_retry_starts_over() -> None:
    end = Endpoint()
    end.sample(40 * MS, INITIAL)
    end.send(INITIAL, 50 * MS)
    end.recovery.on_deadline(end.recovery.deadline())
    end.recovery.controller.on_lost(50 * MS, 60 * MS)
    end.recovery.reset_for_retry()
    recovery = end.recovery
    assert (recovery.bytes_in_flight, recovery.window, recovery.pto_count) == (0, 10 * MSS, 0)
    assert not recovery.rtt.has_sample
    end.send(INITIAL, SECOND)
    assert recovery.deadline() == SECOND + FIRST_PTO


# Congestion response (7.3, 7.5, 7.8)


def test_loss_reduces_once_and_lets_one_packet_out() -> None:
    end = confirmed()
    numbers = end.fill(SECOND)
    assert end.recovery.allowance(SECOND) == 0
    end.ack(APPLICATION, SECOND + 40 * MS, numbers[3])
    window = 5 * MSS
    assert end.recovery.window == window
    assert end.recovery.stats.congestion_events == 1
    assert end.recovery.bytes_in_flight > window
    assert end.recovery.allowance(SECOND + 40 * MS) == MSS
    end.send(APPLICATION, SECOND + 40 * MS)
    assert end.recovery.allowance(SECOND + 40 * MS) == 0
    end.ack(APPLICATION, SECOND + 41 * MS, numbers[7])
    assert end.recovery.window == window
    assert end.recovery.stats.packets_lost == 4


def test_loss_of_a_packet_not_in_flight_moves_no_window() -> None:
    end = confirmed()
    end.send(APPLICATION, SECOND, 1452, in_flight=False)
    lost = end.ack(APPLICATION, SECOND + 40 * MS, *[end.send(APPLICATION, SECOND) for _ in range(3)])
    assert (lost.count, lost.size) == (1, 0)
    assert end.recovery.stats.congestion_events == 0


def test_ce_marks_reduce_the_window_once() -> None:
    end = confirmed()
    before = end.recovery.window
    end.recovery.on_ecn_ce(APPLICATION, 0, SECOND, 2 * SECOND)
    assert end.recovery.window == before
    end.recovery.on_ecn_ce(APPLICATION, 2, SECOND, 2 * SECOND)
    end.recovery.on_ecn_ce(APPLICATION, 1, SECOND, 2 * SECOND)
    assert end.recovery.window == before // 2
    assert (end.recovery.stats.ecn_ce, end.recovery.stats.congestion_events) == (3, 1)


@pytest.mark.parametrize("congestion", ["newreno", "cubic"])
def test_slow_start_doubles_a_window_in_full_use(congestion: str) -> None:
    end = confirmed(congestion=congestion)
    before = end.recovery.window
    end.ack(APPLICATION, SECOND + 40 * MS, *end.fill(SECOND))
    assert end.recovery.window == 2 * before // MSS * MSS


@pytest.mark.parametrize("congestion", ["newreno", "cubic"])
def test_app_limited_sender_does_not_grow(congestion: str) -> None:
    end = confirmed(congestion=congestion)
    before = end.recovery.window
    for round_trip in range(1, 50):
        now = round_trip * SECOND
        end.ack(APPLICATION, now + 40 * MS, *[end.send(APPLICATION, now) for _ in range(3)])
    assert end.recovery.window == before


def test_full_window_counts_even_when_acknowledged_in_pieces() -> None:
    end = confirmed()
    before, numbers = end.recovery.window, end.fill(SECOND)
    for number in numbers:
        end.ack(APPLICATION, SECOND + 40 * MS, number)
    assert end.recovery.window == before + len(numbers) * MSS


def test_pacing_is_not_taken_for_a_lack_of_data() -> None:
    end = confirmed()
    end.recovery.controller.on_lost(SECOND, SECOND)
    end.recovery.controller.window = 10 * MSS
    for now, datagrams, blocked in ((2, 9, False), (3, 4, True), (4, 5, True), (5, 5, True)):
        assert end.recovery.window == 10 * MSS
        numbers = [end.send(APPLICATION, now * SECOND) for _ in range(datagrams)]
        if blocked:
            end.recovery.on_blocked(now * SECOND)
        end.ack(APPLICATION, now * SECOND + 40 * MS, *numbers)
    assert end.recovery.window == 11 * MSS


# Persistent congestion (7.6)


def persistent_case(sent_at: Sequence[float], *, survivor: int | None = None) -> Endpoint:
    """Send at the given seconds, then lose all but ``survivor`` to the last one's acknowledgment.

    Smoothed RTT, variation and ack delay add up to two seconds, as in the RFC's example.
    """
    end = Endpoint(confirmed=True)
    end.sample(650 * MS)
    end.recovery.peer_max_ack_delay = 50 * MS
    numbers = [end.send(APPLICATION, int(at * SECOND)) for at in sent_at]
    assert end.recovery.pto(APPLICATION) == 2 * SECOND
    if survivor is not None:
        end.ack(APPLICATION, int(sent_at[-1] * SECOND), numbers[survivor])
    end.ack(APPLICATION, int((sent_at[-1] + 0.2) * SECOND), numbers[-1])
    return end


def test_persistent_congestion_as_in_the_rfcs_example() -> None:
    end = persistent_case([1, 2, 3, 4, 5, 6, 8, 12])
    assert end.recovery.window == 2 * MSS + MSS  # the minimum, and slow start with the packet acknowledged
    assert end.recovery.stats.persistent_congestions == 1
    assert end.recovery.rtt.minimum == 200 * MS


def test_no_persistent_congestion_over_a_shorter_time() -> None:
    # Only six seconds lie between the first and the last packet lost.
    end = persistent_case([2, 3, 4, 5, 6, 8, 12])
    assert end.recovery.stats.persistent_congestions == 0
    assert end.recovery.window == 5 * MSS


def test_no_persistent_congestion_across_an_acknowledged_packet() -> None:
    end = persistent_case([1, 2, 3, 4, 5, 6, 8, 12], survivor=3)
    assert end.recovery.stats.persistent_congestions == 0


def test_no_persistent_congestion_with_packets_sent_before_the_first_sample() -> None:
    end = Endpoint(confirmed=True)
    numbers = [end.send(APPLICATION, at * SECOND) for at in range(20)]
    end.ack(APPLICATION, 20 * SECOND, numbers[-1])
    assert end.recovery.stats.packets_lost == 19
    assert end.recovery.stats.persistent_congestions == 0
    assert end.recovery.window == 5 * MSS


def test_persistent_congestion_needs_ack_eliciting_packets() -> None:
    end = Endpoint(confirmed=True)
    end.sample(40 * MS)
    for at in range(1, 20):
        end.send(APPLICATION, at * SECOND, eliciting=False)
    end.ack(APPLICATION, 20 * SECOND + 40 * MS, end.send(APPLICATION, 20 * SECOND))
    assert end.recovery.stats.packets_lost == 19
    assert end.recovery.stats.persistent_congestions == 0


# What may leave


def test_allowance_is_the_lesser_of_window_and_pacer() -> None:
    end = Endpoint()
    assert end.recovery.allowance(0) == 10 * MSS
    end.send(INITIAL, 0)
    assert end.recovery.allowance(0) == 9 * MSS
    for _ in range(8):
        end.send(INITIAL, 0)
    end.send(INITIAL, 0, 1)
    assert end.recovery.allowance(0) == 0
    assert end.recovery.pacing_deadline(0) == NEVER


def test_pacing_deadline_when_only_the_pacer_holds_back() -> None:
    end = confirmed(100 * MS)
    end.recovery.controller.window = 100 * MSS
    while end.recovery.allowance(SECOND):
        end.send(APPLICATION, SECOND)
    assert end.recovery.bytes_in_flight == 10 * MSS
    # Slow start: two windows of 100 datagrams in 100 ms.
    assert end.recovery.pacing_deadline(SECOND) == SECOND + MS // 2
    assert end.recovery.allowance(SECOND + MS // 2) == MSS


def test_packets_out_of_flight_cost_nothing() -> None:
    end = Endpoint()
    for _ in range(100):
        end.send(INITIAL, 0, eliciting=False, in_flight=False)
    assert end.recovery.allowance(0) == 10 * MSS


def test_larger_datagrams_after_path_mtu_discovery() -> None:
    end = confirmed()
    end.recovery.max_datagram = 1452
    assert end.recovery.controller.datagram_size == end.recovery.pacer.datagram_size == 1452


EVENTS = st.lists(st.tuples(st.sampled_from("sstad"), st.integers(0, 2), st.integers(0, 40)), max_size=60)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(EVENTS, st.booleans(), st.sampled_from(["newreno", "cubic"]))
def test_any_order_of_events_keeps_the_books(events: list[tuple[str, int, int]], client: bool, name: str) -> None:
    end, now = Endpoint(is_client=client, congestion=name), 0
    for kind, space, value in events:
        now += value * MS
        if kind == "s":
            end.send(space, now, 100 + value)
        elif kind == "t":
            now = min(end.recovery.deadline(), now + 100 * SECOND)
            end.recovery.on_deadline(now)
        elif kind == "a" and end.tables[space].next_pn:
            end.ack(space, now, value % end.tables[space].next_pn)
        elif kind == "d" and value < 3 and space != APPLICATION:
            end.recovery.discard_space(space)
        assert end.recovery.bytes_in_flight >= 0
        assert end.recovery.window >= 2 * MSS
        assert end.recovery.allowance(now) in range(end.recovery.window + 1)
        assert now < end.recovery.pacing_deadline(now)
