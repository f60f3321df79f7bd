"""HTTP/3 as qlog events (draft-ietf-quic-qlog-h3-events, version 0.3).

``TracedSending`` and ``TracedReceiving`` take the place of the plain halves of an exchange where the connection has an
event log; without one nothing here is used. Values of fields that prove who somebody is are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from specter._backend import frames
from specter._wire import TransportError
from specter.h3.fields import Lines
from specter.h3.frames import DATA, HEADERS, KNOWN_TYPES, FrameType, decode_identifier
from specter.h3.receiving import Receiving
from specter.h3.sending import Sending
from specter.h3.session import CONTROL, PUSH, QPACK_DECODER, QPACK_ENCODER
from specter.h3.settings import Pairs, Setting, decode_settings

if TYPE_CHECKING:
    from specter.h3.session import Session
    from specter.quic.qlog import Data, Trace

__all__ = [
    "REDACTED",
    "TracedReceiving",
    "TracedSending",
    "control_frame_parsed",
    "goaway_created",
    "opened",
    "settings_created",
]

REDACTED: Final = frozenset({b"authorization", b"cookie", b"proxy-authorization", b"set-cookie"})
"""Fields whose values are not written."""
_HIDDEN: Final = "(redacted)"
_STREAM_TYPES: Final = {
    CONTROL: "control",
    PUSH: "push",
    QPACK_ENCODER: "qpack_encode",
    QPACK_DECODER: "qpack_decode",
}
_PARAMETERS: Final[dict[int, str]] = {
    Setting.QPACK_MAX_TABLE_CAPACITY: "max_table_capacity",
    Setting.MAX_FIELD_SECTION_SIZE: "max_header_list_size",
    Setting.QPACK_BLOCKED_STREAMS: "blocked_streams_count",
}
_IDENTIFIERS: Final[dict[int, tuple[str, str]]] = {
    FrameType.GOAWAY: ("goaway", "id"),
    FrameType.MAX_PUSH_ID: ("max_push_id", "push_id"),
    FrameType.CANCEL_PUSH: ("cancel_push", "push_id"),
}


def opened(trace: Trace, stream_id: int, kind: int, *, owner: str) -> None:
    """A unidirectional stream showed its type."""
    data: Data = {"owner": owner, "stream_id": stream_id, "new": _STREAM_TYPES.get(kind, "reserved")}
    trace.emit("http:stream_type_set", data)


def settings_created(trace: Trace, stream_id: int, pairs: Pairs) -> None:
    """Our SETTINGS leave."""
    trace.emit("http:parameters_set", _parameters("local", pairs))
    trace.note("http:frame_created", {"stream_id": stream_id, "frame": _settings(pairs)})


def control_frame_parsed(trace: Trace, stream_id: int, kind: int, payload: bytes) -> None:
    """A frame of the peer's control stream is here, and was not found at fault."""
    if kind == FrameType.SETTINGS:
        pairs = decode_settings(payload)
        trace.emit("http:parameters_set", _parameters("remote", pairs))
        frame = _settings(pairs)
    elif kind in _IDENTIFIERS:
        name, key = _IDENTIFIERS[kind]
        frame = {"frame_type": name, key: decode_identifier(payload)}
    else:
        frame = _unknown(kind, len(payload))
    trace.emit("http:frame_parsed", {"stream_id": stream_id, "length": len(payload), "frame": frame})


def goaway_created(trace: Trace, stream_id: int, identifier: int) -> None:
    """Our GOAWAY leaves."""
    trace.note("http:frame_created", {"stream_id": stream_id, "frame": {"frame_type": "goaway", "id": identifier}})


class TracedSending(Sending):
    """Tells of the frames that it makes."""

    __slots__ = ()

    def __init__(self, session: Session, stream_id: int) -> None:
        super().__init__(session, stream_id)
        if session.is_client:
            _note(session, "http:stream_type_set", {"owner": "local", "stream_id": stream_id, "new": "data"})

    def _section(self, lines: Lines, *, fin: bool) -> None:
        _note(self._session, "http:frame_created", {"stream_id": self.stream_id, "frame": _headers(lines)})
        super()._section(lines, fin=fin)

    def _data(self, view: memoryview, fin: bool) -> int:
        size = super()._data(view, fin)
        data = {"stream_id": self.stream_id, "length": size, "frame": {"frame_type": "data"}}
        _note(self._session, "http:frame_created", data)
        return size


