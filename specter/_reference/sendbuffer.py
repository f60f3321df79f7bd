"""The sending side of one stream's bytes: what is new, on its way, lost and acknowledged (RFC 9000, section 13.3)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from specter._frame_types import Buffer

__all__ = ["SendBuffer"]

MAX_RANGES = 4096
"""The most disjoint lost ranges, and the most ranges acknowledged out of order, that a buffer remembers."""


class _RangeSet:
    """Disjoint, not touching, ascending ranges ``[start, end)``."""

    __slots__ = ("ends", "starts")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []

    def __len__(self) -> int:
        return len(self.starts)

    def add(self, start: int, end: int) -> None:
        """Add a range, joined with those it overlaps or touches."""
        first = bisect_left(self.ends, start)
        stop = bisect_right(self.starts, end)
        if first < stop:
            start = min(start, self.starts[first])
            end = max(end, self.ends[stop - 1])
        self.starts[first:stop] = [start]
        self.ends[first:stop] = [end]

    def remove(self, start: int, end: int) -> None:
        """Take ``[start, end)`` out of the set."""
        first = bisect_right(self.ends, start)
        stop = bisect_left(self.starts, end)
        if first >= stop or start >= end:
            return
        kept = []
        if self.starts[first] < start:
            kept.append((self.starts[first], start))
        if self.ends[stop - 1] > end:
            kept.append((end, self.ends[stop - 1]))
        self.starts[first:stop] = [low for low, _ in kept]
        self.ends[first:stop] = [high for _, high in kept]

    def missing(self, start: int, end: int) -> list[tuple[int, int]]:
        """Return the parts of ``[start, end)`` that are not in the set, ascending."""
        parts = []
        index = bisect_right(self.ends, start)
        while start < end:
            low = self.starts[index] if index < len(self.starts) else end
            if low > start:
                parts.append((start, min(low, end)))
            if low >= end:
                break
            start = self.ends[index]
            index += 1
        return parts

    def join_one(self, near: int) -> None:
        """Join the range that holds ``near`` with the one below it (above it, if it is the lowest), gap included."""
        index = max(bisect_right(self.starts, near) - 1, 1)
        del self.starts[index]
        del self.ends[index - 1]

    def clear(self) -> None:
        self.starts.clear()
        self.ends.clear()


class SendBuffer:
    """Bytes accepted for a stream until they are acknowledged.

    Every range that was taken comes back once: acknowledged or lost; either may also come again for a range that was
    sent twice. What is lost and not acknowledged meanwhile is offered again before new data.

    Attributes:
        stream_id: the stream.
        limit: the peer's MAX_STREAM_DATA.
        offset_end: bytes written so far.
        sent_offset: bytes sent at least once.
        finished_writing: the FIN was written; with the bytes it ends the stream.
        is_reset: the stream was reset.
    """

    __slots__ = (
        "_acked",
        "_base",
        "_data",
        "_fin_acked",
        "_fin_pending",
        "_lost",
        "finished_writing",
        "is_reset",
        "limit",
        "offset_end",
        "sent_offset",
        "stream_id",
    )

    def __init__(self, stream_id: int, limit: int) -> None:
        self.stream_id = stream_id
        self.limit = limit
        self.offset_end = 0
        self.sent_offset = 0
        self.finished_writing = False
        self.is_reset = False
        self._fin_pending = False
        self._fin_acked = False
        self._data = bytearray()
        self._base = 0
        self._lost = _RangeSet()
        self._acked = _RangeSet()

    @property
    def unsent(self) -> int:
        """Bytes written but never sent."""
        return self.offset_end - self.sent_offset

    @property
    def unacked(self) -> int:
        """Bytes held: from the first not acknowledged to the end."""
        return len(self._data)

    @property
    def done(self) -> bool:
        """Whether the FIN and all bytes are acknowledged; never after a reset."""
        return self._fin_acked and self._base == self.offset_end and not self.is_reset

    @property
    def has_pending(self) -> bool:
        """Whether there is something to send, connection credit aside."""
        if self.sent_offset < self.offset_end:
            return self.sent_offset < self.limit or bool(self._lost.starts)
        return self._fin_pending or bool(self._lost.starts)

    @property
    def blocked(self) -> bool:
        """Whether new data waits for the peer to raise ``limit``."""
        return self.limit <= self.sent_offset < self.offset_end

    def write(self, data: Buffer) -> None:
        """Accept a copy of ``data``; ``ValueError`` after :meth:`finish` or :meth:`reset`."""
        self._check_open()
        self._data += data
        self.offset_end += len(data)

    def finish(self) -> None:
        """Accept the end of the stream; ``ValueError`` when it already ended or was reset."""
        self._check_open()
        self.finished_writing = self._fin_pending = True

    def _check_open(self) -> None:
        if self.finished_writing or self.is_reset:
            raise ValueError("stream is finished")

    def raise_limit(self, limit: int) -> bool:
        """Take a MAX_STREAM_DATA; return whether it raised the limit."""
        if limit <= self.limit:
            return False
        self.limit = limit
        return True

    def next_range(self, max_bytes: int, new_allowed: int) -> tuple[int, int, bool] | None:
        """Return ``(offset, length, fin)`` of what to send next, None when there is nothing; nothing changes.

        The lowest lost range comes first, else new data within ``limit`` and ``new_allowed``, at most ``max_bytes``
        of either. ``fin`` is set whenever the range reaches the end; ``length`` is 0 only for a FIN alone.
        """
        if self._lost.starts:
            start = self._lost.starts[0]
            length = min(self._lost.ends[0] - start, max_bytes)
        else:
            start = self.sent_offset
            length = min(self.offset_end - start, self.limit - start, new_allowed, max_bytes)
        stop = start + length
        if length > 0:
            return start, length, self.finished_writing and stop == self.offset_end
        if self._fin_pending and start == self.offset_end and max_bytes >= 0:
            return start, 0, True
        return None

    def take(self, offset: int, length: int, fin: bool) -> bytes:
        """Mark a range from :meth:`next_range` as sent, or the first part of it without ``fin``; return its bytes."""
        self.mark_sent(offset, length, fin)
        start = offset - self._base
        return bytes(memoryview(self._data)[start : start + length])

    def mark_sent(self, offset: int, length: int, fin: bool) -> None:
        """As :meth:`take`, without copying. ``ValueError`` for bytes not held, a hole, or a FIN before the end."""
        end = offset + length
        self._check_held(offset, length)
        if offset > self.sent_offset or (fin and not (self.finished_writing and end == self.offset_end)):
            raise ValueError("not a range to send")
        if self._lost.starts:
            self._lost.remove(offset, end)
        if end > self.sent_offset:
            self.sent_offset = end
        if fin:
            self._fin_pending = False

    def copy_into(self, buffer: bytearray | memoryview, pos: int, offset: int, length: int) -> None:
        """Copy ``[offset, offset + length)`` to ``buffer`` at ``pos``; marks nothing. ``ValueError`` if it cannot."""
        self._check_held(offset, length)
        if pos < 0 or pos + length > len(buffer):
            raise ValueError("range outside the buffer")
        start = offset - self._base
        buffer[pos : pos + length] = memoryview(self._data)[start : start + length]

    def _check_held(self, offset: int, length: int) -> None:
        if length < 0 or offset < self._base or offset + length > self.offset_end:
            raise ValueError("range not held")

    def acked(self, start: int, end: int, fin: bool) -> None:
        """Note that ``[start, end)``, and the FIN with ``fin``, arrived. ``ValueError`` for what was never sent."""
        if self.is_reset:
            return
        self._check_sent(start, end, fin)
        if fin:
            self._fin_acked = True
            self._fin_pending = False
        if end <= self._base or start >= end:
            return
        if self._lost.starts:
            self._lost.remove(start, end)
        if start <= self._base:
            self._release(end)
            return
        self._acked.add(start, end)
        if len(self._acked) > MAX_RANGES:
            # To forget an acknowledgment is only safe for bytes that will be sent again.
            self._acked.remove(start, end)
            self._add_lost(start, end)

    def _release(self, end: int) -> None:
        """Drop what lies below ``end`` and the acknowledged range behind it."""
        acked = self._acked
        if acked.starts and acked.starts[0] <= end:
            count = bisect_right(acked.starts, end)
            end = max(end, acked.ends[count - 1])
            acked.remove(self._base, end)
        if self._lost.starts:
            self._lost.remove(self._base, end)
        del self._data[: end - self._base]
        self._base = end

    def lost(self, start: int, end: int, fin: bool) -> None:
        """Note that ``[start, end)``, and the FIN with ``fin``, must be sent again unless acknowledged meanwhile."""
        if self.is_reset:
            return
        self._check_sent(start, end, fin)
        if fin and not self._fin_acked:
            self._fin_pending = True
        for low, high in self._acked.missing(max(start, self._base), end):
            self._add_lost(low, high)

    def _add_lost(self, start: int, end: int) -> None:
        self._lost.add(start, end)
        if len(self._lost) > MAX_RANGES:
            self._lost.join_one(start)

    def _check_sent(self, start: int, end: int, fin: bool) -> None:
        fin_allowed = self.finished_writing and end == self.offset_end
        if not 0 <= start <= end <= self.sent_offset or (fin and not fin_allowed):
            raise ValueError("range was never sent")

    def reset(self) -> int:
        """Drop everything for a RESET_STREAM; return its final size, the bytes sent at least once."""
        self.is_reset = True
        self._fin_pending = False
        self._data = bytearray()
        self._base = self.offset_end = self.sent_offset
        self._lost.clear()
        self._acked.clear()
        return self.sent_offset
