"""One packet number space: its keys, its numbers in both directions, its CRYPTO stream (RFC 9000, section 12.3)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from specter._backend import acks, protection, reassembly, sendbuffer, sent
from specter._wire import VARINT_MAX, TransportErrorCode
from specter.quic.config import QuicConfig

CRYPTO_WINDOW: Final = 65_536
"""Handshake bytes held ahead of what TLS has read (RFC 9000, section 7.5 asks for 4,096 at least)."""

CRYPTO_GAPS: Final = 1024
"""Disjoint pieces of handshake bytes held: more than any flight has packets."""

CRYPTO_STREAM: Final = -1


class SpaceId(IntEnum):
    INITIAL = 0
    HANDSHAKE = 1
    APPLICATION = 2


class Space:
    """State of one packet number space; ``opener`` and ``sealer`` are None without keys."""

    __slots__ = ("acks", "crypto_in", "crypto_out", "discarded", "id", "opener", "probes", "sealer", "sent")

    def __init__(self, space_id: SpaceId, config: QuicConfig) -> None:
        self.id = space_id
        immediate = space_id is not SpaceId.APPLICATION
        self.acks = acks.AckTracker(
            immediate, config.ack_threshold, config.ack_threshold_bulk, config.ack_bulk_after, config.max_ack_delay
        )
        self.sent = sent.SentPackets()
        self.opener: protection.PacketProtection | None = None
        self.sealer: protection.PacketProtection | None = None
        gaps = reassembly.SegmentBudget(CRYPTO_GAPS)
        self.crypto_in = reassembly.RecvBuffer(CRYPTO_WINDOW, gaps, TransportErrorCode.CRYPTO_BUFFER_EXCEEDED)
        self.restart_crypto()
        self.discarded = False

    def restart_crypto(self) -> None:
        """Have sent nothing: the handshake begins (again)."""
        self.crypto_out = sendbuffer.SendBuffer(CRYPTO_STREAM, VARINT_MAX)
        self.probes = 0
        """Packets to send whatever the congestion window says (RFC 9002, section 6.2.4)."""

    @property
    def can_send(self) -> bool:
        return self.sealer is not None

    @property
    def wants_to_send(self) -> bool:
        """Whether handshake bytes or probes wait to leave."""
        return self.sealer is not None and (self.probes > 0 or self.crypto_out.has_pending)

    def read_crypto(self) -> bytes:
        """Return the handshake bytes that arrived in order."""
        data = self.crypto_in.read()
        self.crypto_in.limit = self.crypto_in.consumed + CRYPTO_WINDOW
        return data

    def discard(self) -> None:
        """Drop the keys: nothing is sent or read in this space again."""
        self.opener = self.sealer = None
        self.discarded = True
        self.probes = 0
