"""A connection that tells what it does: the same calls, with an event log around them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specter.quic.connection import Connection
from specter.quic.qlog import Trace
from specter.quic.qlog_state import Watch

if TYPE_CHECKING:
    from specter._backend import batch as batches
    from specter.quic.connection import Endpoints
    from specter.quic.core import Core
    from specter.quic.handshake import Handshake
    from specter.quic.qlog import Sink

__all__ = ["TracedConnection"]


class TracedConnection(Connection):
    """Made in place of ``Connection`` where ``QuicConfig.qlog`` opens a log; others pay nothing for it."""

    def __init__(self, core: Core, handshake: Handshake, sink: Sink, endpoints: Endpoints) -> None:
        trace = core.trace = self._trace = Trace(core, sink)
        self._watch = Watch(core, handshake, trace)
        self._watch.start(*endpoints)
        super().__init__(core, handshake)
        core.receiver.observer = core.packer.observer = trace
        self._watch.look()

    def receive(self, batch: batches.ReceiveBatch, now: int) -> None:
        self._trace.settle(now)
        super().receive(batch, now)
        self._look()

    def send(self, now: int) -> batches.SendBatch:
        self._trace.settle(now)
        batch = super().send(now)
        self._look()
        return batch

    def handle_deadline(self, now: int) -> None:
        self._trace.settle(now)
        super().handle_deadline(now)
        self._look()

    def _look(self) -> None:
        self._watch.look()
        if self.closed:
            self._trace.finish()
