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
from specter.h3.fields import FieldError, Lines, parse_request, parse_response, parse_trailers, section_size
from specter.h3.frames import KNOWN_TYPES, FrameReader, FrameType
from specter.h3.session import Session

__all__ = ["Receiving"]

_DATA: Final = int(FrameType.DATA)
_HEADERS: Final = int(FrameType.HEADERS)
_LARGE_PIECE: Final = 4096
"""A piece of body at least this large is handed on as it is, smaller ones are joined."""


class Phase(IntEnum):
    HEAD = 0
    BODY = 1
    TUNNEL = 2
    TRAILED = 3
    DONE = 4


# A message is HEAD (interim responses stay in it), BODY, an optional trailer section, the end. CONNECT turns HEAD
# into TUNNEL, which carries DATA only. Known frame types that a phase does not list end the connection.
_ADMITS: Final[dict[Phase, frozenset[int]]] = {
    Phase.HEAD: frozenset({_HEADERS}),
    Phase.BODY: frozenset({_DATA, _HEADERS}),
    Phase.TUNNEL: frozenset({_DATA}),
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
        "method",
        "stream_id",
    )

    def __init__(self, session: Session, stream_id: int, method: bytes = b"") -> None:
        self._session = session
        self._reader = FrameReader(session.quic, stream_id)
        self._phase = Phase.HEAD
        self._blocked = False
        self._announced = False
        self._interim = 0
        self._expected: int | None = None
        self._received = 0
        self._no_content = False
        self.stream_id = stream_id
        self.method = method

    @property
    def finished(self) -> bool:
        return self._phase is Phase.DONE

    @property
    def started(self) -> bool:
        """True once anything of the message was understood."""
        return self._phase is not Phase.HEAD or self._interim > 0

    def advance(self) -> None:
        """Go on as far as the bytes here, QPACK and the body's reader allow."""
        reader = self._reader
        while not self._blocked and self._phase is not Phase.DONE:
            if reader.data_left:
                self._announce()
                return
            frame = reader.next(self._admit)
            if frame is None:
                if self._session.ended_cleanly(self.stream_id):
                    self._finish()
                return
            if frame[0] == _HEADERS:
                self._section(frame[1])

    def _admit(self, kind: int, length: int) -> bool:
        if kind not in KNOWN_TYPES:
            return False
        if kind not in _ADMITS[self._phase]:
            raise self._misplaced(kind)
        if kind == _DATA:
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
        lines = self._session.decoder.decode(self.stream_id, block)
        if lines is None:
            self._blocked = True
        else:
            self._understand(lines)

    def resume(self, lines: Lines) -> None:
        """Go on with the section that was blocked."""
        self._blocked = False
        self._understand(lines)
        self.advance()

    def _understand(self, lines: Lines) -> None:
        config = self._session.config
        if len(lines) > config.max_field_lines or section_size(lines) > config.max_field_section_size:
            raise H3StreamError(H3ErrorCode.H3_EXCESSIVE_LOAD, "field section too large")
        try:
            if self._phase is not Phase.HEAD:
                self._session.events.append(TrailersReceived(self.stream_id, parse_trailers(lines)))
                self._phase = Phase.TRAILED
            elif self._session.is_client:
                self._response(lines)
            else:
                self._request(lines)
        except FieldError as error:
            raise H3StreamError(H3ErrorCode.H3_MESSAGE_ERROR, str(error)) from None

    def _response(self, lines: Lines) -> None:
        status, headers, content_length = parse_response(lines)
        if status < 200:
            self._interim += 1
            if self._interim > self._session.config.max_interim_responses:
                raise H3StreamError(H3ErrorCode.H3_EXCESSIVE_LOAD, "too many interim responses")
            self._session.events.append(InformationalReceived(self.stream_id, status, headers))
            return
        if self.method == b"CONNECT" and status < 300:
            self._phase = Phase.TUNNEL
        else:
            self._phase = Phase.BODY
            self._no_content = self.method == b"HEAD" or status in (204, 304)
            self._expected = None if self._no_content else content_length
        self._session.events.append(ResponseReceived(self.stream_id, status, headers))

    def _request(self, lines: Lines) -> None:
        head = parse_request(lines, extended_connect=self._session.config.enable_connect_protocol)
        self.method = head.method
        if head.method == b"CONNECT":
            self._phase = Phase.TUNNEL
        else:
            self._phase = Phase.BODY
            self._expected = head.content_length
        self._session.events.append(RequestReceived(self.stream_id, *head[:6]))

    def _announce(self) -> None:
        if not self._reader.buffered and not self._session.quic.readable(self.stream_id):
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
        if self._phase is Phase.HEAD:
            if self._session.is_client:
                raise H3StreamError(H3ErrorCode.H3_MESSAGE_ERROR, "stream ends before a final response")
            raise H3StreamError(H3ErrorCode.H3_REQUEST_INCOMPLETE, "stream ends before a request")
        if self._expected is not None and self._received != self._expected:
            raise H3StreamError(H3ErrorCode.H3_MESSAGE_ERROR, "less content than content-length")
        self._phase = Phase.DONE
        self._session.events.append(MessageComplete(self.stream_id))

    def abandon(self) -> None:
        """Take no more of this message."""
        self._phase = Phase.DONE
        self._reader.data_left = 0

    def read(self, max_bytes: int) -> bytes:
        """Return body bytes, ``b""`` when none are here; what follows the body is announced by events."""
        reader = self._reader
        pieces: list[bytes] = []
        size = 0
        while reader.data_left and size < max_bytes:
            piece = reader.read_data(max_bytes - size)
            if not piece:
                self._starve()
                break
            if not reader.data_left:
                self.advance()
            if len(piece) >= _LARGE_PIECE and not pieces:
                return piece
            pieces.append(piece)
            size += len(piece)
        if not pieces:
            self._announced = False
            return b""
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read_into(self, view: memoryview) -> int:
        """Fill ``view`` with body bytes; return how many."""
        reader = self._reader
        size = 0
        while reader.data_left and size < len(view):
            taken = reader.read_data_into(view[size:])
            if not taken:
                self._starve()
                break
            size += taken
            if not reader.data_left:
                self.advance()
        if not size:
            self._announced = False
        return size
