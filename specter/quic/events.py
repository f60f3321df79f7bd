"""What a QUIC connection tells the layer above; small, never changed, in the order things happened.

All are frozen but the two that come with every request: made without a frozen dataclass's detours.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from specter.tls.session import Session

if TYPE_CHECKING:
    from specter._backend import batch


class CloseKind(Enum):
    """Who or what ended a connection."""

    LOCAL = "local"
    """We closed it: the caller asked, or the peer broke a rule (then ``error_code`` is not 0)."""
    REMOTE = "remote"
    """The peer sent CONNECTION_CLOSE."""
    IDLE = "idle"
    """Nothing arrived for the idle timeout (RFC 9000, section 10.1)."""
    RESET = "reset"
    """The peer sent a stateless reset (RFC 9000, section 10.3)."""
    VERSION = "version"
    """The peer speaks no version of ours."""
    TIMEOUT = "timeout"
    """The handshake did not finish in time."""


@dataclass(frozen=True, slots=True)
class HandshakeCompleted:
    """1-RTT keys are ready and, on the client, the server's certificate was accepted."""

    alpn: bytes


@dataclass(frozen=True, slots=True)
class HandshakeConfirmed:
    """The handshake is confirmed (RFC 9001, section 4.1.2)."""


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The peer opened a stream; its data follows in ``StreamReadable``."""

    stream_id: int


@dataclass(init=False, unsafe_hash=True, slots=True)
class StreamReadable:
    """Data or the end of the stream can be read; said once until the reader has emptied the stream."""

    stream_id: int

    def __init__(self, stream_id: int) -> None:
        self.stream_id = stream_id


@dataclass(frozen=True, slots=True)
class StreamWritable:
    """A stream that refused bytes takes some again."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class StreamReset:
    """The peer reset its sending side; unread data is gone."""

    stream_id: int
    error_code: int


@dataclass(frozen=True, slots=True)
class StopSending:
    """The peer no longer reads this stream; our sending side was reset with the same code."""

    stream_id: int
    error_code: int


@dataclass(init=False, unsafe_hash=True, slots=True)
class StreamFinished:
    """Everything we sent on this stream, the end included, was acknowledged."""

    stream_id: int

    def __init__(self, stream_id: int) -> None:
        self.stream_id = stream_id


@dataclass(frozen=True, slots=True)
class StreamsAvailable:
    """The peer raised a stream limit that had stopped us."""

    unidirectional: bool


@dataclass(frozen=True, slots=True)
class TokenReceived:
    """A NEW_TOKEN token for the next connection to this server."""

    token: bytes


@dataclass(frozen=True, slots=True)
class TicketReceived:
    """The server can resume this connection; ``session`` goes into the ``Resumption`` of a later one."""

    session: Session


@dataclass(frozen=True, slots=True)
class EarlyDataRejected:
    """The server does not take the early data: every stream is gone, as if none had been opened."""


@dataclass(frozen=True, slots=True)
class PingAcknowledged:
    """The PING that the caller asked for was acknowledged."""


@dataclass(frozen=True, slots=True)
class AddressPreferred:
    """The server would rather be spoken to at one of ``addresses`` from now on (client role; RFC 9000, section 9.6)."""

    addresses: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class PathChanged:
    """Packets go to and come from ``address`` now: the peer moved there, or we did and the path was validated."""

    address: batch.Address


@dataclass(frozen=True, slots=True)
class PathAbandoned:
    """Nothing is sent to or taken from ``address`` any more (client role): an old path, or one that did not work."""

    address: batch.Address


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    """The last event of a connection.

    ``failure`` carries the Python exception behind a local close (a ``TlsError``, say), if there is one.
    """

    kind: CloseKind
    error_code: int
    reason: str
    application: bool = False
    frame_type: int = 0
    failure: Exception | None = None


Event: TypeAlias = (
    HandshakeCompleted
    | HandshakeConfirmed
    | StreamOpened
    | StreamReadable
    | StreamWritable
    | StreamReset
    | StopSending
    | StreamFinished
    | StreamsAvailable
    | TokenReceived
    | TicketReceived
    | EarlyDataRejected
    | PingAcknowledged
    | AddressPreferred
    | PathChanged
    | PathAbandoned
    | ConnectionClosed
)
