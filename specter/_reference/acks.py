"""What was received in one packet number space, and when to acknowledge it (RFC 9000, sections 13.2 and 19.3)."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from specter._frame_types import EcnCounts
from specter._reference.frame_encoding import encode_ack
from specter._wire import NEVER

__all__ = ["AckTracker"]

_ECT1: Final = 1
_ECT0: Final = 2
_CE: Final = 3
_MAX_DELAY_FIELD: Final = (1 << 62) - 1


class AckTracker:
    """Received packet numbers and the ACK policy of one packet number space.

    An ACK is due at once when ``threshold`` ack-eliciting packets wait for one (``bulk_threshold`` after
    ``bulk_after`` ack-eliciting packets), when an ack-eliciting packet is out of order, leaves a new gap or carries
    ECN-CE, or always if ``immediate``; otherwise ``max_delay`` nanoseconds after the first that waits, and at most
    ``bulk_delay`` after there are ``threshold``. A packet that does not elicit an ACK never makes one due.

    Attributes:
        bulk_delay: nanoseconds that more than one packet waits for ``bulk_threshold`` of them; set by the owner.
        largest: the largest packet number received, -1 when none was.
        deadline: when an ACK must leave, ``NEVER`` when none must; the time of the packet that made it due at once.
        pending: ack-eliciting packets that wait for an ACK.
    """

    __slots__ = (
        "_bulk_after",
        "_bulk_threshold",
        "_ce",
        "_ect0",
        "_ect1",
        "_elicited",
        "_ends",
        "_floor",
        "_immediate",
        "_largest_eliciting",
        "_largest_time",
        "_max_delay",
        "_max_ranges",
        "_starts",
        "_threshold",
        "bulk_delay",
        "deadline",
        "largest",
        "pending",
    )

    def __init__(
        self,
        immediate: bool,
        threshold: int,
        bulk_threshold: int,
        bulk_after: int,
        max_delay: int,
        max_ranges: int = 128,
    ) -> None:
        self._immediate = immediate
        self._threshold = threshold
        self._bulk_threshold = bulk_threshold
        self._bulk_after = bulk_after
        self._max_delay = max_delay
        self._max_ranges = max_ranges
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._floor = 0
        self._largest_eliciting = -1
        self._largest_time = 0
        self._elicited = 0
        self._ect0 = self._ect1 = self._ce = 0
        self.bulk_delay = max_delay
        self.largest = -1
        self.deadline = NEVER
        self.pending = 0

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """The ranges an ACK would carry: inclusive ``(smallest, largest)``, highest first."""
        return list(zip(reversed(self._starts), reversed(self._ends), strict=True))

    def is_duplicate(self, pn: int) -> bool:
        """Whether ``pn`` was received already, or is so old that nobody knows any more."""
        if pn > self.largest:
            return False
        if pn < self._floor:
            return True
        index = bisect_right(self._starts, pn)
        return index > 0 and pn <= self._ends[index - 1]

    def record(self, pn: int, now: int, ack_eliciting: bool, ecn: int) -> bool:
        """Note a packet that was processed; return whether it makes an ACK due at once.

        ``ecn`` is the IP header's codepoint (1: ECT(1), 2: ECT(0), 3: CE). While an ACK is due and none was sent,
        every further ack-eliciting packet says so again. A duplicate changes nothing and returns False.
        """
        if not self._add(pn):
            return False
        if pn > self.largest:
            self.largest = pn
            self._largest_time = now
        if ecn:
            self._count(ecn)
        if not ack_eliciting:
            return False
        self.pending += 1
        self._elicited += 1
        in_order = self._in_order(pn)
        if pn > self._largest_eliciting:
            self._largest_eliciting = pn
        threshold = self._threshold if self._elicited <= self._bulk_after else self._bulk_threshold
        if self.pending >= threshold or not in_order or ecn == _CE or self._immediate:
            self.deadline = min(self.deadline, now)
        elif self.pending == self._threshold:
            self.deadline = min(self.deadline, now + self.bulk_delay)
        elif self.deadline == NEVER:
            self.deadline = now + self._max_delay
        return self.deadline <= now

    def _in_order(self, pn: int) -> bool:
        """Whether ``pn`` is above every ack-eliciting packet before it and nothing between them is missing."""
        if pn < self._largest_eliciting:
            return False
        starts = self._starts
        start = starts[-1]
        if start > pn:
            start = starts[bisect_right(starts, pn) - 1]
        return start <= max(self._largest_eliciting + 1, self._floor)

    def _add(self, pn: int) -> bool:
        starts, ends = self._starts, self._ends
        if ends and pn == ends[-1] + 1:
            ends[-1] = pn
            return True
        if self.is_duplicate(pn):
            return False
        index = bisect_right(starts, pn)
        touches_lower = index > 0 and ends[index - 1] == pn - 1
        touches_upper = index < len(starts) and starts[index] == pn + 1
        if touches_lower and touches_upper:
            ends[index - 1] = ends.pop(index)
            del starts[index]
        elif touches_lower:
            ends[index - 1] = pn
        elif touches_upper:
            starts[index] = pn
        else:
            starts.insert(index, pn)
            ends.insert(index, pn)
            self._limit_ranges()
        return True

    def _limit_ranges(self) -> None:
        if len(self._starts) > self._max_ranges:
            del self._starts[0]
            self._floor = self._ends.pop(0) + 1

    def _count(self, ecn: int) -> None:
        if ecn == _ECT0:
            self._ect0 += 1
        elif ecn == _ECT1:
            self._ect1 += 1
        elif ecn == _CE:
            self._ce += 1

    def due(self, now: int) -> bool:
        """Whether an ACK should leave now."""
        return self.deadline <= now

    def encode(self, now: int, exponent: int, capacity: int) -> bytes:
        """Return the ACK frame, ACK_ECN once a packet with an ECN mark came; nothing changes.

        ``exponent`` is our ``ack_delay_exponent``; the delay runs since the largest packet number arrived. The oldest
        ranges are left out to fit in ``capacity`` bytes; ``b""`` when nothing was received or nothing fits.
        """
        if not self._starts:
            return b""
        delay = min(max(now - self._largest_time, 0) // 1000 >> exponent, _MAX_DELAY_FIELD)
        ecn = None
        if self._ect0 or self._ect1 or self._ce:
            ecn = EcnCounts(self._ect0, self._ect1, self._ce)
        return encode_ack(self.ranges, delay, ecn, capacity)

    def sent(self, now: int) -> None:
        """Note that an ACK left: nothing waits for one any more."""
        self.pending = 0
        self.deadline = NEVER

    def repeat(self) -> None:
        """Let the next packet bear an ACK although nothing new has come: the one before may be lost. None is due."""
        if self._starts and not self.pending:
            self.pending = 1

    def forget(self, up_to_pn: int) -> None:
        """Stop acknowledging packets up to ``up_to_pn``: the peer has seen an ACK with that largest number.

        They count as received from now on, those that never came included. The largest one is always kept.
        """
        floor = min(up_to_pn, self.largest - 1) + 1
        if floor <= self._floor:
            return
        self._floor = floor
        starts, ends = self._starts, self._ends
        count = bisect_right(ends, floor - 1)
        del starts[:count]
        del ends[:count]
        if starts[0] < floor:
            starts[0] = floor
