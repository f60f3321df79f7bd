"""What servers are called: host names and IP addresses."""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def ip_address(host: str) -> Address | None:
    """Return the IP address that ``host`` is, None for a name."""
    if ":" not in host and not host[-1:].isdigit():
        return None  # as nearly all hosts
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
