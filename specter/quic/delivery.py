"""What becomes of what was sent: acknowledged, lost, or sent once more as a probe."""

from __future__ import annotations

from typing import TypeAlias

from specter._backend import sent
from specter._frame_types import (
    DataBlocked,
    Frame,
    MaxData,
    MaxStreamData,
    MaxStreams,
    NewConnectionId,
    PathChallenge,
    PathResponse,
    Ping,
    ResetStream,
    RetireConnectionId,
    StopSending,
    StreamDataBlocked,
    StreamsBlocked,
)
from specter.quic.core import Core
from specter.quic.events import PingAcknowledged, StreamFinished
from specter.quic.mtu import MtuProbe
from specter.quic.space import CRYPTO_STREAM, Space
from specter.quic.streams import Stream

NEVER_REPEATED = (Ping, PathChallenge, PathResponse)
"""Frames that are worth nothing any more when their loss is known."""

PROBE_SEARCH = 16
"""Packets that a probe looks at: earlier probes and PINGs are the oldest before long."""

StreamRange: TypeAlias = tuple[int, int, int, bool]


class UserPing:
    """A PING that the caller asked for and wants to hear of, once."""

    __slots__ = ("answered",)

    def __init__(self) -> None:
        self.answered = False


class Delivery:
    """Applies the sent-packet table's verdicts to streams, windows and control frames."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def acknowledged(self, space: Space, acked: sent.Acked) -> None:
        for stream_id, start, end, fin in acked.streams:
            self._range_acked(space, stream_id, start, end, fin)
        for token in acked.tokens:
            if isinstance(token, int):
                space.acks.forget(token)
            elif isinstance(token, tuple):
                stream_id, offset, length, fin = token
                self._range_acked(space, stream_id, offset, offset + length, fin)
            else:
                self._frame_acked(token)

    def _range_acked(self, space: Space, stream_id: int, start: int, end: int, fin: bool) -> None:
        if stream_id == CRYPTO_STREAM:
            space.crypto_out.acked(start, end, fin)
            return
        stream = self._core.streams.by_id.get(stream_id)
        if stream is None or stream.send is None:
            return
        stream.send.acked(start, end, fin)
        if stream.send.done:
            self._core.emit(StreamFinished(stream_id))
            self._end_send(stream)

    def _frame_acked(self, token: object) -> None:
        if isinstance(token, ResetStream):
            stream = self._core.streams.by_id.get(token.stream_id)
            if stream is not None:
                self._end_send(stream)
        elif isinstance(token, RetireConnectionId):
            self._core.remote_cids.acked(token)
        elif isinstance(token, UserPing):
            if not token.answered:
                token.answered = True
                self._core.emit(PingAcknowledged())
        elif isinstance(token, MtuProbe):
            token.discovery.acked(token.size, self._core.now)
            self._core.follow_mtu()

    def _end_send(self, stream: Stream) -> None:
        core = self._core
        if stream.send is not None:
            core.packer.remove(stream.send)
            stream.send = None
        core.waiting_writers.pop(stream.id, None)
        core.streams.finish(stream)

    def lost(self, space: Space, lost: sent.Lost) -> None:
        core = self._core
        core.stats.packets_lost += lost.count
        if core.trace is not None:
            core.trace.lost(space, lost.numbers)
        if lost.marked:
            core.ecn.lost(space.sent)
            core.packer.ecn = core.ecn.codepoint
        if core.mtu.packets_lost(lost.smallest_size, lost.first_time, core.now):
            core.follow_mtu()
        for stream_id, start, end, fin in lost.streams:
            self._range_lost(space, stream_id, start, end, fin)
        self._repeat(space, lost.tokens)

    def probe(self, space: Space, count: int) -> bool:
        """Schedule again what ``count`` packets bore, the oldest with contents of their own; return whether any did."""
        repeated: list[tuple[list[object], StreamRange | None]] = []
        for tokens, stream in space.sent.oldest(PROBE_SEARCH):
            content = [token for token in tokens if not isinstance(token, (int, *NEVER_REPEATED))], stream
            if not any(content) or content in repeated:
                continue
            repeated.append(content)
            if stream is not None:
                stream_id, offset, length, fin = stream
                self._range_lost(space, stream_id, offset, offset + length, fin)
            self._repeat(space, content[0])
            if len(repeated) == count:
                break
        return space.crypto_out.has_pending if space is not self._core.app else self._core.packer.has_work(0)

    def _range_lost(self, space: Space, stream_id: int, start: int, end: int, fin: bool) -> None:
        if stream_id == CRYPTO_STREAM:
            space.crypto_out.lost(start, end, fin)
            if space is self._core.app:
                self._core.packer.enqueue(space.crypto_out)
            return
        stream = self._core.streams.by_id.get(stream_id)
        if stream is None or stream.send is None or stream.reset_code >= 0:
            return
        stream.send.lost(start, end, fin)
        if stream.send.has_pending:
            self._core.packer.enqueue(stream.send)

    def _repeat(self, space: Space, tokens: list[object]) -> None:
        for token in tokens:
            if isinstance(token, tuple):
                stream_id, offset, length, fin = token
                self._range_lost(space, stream_id, offset, offset + length, fin)
            elif isinstance(token, UserPing):
                self._repeat_ping(token)
            elif isinstance(token, MtuProbe):
                self._core.stats.packets_lost -= 1
                token.discovery.lost(token.size, self._core.now)
            elif not isinstance(token, (int, *NEVER_REPEATED)):
                self._repeat_frame(token)  # type: ignore[arg-type]

    def _repeat_ping(self, ping: UserPing) -> None:
        control = self._core.packer.control
        if not ping.answered and all(waiting is not ping for _, waiting in control):
            control.append((b"\x01", ping))

    def _repeat_frame(self, frame: Frame) -> None:
        """Send a lost control frame again, with today's value where it carries one (RFC 9000, section 13.3)."""
        core = self._core
        if isinstance(frame, MaxData):
            core.window_due = True
        elif isinstance(frame, MaxStreamData):
            stream = core.streams.by_id.get(frame.stream_id)
            if stream is not None and stream.recv is not None and stream.recv.final_size < 0:
                core.stream_windows[frame.stream_id] = stream
        elif isinstance(frame, MaxStreams):
            core.streams.theirs[frame.unidirectional].tell_again = core.streams.limits_changed = True
        elif isinstance(frame, NewConnectionId):
            core.local_cids.lost(frame)
        elif isinstance(frame, RetireConnectionId):
            core.remote_cids.lost(frame)
        elif self._still_true(frame) and all(frame != waiting for _, waiting in core.packer.control):
            core.queue(frame)

    def _still_true(self, frame: Frame) -> bool:
        """Whether a frame is worth repeating: one that says we are blocked, only while that limit blocks us."""
        core = self._core
        if isinstance(frame, DataBlocked):
            return core.packer.stalled and core.packer.data_limit == frame.limit
        if isinstance(frame, StreamDataBlocked):
            stream = core.streams.by_id.get(frame.stream_id)
            send = stream.send if stream is not None else None
            return send is not None and send.blocked and send.limit == frame.limit
        if isinstance(frame, StreamsBlocked):
            ours = core.streams.ours[frame.unidirectional]
            return ours.blocked and ours.maximum == frame.limit
        if isinstance(frame, StopSending):
            stream = core.streams.by_id.get(frame.stream_id)
            return stream is not None and stream.recv is not None
        return True