class TracedReceiving(Receiving):
    """Tells of the frames that it finds."""

    __slots__ = ("_section_size",)

    def __init__(self, session: Session, stream_id: int, method: bytes = b"") -> None:
        super().__init__(session, stream_id, method)
        self._section_size = 0
        if not session.is_client:
            _emit(session, "http:stream_type_set", {"owner": "remote", "stream_id": stream_id, "new": "data"})

    def _admit(self, kind: int, length: int) -> bool:
        admitted = super()._admit(kind, length)
        if kind != HEADERS:
            frame = {"frame_type": "data"} if kind == DATA else _unknown(kind, length)
            _emit(self._session, "http:frame_parsed", {"stream_id": self.stream_id, "length": length, "frame": frame})
        return admitted

    def _section(self, block: bytes) -> None:
        self._section_size = len(block)
        self._decode(block)  # the fields are to be seen each time

    def _read_run(self, max_bytes: int) -> bytes:
        reader = self._reader
        if reader.data_left and not reader.dry:
            for length in _data_frames(self._session.quic.peek(self.stream_id, -1), reader.data_left, max_bytes):
                frame = {"frame_type": "data"}
                data = {"stream_id": self.stream_id, "length": length, "frame": frame}
                _emit(self._session, "http:frame_parsed", data)
        return super()._read_run(max_bytes)

    def _understand(self, lines: Lines, block: bytes = b"") -> None:
        data = {"stream_id": self.stream_id, "length": self._section_size, "frame": _headers(lines)}
        _emit(self._session, "http:frame_parsed", data)
        super()._understand(lines, block)


def _data_frames(wire: bytes, left: int, max_bytes: int) -> Iterator[int]:
    """Yield the lengths of the DATA frames that a run of ``max_bytes`` goes on to (``RecvBuffer.read_frames``)."""
    pos = 0
    while left <= min(len(wire) - pos, max_bytes - 1):
        pos += left
        max_bytes -= left
        try:
            kind, after = frames.decode_varint(wire, pos, len(wire))
            left, after = frames.decode_varint(wire, after, len(wire))
        except TransportError:
            return
        if kind != DATA:
            return
        pos = after
        yield left


def _emit(session: Session, name: str, data: Data) -> None:
    if session.trace is not None:
        session.trace.emit(name, data)


def _note(session: Session, name: str, data: Data) -> None:
    if session.trace is not None:
        session.trace.note(name, data)


def _headers(lines: Lines) -> dict[str, Any]:
    return {"frame_type": "headers", "headers": [_field(bytes(name), bytes(value)) for name, value in lines]}


def _field(name: bytes, value: bytes) -> dict[str, str]:
    shown = _HIDDEN if name.lower() in REDACTED else value.decode("utf-8", "replace")
    return {"name": name.decode("utf-8", "replace"), "value": shown}


def _settings(pairs: Pairs) -> dict[str, Any]:
    return {"frame_type": "settings", "settings": [{"name": _setting(key), "value": value} for key, value in pairs]}


def _setting(identifier: int) -> str:
    try:
        return f"SETTINGS_{Setting(identifier).name}"
    except ValueError:
        return f"0x{identifier:x}"


def _parameters(owner: str, pairs: Pairs) -> dict[str, Any]:
    return {"owner": owner} | {_PARAMETERS[key]: value for key, value in pairs if key in _PARAMETERS}


def _unknown(kind: int, length: int) -> dict[str, Any]:
    if kind not in KNOWN_TYPES and kind >= 0x21 and (kind - 0x21) % 0x1F == 0:
        return {"frame_type": "reserved", "length": length}
    return {"frame_type": "unknown", "raw_frame_type": kind, "raw_length": length}
