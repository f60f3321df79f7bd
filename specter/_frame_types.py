"""QUIC frames as values (RFC 9000, section 19; RFC 9221).

Both backends build these same classes, so a decoded frame compares equal whichever decoded it.
``data`` fields are ``memoryview`` slices of the buffer that was decoded: copy what must outlive it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Padding:
    """A run of ``length`` PADDING bytes."""

    length: int


@dataclass(frozen=True, slots=True)
class Ping:
    pass


@dataclass(frozen=True, slots=True)
class EcnCounts:
    ect0: int
    ect1: int
    ce: int


@dataclass(frozen=True, slots=True)
class Ack:
    """``ranges`` are inclusive ``(smallest, largest)`` pairs, highest first; ``delay`` is not yet scaled."""

    ranges: tuple[tuple[int, int], ...]
    delay: int
    ecn: EcnCounts | None = None

    @property
    def largest(self) -> int:
        return self.ranges[0][1]


@dataclass(frozen=True, slots=True)
class ResetStream:
    stream_id: int
    error_code: int
    final_size: int


@dataclass(frozen=True, slots=True)
class StopSending:
    stream_id: int
    error_code: int


@dataclass(frozen=True, slots=True)
class Crypto:
    offset: int
    data: Buffer


@dataclass(frozen=True, slots=True)
class NewToken:
    token: Buffer


@dataclass(frozen=True, slots=True)
class Stream:
    stream_id: int
    offset: int
    data: Buffer
    fin: bool


@dataclass(frozen=True, slots=True)
class MaxData:
    maximum: int


@dataclass(frozen=True, slots=True)
class MaxStreamData:
    stream_id: int
    maximum: int


@dataclass(frozen=True, slots=True)
class MaxStreams:
    maximum: int
    unidirectional: bool


@dataclass(frozen=True, slots=True)
class DataBlocked:
    limit: int


@dataclass(frozen=True, slots=True)
class StreamDataBlocked:
    stream_id: int
    limit: int


@dataclass(frozen=True, slots=True)
class StreamsBlocked:
    limit: int
    unidirectional: bool


@dataclass(frozen=True, slots=True)
class NewConnectionId:
    sequence: int
    retire_prior_to: int
    connection_id: bytes
    reset_token: bytes


@dataclass(frozen=True, slots=True)
class RetireConnectionId:
    sequence: int


@dataclass(frozen=True, slots=True)
class PathChallenge:
    data: bytes


@dataclass(frozen=True, slots=True)
class PathResponse:
    data: bytes


@dataclass(frozen=True, slots=True)
class ConnectionClose:
    """``application`` tells frame type 0x1d from 0x1c; ``frame_type`` is 0 in the application form."""

    error_code: int
    frame_type: int
    reason: bytes
    application: bool


@dataclass(frozen=True, slots=True)
class HandshakeDone:
    pass


@dataclass(frozen=True, slots=True)
class Datagram:
    data: Buffer


Frame: TypeAlias = (
    Padding
    | Ping
    | Ack
    | ResetStream
    | StopSending
    | Crypto
    | NewToken
    | Stream
    | MaxData
    | MaxStreamData
    | MaxStreams
    | DataBlocked
    | StreamDataBlocked
    | StreamsBlocked
    | NewConnectionId
    | RetireConnectionId
    | PathChallenge
    | PathResponse
    | ConnectionClose
    | HandshakeDone
    | Datagram
)
