"""Tunnels of the aioquic server: ``/raw`` echoes bytes, ``/messages`` WebSocket messages (framed by wsproto)."""

from __future__ import annotations

from collections.abc import Callable

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.extensions import PerMessageDeflate

Fields = list[tuple[bytes, bytes]]
Send = Callable[[bytes, bool], None]


class RawEcho:
    """Gives back what comes, the end included."""

    def __init__(self, send: Send) -> None:
        self._send = send

    def receive(self, data: bytes, ended: bool) -> None:
        if data or ended:
            self._send(data, ended)


class MessageEcho:
    """Gives back each message; sends a PING after the first; parts on ``goodbye``."""

    def __init__(self, send: Send, extensions: list[PerMessageDeflate]) -> None:
        self._send = send
        self._connection = Connection(ConnectionType.SERVER, extensions)
        self._pinged = False
        self._parted = self._over = False
        self._text = ""
        self._data = b""

    def receive(self, data: bytes, ended: bool) -> None:
        if self._over:
            return
        self._connection.receive_data(data)
        for event in self._connection.events():
            if isinstance(event, TextMessage):
                self._text += event.data
                if event.message_finished:
                    text, self._text = self._text, ""
                    self._echo(TextMessage(text))
            elif isinstance(event, BytesMessage):
                self._data += event.data
                if event.message_finished:
                    whole, self._data = self._data, b""
                    self._echo(BytesMessage(whole))
            elif isinstance(event, Ping):
                self._send(bytes(self._connection.send(event.response())), False)
            elif isinstance(event, CloseConnection):
                answer = b"" if self._parted else bytes(self._connection.send(event.response()))
                self._send(answer, True)
                self._over = True
                return

    def _echo(self, message: TextMessage | BytesMessage) -> None:
        if message.data == "goodbye":
            self._parted = True
            self._send(bytes(self._connection.send(CloseConnection(code=4001, reason="as you like"))), False)
            return
        self._send(bytes(self._connection.send(message)), False)
        if not self._pinged:
            self._pinged = True
            self._send(bytes(self._connection.send(Ping(b"there?"))), False)


def accept(fields: Fields, send: Send) -> tuple[Fields, RawEcho | MessageEcho | None]:
    """Return the answer to an extended CONNECT, and the tunnel if it is opened."""
    request = dict(fields)
    path = request.get(b":path", b"")
    if request.get(b":protocol") != b"websocket":
        return [(b":status", b"501")], None
    if path == b"/raw":
        return [(b":status", b"200")], RawEcho(send)
    if path != b"/messages":
        return [(b":status", b"404")], None
    answer = [(b":status", b"200")]
    offered = [name.strip() for name in request.get(b"sec-websocket-protocol", b"").split(b",") if name.strip()]
    if offered:
        answer.append((b"sec-websocket-protocol", offered[-1]))
    extensions = []
    if b"sec-websocket-extensions" in request:
        deflate = PerMessageDeflate()
        accepted = deflate.accept(request[b"sec-websocket-extensions"].decode())
        if isinstance(accepted, str):
            named = f"{deflate.name}; {accepted}" if accepted else deflate.name
            answer.append((b"sec-websocket-extensions", named.encode()))
            extensions.append(deflate)
    return answer, MessageEcho(send, extensions)
