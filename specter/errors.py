"""Every exception a caller of Specter can meet.

::

    Error
    ├── ConnectError (ConnectionError)         no usable connection was made
    │   ├── CertificateError                   the server's certificate was not accepted
    │   └── HandshakeError                     TLS or QUIC refused the other side's offer
    ├── NetworkError (ConnectionError)         an established connection was lost
    ├── Timeout (TimeoutError)
    │   ├── ConnectTimeout                     also a ConnectError
    │   ├── ReadTimeout
    │   ├── WriteTimeout
    │   ├── PoolTimeout
    │   └── TotalTimeout
    ├── ProtocolError
    │   ├── RemoteProtocolError                the server broke a rule
    │   │   └── StreamReset                    the server abandoned this one exchange
    │   └── LocalProtocolError                 the caller broke a rule
    │       ├── StreamConsumed                 the body was already read
    │       ├── StreamClosed                   the response is closed
    │       └── ResponseNotRead                .content before .read()
    ├── TunnelError                            a tunnel was not opened
    │   ├── TunnelRefused                      the server answered with another status
    │   └── TunnelUnsupported                  the server does not offer extended CONNECT
    ├── WebSocketClosed                        a WebSocket was closed, by either side
    ├── StatusError                            raise_for_status()
    ├── DecodingError                          a body is not what its headers say
    ├── UnsupportedProtocol                    not an https URL
    └── InvalidURL (ValueError)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from specter.client.base_response import BaseResponse

__all__ = [
    "CertificateError",
    "ConnectError",
    "ConnectTimeout",
    "DecodingError",
    "Error",
    "HandshakeError",
    "InvalidURL",
    "LocalProtocolError",
    "NetworkError",
    "PoolTimeout",
    "ProtocolError",
    "ReadTimeout",
    "RemoteProtocolError",
    "ResponseNotRead",
    "StatusError",
    "StreamClosed",
    "StreamConsumed",
    "StreamReset",
    "Timeout",
    "TotalTimeout",
    "TunnelError",
    "TunnelRefused",
    "TunnelUnsupported",
    "UnsupportedProtocol",
    "WebSocketClosed",
    "WriteTimeout",
]


class Error(Exception):
    """The root of everything Specter raises, apart from ``ValueError`` and ``TypeError`` for bad arguments.

    ``retry_safe`` is true for a request that may be sent again without harm: it never left, or the server says that
    it did not process it, or it is one that changes nothing and the connection was dead.
    """

    retry_safe = False


class ConnectError(Error, ConnectionError):
    """No connection could be made: the name, the network, the handshake or the certificate."""


class CertificateError(ConnectError):
    """The server's certificate was not accepted.

    ``check`` names the check that failed (``"name"``, ``"chain"``, ``"validity"``, ``"signature"``,
    ``"usage"``, ``"missing"``), ``name`` the host it was made for.
    """

    def __init__(self, message: str, *, check: str, name: str) -> None:
        super().__init__(message)
        self.check = check
        self.name = name


class HandshakeError(ConnectError):
    """The handshake ended with ``code`` (RFC 9000, section 20); ``remote`` tells whose verdict it was."""

    def __init__(self, message: str, *, code: int, remote: bool) -> None:
        super().__init__(message)
        self.code = code
        self.remote = remote


class NetworkError(Error, ConnectionError):
    """An established connection was lost: closed by the peer, reset, idle, or the network refused."""


class Timeout(Error, TimeoutError):
    """A time limit of the caller passed."""


class ConnectTimeout(Timeout, ConnectError):
    """The connection was not ready in time."""


class ReadTimeout(Timeout):
    """Nothing arrived for this exchange in time."""


class WriteTimeout(Timeout):
    """The peer took none of the body in time."""


class PoolTimeout(Timeout):
    """No connection or stream became free in time."""


class TotalTimeout(Timeout):
    """The exchange as a whole took longer than allowed."""


class ProtocolError(Error):
    """A rule of QUIC, TLS or HTTP was broken."""


class RemoteProtocolError(ProtocolError):
    """The server broke a rule. ``code`` is the wire code that closed the connection or stream."""

    def __init__(self, message: str, *, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class StreamReset(RemoteProtocolError):
    """The server gave up this exchange with ``code`` (RFC 9114, section 8.1).

    ``retry_safe`` is true when the server says it did not process the request.
    """

    def __init__(self, message: str, *, code: int = 0, retry_safe: bool = False) -> None:
        super().__init__(message, code=code)
        self.retry_safe = retry_safe


class LocalProtocolError(ProtocolError):
    """The caller broke a rule: of HTTP, or of the order of calls."""


class StreamConsumed(LocalProtocolError):
    """The body was already streamed and is gone."""


class StreamClosed(LocalProtocolError):
    """The response or its client was closed before the body was read."""


class ResponseNotRead(LocalProtocolError):
    """``.content`` of a streamed response before ``.read()``."""


class TunnelError(Error):
    """A tunnel was not opened."""


class TunnelRefused(TunnelError):
    """The server's answer to CONNECT was not 2xx; ``response`` is that answer, with the beginning of its body."""

    def __init__(self, message: str, *, response: BaseResponse) -> None:
        super().__init__(message)
        self.response = response


class TunnelUnsupported(TunnelError):
    """The server does not offer extended CONNECT (SETTINGS_ENABLE_CONNECT_PROTOCOL; RFC 9220)."""


class WebSocketClosed(Error):
    """The WebSocket was closed with ``code`` and ``reason`` (RFC 6455, section 7.4); ``remote``: the server did it.

    Code 1005 stands for a Close frame without a code, 1006 for a tunnel that ended without a Close frame.
    """

    def __init__(self, message: str, *, code: int, reason: str = "", remote: bool) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.remote = remote


class StatusError(Error):
    """A 4xx or 5xx response, raised by :meth:`Response.raise_for_status`; ``response`` is that response."""

    def __init__(self, message: str, *, response: BaseResponse) -> None:
        super().__init__(message)
        self.response = response


class DecodingError(Error):
    """A body does not decode as its headers promise."""


class UnsupportedProtocol(Error):
    """The URL is not one HTTP/3 serves (only ``https``)."""


class InvalidURL(Error, ValueError):
    """The URL cannot be understood."""
