"""Messages of a WebSocket, to frames and back, without input or output (RFC 6455); ``websockets`` does the framing."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from typing import Final, TypeAlias

from websockets.exceptions import ProtocolError
from websockets.extensions import Extension
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import CLIENT, OPEN, SERVER, Protocol, State

from specter.errors import WebSocketClosed

__all__ = ["Message", "Messages", "SendTypes"]

Message: TypeAlias = str | bytes
SendTypes: TypeAlias = str | bytes | bytearray | memoryview | Iterable[str] | Iterable[bytes]
"""One message: text, bytes, or its fragments, all of one kind."""

MAX_CONTROL: Final = 125
"""Bytes of a control frame's payload."""
INVALID_DATA: Final = 1007
INTERNAL_ERROR: Final = 1011
ABNORMAL: Final = 1006


class Messages:
    """One end of an open WebSocket. Any thread may call any method.

    What is to be sent waits in ``current``; of the answers to PINGs only the last (RFC 6455, section 5.5.3). A message
    of more than ``max_size`` bytes closes the WebSocket with 1009.
    """

    def __init__(self, *, client: bool, max_size: int | None, extensions: Iterable[Extension] = ()) -> None:
        self._protocol = Protocol(CLIENT if client else SERVER, state=OPEN, max_size=max_size)
        self._protocol.extensions = list(extensions)
        self._protocol.debug = False  # it would log what is in the messages
        self._broken = False
        self._lock = threading.Lock()
        self._received: deque[Message] = deque()
        self._parts = bytearray()
        self._is_text = False
        self._outgoing: deque[bytes] = deque()
        self._pong = b""
        self._current = memoryview(b"")
        self.pongs: deque[bytes] = deque(maxlen=16)
        """Payloads of the PONGs that came."""

    # -- sending ------------------------------------------------------------------------------------

    def encode(self, message: SendTypes) -> Generator[None]:
        """Put a message into ``current``, a frame between two yields.

        Raises:
            WebSocketClosed: nothing can be sent any more.
            TypeError: fragments of two kinds, or something that is no message.
        """
        if isinstance(message, str | bytes | bytearray | memoryview):
            self._frame(message, isinstance(message, str), first=True, last=True)
            yield
            return
        fragments: Iterator[str | bytes] = iter(message)
        held = next(fragments, b"")
        is_text, first = isinstance(held, str), True
        try:
            for fragment in fragments:
                self._frame(held, is_text, first=first, last=False)
                held, first = fragment, False
                yield
            self._frame(held, is_text, first=first, last=True)
        except BaseException:
            if not first:
                self._give_up()
            raise
        yield

    def _frame(self, data: str | bytes | bytearray | memoryview, is_text: bool, *, first: bool, last: bool) -> None:
        if isinstance(data, str) is not is_text or not isinstance(data, str | bytes | bytearray | memoryview):
            raise TypeError(f"a message is text, bytes, or an iterable of one of them, not of {type(data).__name__}")
        payload = data.encode() if isinstance(data, str) else memoryview(data).cast("B")
        with self._lock:
            self._require_open()
            if not first:
                self._protocol.send_continuation(payload, last)
            elif is_text:
                self._protocol.send_text(payload, last)
            else:
                self._protocol.send_binary(payload, last)
            self._collect()

    def ping(self, payload: bytes) -> None:
        """Send a PING. ``ValueError`` above 125 bytes."""
        if len(payload) > MAX_CONTROL:
            raise ValueError(f"a ping carries at most {MAX_CONTROL} bytes")
        with self._lock:
            self._require_open()
            self._protocol.send_ping(payload)
            self._collect()

    def close(self, code: int, reason: str) -> None:
        """Send a Close frame, unless one was sent. ``ValueError`` for a code or reason that cannot be sent."""
        try:
            payload = Close(code, reason).serialize()
        except ProtocolError:
            raise ValueError(f"a WebSocket cannot be closed with code {code}") from None
        if len(payload) > MAX_CONTROL:
            raise ValueError(f"a reason takes at most {MAX_CONTROL - 2} bytes")
        with self._lock:
            if self._protocol.state is OPEN:
                self._protocol.send_close(code, reason)
                self._collect()

    def _give_up(self) -> None:
        """A message was begun that nobody can finish."""
        with self._lock:
            self._fail(INTERNAL_ERROR, "")
            self._collect()

    def _fail(self, code: int, reason: str) -> None:
        self._broken = True
        if self._protocol.state is OPEN:
            self._protocol.fail(code, reason)

    def _require_open(self) -> None:
        if self._protocol.state is not OPEN:
            raise self.closed()

    def _collect(self) -> None:
        """Take over what the protocol wants to send. The end of the stream is for who owns the stream."""
        for data in self._protocol.data_to_send():
            if data and data[0] & 0x0F == Opcode.PONG:
                self._pong = data
            elif data:
                self._outgoing.append(data)

    @property
    def current(self) -> memoryview:
        """What is to be sent next, empty when nothing is: the rest of the frame that was begun, or another."""
        with self._lock:
            if not self._current:
                data, self._pong = self._pong, b""
                self._current = memoryview(data or (self._outgoing.popleft() if self._outgoing else b""))
            return self._current

    def sent(self, count: int) -> None:
        """So many bytes of ``current`` are on their way."""
        with self._lock:
            self._current = self._current[count:]

    def drop(self) -> None:
        """Nobody will read what waits to be sent."""
        with self._lock:
            self._outgoing.clear()
            self._pong, self._current = b"", memoryview(b"")

    # -- receiving ----------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Take bytes of the peer, ``b""`` for the end of its direction."""
        with self._lock:
            if data:
                self._protocol.receive_data(data)
            else:
                self._protocol.receive_eof()
            for event in self._protocol.events_received():
                if isinstance(event, Frame) and not self._broken:
                    self._take(event)
            self._collect()

    def _take(self, frame: Frame) -> None:
        if frame.opcode is Opcode.PONG:
            self.pongs.append(bytes(frame.data))
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if frame.opcode is not Opcode.CONT:
                self._is_text = frame.opcode is Opcode.TEXT
            self._parts += frame.data
            if frame.fin:
                self._finish()

    def _finish(self) -> None:
        data, self._parts = bytes(self._parts), bytearray()
        try:
            self._received.append(data.decode() if self._is_text else data)
        except UnicodeDecodeError as error:
            self._fail(INVALID_DATA, f"{error.reason} at position {error.start}")

    def next(self) -> Message | None:
        """Return the oldest message that came, if there is one."""
        return self._received.popleft() if self._received else None

    # -- the end ------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether messages can still be sent."""
        return self._protocol.state is OPEN

    @property
    def failed(self) -> bool:
        """Whether this end broke the WebSocket off for what the peer did."""
        error = self._protocol.parser_exc
        return self._broken or (error is not None and not isinstance(error, EOFError))

    @property
    def over(self) -> bool:
        """Whether nothing more will come: both ends have said Close, one broke it off, or the tunnel ended."""
        return self._protocol.close_rcvd is not None or self._protocol.state is State.CLOSED or self.failed

    def closed(self) -> WebSocketClosed:
        """Return the exception that tells how it ended, or is about to."""
        protocol = self._protocol
        received, sent = protocol.close_rcvd, protocol.close_sent
        if sent is not None and (received is None or not protocol.close_rcvd_then_sent):
            return _closed(sent.code, sent.reason, remote=False)
        if received is not None:
            return _closed(received.code, received.reason, remote=True)
        return _closed(ABNORMAL, "the tunnel ended without a Close frame", remote=True)


def _closed(code: int, reason: str, *, remote: bool) -> WebSocketClosed:
    who = "the server" if remote else "this side"
    text = f"{who} closed the WebSocket with code {int(code)}{f': {reason}' if reason else ''}"
    return WebSocketClosed(text, code=int(code), reason=reason, remote=remote)
