"""qh3: aioquic's calls, and its own entry for a whole burst, which is the cheapest it has."""

from __future__ import annotations

from perf.bench.pump import aioquic_stack


class Client(aioquic_stack.Client):
    """A ``PumpClient``."""

    package = "qh3"

    def _receive(self, datagrams: list[bytes], now: float) -> None:
        self.quic.receive_many_datagrams(datagrams, aioquic_stack.ADDRESS, now)
