"""What a connection is, for those who look rather than work."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from specter.net import clock
from specter.net.channel import Channel
from specter.quic.core import ConnectionStats
from specter.quic.ecn import EcnValidator
from specter.quic.packet import QUIC_V1, QUIC_V2
from specter.quic.rtt import RttEstimator
from specter.tls.ciphers import CipherSuite
from specter.tls.key_exchange import NamedGroup

if TYPE_CHECKING:
    from cryptography import x509

__all__ = ["ConnectionInfo", "PathInfo", "describe"]

_QUIC_VERSIONS: Final = {QUIC_V1: "QUICv1", QUIC_V2: "QUICv2"}


@dataclass(frozen=True, slots=True)
class PathInfo:
    """A network path as it was found."""

    local_address: tuple[str, int]
    remote_address: tuple[str, int]
    datagram_size: int
    """Bytes of UDP payload in full datagrams: 1,200 at first, more once path MTU discovery found room (RFC 8899)."""
    ecn: str
    """Whether datagrams are marked for Explicit Congestion Notification (RFC 9000, section 13.4): ``"testing"`` and
    ``"capable"`` they are, ``"off"``, ``"unknown"`` and ``"failed"`` they are not."""
    changes: int
    """How often the connection moved to another path (RFC 9000, section 9)."""


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """The two ends of a connection, what they agreed on, and how it goes.

    The figures at the end are those of the moment they are looked at; of a connection that is over, the last ones.
    They are about the whole connection, which may carry many requests.
    """

    local_address: tuple[str, int]
    remote_address: tuple[str, int]
    """IP address and port; ``("", 0)`` where the socket was closed before anybody asked."""
    quic_version: str
    """``"QUICv1"`` or ``"QUICv2"``."""
    tls_version: str
    cipher_suite: str
    key_exchange: str
    alpn: str
    peer_certificates: tuple[x509.Certificate, ...]
    """The server's chain, leaf first."""
    resumed: bool
    """Whether a ticket of an earlier connection stood in for the certificates, which are that connection's then."""
    _stats: ConnectionStats = field(repr=False, compare=False)
    _rtt: RttEstimator = field(repr=False, compare=False)
    _ecn: EcnValidator = field(repr=False, compare=False)
    reused: bool = False
    """Whether the connection existed before the request whose response this comes from."""

    @property
    def round_trip_time(self) -> float:
        """The smoothed round-trip time in seconds (RFC 9002, section 5.3)."""
        return self._rtt.smoothed / clock.SECOND

    @property
    def bytes_sent(self) -> int:
        """Bytes of all datagrams sent, handshake included, without UDP and IP headers."""
        return self._stats.bytes_sent

    @property
    def bytes_received(self) -> int:
        """Bytes of all datagrams that came, handshake included, without UDP and IP headers."""
        return self._stats.bytes_received

    @property
    def packets_lost(self) -> int:
        """Packets of ours that were declared lost (RFC 9002, section 6)."""
        return self._stats.packets_lost

    @property
    def path(self) -> PathInfo:
        """The network path, and what is known of it by now."""
        stats = self._stats
        return PathInfo(
            self.local_address, self.remote_address, stats.datagram_size, self._ecn.state.value, stats.path_changes
        )


def describe(channel: Channel) -> ConnectionInfo:
    """Return what ``channel`` is about; addresses are ``("", 0)`` once its socket is closed."""
    quic = channel.quic
    tls = quic.tls
    return ConnectionInfo(
        local_address=_address(channel, local=True),
        remote_address=_address(channel, local=False),
        quic_version=_QUIC_VERSIONS[quic.version],
        tls_version="TLSv1.3",
        cipher_suite=_name(CipherSuite, tls.cipher_suite),
        key_exchange=_name(NamedGroup, tls.group),
        alpn=tls.alpn,
        peer_certificates=tuple(tls.peer_certificates),
        resumed=tls.resumed,
        _stats=quic.stats,
        _rtt=quic.rtt,
        _ecn=quic.ecn,
    )


def _name(names: type[IntEnum], value: int) -> str:
    try:
        return names(value).name
    except ValueError:
        return f"0x{value:04x}"


def _address(channel: Channel, *, local: bool) -> tuple[str, int]:
    try:
        address = channel.udp.local_address if local else channel.udp.peer_address
    except OSError:
        address = None
    return ("", 0) if address is None else (address[0], address[1])
