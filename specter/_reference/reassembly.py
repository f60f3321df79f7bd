"""Reassembly of an ordered byte stream from pieces in any order (RFC 9000, sections 2.2, 4.5 and 19.6)."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from specter._frame_types import Buffer
from specter._reference.varint import decode_varint
from specter._wire import TransportError, TransportErrorCode

__all__ = ["RecvBuffer", "SegmentBudget"]

_CHUNK: Final = 65_536
"""Neighbouring chunks are joined up to this size, so that a byte at a time does not cost an object a byte."""


class SegmentBudget:
    """How many disjoint pending segments all the streams of a connection hold (``used``) and may hold (``limit``)."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int = 16_384) -> None:
        self.limit = limit
        self.used = 0


class _Segment:
    """Bytes ``[start, end)`` that wait for what comes before them, as chunks in order."""

    __slots__ = ("chunks", "end", "start")

    def __init__(self, start: int, data: Buffer) -> None:
        self.start = start
        self.end = start + len(data)
        self.chunks = [bytearray(data)]

    def append(self, data: Buffer) -> None:
        self.end += len(data)
        last = self.chunks[-1]
        if len(last) + len(data) <= _CHUNK:
            last += data
        else:
            self.chunks.append(bytearray(data))

    def prepend(self, data: Buffer) -> None:
        self.start -= len(data)
        front = bytearray(data)
        chunks = self.chunks
        # Only chunks no larger than the new one are joined: a byte is copied once per doubling, not once per call.
        while chunks and len(chunks[0]) <= len(front) and len(chunks[0]) + len(front) <= _CHUNK:
            front += chunks.pop(0)
        chunks.insert(0, front)

    def absorb(self, following: _Segment) -> None:
        """Append a segment that starts where this one ends; the shorter of the two is copied."""
        if self.end - self.start >= following.end - following.start:
            for chunk in following.chunks:
                self.append(chunk)
            return
        for chunk in reversed(self.chunks):
            following.prepend(chunk)
        self.chunks = following.chunks
        self.end = following.end


