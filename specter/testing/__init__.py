"""A local HTTP/3 server, certificates, a relay that behaves like a bad path, and a virtual network, to test against."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from specter.testing.certificates import CertificateAuthority, Credential
    from specter.testing.link import BurstLoss, Link, LinkStats
    from specter.testing.messages import HalfClose, Handler, Pause, Reply, Request
    from specter.testing.network import Network
    from specter.testing.relay import Relay
    from specter.testing.server import Server
    from specter.testing.simulation import Simulation, Stalled
    from specter.testing.websocketing import websocket

__all__ = [
    "BurstLoss",
    "CertificateAuthority",
    "Credential",
    "HalfClose",
    "Handler",
    "Link",
    "LinkStats",
    "Network",
    "Pause",
    "Relay",
    "Reply",
    "Request",
    "Server",
    "Simulation",
    "Stalled",
    "websocket",
]

_HOMES = {
    "BurstLoss": "link",
    "CertificateAuthority": "certificates",
    "Credential": "certificates",
    "HalfClose": "messages",
    "Handler": "messages",
    "Link": "link",
    "LinkStats": "link",
    "Network": "network",
    "Pause": "messages",
    "Relay": "relay",
    "Reply": "messages",
    "Request": "messages",
    "Server": "server",
    "Simulation": "simulation",
    "Stalled": "simulation",
    "websocket": "websocketing",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
