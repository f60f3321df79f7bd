"""When a path MTU probe leaves: never in the way of somebody who waits (RFC 8899, section 5.2)."""

from __future__ import annotations

from specter._wire import NEVER
from specter.quic.core import Core
from specter.quic.mtu import QUIET, MtuProbe

PING = b"\x01"


def probe_mtu(core: Core, now: int) -> None:
    """Seal a probe if the search wants one; with interactive traffic just now, wait until it is silent.

    Nothing is asked of a path in doubt, which a probe timeout waits to hear from.
    """
    size = 0 if core.recovery.pto_count else core.mtu.next_size(now)
    if not size:
        return
    if core.interactive_at == NEVER:
        core.interactive_at = now
    quiet_at = core.interactive_at + QUIET
    if now < quiet_at:
        core.probe_deadline = quiet_at
        return
    core.probe_deadline = NEVER
    if core.packer.probe(now, PING, size, MtuProbe(core.mtu, size)):
        core.mtu.sent()
