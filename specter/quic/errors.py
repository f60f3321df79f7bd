"""The errors of the QUIC layer, and what becomes of each.

==============================  ======================================================================
raised inside the engine        outcome
==============================  ======================================================================
``TransportError``              the peer broke a rule: the connection closes with CONNECTION_CLOSE
                                (type 0x1c) carrying ``code``, ``frame_type`` and ``reason``, and ends in
                                ``ConnectionClosed(kind=CloseKind.LOCAL)``; callers see a
                                ``RemoteProtocolError``, or a ``HandshakeError`` before the handshake ends
``TlsError``                    the same with ``CRYPTO_ERROR`` plus the alert; a refused certificate is a
                                ``CertificateError`` to callers
``PacketError``                 the datagram is counted and dropped, nothing else
``DecryptError``                the packet is counted and dropped; past the integrity limit of its keys the
                                connection closes with ``AEAD_LIMIT_REACHED``
``LocalProtocolError``          the caller broke a rule: raised to the caller, the connection goes on
==============================  ======================================================================
"""

from __future__ import annotations

from specter._wire import TransportError, TransportErrorCode, error_name
from specter.errors import LocalProtocolError

__all__ = [
    "CannotMigrate",
    "LocalProtocolError",
    "StreamLimitReached",
    "TransportError",
    "TransportErrorCode",
    "UnknownStream",
    "error_name",
]


class StreamLimitReached(LocalProtocolError):
    """The peer allows no further stream of this kind now; ``StreamsAvailable`` says when it does."""

    def __init__(self, limit: int, *, unidirectional: bool) -> None:
        kind = "unidirectional" if unidirectional else "bidirectional"
        super().__init__(f"the peer allows {limit} {kind} streams and all were opened")
        self.limit = limit
        self.unidirectional = unidirectional


class CannotMigrate(LocalProtocolError):
    """The connection has to stay on the network path that it is on; it goes on there."""


class UnknownStream(LocalProtocolError):
    """The stream was never opened, is finished on both sides, or has no side that can do this."""

    def __init__(self, stream_id: int) -> None:
        super().__init__(f"no stream {stream_id} to do this on")
        self.stream_id = stream_id
