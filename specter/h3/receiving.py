"""The receiving half of an exchange: frames to events (RFC 9114, section 4.1)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from specter.h3.errors import H3Error, H3ErrorCode, H3StreamError
from specter.h3.events import (
    BodyReadable,
    InformationalReceived,
    MessageComplete,
    RequestReceived,
    ResponseReceived,
    TrailersReceived,
)
from specter.h3.fields import (
    FieldError,
    Lines,
    ResponseHead,
    parse_request,
    parse_response,
    parse_trailers,
    section_size,
)
from specter.h3.frames import DATA, HEADERS, KNOWN_TYPES, FrameReader, FrameType
from specter.h3.session import Session

__all__ = ["Receiving"]

_ENOUGH: Final = 4096
"""With this much of the body at hand QUIC is not asked for more."""


class Phase(IntEnum):
    HEAD = 0
    BODY = 1
    TUNNEL = 2
    TRAILED = 3
    DONE = 4


_HEAD: Final = Phase.HEAD
_BODY: Final = Phase.BODY
_TUNNEL: Final = Phase.TUNNEL

# A message is HEAD (interim responses stay in it), BODY, an optional trailer section, the end. CONNECT turns HEAD
# into TUNNEL, which carries DATA only. Known frame types that a phase does not list end the connection.
_ADMITS: Final[dict[Phase, frozenset[int]]] = {
    Phase.HEAD: frozenset({HEADERS}),
    Phase.BODY: frozenset({DATA, HEADERS}),
    Phase.TUNNEL: frozenset({DATA}),
    Phase.TRAILED: frozenset(),
    Phase.DONE: frozenset(),
}


class Receiving:
    """Reads one message. Methods raise ``H3StreamError`` and ``H3Error`` for what the peer did wrong.

    ``method`` is the request's: known from the start on a client, once the request arrived on a server.
    """

    __slots__ = (
        "_announced",
        "_blocked",
        "_expected",
        "_interim",
        "_no_content",
        "_phase",
        "_reader",
        "_received",
        "_session",
        "finished",
        "method",
        "stream_id",
    )

    def __init__(self, session: Session, stream_id: int, method: bytes = b"") -> None:
        self._session = session
        self._reader = FrameReader(session.quic, stream_id)
        self._phase = _HEAD
        self._blocked = False
        self._announced = False
        self._interim = 0
        self._expected: int | None = None
        self._received = 0
        self._no_content = False
        self.stream_id = stream_id
        self.method = method
        self.finished = False

    @property
    def started(self) -> bool:
        """True once anything of the message was understood."""
        return self._phase is not _HEAD or self._interim > 0

    def readable(self) -> None:
        """QUIC says that there is something to read."""
        self._reader.dry = False
        if self._phase is _TUNNEL:
            self._session.quic.mark_interactive()
        self._go_on()

    def _go_on(self) -> None:
        self._advance()
        if self._reader.data_left:
            self._announce()

    def _advance(self) -> None:
        """Go on to the next of the body, as far as the bytes here and QPACK allow."""
        reader = self._reader
        while not (reader.data_left or self._blocked or self.finished):
            frame = reader.next(self._admit)
            if frame is None:
                if self._session.ended_cleanly(self.stream_id):
                    self._finish()
                return
            if frame[0] == HEADERS:
                self._section(frame[1])

    def _admit(self, kind: int, length: int) -> bool:
        if kind not in _ADMITS[self._phase]:
            if kind in KNOWN_TYPES:
                raise self._misplaced(kind)
            return False
        if kind == DATA:
            self._count(length)
        elif length > self._session.config.max_field_section_size:
            raise H3StreamError(H3ErrorCode.H3_EXCESSIVE_LOAD, "field section too large")
        return True

    def _misplaced(self, kind: int) -> H3Error:
        if kind == FrameType.PUSH_PROMISE and self._session.is_client:
            return H3Error(H3ErrorCode.H3_ID_ERROR, "PUSH_PROMISE although no push was allowed")
        return H3Error(H3ErrorCode.H3_FRAME_UNEXPECTED, f"frame type 0x{kind:x} in {self._phase.name} phase")

    def _count(self, length: int) -> None:
        self._received += length
        if length and self._no_content:
            raise H3StreamError(H3ErrorCode.H3_MESSAGE_ERROR, "content in a message that has none")
        if self._expected is not None and self._received > self._expected:
            raise H3StreamError(H3ErrorCode.H3_MESSAGE_ERROR, "more content than content-length")

    def _section(self, block: bytes) -> None:
        session = self._session
        if self._phase is _HEAD and (head := session.known_head(block)) is not None:
            self._respond(head)
        else:
            self._decode(block)

    def _decode(self, block: bytes) -> None:
        lines = self._session.decoder.decode(self.stream_id, block)
        if lines is None:
            self._blocked = True
            return
        self._understand(lines, block)

    def resume(self, lines: Lines) -> None:
        """Go on with the section that was blocked."""
        self._blocked = False
        self._understand(lines)
        self._go_on()

    def _understand(self, lines: Lines, block: bytes = b"") -> None:
        session = self._session
        config = session.config
        if len(lines) > config.max_field_lines or section_size(lines) > config.max_field_section_size:
            raise H3StreamError(H3ErrorCode.H3_EXCESSIVE_LOAD, "field section too large")
        try:
            if self._phase is not _HEAD:
                session.events.append(TrailersReceived(self.stream_id, parse_trailers(lines, session.known_lines)))
                self._phase = Phase.TRAILED
            elif session.is_client:
                head = parse_response(lines, session.known_lines)
                if block:
                    session.remember_head(block, head)
                self._respond(head)
            else:
                self._request(lines)
        except FieldError as error:
            raise H3StreamError(H3ErrorCode.H3_MESSAGE_ERROR, str(error)) from None

    def _respond(self, head: ResponseHead) -> None:
        status, headers, content_length = head
        if status < 200:
            self._interim += 1
            if self._interim > self._session.config.max_interim_responses:
                raise H3StreamError(H3ErrorCode.H3_EXCESSIVE_LOAD, "too many interim responses")
            self._session.events.append(InformationalReceived(self.stream_id, status, headers))
            return
        if self.method == b"CONNECT" and status < 300:
            self._phase = Phase.TUNNEL
        else:
            self._phase = _BODY
            self._no_content = self.method == b"HEAD" or status in (204, 304)
            self._expected = None if self._no_content else content_length
        self._session.events.append(ResponseReceived(self.stream_id, status, headers))

    def _request(self, lines: Lines) -> None:
        session = self._session
        head = parse_request(lines, session.known_lines, extended_connect=session.config.enable_connect_protocol)
        self.method = head.method
        if head.method == b"CONNECT":
            self._phase = Phase.TUNNEL
        else:
            self._phase = _BODY
            self._expected = head.content_length
        session.events.append(RequestReceived(self.stream_id, *head[:6]))

    def _announce(self) -> None:
        reader = self._reader
        if not reader.buffered and (reader.dry or not self._session.quic.readable(self.stream_id)):
            self._starve()
        elif not self._announced:
            self._announced = True
            self._session.events.append(BodyReadable(self.stream_id))

    def _starve(self) -> None:
        """The body goes on but nothing of it is here."""
        if self._session.ended_cleanly(self.stream_id):
            raise H3Error(H3ErrorCode.H3_FRAME_ERROR, "stream ends inside a DATA frame")

    def _finish(self) -> None:
        if self._reader.inside_frame:
            raise H3Error(H3ErrorCode.H3_FRAME_ERROR, "stream ends inside a frame")
        if self._phase is _HEAD:
            if self._session.is_client:
                raise H3StreamError(H3ErrorCode.H3_MESSAGE_ERROR, "stream ends before a final response")
            raise H3StreamError(H3ErrorCode.H3_REQUEST_INCOMPLETE, "stream ends before a request")
        if self._expected is not None and self._received != self._expected:
            raise H3StreamError(H3ErrorCode.H3_MESSAGE_ERROR, "less content than content-length")
        self._phase = Phase.DONE
        self.finished = True
        self._session.events.append(MessageComplete(self.stream_id))

    def abandon(self) -> None:
        """Take no more of this message."""
        self._phase = Phase.DONE
        self.finished = True
        self._reader.data_left = 0

    def read(self, max_bytes: int) -> bytes:
        """Return body bytes, ``b""`` when none are here; what follows the body is announced by events."""
        return self._read_pieces(max_bytes) if self._reader.buffered else self._read_run(max_bytes)

    def _read_pieces(self, max_bytes: int) -> bytes:
        """Read frame by frame, with what was taken from QUIC ahead of its time."""
        reader = self._reader
        pieces: list[bytes] = []
        size = 0
        while reader.data_left and size < max_bytes:
            piece = reader.read_data(max_bytes - size)
            if not piece:
                break
            pieces.append(piece)
            size += len(piece)
            if not reader.data_left:
                self._advance()
            if (reader.dry or size >= _ENOUGH) and not reader.buffered:
                break
        if not pieces:
            self._ran_dry()
            return b""
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_run(self, max_bytes: int) -> bytes:
        """Read frames in a row, straight from QUIC."""
        reader = self._reader
        data = b""
        if reader.data_left:
            data, opened = reader.read_run(max_bytes)
            if opened:
                self._count(opened)
            if not reader.data_left:
                self._advance()
        if not data:
            self._ran_dry()
        return data

    def _ran_dry(self) -> None:
        reader = self._reader
        self._announced = False
        if reader.data_left and not reader.buffered:
            self._starve()

    def read_into(self, view: memoryview) -> int:
        """Fill ``view`` with body bytes; return how many."""
        reader = self._reader
        size = 0
        while reader.data_left and size < len(view):
            taken = reader.read_data_into(view[size:] if size else view)
            if not taken:
                break
            size += taken
            if not reader.data_left:
                self._advance()
        if not size:
            self._ran_dry()
        return size
