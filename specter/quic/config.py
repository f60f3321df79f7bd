"""How one QUIC connection behaves; nothing here changes after it started."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MILLISECOND: Final = 1_000_000
SECOND: Final = 1_000_000_000
MINIMUM_DATAGRAM: Final = 1200
"""The smallest datagram size every QUIC path carries (RFC 9000, section 14)."""
MAX_TOKEN: Final = 900
"""Bytes of an address validation token that leave room for a handshake in the same Initial packet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuicConfig:
    """Limits and choices of a connection. Times are nanoseconds, sizes bytes."""

    idle_timeout: int = 30 * SECOND
    handshake_timeout: int = 10 * SECOND
    keep_alive: int = 0
    """Send a PING after this long without a packet from the peer; 0 never does."""

    datagram_size: int = 1200
    """UDP payload of full packets we send (1,200 to 1,452)."""
    max_udp_payload: int = 1472
    """The largest UDP payload we say we accept; receive slots hold 1,536 bytes."""

    connection_window: int = 2 << 20
    connection_window_max: int = 24 << 20
    stream_window: int = 1 << 20
    stream_window_max: int = 16 << 20
    max_streams_bidi: int = 100
    """Streams the peer may have open towards us at once."""
    max_streams_uni: int = 100
    send_buffer: int = 256 << 10
    """Bytes a stream accepts beyond what it has sent."""

    max_ack_delay: int = 25 * MILLISECOND
    ack_delay_exponent: int = 3
    ack_threshold: int = 2
    """Ack-eliciting packets per ACK while a connection is young ..."""
    ack_threshold_bulk: int = 10
    """... and after ``ack_bulk_after`` packets."""
    ack_bulk_after: int = 100

    active_connection_id_limit: int = 4
    congestion: str = "cubic"
    """``"cubic"`` or ``"newreno"``."""
    initial_rtt: int = 333 * MILLISECOND
    skip_packet_numbers: bool = True
    """Leave out a packet number now and then, to catch acknowledgments of what was never sent."""
    grease_quic_bit: bool = False

    def __post_init__(self) -> None:
        if not MINIMUM_DATAGRAM <= self.datagram_size <= 1452:
            raise ValueError(f"datagram_size must be 1200 to 1452, not {self.datagram_size}")
        if self.congestion not in ("cubic", "newreno"):
            raise ValueError(f"congestion must be 'cubic' or 'newreno', not {self.congestion!r}")
