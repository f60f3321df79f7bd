"""qh3 through its own entry for a whole burst, which is the cheapest it has."""

from __future__ import annotations

from perf.bench.pump import aioquic_stack, qh3_stack


class Client(qh3_stack.Client):
    """A ``PumpClient``."""

    def _receive(self, datagrams: list[bytes], now: float) -> None:
        self.quic.receive_many_datagrams(datagrams, aioquic_stack.ADDRESS, now)
