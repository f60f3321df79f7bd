"""A request that leaves before the handshake is complete, if the server gave leave to that (RFC 8470)."""

from __future__ import annotations

from specter.net.exchange import Exchange

__all__ = ["ACCEPTED", "REJECTED", "EarlyRequest"]

ACCEPTED = "accepted"
REJECTED = "rejected"


class EarlyRequest:
    """A request without a body that does no harm when it is processed twice."""

    __slots__ = ("exchange", "fields", "outcome")

    def __init__(self, fields: list[tuple[bytes, bytes]]) -> None:
        self.fields = fields
        self.exchange = Exchange()
        self.outcome: str | None = None
        """``ACCEPTED``: ``exchange`` runs. ``REJECTED``: the request is still to be made. None: it did not leave."""
