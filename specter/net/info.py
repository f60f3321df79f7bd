"""What a connection is, for those who look rather than work."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from specter.net.channel import Channel
from specter.quic.packet import QUIC_V1, QUIC_V2
from specter.tls.ciphers import CipherSuite
from specter.tls.key_exchange import NamedGroup

if TYPE_CHECKING:
    from cryptography import x509

__all__ = ["ConnectionInfo", "describe"]

_QUIC_VERSIONS: Final = {QUIC_V1: "QUICv1", QUIC_V2: "QUICv2"}


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """The two ends of a connection and what they agreed on."""

    local_address: tuple[str, int]
    remote_address: tuple[str, int]
    quic_version: str
    """``"QUICv1"`` or ``"QUICv2"``."""
    tls_version: str
    cipher_suite: str
    key_exchange: str
    alpn: str
    peer_certificates: tuple[x509.Certificate, ...]
    """The server's chain, leaf first."""


def describe(channel: Channel) -> ConnectionInfo:
    """Return what ``channel`` is about; addresses are ``("", 0)`` once its socket is closed."""
    tls = channel.quic.tls
    return ConnectionInfo(
        local_address=_address(channel, local=True),
        remote_address=_address(channel, local=False),
        quic_version=_QUIC_VERSIONS[channel.quic.version],
        tls_version="TLSv1.3",
        cipher_suite=_name(CipherSuite, tls.cipher_suite),
        key_exchange=_name(NamedGroup, tls.group),
        alpn=tls.alpn,
        peer_certificates=tuple(tls.peer_certificates),
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
