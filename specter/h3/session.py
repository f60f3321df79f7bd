"""What the parts of one HTTP/3 connection share."""

from __future__ import annotations

from collections import deque
from typing import Final

from specter._backend import frames as _wire
from specter._entropy import Entropy
from specter.h3.config import H3Config
from specter.h3.events import H3Event
from specter.h3.fields import KnownLines, Lines, RequestHead, ResponseHead
from specter.h3.frames import FrameType, encode_frame
from specter.h3.qpack import FieldDecoder, FieldEncoder
from specter.h3.settings import Settings, encode_settings, grease_value, local_settings
from specter.h3.transport import Transport
from specter.h3.writer import StreamWriter
from specter.quic.events import Event, StreamReset

CONTROL: Final = 0x00
PUSH: Final = 0x01
QPACK_ENCODER: Final = 0x02
QPACK_DECODER: Final = 0x03
"""Unidirectional stream types (RFC 9114, section 6.2, and RFC 9204, section 4.2)."""

_CRITICAL_LIMIT: Final = 64 << 10
_KNOWN_HEADS: Final = 32
_KNOWN_BLOCK: Final = 1024
"""How many encoded response heads are remembered, and up to which size (bytes)."""


class Session:
    """QUIC below, events above, both QPACK directions, and our three critical streams."""

    __slots__ = (
        "_known_heads",
        "_resets",
        "config",
        "control_stream",
        "decoder",
        "decoder_stream",
        "encoder",
        "encoder_stream",
        "events",
        "inbox",
        "is_client",
        "known_lines",
        "last_request",
        "local_settings",
        "peer_settings",
        "quic",
        "trace",
    )

    def __init__(self, quic: Transport, config: H3Config, entropy: Entropy) -> None:
        self.quic = quic
        self.config = config
        self.is_client = quic.is_client
        self.trace = quic.trace
        self.events: deque[H3Event] = deque()
        self.inbox: deque[Event] = deque()
        """QUIC's events that were looked at ahead of their turn."""
        self.known_lines: KnownLines = set()
        self.last_request: tuple[Lines, RequestHead] | None = None
        """The last request that was found fit to be sent to this peer."""
        self._known_heads: dict[bytes, ResponseHead] = {}
        self._resets: set[int] = set()
        self.peer_settings = Settings()
        self.control_stream = StreamWriter(quic, limit=_CRITICAL_LIMIT)
        self.encoder_stream = StreamWriter(quic, limit=_CRITICAL_LIMIT)
        self.decoder_stream = StreamWriter(quic, limit=_CRITICAL_LIMIT)
        self.encoder = FieldEncoder(config, self.encoder_stream)
        self.decoder = FieldDecoder(config, self.decoder_stream)
        self._greet(entropy)

    def _greet(self, entropy: Entropy) -> None:
        self.local_settings = local_settings(self.config, entropy)
        greeting = encode_frame(FrameType.SETTINGS, encode_settings(self.local_settings))
        if self.config.grease:
            greeting += encode_frame(grease_value(entropy), entropy.token(entropy.token(1)[0] & 7))
        self.control_stream.push(_wire.encode_varint(CONTROL) + greeting)
        self.encoder_stream.push(_wire.encode_varint(QPACK_ENCODER))
        self.decoder_stream.push(_wire.encode_varint(QPACK_DECODER))

    @property
    def critical_streams(self) -> tuple[StreamWriter, StreamWriter, StreamWriter]:
        return self.control_stream, self.encoder_stream, self.decoder_stream

    def open_critical_streams(self) -> bool:
        """Open what the peer's stream limit allows; true when all three are open."""
        for writer in self.critical_streams:
            if writer.stream_id >= 0:
                continue
            if not self.quic.can_open(unidirectional=True):
                return False
            writer.open(self.quic.open_stream(unidirectional=True))
            if self.trace is not None:
                self._tell_opened(writer)
        return True

    def _tell_opened(self, writer: StreamWriter) -> None:
        from specter.h3 import qlog

        kinds = dict(zip(self.critical_streams, (CONTROL, QPACK_ENCODER, QPACK_DECODER), strict=True))
        if self.trace is not None:
            qlog.opened(self.trace, writer.stream_id, kinds[writer], owner="local")
            if writer is self.control_stream:
                qlog.settings_created(self.trace, writer.stream_id, self.local_settings)

    def ended_cleanly(self, stream_id: int) -> bool:
        """Tell whether a stream that gives no more bytes ended with FIN.

        QUIC reports the end of the stream for a reset too, at once, while the event may still wait: look for it.
        """
        if not self.quic.at_end(stream_id):
            return False
        if not self.inbox:
            self._resets.clear()
        while (event := self.quic.next_event()) is not None:
            self.inbox.append(event)
            if isinstance(event, StreamReset):
                self._resets.add(event.stream_id)
        return stream_id not in self._resets

    def known_head(self, block: bytes) -> ResponseHead | None:
        """Return the response head that ``block``, an encoded field section, is known to mean."""
        return self._known_heads.get(block)

    def remember_head(self, block: bytes, head: ResponseHead) -> None:
        """Keep the meaning of a small block that needs no dynamic table entry, so that it never changes.

        Servers give one response in several orders of its fields: a few blocks are kept.
        """
        if len(block) <= _KNOWN_BLOCK and not block[0]:  # a Required Insert Count of 0 (RFC 9204, section 4.5.1.1)
            if len(self._known_heads) >= _KNOWN_HEADS:
                self._known_heads.clear()
            self._known_heads[block] = head

    def apply_settings(self, settings: Settings) -> None:
        self.peer_settings = settings
        self.last_request = None
        self.encoder.apply(settings)
