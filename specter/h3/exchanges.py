"""The exchanges in progress and the ways they end (RFC 9114, section 4.1.1)."""

from __future__ import annotations

from collections.abc import Callable

from specter.h3.errors import H3Error, H3ErrorCode, H3Fault
from specter.h3.events import ExchangeFailed
from specter.h3.request_stream import RequestStream
from specter.h3.session import Session

__all__ = ["Exchanges"]


class Exchanges:
    """Holds an exchange until both directions are over, and nothing after that.

    ``abort`` closes the connection; it is called for faults that are not one exchange's alone.
    """

    __slots__ = ("_abort", "_session", "_tunnels", "streams")

    def __init__(self, session: Session, abort: Callable[[H3Fault], None]) -> None:
        self._session = session
        self._abort = abort
        self.streams: dict[int, RequestStream] = {}
        self._tunnels: set[int] = set()
        """Ours: the connection is kept open for them."""

    def add(self, stream_id: int, method: bytes = b"") -> RequestStream:
        stream = RequestStream(self._session, stream_id, method)
        self.streams[stream_id] = stream
        if method == b"CONNECT":
            self._tunnels.add(stream_id)
            self._session.quic.keep_open(True)
        return stream

    def _forget(self, stream_id: int) -> bool:
        """Return whether there was such an exchange."""
        if stream_id in self._tunnels:
            self._tunnels.remove(stream_id)
            self._session.quic.keep_open(bool(self._tunnels))
        return self.streams.pop(stream_id, None) is not None

    def reap(self, stream: RequestStream) -> None:
        """Forget the exchange if it is over."""
        if stream.finished:
            self._forget(stream.stream_id)

    def stop_reading(self, stream: RequestStream, code: int) -> None:
        if not stream.receiving.finished:
            self._session.quic.stop_sending(stream.stream_id, int(code))
            self._stop_receiving(stream)
            self.reap(stream)

    def _stop_receiving(self, stream: RequestStream) -> None:
        stream.receiving.abandon()
        try:
            self._session.decoder.cancel(stream.stream_id)
        except H3Fault as fault:
            self._abort(fault)

    def abandon(self, stream: RequestStream, code: int) -> None:
        """Terminate the directions that are open and forget the exchange."""
        if not self._forget(stream.stream_id):
            return
        if not stream.receiving.finished:
            self._session.quic.stop_sending(stream.stream_id, int(code))
            self._stop_receiving(stream)
        if not stream.sending.finished:
            self._session.quic.reset(stream.stream_id, int(code))
            stream.sending.stop()

    def punish(self, stream: RequestStream, fault: H3Fault) -> None:
        """End what the peer's mistake deserves: the exchange or the connection."""
        if isinstance(fault, H3Error):
            self._abort(fault)
        elif stream.stream_id in self.streams:
            self.abandon(stream, fault.code)
            self._tell(stream, fault.code, fault.reason, remote=False)

    def reset(self, stream: RequestStream, code: int) -> None:
        """The peer reset its side: what we have of the message is not worth keeping."""
        if stream.receiving.finished:
            return
        rejected = code == H3ErrorCode.H3_REQUEST_REJECTED and not stream.receiving.started
        self._stop_receiving(stream)
        self.abandon(stream, H3ErrorCode.H3_REQUEST_CANCELLED)
        self._tell(stream, code, "the peer reset the stream", retry_safe=rejected and self._session.is_client)

    def refuse_from(self, identifier: int) -> None:
        """The server's GOAWAY: requests from this stream on are not processed (RFC 9114, section 5.2)."""
        for stream in [stream for stream_id, stream in self.streams.items() if stream_id >= identifier]:
            self.abandon(stream, H3ErrorCode.H3_REQUEST_CANCELLED)
            self._tell(stream, H3ErrorCode.H3_REQUEST_REJECTED, "the server takes no new requests", retry_safe=True)

    def _tell(
        self, stream: RequestStream, code: int, reason: str, *, remote: bool = True, retry_safe: bool = False
    ) -> None:
        self._session.events.append(ExchangeFailed(stream.stream_id, int(code), reason, remote, retry_safe))
