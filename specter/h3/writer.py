"""Bytes that must leave whole although QUIC may take only a part of them now."""

from __future__ import annotations

from typing import Final

from specter.errors import LocalProtocolError
from specter.h3.errors import H3Error, H3ErrorCode
from specter.h3.transport import Transport

__all__ = ["StreamWriter"]

_NOTHING: Final = bytearray()
"""The queue of every writer that has nothing to keep; never changed."""


class StreamWriter:
    """The sending side of one stream; what QUIC refuses is kept, up to ``limit`` bytes, and sent by ``flush``.

    A writer without a stream (``stream_id`` -1) keeps everything until ``open``.
    """

    __slots__ = ("_fin", "_limit", "_queue", "_quic", "gone", "pending", "stream_id")

    def __init__(self, quic: Transport, stream_id: int = -1, *, limit: int = 1 << 20) -> None:
        self._quic = quic
        self._queue: bytearray = _NOTHING
        self._fin = False
        self._limit = limit
        self.stream_id = stream_id
        self.pending = False
        """True while bytes or the end wait here."""
        self.gone = False
        """QUIC takes nothing on this stream any more; what is pushed disappears."""

    def open(self, stream_id: int) -> None:
        self.stream_id = stream_id
        self.flush()

    def push(self, data: bytes | memoryview, fin: bool = False) -> None:
        """Send ``data``, now or later. Raises ``H3Error`` H3_EXCESSIVE_LOAD when the peer let too much pile up."""
        if not self._queue and self.stream_id >= 0:
            sent = self._write(data, fin)
            if sent == len(data):
                return
            data = data[sent:]
        self._keep(data, fin)
        self.flush()

    def _keep(self, data: bytes | memoryview, fin: bool) -> None:
        if self._queue is _NOTHING:
            self._queue = bytearray()
        self._queue += data
        self._fin = fin
        self.pending = fin or len(self._queue) > 0
        if len(self._queue) > self._limit:
            raise H3Error(H3ErrorCode.H3_EXCESSIVE_LOAD, "the peer reads too little of a stream")

    def _write(self, data: bytes | memoryview, fin: bool) -> int:
        """Offer ``data`` to QUIC; return the bytes it took."""
        if self.gone:
            return len(data)
        try:
            return self._quic.write(self.stream_id, data, fin)
        except LocalProtocolError:
            # The peer's STOP_SENDING reached QUIC; its event has not reached us.
            self.drop()
            return len(data)

    def flush(self) -> bool:
        """Offer what waits; true when nothing waits any more."""
        while self.pending and self.stream_id >= 0:
            sent = self._write(bytes(self._queue), self._fin)
            if sent == len(self._queue):
                self._forget()
            elif sent:
                del self._queue[:sent]
            else:
                return False
        return not self.pending

    def drop(self) -> None:
        """Forget what waits and take no more."""
        self.gone = True
        self._forget()

    def _forget(self) -> None:
        self._queue = _NOTHING
        self._fin = self.pending = False
