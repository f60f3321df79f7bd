"""qh3 through the calls it shares with aioquic: a datagram at a time."""

from __future__ import annotations

from perf.bench.pump import aioquic_stack


class Client(aioquic_stack.Client):
    """A ``PumpClient``."""

    package = "qh3"
