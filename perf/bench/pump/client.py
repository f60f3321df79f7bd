"""What the pump asks of a client stack, and the stacks by name."""

from __future__ import annotations

from importlib import import_module
from typing import Final, Protocol

__all__ = ["AUTHORITY", "PATH", "STACKS", "PumpClient", "make_client"]

AUTHORITY: Final = "server.test"
PATH: Final = "/endless"

STACKS: Final = {
    "specter": "specter_stack",
    "aioquic": "aioquic_stack",
    "qh3": "qh3_stack",
    "qh3-burst": "qh3_burst_stack",
}


class PumpClient(Protocol):
    """A client stack without input or output. ``now`` is nanoseconds of the virtual clock."""

    version: str
    received: int
    """Body bytes handed to the application."""

    def start(self, now: int) -> list[bytes]:
        """Begin the handshake; return what leaves."""

    def request(self, now: int) -> list[bytes]:
        """Ask for an endless body on a new stream; return what leaves."""

    def ready(self) -> bool:
        """Whether requests may be made."""

    def burst(self, datagrams: list[bytes], now: int) -> tuple[int, list[bytes]]:
        """Take a burst, hand its body bytes to the application, say what leaves.

        Returns the nanoseconds that the stack took, and the datagrams. Making ``bytes`` for the pump is not counted
        where the stack itself would not do it.
        """


def make_client(name: str) -> PumpClient:
    """Return the client of a stack.

    Raises:
        ImportError: it is not installed here.
    """
    module = import_module(f"perf.bench.pump.{STACKS[name]}")
    client: PumpClient = module.Client()
    return client
