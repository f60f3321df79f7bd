"""What an HTTP/3 connection tells its driver; small, never changed, in the order things happened.

All are frozen but the three that come with every request: made without a frozen dataclass's detours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from specter.quic.events import (
    AddressPreferred,
    ConnectionClosed,
    HandshakeCompleted,
    PathAbandoned,
    PathChanged,
    TicketReceived,
    TokenReceived,
)

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]
"""Field lines in wire order, names in lower case, pseudo-header fields removed."""


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """A request's header section (server role)."""

    stream_id: int
    method: bytes
    scheme: bytes
    authority: bytes
    path: bytes
    protocol: bytes
    headers: Headers = field(repr=False)


@dataclass(frozen=True, slots=True)
class InformationalReceived:
    """An interim response (1xx)."""

    stream_id: int
    status: int
    headers: Headers = field(repr=False)


@dataclass(init=False, unsafe_hash=True, slots=True)
class ResponseReceived:
    """The final response's header section."""

    stream_id: int
    status: int
    headers: Headers = field(repr=False)

    def __init__(self, stream_id: int, status: int, headers: Headers) -> None:
        self.stream_id = stream_id
        self.status = status
        self.headers = headers


@dataclass(init=False, unsafe_hash=True, slots=True)
class BodyReadable:
    """Body bytes wait in the connection; said once until ``read_body`` returned none."""

    stream_id: int

    def __init__(self, stream_id: int) -> None:
        self.stream_id = stream_id


@dataclass(frozen=True, slots=True)
class TrailersReceived:
    stream_id: int
    headers: Headers = field(repr=False)


@dataclass(init=False, unsafe_hash=True, slots=True)
class MessageComplete:
    """The message ended and all of its body was read."""

    stream_id: int

    def __init__(self, stream_id: int) -> None:
        self.stream_id = stream_id


@dataclass(frozen=True, slots=True)
class BodyWritable:
    """``send_body`` takes bytes again."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class PeerStoppedReading:
    """The peer sent STOP_SENDING: no more of our body is wanted. The peer's message may go on."""

    stream_id: int
    error_code: int


@dataclass(frozen=True, slots=True)
class ExchangeFailed:
    """This exchange ended early, the connection goes on.

    ``remote``: the peer reset it; otherwise the peer's message was malformed and we reset it.
    ``retry_safe``: the peer says it did not process the request (RFC 9114, sections 4.1.1 and 5.2).
    """

    stream_id: int
    error_code: int
    reason: str
    remote: bool
    retry_safe: bool


@dataclass(frozen=True, slots=True)
class RequestsAvailable:
    """A request that found no free stream can be sent now."""


@dataclass(frozen=True, slots=True)
class GoAwayReceived:
    """The peer takes no new requests; those at or above ``identifier`` were not processed."""

    identifier: int


@dataclass(frozen=True, slots=True)
class PriorityUpdated:
    """The client gave a request another Priority field value; its stream may not have been opened (server role)."""

    stream_id: int
    value: bytes


@dataclass(frozen=True, slots=True)
class SettingsReceived:
    settings: tuple[tuple[int, int], ...]


H3Event: TypeAlias = (
    HandshakeCompleted
    | RequestReceived
    | InformationalReceived
    | ResponseReceived
    | BodyReadable
    | TrailersReceived
    | MessageComplete
    | BodyWritable
    | PeerStoppedReading
    | ExchangeFailed
    | RequestsAvailable
    | GoAwayReceived
    | PriorityUpdated
    | SettingsReceived
    | TokenReceived
    | TicketReceived
    | AddressPreferred
    | PathChanged
    | PathAbandoned
    | ConnectionClosed
)
