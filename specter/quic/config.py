"""How one QUIC connection behaves; nothing here changes after it started."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from specter.quic.qlog import Open

from specter.quic.packet import QUIC_V1, QUIC_V2, SUPPORTED_VERSIONS

MILLISECOND: Final = 1_000_000
SECOND: Final = 1_000_000_000
MINIMUM_DATAGRAM: Final = 1200
"""The smallest datagram size every QUIC path carries (RFC 9000, section 14)."""
MAXIMUM_DATAGRAM: Final = 1472
"""The largest that we send: an Ethernet frame without the headers of IPv4 and UDP."""
MAX_TOKEN: Final = 900
"""Bytes of an address validation token that leave room for a handshake in the same Initial packet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuicConfig:
    """Limits and choices of a connection. Times are nanoseconds, sizes bytes."""

    idle_timeout: int = 30 * SECOND
    handshake_timeout: int = 10 * SECOND
    keep_alive: int = 0
    """Send a PING after this long without a packet from the peer; 0 never does."""

    versions: tuple[int, ...] = (QUIC_V1, QUIC_V2)
    """QUIC versions that are offered (client) or accepted (server), the favourite first (RFC 9368, RFC 9369)."""
    original_version: int | None = None
    """Client: the version of the first flight. None is version 1 where it is offered, else the favourite."""
    preferred_version: int | None = None
    """Server: the version to move to when the client offers it. None is the client's favourite of ours."""

    silence: int = 100 * MILLISECOND
    """A client that waits for its server asks for a sign of life after three probe timeouts without a packet, but no
    sooner than after this long, and some times more, less and less often; 0 never asks. Unlike ``keep_alive``, this is
    only about what is under way: the server finds a client that a NAT gave another address."""

    datagram_size: int = 1200
    """UDP payload of full packets we send at first (1,200 to 1,452); every path has to carry it."""
    max_datagram_size: int = 1472
    """The largest UDP payload that path MTU discovery tries (up to 1,472); ``datagram_size`` or less: no discovery.

    1,472 fills an Ethernet frame over IPv4, 1,452 over IPv6.
    """
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
    """... and after ``ack_bulk_after`` packets; ``ack_threshold`` of them wait an eighth of a round trip at most."""
    ack_bulk_after: int = 100

    active_connection_id_limit: int = 4
    preferred_ipv4: tuple[str, int] | None = None
    """Where clients are asked to move to after the handshake (server role; RFC 9000, section 9.6) ..."""
    preferred_ipv6: tuple[str, int] | None = None
    """... and over IPv6; the socket has to hear what is sent there, and to answer from there."""
    disable_active_migration: bool = False
    """Tell the peer to stay at its address; a change of address that it does not know of (NAT) is followed still."""
    congestion: str = "cubic"
    """``"cubic"`` or ``"newreno"``."""
    initial_rtt: int = 333 * MILLISECOND
    skip_packet_numbers: bool = True
    """Leave out a packet number now and then, to catch acknowledgments of what was never sent."""
    grease_quic_bit: bool = False
    ecn: bool = True
    """Mark datagrams as ECN-capable (ECT(0)) once the handshake is confirmed, on paths that prove fit for it."""
    qlog: Open | None = None
    """Opens the event log of a new connection, see :mod:`specter.quic.qlog`; None keeps none."""

    def __post_init__(self) -> None:
        if not MINIMUM_DATAGRAM <= self.datagram_size <= 1452:
            raise ValueError(f"datagram_size must be 1200 to 1452, not {self.datagram_size}")
        if self.max_datagram_size > MAXIMUM_DATAGRAM:
            raise ValueError(f"max_datagram_size must be 1472 at most, not {self.max_datagram_size}")
        if self.congestion not in ("cubic", "newreno"):
            raise ValueError(f"congestion must be 'cubic' or 'newreno', not {self.congestion!r}")
        self._check_versions()

    def _check_versions(self) -> None:
        versions = self.versions
        if not versions or len(set(versions)) < len(versions) or not set(versions) <= set(SUPPORTED_VERSIONS):
            known = " and ".join(f"0x{version:x}" for version in SUPPORTED_VERSIONS)
            raise ValueError(f"versions must be some of {known}, each once, not {versions!r}")
        for name in ("original_version", "preferred_version"):
            if getattr(self, name) is not None and getattr(self, name) not in versions:
                raise ValueError(f"{name} must be one of versions, not {getattr(self, name)!r}")

    @property
    def first_version(self) -> int:
        """The version of a client's first flight: the one most servers can read (RFC 9368, section 2.5)."""
        if self.original_version is not None:
            return self.original_version
        return QUIC_V1 if QUIC_V1 in self.versions else self.versions[0]
