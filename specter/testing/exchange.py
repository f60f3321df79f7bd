"""One request of the test server and its reply, pushed along as the client and the clock allow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from specter.testing.messages import BufferedBody, Fields, HalfClose, Pause, Reply, Request

if TYPE_CHECKING:
    from specter.h3.connection import H3Connection
    from specter.h3.events import Headers, RequestReceived

__all__ = ["Exchange"]

SECOND: Final = 1_000_000_000
PIECE: Final = 65_536
NO_BODY: Final = frozenset({204, 205, 304})


class Exchange:
    """A request stream: gathers or streams the request, then sends the reply.

    The connection tells it what happened by ``body_arrived``, ``request_ended`` and so on; ``push`` moves it.
    It is also the :class:`BodyReader` of a request that is streamed.
    """

    def __init__(self, h3: H3Connection, event: RequestReceived) -> None:
        self.stream_id = event.stream_id
        self.request = _request(event)
        self.request.stream = self
        self.request.early_data = not h3.quic.handshake_complete
        self.replied = False
        self.resume_at = 0
        self.armed_at = 0
        self.request_complete = False
        self._h3 = h3
        self._gathered = bytearray()
        self._reply: Reply | None = None
        self._interim: Iterator[tuple[int, Fields] | Pause] = iter(())
        self._pieces: Iterator[bytes | Pause | HalfClose] = iter(())
        self._pending = memoryview(b"")
        self._started = False
        self._ended = False

    # -- the request --------------------------------------------------------------------------------

    def gather(self, limit: int) -> bool:
        """Read what has arrived of the body; return False when it is longer than ``limit`` bytes."""
        while piece := self._h3.read_body(self.stream_id, PIECE):
            self._gathered += piece
            if len(self._gathered) > limit:
                self._gathered.clear()
                return False
        return True

    def gathered(self) -> Request:
        """Return the request with its whole body."""
        self.request.body = bytes(self._gathered)
        self.request.stream = BufferedBody(self.request.body)
        self._gathered.clear()
        return self.request

    def read(self, max_bytes: int = PIECE) -> bytes | None:
        """Return body bytes that are here, ``b""`` when none are, ``None`` after the last."""
        piece = b"" if self.request_complete else self._h3.read_body(self.stream_id, max_bytes)
        return None if self.request_complete and not piece else piece

    def refuse_rest(self) -> None:
        """Want no more of a request that was answered already (RFC 9114, section 4.1)."""
        self._h3.stop_reading(self.stream_id)
        self.request_complete = True

    def trailers_arrived(self, headers: Headers) -> None:
        self.request.trailers = headers

    # -- the reply ----------------------------------------------------------------------------------

    @property
    def answering(self) -> bool:
        """Whether there is a reply."""
        return self._reply is not None

    def answer(self, reply: Reply, now: int, delay: float = 0.0) -> None:
        """Take ``reply``; ``delay`` seconds come on top of its own."""
        self._reply = reply
        self._interim = iter(reply.interim)
        self.resume_at = now + int((reply.delay + delay) * SECOND) if reply.delay or delay else 0

    def push(self, now: int) -> None:
        """Send what can be sent now; ``resume_at`` says when to come back if time is what it waits for."""
        reply = self._reply
        if reply is None or self.replied or now < self.resume_at:
            return
        self.resume_at = 0
        if not self._started and (not self._introduce(now) or self._start(reply)):
            return
        while True:
            if self._pending and not self._send_pending():
                return
            piece = next(self._pieces, None)
            if piece is None:
                self._finish(reply)
                return
            if isinstance(piece, Pause):
                self.resume_at = now + int(piece.seconds * SECOND)
                return
            if isinstance(piece, HalfClose):
                self._end()
            elif not piece:
                return
            else:
                self._pending = memoryview(piece)

    def _end(self) -> None:
        self._ended = True
        self._h3.send_body(self.stream_id, b"", fin=True)

    def stop(self) -> None:
        """The client does not want the reply, or is gone."""
        self.replied = True
        self.resume_at = 0
        self._pending = memoryview(b"")
        close = getattr(self._pieces, "close", None)
        self._pieces = iter(())
        if close is not None:
            close()

    def proceed(self) -> None:
        """Ask for the body of a request that waits for that (RFC 9110, section 10.1.1)."""
        self._h3.send_headers(self.stream_id, _encode(100, ()))

    def _introduce(self, now: int) -> bool:
        """Send the interim responses; return False at a pause between them."""
        for interim in self._interim:
            if isinstance(interim, Pause):
                self.resume_at = now + int(interim.seconds * SECOND)
                return False
            self._h3.send_headers(self.stream_id, _encode(*interim))
        return True

    def _start(self, reply: Reply) -> bool:
        """Send everything before the body; return True when that was all."""
        self._started = True
        if reply.goaway:
            self._h3.shutdown()
        without = self.request.method == "HEAD" or reply.status in NO_BODY
        fields = self._reply_fields(reply)
        last = (without or reply.body == b"") and not reply.trailers and reply.reset is None and reply.close is None
        self._h3.send_headers(self.stream_id, _encode(reply.status, fields), fin=last)
        if last:
            self.stop()
        elif isinstance(reply.body, bytes):
            self._pieces = iter([reply.body] if reply.body and not without else [])
        elif not without:
            self._pieces = iter(reply.body)
        return last

    def _reply_fields(self, reply: Reply) -> Fields:
        if self.request.method == "CONNECT" and reply.status < 300:
            return [field for field in reply.headers if _bytes(field[0]).lower() != b"content-length"]
        whole = isinstance(reply.body, bytes)
        return _with_length(reply) if whole and reply.status not in NO_BODY else reply.headers

    def _send_pending(self) -> bool:
        taken = self._h3.send_body(self.stream_id, self._pending)
        self._pending = self._pending[taken:]
        return not self._pending

    def _finish(self, reply: Reply) -> None:
        self.stop()
        if reply.reset is not None:
            self._h3.cancel(self.stream_id, reply.reset)
        elif reply.close is not None:
            self._h3.close(reply.close, "as asked")
        elif reply.trailers:
            self._h3.send_headers(self.stream_id, _fields(reply.trailers), fin=True)
        elif not self._ended:
            self._end()


def _request(event: RequestReceived) -> Request:
    parts = (event.method, event.scheme, event.authority, event.path, event.protocol)
    method, scheme, authority, path, protocol = (part.decode("latin-1") for part in parts)
    return Request(method, scheme, authority, path, event.headers, protocol=protocol)


def _encode(status: int, fields: Fields) -> list[tuple[bytes, bytes]]:
    return [(b":status", str(status).encode()), *_fields(fields)]


def _fields(fields: Fields) -> list[tuple[bytes, bytes]]:
    return [(_bytes(name).lower(), _bytes(value)) for name, value in fields]


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")


def _with_length(reply: Reply) -> Fields:
    """Add content-length, which a body that is bytes has."""
    if any(_bytes(name).lower() == b"content-length" for name, _ in reply.headers) or not isinstance(reply.body, bytes):
        return reply.headers
    return [*reply.headers, ("content-length", str(len(reply.body)))]
