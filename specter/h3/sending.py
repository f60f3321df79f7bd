"""The sending half of an exchange: our header sections and body to frames (RFC 9114, section 4.1)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from specter.errors import LocalProtocolError
from specter.h3.fields import Lines, section_size
from specter.h3.frames import DATA, HEADERS, encode_frame, encode_header
from specter.h3.qpack import MAX_STRING
from specter.h3.session import Session
from specter.h3.writer import StreamWriter

__all__ = ["Sending"]

_HEADER_ROOM: Final = 16
_SMALL: Final = 2048
_TINY: Final = 64


class Phase(IntEnum):
    HEAD = 0
    BODY = 1
    DONE = 2


_HEAD: Final = Phase.HEAD
_BODY: Final = Phase.BODY
_DONE: Final = Phase.DONE


class Sending(StreamWriter):
    """Writes one message. ``LocalProtocolError`` is for calls in the wrong order or against the caller's own words."""

    __slots__ = ("_expected", "_no_content", "_phase", "_sent", "_session", "_starved", "tunnel")

    def __init__(self, session: Session, stream_id: int) -> None:
        super().__init__(session.quic, stream_id)
        self._session = session
        self._phase = _HEAD
        self._expected: int | None = None
        self._no_content = False
        self._sent = 0
        self._starved = False
        self.tunnel = False
        """Whether what is sent are the bytes of a tunnel: somebody waits at each end."""

    @property
    def finished(self) -> bool:
        """Nothing is left to do: the end was handed to QUIC, or the peer wants no more."""
        return self.gone or (self._phase is _DONE and not self.pending)

    @property
    def stopped(self) -> bool:
        return self.gone

    @property
    def head_sent(self) -> bool:
        return self._phase is not _HEAD

    def interim(self, lines: Lines) -> None:
        self._section(lines, fin=False)

    def head(self, lines: Lines, *, content_length: int | None, no_content: bool, fin: bool) -> None:
        self._expected = None if no_content else content_length
        self._no_content = no_content
        if fin:
            self._check_complete(0)
        self._section(lines, fin=fin)
        self._phase = _DONE if fin else _BODY

    def trailers(self, lines: Lines) -> None:
        if self._phase is not _BODY:
            raise LocalProtocolError("the message already ended")
        self._check_complete(0)
        self._section(lines, fin=True)
        self._phase = _DONE

    def _section(self, lines: Lines, *, fin: bool) -> None:
        self._session.quic.mark_interactive()
        block = self._session.encoder.encode(self.stream_id, lines if type(lines) is list else list(lines))
        self.push(encode_frame(HEADERS, block), fin)

    def _check_complete(self, more: int) -> None:
        if self._expected is not None and self._sent + more != self._expected:
            raise LocalProtocolError(f"content-length is {self._expected}, the body has {self._sent + more} bytes")

    def _check_body(self, size: int, fin: bool) -> None:
        if self._phase is not _BODY:
            raise LocalProtocolError("no body can be sent now")
        if size and self._no_content:
            raise LocalProtocolError("this message has no content")
        if self._expected is not None and self._sent + size > self._expected:
            raise LocalProtocolError(f"the body is larger than its content-length of {self._expected}")
        if fin:
            self._check_complete(size)

    def body(self, data: bytes | bytearray | memoryview, fin: bool) -> int:
        """Send ``data`` as DATA; return the bytes accepted, fewer when QUIC is full (then ``writable`` comes)."""
        if self.gone:
            return len(data)
        view = memoryview(data).cast("B") if data else memoryview(b"")
        size = len(view)
        self._check_body(size, fin)
        if self.tunnel:
            self._session.quic.mark_interactive()
        if not self.flush() and (size or not fin):
            self._starved = True
            return 0
        accepted = 0
        while accepted < size and not self.pending:
            accepted += self._data(view[accepted:], fin)
            if self.stopped:
                return size
        self._sent += accepted
        if accepted < size:
            self._starved = True
        elif fin:
            if not size:
                self.push(b"", True)
            self._phase = _DONE
        return accepted

    def _data(self, view: memoryview, fin: bool) -> int:
        """Send one DATA frame; a full stream gets a tiny one, which waits here and makes QUIC tell when it has room."""
        room = self._session.quic.writable(self.stream_id) - _HEADER_ROOM
        size = min(len(view), room if room > 0 else _TINY)
        fin = fin and size == len(view)
        header = encode_header(DATA, size)
        if size <= _SMALL:
            self.push(header + bytes(view[:size]), fin)
        else:
            self.push(header)
            self.push(view[:size], fin)
        return size

    def writable(self) -> bool:
        """QUIC takes bytes again; true when the caller should hear of it."""
        if not self.flush() or not self._starved:
            return False
        self._starved = False
        return self._phase is _BODY

    def stop(self) -> None:
        """The peer wants no more of this message, or we gave it up."""
        self.drop()


def check_section_size(session: Session, lines: Lines) -> None:
    """Raise ``LocalProtocolError`` for a section larger than the peer says it takes, or than QPACK can carry."""
    size = section_size(lines)
    limit = session.peer_settings.max_field_section_size
    if limit is not None and size > limit:
        raise LocalProtocolError(f"the header section has {size} bytes, the peer takes {limit}")
    if size > MAX_STRING and any(len(name) > MAX_STRING or len(value) > MAX_STRING for name, value in lines):
        raise LocalProtocolError(f"a field name or value has more than {MAX_STRING} bytes")
