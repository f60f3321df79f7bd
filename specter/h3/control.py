"""The peer's control stream (RFC 9114, sections 6.2.1 and 7.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from specter.h3.errors import H3Error, H3ErrorCode
from specter.h3.frames import KNOWN_TYPES, FrameReader, FrameType, decode_identifier, decode_priority_update
from specter.h3.settings import MAX_SETTINGS_PAYLOAD, Settings, decode_settings
from specter.h3.transport import Transport

__all__ = ["ControlStream"]

_MAX_IDENTIFIER: Final = 8
_MAX_PRIORITY_UPDATE: Final = 1024
_MAX_GOAWAYS: Final = 64
"""GOAWAY frames we listen to; each one costs a look at every open exchange."""
_IDENTIFIERS: Final = frozenset({FrameType.GOAWAY, FrameType.CANCEL_PUSH, FrameType.MAX_PUSH_ID})
_FOR_SERVERS: Final = frozenset({FrameType.MAX_PUSH_ID, FrameType.PRIORITY_UPDATE, FrameType.PRIORITY_UPDATE_PUSH})
_ALLOWED: Final = _IDENTIFIERS | _FOR_SERVERS


class ControlStream:
    """Reads SETTINGS first and once, then GOAWAY, PRIORITY_UPDATE and the push frames; reports all but the last.

    We never allow pushes and never promise one, so every push id in CANCEL_PUSH and PRIORITY_UPDATE is an error.
    """

    def __init__(
        self,
        quic: Transport,
        stream_id: int,
        on_settings: Callable[[Settings], None],
        on_goaway: Callable[[int], None],
        on_priority: Callable[[int, bytes], None],
    ) -> None:
        self._reader = FrameReader(quic, stream_id)
        self._is_client = quic.is_client
        self._stream_id = stream_id
        self._trace = quic.trace
        self._on_settings = on_settings
        self._on_goaway = on_goaway
        self._on_priority = on_priority
        self._begun = False
        self._goaway: int | None = None
        self._goaways = 0
        self._max_push_id = -1

    def advance(self) -> None:
        """Understand what is here; called when the stream is readable."""
        self._reader.dry = False
        while (frame := self._reader.next(self._admit)) is not None:
            self._handle(*frame)
            if self._trace is not None:
                from specter.h3 import qlog

                qlog.control_frame_parsed(self._trace, self._stream_id, *frame)

    def _admit(self, kind: int, length: int) -> bool:
        if not self._begun:
            return self._admit_first(kind, length)
        if kind not in KNOWN_TYPES:
            return False
        if kind not in _ALLOWED or (self._is_client and kind in _FOR_SERVERS):
            raise H3Error(H3ErrorCode.H3_FRAME_UNEXPECTED, f"frame type 0x{kind:x} on the control stream")
        if kind == FrameType.PRIORITY_UPDATE_PUSH:
            raise H3Error(H3ErrorCode.H3_ID_ERROR, "PRIORITY_UPDATE of a push that does not exist")
        if kind == FrameType.PRIORITY_UPDATE:
            if length > _MAX_PRIORITY_UPDATE:
                raise H3Error(H3ErrorCode.H3_EXCESSIVE_LOAD, "PRIORITY_UPDATE too long")
        elif length > _MAX_IDENTIFIER:
            raise H3Error(H3ErrorCode.H3_FRAME_ERROR, f"frame type 0x{kind:x} is too long")
        return True

    def _admit_first(self, kind: int, length: int) -> bool:
        if kind != FrameType.SETTINGS:
            raise H3Error(H3ErrorCode.H3_MISSING_SETTINGS, f"frame type 0x{kind:x} before SETTINGS")
        if length > MAX_SETTINGS_PAYLOAD:
            raise H3Error(H3ErrorCode.H3_EXCESSIVE_LOAD, "SETTINGS too long")
        self._begun = True
        return True

    def _handle(self, kind: int, payload: bytes) -> None:
        if kind == FrameType.SETTINGS:
            self._on_settings(Settings.from_pairs(decode_settings(payload)))
            return
        if kind == FrameType.PRIORITY_UPDATE:
            self._on_priority(*decode_priority_update(payload))
            return
        identifier = decode_identifier(payload)
        if kind == FrameType.GOAWAY:
            self._handle_goaway(identifier)
        elif kind == FrameType.MAX_PUSH_ID:
            self._handle_max_push_id(identifier)
        else:
            raise H3Error(H3ErrorCode.H3_ID_ERROR, "CANCEL_PUSH of a push that does not exist")

    def _handle_goaway(self, identifier: int) -> None:
        if self._is_client and identifier & 3:
            raise H3Error(H3ErrorCode.H3_ID_ERROR, "GOAWAY does not name a request stream")
        if self._goaway is not None and identifier > self._goaway:
            raise H3Error(H3ErrorCode.H3_ID_ERROR, "GOAWAY grew")
        self._goaways += 1
        if self._goaways > _MAX_GOAWAYS:
            raise H3Error(H3ErrorCode.H3_EXCESSIVE_LOAD, "too many GOAWAY frames")
        self._goaway = identifier
        self._on_goaway(identifier)

    def _handle_max_push_id(self, identifier: int) -> None:
        if identifier < self._max_push_id:
            raise H3Error(H3ErrorCode.H3_ID_ERROR, "MAX_PUSH_ID shrank")
        self._max_push_id = identifier
