"""A WebSocket server's end, for handlers of the test server (RFC 6455, RFC 8441)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from specter.errors import WebSocketClosed
from specter.testing.messages import Reply, Request

if TYPE_CHECKING:
    from websockets.extensions import Extension

    from specter.client.messages import Message, Messages, SendTypes

__all__ = ["MessageHandler", "websocket"]

CHUNK: Final = 1 << 16

MessageHandler: TypeAlias = "Callable[[Message], Iterable[SendTypes]]"
"""Gets a message, and gives those that are the answer."""


def websocket(
    request: Request,
    handler: MessageHandler,
    *,
    subprotocols: Sequence[str] = (),
    compression: bool = True,
    max_size: int | None = 4 << 20,
) -> Reply:
    """Return what opens a WebSocket in answer to ``request``, with ``handler`` for its messages. Needs the extra
    ``websocket``.

    Of ``subprotocols`` the client's favourite is chosen. ``compression`` accepts an offer to compress messages.
    """
    from specter.client.messages import Messages

    headers: list[tuple[str | bytes, str | bytes]] = []
    offered = (request.header("sec-websocket-protocol") or "").split(",")
    chosen = next((name.strip() for name in offered if name.strip() in subprotocols), None)
    if chosen is not None:
        headers.append(("sec-websocket-protocol", chosen))
    extensions = _accept(request, headers) if compression else []
    messages = Messages(client=False, max_size=max_size, extensions=extensions)
    return Reply(headers=headers, body=_talk(request, messages, handler))


def _accept(request: Request, headers: list[tuple[str | bytes, str | bytes]]) -> list[Extension]:
    """Accept the first offer of compression that can be met; say so in ``headers``."""
    from websockets.exceptions import NegotiationError
    from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
    from websockets.headers import build_extension, parse_extension

    deflate = ServerPerMessageDeflateFactory()
    offered = request.header("sec-websocket-extensions")
    for name, parameters in parse_extension(offered) if offered else ():
        if name == deflate.name:
            try:
                answer, extension = deflate.process_request_params(parameters, [])
            except NegotiationError:
                continue
            headers.append(("sec-websocket-extensions", build_extension([(deflate.name, answer)])))
            return [extension]
    return []


def _talk(request: Request, messages: Messages, handler: MessageHandler) -> Iterator[bytes]:
    while (piece := request.stream.read(CHUNK)) is not None:
        if not piece:
            yield b""
            continue
        messages.feed(piece)
        while (message := messages.next()) is not None:
            yield from _answer(messages, handler(message))
        yield from _outgoing(messages)
        if messages.over:
            return
    messages.feed(b"")


def _answer(messages: Messages, answers: Iterable[SendTypes]) -> Iterator[bytes]:
    for answer in answers:
        try:
            for _ in messages.encode(answer):
                yield from _outgoing(messages)
        except WebSocketClosed:
            return


def _outgoing(messages: Messages) -> Iterator[bytes]:
    while frame := messages.current:
        messages.sent(len(frame))
        yield bytes(frame)
