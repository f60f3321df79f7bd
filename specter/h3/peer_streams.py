"""The peer's unidirectional streams: found out by type, then read or turned away (RFC 9114, section 6.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from specter._backend import frames as _wire
from specter.h3.control import ControlStream
from specter.h3.errors import H3Error, H3ErrorCode
from specter.h3.session import CONTROL, PUSH, QPACK_DECODER, QPACK_ENCODER, Session
from specter.h3.settings import Settings

__all__ = ["PeerStreams"]

MAX_UNIDENTIFIED: Final = 256
"""Open streams whose type has not arrived; a few bytes each."""
_CHUNK: Final = 16_384
_NAMES: Final = {CONTROL: "control", QPACK_ENCODER: "QPACK encoder", QPACK_DECODER: "QPACK decoder"}


class PeerStreams:
    """Owns every unidirectional stream of the peer that is not turned away.

    ``on_unblocked(stream_id)`` is called for each request stream whose field section the encoder stream completed.
    """

    def __init__(
        self,
        session: Session,
        on_settings: Callable[[Settings], None],
        on_goaway: Callable[[int], None],
        on_priority: Callable[[int, bytes], None],
        on_unblocked: Callable[[int], None],
    ) -> None:
        self._session = session
        self._on_settings = on_settings
        self._on_goaway = on_goaway
        self._on_priority = on_priority
        self._on_unblocked = on_unblocked
        self._unidentified: dict[int, bytes] = {}
        self._readers: dict[int, Callable[[int], None]] = {}
        self._kinds: dict[int, int] = {}

    def opened(self, stream_id: int) -> None:
        if len(self._unidentified) >= MAX_UNIDENTIFIED:
            raise H3Error(H3ErrorCode.H3_EXCESSIVE_LOAD, "too many streams without a type")
        self._unidentified[stream_id] = b""

    def readable(self, stream_id: int) -> None:
        reader = self._readers.get(stream_id)
        if reader is None:
            if stream_id not in self._unidentified:
                return
            self._identify(stream_id)
            if (reader := self._readers.get(stream_id)) is None:
                return
        reader(stream_id)
        if self._session.quic.at_end(stream_id):
            raise self._closed(stream_id)

    def reset(self, stream_id: int) -> None:
        self._unidentified.pop(stream_id, None)
        if stream_id in self._readers:
            raise self._closed(stream_id)

    def _closed(self, stream_id: int) -> H3Error:
        kind = next(kind for kind, owner in self._kinds.items() if owner == stream_id)
        return H3Error(H3ErrorCode.H3_CLOSED_CRITICAL_STREAM, f"the {_NAMES[kind]} stream was closed")

    def _identify(self, stream_id: int) -> None:
        """Read the stream type, byte by byte as far as it goes, and decide."""
        quic = self._session.quic
        head = self._unidentified[stream_id]
        while not head or len(head) < 1 << (head[0] >> 6):
            piece = quic.read(stream_id, (1 << (head[0] >> 6)) - len(head) if head else 1)
            if not piece:
                self._unidentified[stream_id] = head
                if quic.at_end(stream_id):
                    del self._unidentified[stream_id]
                return
            head += piece
        del self._unidentified[stream_id]
        self._adopt(stream_id, _wire.decode_varint(head, 0, len(head))[0])

    def _adopt(self, stream_id: int, kind: int) -> None:
        if self._session.trace is not None:
            from specter.h3 import qlog

            qlog.opened(self._session.trace, stream_id, kind, owner="remote")
        if kind == PUSH:
            raise self._pushed()
        if kind not in _NAMES:
            self._session.quic.stop_sending(stream_id, H3ErrorCode.H3_STREAM_CREATION_ERROR)
            return
        if kind in self._kinds:
            raise H3Error(H3ErrorCode.H3_STREAM_CREATION_ERROR, f"a second {_NAMES[kind]} stream")
        self._kinds[kind] = stream_id
        self._readers[stream_id] = self._reader_for(kind, stream_id)

    def _pushed(self) -> H3Error:
        if self._session.is_client:
            return H3Error(H3ErrorCode.H3_ID_ERROR, "a push stream although no push was allowed")
        return H3Error(H3ErrorCode.H3_STREAM_CREATION_ERROR, "a push stream from a client")

    def _reader_for(self, kind: int, stream_id: int) -> Callable[[int], None]:
        if kind == QPACK_ENCODER:
            return self._read_encoder
        if kind == QPACK_DECODER:
            return self._read_decoder
        quic = self._session.quic
        control = ControlStream(quic, stream_id, self._on_settings, self._on_goaway, self._on_priority)
        return lambda _: control.advance()

    def _read_encoder(self, stream_id: int) -> None:
        while data := self._session.quic.read(stream_id, _CHUNK):
            for unblocked in self._session.decoder.feed(data):
                self._on_unblocked(unblocked)
            if len(data) < _CHUNK:
                return

    def _read_decoder(self, stream_id: int) -> None:
        while data := self._session.quic.read(stream_id, _CHUNK):
            self._session.encoder.feed(data)
            if len(data) < _CHUNK:
                return
