"""One request and its response: the two halves, and the rules that need both (RFC 9114, section 4)."""

from __future__ import annotations

from specter.errors import LocalProtocolError
from specter.h3.fields import FieldError, Lines, RequestHead, parse_request, parse_response, parse_trailers
from specter.h3.receiving import Receiving
from specter.h3.sending import Sending, check_section_size
from specter.h3.session import Session

__all__ = ["RequestStream", "check_request"]


def check_request(session: Session, lines: Lines, fin: bool) -> RequestHead:
    """Return the request's parts; ``LocalProtocolError`` for one that must not be sent to this peer."""
    last = session.last_request
    head = last[1] if last is not None and last[0] == lines else _parse_request(session, lines)
    if fin and head.content_length and head.method != b"CONNECT":
        raise LocalProtocolError(f"content-length is {head.content_length}, but there is no body")
    return head


def _parse_request(session: Session, lines: Lines) -> RequestHead:
    extended_connect = session.peer_settings.enable_connect_protocol
    try:
        head = parse_request(lines, session.known_lines, extended_connect=extended_connect, outgoing=True)
    except FieldError as error:
        raise LocalProtocolError(f"malformed request: {error}") from None
    check_section_size(session, lines)
    session.last_request = lines[:], head
    return head


class RequestStream:
    """An exchange in progress."""

    __slots__ = ("_session", "receiving", "sending", "stream_id")

    def __init__(self, session: Session, stream_id: int, method: bytes = b"") -> None:
        self.stream_id = stream_id
        if session.trace is None:
            self.receiving = Receiving(session, stream_id, method)
            self.sending = Sending(session, stream_id)
        else:
            self._trace(session, method)
        self._session = session

    def _trace(self, session: Session, method: bytes) -> None:
        from specter.h3.qlog import TracedReceiving, TracedSending

        self.receiving = TracedReceiving(session, self.stream_id, method)
        self.sending = TracedSending(session, self.stream_id)

    @property
    def finished(self) -> bool:
        """Nothing more will happen in either direction."""
        return self.receiving.finished and self.sending.finished

    def send_request(self, lines: Lines, head: RequestHead, fin: bool) -> None:
        self.sending.tunnel = head.method == b"CONNECT"
        content_length = None if self.sending.tunnel else head.content_length
        self.sending.head(lines, content_length=content_length, no_content=False, fin=fin)

    def send_headers(self, lines: Lines, fin: bool) -> None:
        """Send an interim or final response's headers, or trailers, which always end the message."""
        check_section_size(self._session, lines)
        try:
            if self._session.is_client or self.sending.head_sent:
                parse_trailers(lines, self._session.known_lines, outgoing=True)
                self._check_trailers_allowed()
                self.sending.trailers(lines)
            else:
                self._send_response(lines, fin)
        except FieldError as error:
            raise LocalProtocolError(f"malformed field section: {error}") from None

    def _check_trailers_allowed(self) -> None:
        if self.receiving.method == b"CONNECT":
            raise LocalProtocolError("a tunnel has no trailers")

    def _send_response(self, lines: Lines, fin: bool) -> None:
        method = self.receiving.method
        if not method:
            raise LocalProtocolError("there is no request to answer yet")
        status, _, content_length = parse_response(lines, self._session.known_lines, outgoing=True)
        if status < 200:
            if fin:
                raise LocalProtocolError("an interim response does not end the message")
            self.sending.interim(lines)
            return
        no_content = method == b"HEAD" or status in (204, 304)
        if method == b"CONNECT" and status < 300:
            content_length = None
            self.sending.tunnel = True
        self.sending.head(lines, content_length=content_length, no_content=no_content, fin=fin)
