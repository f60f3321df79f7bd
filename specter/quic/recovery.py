"""Loss detection timers and their congestion response (RFC 9002): what was lost, when to probe, how much may leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from specter._wire import NEVER
from specter.quic.config import MILLISECOND, SECOND
from specter.quic.congestion.base import CongestionController
from specter.quic.congestion.controllers import make_controller
from specter.quic.pacing import Pacer
from specter.quic.rtt import RttEstimator, RttSnapshot

if TYPE_CHECKING:
    from specter._backend import sent
    from specter.quic.config import QuicConfig

INITIAL: Final = 0
HANDSHAKE: Final = 1
APPLICATION: Final = 2

DEFAULT_MAX_ACK_DELAY: Final = 25 * MILLISECOND
"""What a peer may delay until its transport parameters say otherwise (RFC 9000, section 18.2)."""
PTO_MAX: Final = 60 * SECOND
"""Backoff stops growing here."""
PERSISTENT_CONGESTION_THRESHOLD: Final = 3
PROBE_PACKETS: Final = 2


@dataclass(slots=True)
class Timeout:
    """What an expired timer asks for: retransmit what was ``lost``, or send a ``probe``; both empty when it was early.

    ``lost`` holds (space, Lost) pairs. ``probe`` is (space, how many datagrams): ack-eliciting, and held back by
    neither window nor pacer.
    """

    lost: tuple[tuple[int, sent.Lost], ...] = ()
    probe: tuple[int, int] | None = None


@dataclass(slots=True)
class PathRecovery:
    """What recovery knows of one network path."""

    rtt: RttSnapshot
    controller: CongestionController
    pacer: Pacer


@dataclass(slots=True)
class RecoveryStats:
    """Running totals of a connection."""

    packets_lost: int = 0
    bytes_lost: int = 0
    probe_timeouts: int = 0
    congestion_events: int = 0
    persistent_congestions: int = 0
    ecn_ce: int = 0


class Recovery:
    """Loss detection and congestion control over the three packet number spaces of one path.

    Times are nanoseconds, sizes bytes. The owner keeps the attributes under "set by the owner" true.
    A probe of the path's MTU is tracked without weight, so its loss moves no window.
    """

    def __init__(
        self,
        config: QuicConfig,
        sents: tuple[sent.SentPackets, sent.SentPackets, sent.SentPackets],
        *,
        is_client: bool,
    ) -> None:
        self._config = config
        self._sents = sents
        self._is_client = is_client
        self._max_datagram = config.datagram_size
        # Set by the owner.
        self.handshake_confirmed = False
        self.has_handshake_keys = False
        self.peer_validated_address = not is_client
        self.peer_max_ack_delay = DEFAULT_MAX_ACK_DELAY
        self.amplification_limited = False
        self.stats = RecoveryStats()
        self.rtt = RttEstimator(config.initial_rtt)
        self._first_number = 0
        """The first 1-RTT packet that took the path in use."""
        self._last_event = NEVER
        """When something was sent, acknowledged or probed last; before the first packet nothing can be overdue."""
        self._reset()

    def _reset(self) -> None:
        self.rtt.restart(self._config.initial_rtt)
        self.controller: CongestionController = make_controller(self._config.congestion, self._max_datagram)
        self.pacer = Pacer(self._max_datagram)
        self.pto_count = 0
        self._full_time = -1
        self._sampled_from = NEVER
        self._entry_packet = False

    @property
    def bytes_in_flight(self) -> int:
        """Bytes sent and neither acknowledged, lost nor discarded."""
        initial, handshake, application = self._sents
        in_flight: int = application.bytes_in_flight
        if self.handshake_confirmed:  # and the other spaces are discarded
            return in_flight
        return initial.bytes_in_flight + handshake.bytes_in_flight + in_flight

    @property
    def window(self) -> int:
        """The congestion window in bytes."""
        return self.controller.window

    @property
    def max_datagram(self) -> int:
        """The size of a full datagram on this path; the owner sets it when the path MTU changes."""
        return self._max_datagram

    @max_datagram.setter
    def max_datagram(self, size: int) -> None:
        self._max_datagram = self.pacer.datagram_size = size
        self.controller.set_datagram_size(size)

    # Sending

    def allowance(self, now: int) -> int:
        """Return how many bytes window and pacer let out now: at least a full datagram, or 0."""
        room = self.controller.window - self.bytes_in_flight
        if room < self._max_datagram:
            return self._max_datagram if self._entry_packet else 0
        paced = self.pacer.allowance(now, self.window, self.rtt.smoothed, self.controller.in_slow_start)
        return min(room, paced) if paced >= self._max_datagram else 0

    def pacing_deadline(self, now: int) -> int:
        """Return when the pacer lets a datagram out, ``NEVER`` when it is not the pacer that holds it back.

        It matters only while there is something to send.
        """
        if self.controller.window - self.bytes_in_flight < self._max_datagram:
            return NEVER
        return self.pacer.next_time(now, self.window, self.rtt.smoothed, self.controller.in_slow_start)

    def on_sent(self, space: int, now: int, size: int, ack_eliciting: bool, in_flight: bool) -> None:
        """Account for a packet that was just recorded in the space's table."""
        del space
        if not in_flight:
            return
        self._last_event = now
        self._entry_packet = False
        self.pacer.sent(size)
        if ack_eliciting and self._sampled_from == NEVER and self.rtt.has_sample:
            self._sampled_from = now
        if self._in_full_use():
            self._full_time = now

    def on_blocked(self, now: int) -> None:
        """Hear that there is more to send than ``allowance`` let out, so pacing is not taken for a lack of data."""
        if 2 * self.bytes_in_flight >= self.window:
            self._full_time = now

    def _in_full_use(self) -> bool:
        """Return whether the window is used up; half is enough in slow start, where pacing keeps it from filling."""
        in_flight = self.bytes_in_flight
        if self.controller.in_slow_start:
            return 2 * in_flight > self.window
        return in_flight + self._max_datagram > self.window

    # Acknowledgments

    def on_acked(self, space: int, acked: sent.Acked, ack_delay_ns: int, now: int) -> sent.Lost:
        """Process what the space's table found newly acknowledged; returns what is lost and must be sent again."""
        packets = self._sents[space]
        if acked.count:
            self._last_event = now
            self._update_rtt(space, acked, ack_delay_ns, now)
            if space == HANDSHAKE:
                self.peer_validated_address = True
            if self._address_validated():
                self.pto_count = 0
        lost = packets.detect_lost(now, self.rtt.loss_delay())
        self._on_lost(lost, now)
        if acked.size:
            limited = acked.first_time <= self._full_time
            self.controller.on_acked(acked.size, acked.largest_time, now, self.rtt, limited)
        return lost

    def on_ecn_ce(self, space: int, newly_ce: int, largest_sent_time: int, now: int) -> None:
        """React to ``newly_ce`` more CE marks; ``largest_sent_time`` is when the ACK's largest packet left."""
        del space
        if newly_ce > 0:
            self.stats.ecn_ce += newly_ce
            if self.controller.on_ecn_ce(largest_sent_time, now):
                self._enter_recovery()

    def _update_rtt(self, space: int, acked: sent.Acked, ack_delay: int, now: int) -> None:
        ours = space != APPLICATION or acked.largest >= self._first_number
        if acked.largest_is_newest and acked.eliciting and ours:
            delay = 0 if space == INITIAL else ack_delay
            latest = now - acked.largest_time
            self.rtt.update(latest, delay, now, self.peer_max_ack_delay, self.handshake_confirmed)

    def _on_lost(self, lost: sent.Lost, now: int) -> None:
        if not lost.count:
            return
        self.stats.packets_lost += lost.count
        self.stats.bytes_lost += lost.size
        if lost.size and self.controller.on_lost(lost.largest_time, now):
            self._enter_recovery()
        if self._is_persistent(lost):
            self.stats.persistent_congestions += 1
            self.controller.on_persistent_congestion(now)
            self.rtt.forget_minimum()

    def _enter_recovery(self) -> None:
        self.stats.congestion_events += 1
        self._entry_packet = True

    def _is_persistent(self, lost: sent.Lost) -> bool:
        """Return whether a long enough time brought nothing but loss (RFC 9002, section 7.6)."""
        span = lost.persistent_span
        if lost.first_time < self._sampled_from:
            span = min(span, lost.largest_time - self._sampled_from)
        duration = self.rtt.pto_base() + self.peer_max_ack_delay
        return span > duration * PERSISTENT_CONGESTION_THRESHOLD

    # Timers

    def deadline(self) -> int:
        """Return when ``on_deadline`` is due, ``NEVER`` when no timer runs (RFC 9002, appendix A.8)."""
        initial, handshake, application = self._sents
        loss_time: int = application.loss_time
        if self.handshake_confirmed:  # and the other spaces are discarded
            if loss_time != NEVER:
                return loss_time
            if not application.ack_eliciting_in_flight:
                return NEVER
            if not self.amplification_limited:
                last_sent: int = application.last_ack_eliciting_time
                return last_sent + self.pto(APPLICATION)
            return NEVER
        loss_time = min(initial.loss_time, handshake.loss_time, loss_time)
        return loss_time if loss_time != NEVER else self._probe_deadline()[0]

    def on_deadline(self, now: int) -> Timeout:
        """Do what the expired timer stands for; does nothing before its time."""
        if now < self.deadline():
            return Timeout()
        if any(packets.loss_time != NEVER for packets in self._sents):
            return Timeout(lost=self._detect_overdue(now))
        return self._probe(now)

    def _detect_overdue(self, now: int) -> tuple[tuple[int, sent.Lost], ...]:
        found = []
        for space, packets in enumerate(self._sents):
            if packets.loss_time <= now:
                lost = packets.detect_lost(now, self.rtt.loss_delay())
                self._on_lost(lost, now)
                if lost.count:
                    found.append((space, lost))
        return tuple(found)

    def _probe(self, now: int) -> Timeout:
        _, space = self._probe_deadline()
        packets = PROBE_PACKETS if self._sents[space].ack_eliciting_in_flight else 1
        self.pto_count += 1
        self.stats.probe_timeouts += 1
        self._last_event = now
        return Timeout(probe=(space, packets))

    def _probe_deadline(self) -> tuple[int, int]:
        """Return when to probe, and in which space."""
        if self.amplification_limited:
            return NEVER, INITIAL
        spaces = (INITIAL, HANDSHAKE, APPLICATION) if self.handshake_confirmed else (INITIAL, HANDSHAKE)
        due = [
            (self._sents[space].last_ack_eliciting_time + self.pto(space), space)
            for space in spaces
            if self._sents[space].ack_eliciting_in_flight
        ]
        return min(due) if due else self._anti_deadlock_deadline()

    def _anti_deadlock_deadline(self) -> tuple[int, int]:
        """Return when a client must speak lest a server short of credit stay silent (RFC 9002, section 6.2.2.1)."""
        if self._address_validated() or self._last_event == NEVER:
            return NEVER, INITIAL
        space = HANDSHAKE if self.has_handshake_keys else INITIAL
        return self._last_event + self.pto(space), space

    def pto(self, space: int) -> int:
        """Return the probe timeout of a space with its backoff, at most about a minute (RFC 9002, section 6.2.1)."""
        base = self.rtt.pto_base() + (self.peer_max_ack_delay if space == APPLICATION else 0)
        return min(base << min(self.pto_count, 32), max(base, PTO_MAX))

    def _address_validated(self) -> bool:
        return self.peer_validated_address or self.handshake_confirmed

    # Paths that change

    def change_path(self, path: PathRecovery | None) -> PathRecovery:
        """Take another path, one known from before or a new one; return what is known of the one that is left.

        What is on its way there counts neither for the window nor for the RTT of the other (RFC 9000, section 9.4).
        """
        left = PathRecovery(self.rtt.snapshot(), self.controller, self.pacer)
        self._sents[APPLICATION].disown()
        self._first_number = self._sents[APPLICATION].next_pn
        self._reset()
        if path is not None:
            self.rtt.restore(path.rtt)
            self.controller, self.pacer = path.controller, path.pacer
        return left

    @property
    def initial_pto(self) -> int:
        """The probe timeout of a path of which nothing is known."""
        return RttEstimator(self._config.initial_rtt).pto_base() + self.peer_max_ack_delay

    # Spaces that end

    def discard_space(self, space: int) -> None:
        """Forget a space whose keys are gone (RFC 9002, section 6.4)."""
        self._sents[space].discard()
        self.pto_count = 0

    def reset_for_retry(self) -> None:
        """Start over after a Retry packet (RFC 9002, section 6.3); what was in flight is forgotten, not lost."""
        for packets in self._sents:
            packets.discard()
        self._reset()
