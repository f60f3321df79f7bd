"""The packets of one packet number space that are on their way (RFC 9002, sections 5.1, 6.1 and appendix A)."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from specter._wire import NEVER, TransportError, TransportErrorCode

__all__ = ["Acked", "Lost", "SentPackets"]

StreamRange: TypeAlias = tuple[int, int, int, bool]
Tokens: TypeAlias = tuple[object, ...]

_SKIPPED_KEPT: Final = 16
_UNTRACKED_KEPT: Final = 256


class _Packet:
    __slots__ = ("ack_eliciting", "in_flight", "marked", "ordinal", "size", "stream", "time", "tokens")

    def __init__(
        self,
        ordinal: int,
        time: int,
        size: int,
        ack_eliciting: bool,
        in_flight: bool,
        tokens: Tokens,
        stream: StreamRange | None,
        marked: bool,
    ) -> None:
        self.ordinal = ordinal
        self.time = time
        self.size = size
        self.ack_eliciting = ack_eliciting
        self.in_flight = in_flight
        self.tokens = tokens
        self.stream = stream
        self.marked = marked


@dataclass(slots=True)
class Acked:
    """What one ACK frame newly acknowledged.

    ``streams`` are ``(stream id, start, end, fin)`` and ``tokens`` the tokens, by ascending packet number; stream
    ranges that continue each other in that order are one.
    """

    count: int = 0
    """Packets, of those the table holds."""
    size: int = 0
    """Bytes that were in flight."""
    largest: int = -1
    """The largest packet number newly acknowledged, -1 when there was none."""
    largest_time: int = 0
    """When that one was sent."""
    first_time: int = 0
    """When the oldest one was sent."""
    eliciting: bool = False
    """Whether any of them was ack-eliciting."""
    largest_is_newest: bool = False
    """Whether ``largest`` is the largest number of the ACK frame: with ``eliciting``, an RTT sample."""
    streams: list[StreamRange] = field(default_factory=list)
    tokens: list[object] = field(default_factory=list)
    largest_size: int = 0
    """Bytes of the largest that was in flight."""
    marked: int = 0
    """How many were sent with an ECN mark."""


@dataclass(slots=True)
class Lost:
    """Packets declared lost by one call; ``streams`` and ``tokens`` as in :class:`Acked`."""

    count: int = 0
    size: int = 0
    """Bytes that were in flight."""
    largest_time: int = 0
    """When the newest of those in flight was sent."""
    first_time: int = 0
    """When the oldest ack-eliciting one was sent; 0 when there was none."""
    streams: list[StreamRange] = field(default_factory=list)
    tokens: list[object] = field(default_factory=list)
    persistent_span: int = 0
    """The longest time between two ack-eliciting ones such that every packet tracked between them is lost with them.

    Packets that were not in flight are no end of it.
    """
    numbers: list[int] = field(default_factory=list)
    """Their packet numbers, ascending."""
    smallest_size: int = 0
    """Bytes of the smallest that was in flight; 0 when none was."""
    marked: int = 0
    """How many were sent with an ECN mark."""


class SentPackets:
    """The table of packets neither acknowledged nor lost; times are nanoseconds and never go back.

    A packet that is neither ack-eliciting nor in flight is not tracked: only its number and, for an RTT sample when
    it is the largest acknowledged, the send times of the last 256 such packets are kept. A packet in flight with
    size 0 is tracked and weighs nothing: a probe.

    Attributes:
        marking: packets leave with an ECN mark from now on.
        marked: how many were recorded while ``marking``.
        marked_in_flight: how many of the tracked packets were.
        next_pn: the lowest packet number not yet used.
        bytes_in_flight: bytes of the tracked packets that count for congestion control.
        ack_eliciting_in_flight: how many tracked packets are ack-eliciting.
        largest_acked: the largest number the peer acknowledged, -1 when none.
        loss_time: when :meth:`detect_lost` should be called again, ``NEVER`` when it need not.
        last_ack_eliciting_time: when the newest ack-eliciting packet was sent, 0 when none was.
    """

    __slots__ = (
        "_packets",
        "_skipped",
        "_tracked",
        "_untracked",
        "ack_eliciting_in_flight",
        "bytes_in_flight",
        "largest_acked",
        "last_ack_eliciting_time",
        "loss_time",
        "marked",
        "marked_in_flight",
        "marking",
        "next_pn",
    )

    def __init__(self) -> None:
        # Not a dict: taking the oldest from the front of a dict again and again walks over all that were taken before.
        self._packets: OrderedDict[int, _Packet] = OrderedDict()
        self._tracked = 0
        self._skipped: deque[int] = deque(maxlen=_SKIPPED_KEPT)
        self._untracked: deque[tuple[int, int]] = deque(maxlen=_UNTRACKED_KEPT)
        self.marking = False
        self.marked = 0
        self.marked_in_flight = 0
        self.next_pn = 0
        self.bytes_in_flight = 0
        self.ack_eliciting_in_flight = 0
        self.largest_acked = -1
        self.loss_time = NEVER
        self.last_ack_eliciting_time = 0

    def __len__(self) -> int:
        """How many packets are tracked."""
        return len(self._packets)

    def skip(self, pn: int) -> None:
        """Leave ``pn`` out: acknowledging it is a fault, for the last 16 skipped. ``ValueError`` if already used."""
        self._use(pn)
        self._skipped.append(pn)

    def _use(self, pn: int) -> None:
        if pn < self.next_pn:
            raise ValueError("packet number already used")
        self.next_pn = pn + 1

    def record(
        self,
        pn: int,
        now: int,
        size: int,
        ack_eliciting: bool,
        in_flight: bool,
        tokens: Tokens = (),
        stream: StreamRange | None = None,
    ) -> None:
        """Note a packet that was sent; ``stream`` is ``(stream id, offset, length, fin)`` of its STREAM frame.

        ``tokens`` are returned when the packet is acknowledged or lost. ``ValueError`` for a number already used.
        """
        self._use(pn)
        self.marked += self.marking
        if not (ack_eliciting or in_flight):
            self._untracked.append((pn, now))
            return
        self._packets[pn] = _Packet(self._tracked, now, size, ack_eliciting, in_flight, tokens, stream, self.marking)
        self._tracked += 1
        self.marked_in_flight += self.marking
        if in_flight:
            self.bytes_in_flight += size
        if ack_eliciting:
            self.ack_eliciting_in_flight += 1
            self.last_ack_eliciting_time = now

    def acknowledge(self, ranges: Sequence[tuple[int, int]], now: int) -> Acked:
        """Handle an ACK frame: ``ranges`` are inclusive ``(smallest, largest)``, highest first.

        The cost is in the packets tracked up to the largest one, not in the width of the ranges.

        Raises:
            TransportError: PROTOCOL_VIOLATION for a number never sent. Nothing changed.
        """
        newest = ranges[0][1]
        self._check_sent(ranges, newest)
        acked = Acked()
        numbers = self._find(ranges)
        if numbers:
            self._take_acked(numbers, acked)
        if newest > self.largest_acked:
            if acked.largest < newest:
                self._sample_untracked(newest, acked)
            self.largest_acked = newest
        acked.largest_is_newest = acked.largest == newest
        return acked

    def _check_sent(self, ranges: Sequence[tuple[int, int]], newest: int) -> None:
        if newest >= self.next_pn:
            raise TransportError(TransportErrorCode.PROTOCOL_VIOLATION, "acknowledgment of a packet never sent")
        index = 0
        for pn in reversed(self._skipped):
            while ranges[index][0] > pn:
                index += 1
                if index == len(ranges):
                    return
            if pn <= ranges[index][1]:
                raise TransportError(TransportErrorCode.PROTOCOL_VIOLATION, "acknowledgment of a packet never sent")

    def _find(self, ranges: Sequence[tuple[int, int]]) -> list[int]:
        """Return the tracked numbers within ``ranges``, ascending."""
        index = len(ranges) - 1
        newest = ranges[0][1]
        smallest, largest = ranges[index]
        numbers = []
        for pn in self._packets:
            if pn > newest:
                break
            while pn > largest:
                index -= 1
                smallest, largest = ranges[index]
            if pn >= smallest:
                numbers.append(pn)
        return numbers

    def _take_acked(self, numbers: list[int], acked: Acked) -> None:
        packets = [self._packets.pop(pn) for pn in numbers]
        acked.count = len(packets)
        acked.largest = numbers[-1]
        acked.largest_time = packets[-1].time
        acked.first_time = packets[0].time
        acked.size, eliciting = self._remove(packets)
        acked.eliciting = eliciting > 0
        acked.largest_size = max(packet.size if packet.in_flight else 0 for packet in packets)
        acked.marked = sum(packet.marked for packet in packets)
        _collect(packets, acked.streams, acked.tokens)

    def _remove(self, packets: Sequence[_Packet]) -> tuple[int, int]:
        """Take packets out of the totals; return their bytes in flight and how many were ack-eliciting."""
        size = eliciting = 0
        for packet in packets:
            if packet.in_flight:
                size += packet.size
            if packet.ack_eliciting:
                eliciting += 1
        self.bytes_in_flight -= size
        self.ack_eliciting_in_flight -= eliciting
        self.marked_in_flight -= sum(packet.marked for packet in packets)
        return size, eliciting

    def _sample_untracked(self, newest: int, acked: Acked) -> None:
        for pn, time in reversed(self._untracked):
            if pn <= newest:
                if pn == newest:
                    acked.largest = newest
                    acked.largest_time = time
                return

    def detect_lost(self, now: int, loss_delay: int, packet_threshold: int = 3) -> Lost:
        """Take out the packets that are lost (RFC 9002, section 6.1) and set ``loss_time`` for the others.

        Lost is what was sent before an acknowledged packet and is ``loss_delay`` nanoseconds or ``packet_threshold``
        numbers older.
        """
        lost = Lost()
        self.loss_time = NEVER
        packets = []
        for pn, packet in self._packets.items():
            if pn >= self.largest_acked:
                break
            if packet.time > now - loss_delay and pn > self.largest_acked - packet_threshold:
                self.loss_time = packet.time + loss_delay
                break
            packets.append(packet)
        if packets:
            self._take_lost(packets, lost)
        return lost

    def _take_lost(self, packets: list[_Packet], lost: Lost) -> None:
        weighing = [packet for packet in packets if packet.in_flight and packet.size]
        lost.numbers = [self._packets.popitem(last=False)[0] for _ in packets]
        lost.count = len(packets)
        lost.largest_time = weighing[-1].time if weighing else 0
        lost.first_time = next((packet.time for packet in packets if packet.ack_eliciting), 0)
        lost.size, _ = self._remove(packets)
        lost.persistent_span = _longest_span(packets)
        lost.smallest_size = min((packet.size for packet in weighing), default=0)
        lost.marked = sum(packet.marked for packet in packets)
        _collect(packets, lost.streams, lost.tokens)

    def oldest(self, count: int) -> list[tuple[Tokens, StreamRange | None]]:
        """Return ``(tokens, stream)`` of up to ``count`` of the oldest ack-eliciting packets, for a probe.

        They stay in flight; ``stream`` is as :meth:`record` took it.
        """
        found: list[tuple[Tokens, StreamRange | None]] = []
        for packet in self._packets.values():
            if len(found) >= count:
                break
            if packet.ack_eliciting:
                found.append((packet.tokens, packet.stream))
        return found

    def disown(self) -> None:
        """Let nothing that is on its way weigh or be marked any more: it left on another path, but has its fate."""
        for packet in self._packets.values():
            packet.in_flight = packet.marked = False
        self.bytes_in_flight = 0
        self.marked_in_flight = 0

    def discard(self) -> int:
        """Forget every packet, with their keys (RFC 9002, section 6.4); return the bytes that were in flight."""
        size = self.bytes_in_flight
        self._packets.clear()
        self._untracked.clear()
        self.bytes_in_flight = 0
        self.ack_eliciting_in_flight = 0
        self.marked_in_flight = 0
        self.loss_time = NEVER
        return size


def _collect(packets: Iterable[_Packet], streams: list[StreamRange], tokens: list[object]) -> None:
    for packet in packets:
        if packet.tokens:
            tokens.extend(packet.tokens)
        if packet.stream is None:
            continue
        stream_id, offset, length, fin = packet.stream
        if streams:
            last_id, start, end, last_fin = streams[-1]
            if last_id == stream_id and end == offset and not last_fin:
                streams[-1] = (stream_id, start, offset + length, fin)
                continue
        streams.append((stream_id, offset, offset + length, fin))


def _longest_span(packets: Iterable[_Packet]) -> int:
    longest = 0
    ordinal = -1
    start: int | None = None
    for packet in packets:
        if packet.ordinal != ordinal + 1:
            start = None
        ordinal = packet.ordinal
        if packet.ack_eliciting and packet.in_flight and packet.size:
            if start is None:
                start = packet.time
            longest = max(longest, packet.time - start)
    return longest
