"""The opening handshake of a WebSocket over HTTP/3: header fields of the request, checks of the answer (RFC 8441)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from specter.client.headers import Headers, HeaderTypes
from specter.errors import RemoteProtocolError

if TYPE_CHECKING:
    from websockets.extensions import Extension

    from specter.client.messages import Messages

__all__ = ["HandshakeOffer"]

_RESERVED: Final = "sec-websocket-"
VERSION: Final = "13"


class HandshakeOffer:
    """What a client offers: subprotocols, the favourite first, and compression of messages (RFC 7692).

    Raises:
        ImportError: the extra ``websocket`` is not installed.
        ValueError: subprotocols that are no tokens, or come twice.
    """

    def __init__(self, subprotocols: Sequence[str], *, compression: bool) -> None:
        try:
            from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
            from websockets.headers import build_extension, build_subprotocol, validate_subprotocols
            from websockets.typing import Subprotocol
        except ImportError as error:
            raise ImportError("WebSockets need the extra: pip install 'specter[websocket]'") from error
        if isinstance(subprotocols, str) or len(set(subprotocols)) < len(subprotocols):
            raise ValueError("subprotocols are a list of names, each once")
        self._subprotocols = tuple(subprotocols)
        self._deflate = ClientPerMessageDeflateFactory(client_max_window_bits=True) if compression else None
        self.fields = {f"{_RESERVED}version": VERSION}
        if subprotocols:
            names = [Subprotocol(name) for name in subprotocols]
            validate_subprotocols(names)
            self.fields[f"{_RESERVED}protocol"] = build_subprotocol(names)
        if self._deflate is not None:
            offered = [(self._deflate.name, self._deflate.get_request_params())]
            self.fields[f"{_RESERVED}extensions"] = build_extension(offered)

    def merge(self, fields: HeaderTypes | None) -> Headers:
        """Return the caller's header fields with ours. ``ValueError`` where it set one of those that are ours."""
        headers = Headers(fields)
        taken = [name for name in headers if name.lower().startswith(_RESERVED)]
        if taken:
            raise ValueError(f"{taken[0]} is not for the caller to set")
        headers.update(self.fields)
        return headers

    def subprotocol(self, answer: Headers) -> str | None:
        """Return the subprotocol that the server chose.

        Raises:
            RemoteProtocolError: it was not offered.
        """
        chosen = answer.get_list(f"{_RESERVED}protocol")
        if not chosen:
            return None
        if len(chosen) > 1 or chosen[0] not in self._subprotocols:
            raise RemoteProtocolError(f"the server chose a subprotocol that was not offered: {', '.join(chosen)}")
        return chosen[0]

    def accept(self, answer: Headers, max_size: int | None) -> Messages:
        """Return what makes messages of the tunnel's bytes, with the extensions that the server accepted.

        Raises:
            RemoteProtocolError: one that was not offered, or with parameters that were not.
        """
        from websockets.exceptions import InvalidHeader, NegotiationError
        from websockets.headers import parse_extension

        from specter.client.messages import Messages

        accepted: list[Extension] = []
        try:
            for value in answer.get_list(f"{_RESERVED}extensions"):
                for name, parameters in parse_extension(value):
                    if self._deflate is None or name != self._deflate.name:
                        raise NegotiationError(f"{name} was not offered")
                    accepted.append(self._deflate.process_response_params(parameters, accepted))
        except (InvalidHeader, NegotiationError) as error:
            raise RemoteProtocolError(f"the server's extensions make no sense: {error}") from None
        return Messages(client=True, max_size=max_size, extensions=accepted)