class RecvBuffer:
    """The receiving side of one stream's bytes, or of one level's CRYPTO bytes.

    Of bytes that arrive twice the first copy counts. Memory is in proportion to the bytes held, never to their
    offsets.

    Attributes:
        limit: the highest offset the peer may send up to; the owner raises it.
        highest: the highest offset received, which is what flow control counts.
        consumed: the offset of the next byte to read.
        final_size: the size of the stream, -1 while unknown.
        is_reset: a RESET_STREAM took effect.
        discarded: the reader gave up.
    """

    __slots__ = (
        "_budget",
        "_overflow_code",
        "_ready",
        "_segments",
        "_starts",
        "consumed",
        "discarded",
        "final_size",
        "highest",
        "is_reset",
        "limit",
    )

    def __init__(
        self,
        limit: int,
        budget: SegmentBudget | None = None,
        overflow_code: int = TransportErrorCode.FLOW_CONTROL_ERROR,
    ) -> None:
        self.limit = limit
        self.highest = 0
        self.consumed = 0
        self.final_size = -1
        self.is_reset = False
        self.discarded = False
        self._budget = budget if budget is not None else SegmentBudget()
        self._overflow_code = overflow_code
        self._ready = bytearray()
        self._starts: list[int] = []
        self._segments: list[_Segment] = []

    @property
    def readable(self) -> int:
        """Bytes that :meth:`read` would return."""
        return len(self._ready)

    @property
    def pending_segments(self) -> int:
        """Disjoint segments that wait for a gap before them."""
        return len(self._segments)

    @property
    def complete(self) -> bool:
        """Whether every byte up to the final size is here or was read; discarded, whether the final size is known."""
        if self.discarded:
            return self.final_size >= 0 and not self.is_reset
        return self.final_size == self.consumed + len(self._ready) and not self.is_reset

    @property
    def finished(self) -> bool:
        """Whether nothing is left to read or to come: everything up to the final size is consumed."""
        return self.final_size == self.consumed

    def receive(self, offset: int, data: Buffer, fin: bool) -> int:
        """Take the bytes of a STREAM or CRYPTO frame; return the growth of ``highest``.

        After :meth:`reset` or :meth:`discard` the bytes are dropped but the rules still hold.

        Raises:
            TransportError: FINAL_SIZE_ERROR for bytes beyond the final size or another final size, then
                ``overflow_code`` for bytes beyond ``limit``, then INTERNAL_ERROR for too many gaps. Nothing changed.
        """
        end = offset + len(data)
        if fin or self.final_size >= 0:
            self._check_final_size(end, fin)
        if end > self.limit:
            raise TransportError(self._overflow_code, "data beyond the limit")
        edge = self.consumed + len(self._ready)
        if end > edge and end > offset and not (self.is_reset or self.discarded):
            if offset > edge:
                self._insert(offset, end, data)
            elif self._segments and self._starts[0] <= end:
                self._bridge(offset, end, data)
            else:
                self._ready += data if offset == edge else memoryview(data)[edge - offset :]
        if fin:
            self.final_size = end
        return self._grow(end)

    def _check_final_size(self, end: int, fin: bool) -> None:
        if self.final_size < 0:
            if end < self.highest:
                raise TransportError(TransportErrorCode.FINAL_SIZE_ERROR, "final size below data received")
        elif end > self.final_size:
            raise TransportError(TransportErrorCode.FINAL_SIZE_ERROR, "data beyond the final size")
        elif fin and end != self.final_size:
            raise TransportError(TransportErrorCode.FINAL_SIZE_ERROR, "final size changed")

    def _grow(self, end: int) -> int:
        growth = end - self.highest
        if growth <= 0:
            return 0
        self.highest = end
        return growth

    def _bridge(self, offset: int, end: int, data: Buffer) -> None:
        """Take data at the edge that reaches pending segments."""
        view = memoryview(data)
        ready = self._ready
        edge = self.consumed + len(ready)
        count = 0
        for segment in self._segments:
            if segment.start > end:
                break
            if segment.start > edge:
                ready += view[edge - offset : segment.start - offset]
            for chunk in segment.chunks:
                ready += chunk
            edge = segment.end
            count += 1
        self._drop_segments(0, count)
        if end > edge:
            ready += view[edge - offset :]

    def _drop_segments(self, first: int, stop: int) -> None:
        del self._starts[first:stop]
        del self._segments[first:stop]
        self._budget.used -= stop - first

    def _insert(self, start: int, end: int, data: Buffer) -> None:
        """Take data ahead of the edge, joined with every pending segment it overlaps or touches."""
        starts, segments = self._starts, self._segments
        first = bisect_right(starts, start)
        if first and segments[first - 1].end >= start:
            first -= 1
        stop = first
        while stop < len(starts) and starts[stop] <= end:
            stop += 1
        if first < stop:
            self._join(first, stop, start, end, memoryview(data))
            return
        if self._budget.used >= self._budget.limit:
            raise TransportError(TransportErrorCode.INTERNAL_ERROR, "too many gaps")
        self._budget.used += 1
        starts.insert(first, start)
        segments.insert(first, _Segment(start, data))

    def _join(self, first: int, stop: int, start: int, end: int, view: memoryview) -> None:
        segment = self._segments[first]
        if start < segment.start:
            segment.prepend(view[: segment.start - start])
        for following in self._segments[first + 1 : stop]:
            if segment.end < following.start:
                segment.append(view[segment.end - start : following.start - start])
            segment.absorb(following)
        if segment.end < end:
            segment.append(view[segment.end - start :])
        self._starts[first] = segment.start
        self._drop_segments(first + 1, stop)

    def read(self, max_bytes: int = -1) -> bytes:
        """Return the next bytes and consume them: all that are readable, or at most ``max_bytes`` of them."""
        ready = self._ready
        if max_bytes < 0 or max_bytes >= len(ready):
            data = bytes(ready)
            self._ready = bytearray()
        else:
            data = bytes(memoryview(ready)[:max_bytes])
            del ready[:max_bytes]
        self.consumed += len(data)
        return data

    def readinto(self, view: bytearray | memoryview) -> int:
        """Copy the next bytes to the start of ``view`` and consume them; return how many."""
        ready = self._ready
        size = min(len(view), len(ready))
        view[:size] = memoryview(ready)[:size]
        del ready[:size]
        self.consumed += size
        return size

    def read_frames(self, kind: int, left: int, max_bytes: int) -> tuple[bytes, int, int]:
        """Read the payload of consecutive frames, each a varint type, a varint length and that many bytes.

        The first ``left`` bytes belong to the frame at hand; then come frames of type ``kind``, whose headers are
        consumed and dropped. It ends after ``max_bytes`` of payload, where the bytes end, and before a header that is
        of another type or not whole. Returns the payload, how much of the last frame is left, and the lengths of the
        frames it went on to, added up.
        """
        ready = self._ready
        payload = bytearray()
        pos = opened = 0
        while True:
            size = min(left, max_bytes - len(payload), len(ready) - pos)
            payload += memoryview(ready)[pos : pos + size]
            pos += size
            left -= size
            if left or len(payload) >= max_bytes:
                break
            try:
                found, after = decode_varint(ready, pos, len(ready))
                length, after = decode_varint(ready, after, len(ready))
            except TransportError:
                break
            if found != kind:
                break
            pos, left, opened = after, length, opened + length
        del ready[:pos]
        self.consumed += pos
        return bytes(payload), left, opened

    def peek(self, max_bytes: int) -> bytes:
        """Return up to ``max_bytes`` of the next bytes without consuming them; all of them for a negative number."""
        ready = self._ready
        return bytes(ready if max_bytes < 0 else memoryview(ready)[:max_bytes])

    def reset(self, final_size: int) -> int:
        """Handle RESET_STREAM: drop what is here; return the growth of ``highest``.

        ``consumed`` becomes ``final_size``: what it grows by is credit for the connection. But a stream that is
        complete stays as it is, readable (RFC 9000, section 3.2), and ``is_reset`` false; a second reset changes
        nothing.

        Raises:
            TransportError: FINAL_SIZE_ERROR for a size that contradicts what came before, then ``overflow_code`` for
                one beyond ``limit``. Nothing changed.
        """
        self._check_final_size(final_size, True)
        if final_size > self.limit:
            raise TransportError(self._overflow_code, "data beyond the limit")
        growth = self._grow(final_size)
        complete = self.complete
        self.final_size = final_size
        if self.is_reset or complete:
            return growth
        self.is_reset = True
        self._drop_data()
        self.consumed = final_size
        return growth

    def discard(self) -> int:
        """Give up reading: drop what is here and what will come; return the bytes newly counted as consumed.

        ``consumed`` becomes ``highest``. Call it again when ``highest`` has grown.
        """
        released = self.highest - self.consumed
        self.discarded = True
        self._drop_data()
        self.consumed = self.highest
        return released

    def _drop_data(self) -> None:
        self._drop_segments(0, len(self._segments))
        self._ready = bytearray()
