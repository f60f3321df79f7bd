"""The one deadline a driver keeps, and what is done when it comes."""

from __future__ import annotations

from typing import Final

from specter._frame_types import Ping
from specter._wire import NEVER
from specter.quic.close import CloseState
from specter.quic.config import SECOND
from specter.quic.core import Core
from specter.quic.delivery import Delivery
from specter.quic.events import CloseKind, ConnectionClosed
from specter.quic.probing import probe_mtu
from specter.quic.space import Space, SpaceId

PING = b"\x01"
KEEP_OPEN: Final = 15 * SECOND
"""Nanoseconds of silence after which a connection that is to be kept open sends a PING, at most."""


class Timers:
    """Loss and probes, delayed ACKs, pacing, idle, keep-alive, handshake, key retirement, closing."""

    def __init__(self, core: Core, delivery: Delivery) -> None:
        self._core = core
        self._delivery = delivery

    def next_deadline(self) -> int:
        core = self._core
        if core.closer.state is CloseState.CLOSED:
            return NEVER
        if not core.closer.open:
            return core.closer.deadline
        limited = core.recovery.amplification_limited
        acks: int = self._limited_ack_deadline() if limited else core.app.acks.deadline
        deadline = min(core.recovery.deadline(), acks)  # pairs: these are compiled to comparisons
        deadline = min(deadline, core.idle.deadline)
        deadline = min(deadline, core.handshake_deadline)
        deadline = min(deadline, core.previous_keys_until)
        deadline = min(deadline, core.paths.deadline)
        deadline = min(deadline, core.probe_deadline)
        deadline = min(deadline, core.lull.deadline)
        deadline = min(deadline, self._keep_alive_deadline())
        if core.packer.has_work(0) or (not core.handshake_confirmed and self._handshake_waits()):
            deadline = min(deadline, core.recovery.pacing_deadline(core.now))
        return deadline

    def _limited_ack_deadline(self) -> int:
        """Return when an ACK is due that may leave: none does to an address that has not earned a byte."""
        core = self._core
        return core.app.acks.deadline if core.amplification.allowance else NEVER

    def handle(self, now: int) -> None:
        core = self._core
        if not core.closer.open:
            if now >= core.closer.deadline:
                core.closer.finish()
            return
        if now >= core.idle.deadline:
            core.vanish(ConnectionClosed(CloseKind.IDLE, 0, "nothing arrived for the idle timeout"))
            return
        if now >= core.handshake_deadline:
            self._give_up()
            return
        self._recover(now)
        if now >= core.previous_keys_until:
            core.previous_keys_until = NEVER
            core.early_data.retire()
            if core.app.opener is not None:
                core.app.opener.drop_previous()
        if now >= core.paths.deadline:
            core.paths.handle_deadline(now)
        if now >= core.probe_deadline:
            core.probe_deadline = NEVER
            probe_mtu(core, now)
        if now >= core.lull.deadline and core.lull.handle_deadline(now):
            core.app.acks.repeat()
            core.packer.control.append((PING, Ping()))
        if now >= self._keep_alive_deadline():
            self._keep_alive(now)

    def _handshake_waits(self) -> bool:
        core = self._core
        return core.early_data.has_pending or any(space.wants_to_send for space in core.spaces[: SpaceId.APPLICATION])

    def _keep_alive_deadline(self) -> int:
        core = self._core
        interval = core.config.keep_alive
        if core.kept_open and not interval:
            interval = min(core.idle.timeout // 2 or KEEP_OPEN, KEEP_OPEN)
        return core.idle.keep_alive_deadline(interval) if interval and core.handshake_complete else NEVER

    def _give_up(self) -> None:
        """End a handshake that takes too long, telling the peer if it can hear us."""
        core = self._core
        core.handshake_deadline = NEVER
        event = ConnectionClosed(CloseKind.TIMEOUT, 0, "the handshake did not finish in time")
        core.close(0, event.reason, event=event)

    def _keep_alive(self, now: int) -> None:
        core = self._core
        if not core.app.sent.ack_eliciting_in_flight and not core.packer.has_work(0):
            core.packer.control.append((PING, Ping()))
        core.idle.defer_keep_alive(now)

    def _recover(self, now: int) -> None:
        core = self._core
        timeout = core.recovery.on_deadline(now)
        for space_id, lost in timeout.lost:
            self._delivery.lost(core.spaces[space_id], lost)
        if timeout.probe is not None:
            space_id, count = timeout.probe
            self._probe(core.spaces[SpaceId(space_id)], count)

    def _probe(self, space: Space, count: int) -> None:
        """Have ``count`` datagrams sent whatever the window; the peer may hear only one of several spaces.

        So what is in flight in the others is repeated as well (RFC 9002, section 6.2.4): handshake packets share
        their datagrams, the application's get one of their own.
        """
        core = self._core
        core.ecn.probe_timeout(core.recovery.pto_count)
        core.packer.ecn = core.ecn.codepoint
        core.early_data.repeat()
        if space is not core.app and self._waits(core.app):
            count = max(1, count - 1)
            self._repeat(core.app, 1)
        for other in core.spaces[: SpaceId.APPLICATION]:
            if other is not space and self._waits(other):
                self._repeat(other, count)
        self._repeat(space, count)

    def _repeat(self, space: Space, count: int) -> None:
        space.probes = count
        space.acks.repeat()
        self._delivery.probe(space, count)

    def _waits(self, space: Space) -> bool:
        """Whether something of ``space`` is in flight, and may be sent again."""
        return space.can_send and space.sent.ack_eliciting_in_flight > 0
