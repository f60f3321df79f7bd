"""Explicit Congestion Notification: is the path fit for it? (RFC 9000, section 13.4.2, and its appendix A.4)."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from specter._backend import sent
    from specter._frame_types import Ack

NOT_ECT: Final = 0
ECT_0: Final = 2


class EcnState(Enum):
    """How far validation has come; datagrams are marked while ``TESTING`` and ``CAPABLE``."""

    OFF = "off"
    """Not wanted, or the handshake is not confirmed yet."""
    TESTING = "testing"
    UNKNOWN = "unknown"
    """Nothing came back for a while: no marks until it is known whether they were why."""
    FAILED = "failed"
    CAPABLE = "capable"


_MARKING: Final = (EcnState.TESTING, EcnState.CAPABLE)
_IGNORING: Final = (EcnState.OFF, EcnState.FAILED)


class EcnValidator:
    """Compares the counts that the peer reports with the marks that left.

    Marking begins when the handshake is confirmed, and each path is tested anew. A test lasts until the first marked
    packet is acknowledged; a probe timeout suspends it. A path that was capable and fell silent gets another test.
    """

    __slots__ = ("_ce", "_ect0", "_ect1", "_proven", "state")

    def __init__(self) -> None:
        self.state = EcnState.OFF
        self._ect0 = self._ect1 = self._ce = 0
        self._proven = False

    @property
    def codepoint(self) -> int:
        """What datagrams are to be marked with now."""
        return ECT_0 if self.state in _MARKING else NOT_ECT

    def start(self) -> None:
        """Test the path that packets take from now on."""
        self.state = EcnState.TESTING
        self._proven = False

    def acked(self, frame: Ack, acked: sent.Acked, packets: sent.SentPackets) -> int:
        """Validate an ACK whose largest number is new; return how many packets it newly reports as marked CE."""
        if self.state in _IGNORING:
            return 0
        marks = self._newly_marked(frame, acked, packets)
        if marks < 0:
            self.state = EcnState.FAILED
            return 0
        if acked.marked:
            self.state = EcnState.CAPABLE
            self._proven = True
        elif self.state is EcnState.UNKNOWN and self._proven and not packets.marked_in_flight:
            self.start()
        return marks

    def _newly_marked(self, frame: Ack, acked: sent.Acked, packets: sent.SentPackets) -> int:
        """Return by how much the CE count grew, -1 when the counts are not those of our marks."""
        ecn = frame.ecn
        if ecn is None:
            return -1 if acked.marked else 0
        ect0, ect1, ce = ecn.ect0 - self._ect0, ecn.ect1 - self._ect1, ecn.ce - self._ce
        impossible = ect0 < 0 or ce < 0 or ect1 or ecn.ect0 + ecn.ce > packets.marked
        if impossible or ect0 + ce < acked.marked:
            return -1
        self._ect0, self._ect1, self._ce = ecn.ect0, ecn.ect1, ecn.ce
        return ce

    def lost(self, packets: sent.SentPackets) -> None:
        """Hear that marked packets were lost: when all of a test's were, the marks are taken to be the reason."""
        if self.state in (EcnState.TESTING, EcnState.UNKNOWN) and not self._proven and not packets.marked_in_flight:
            self.state = EcnState.FAILED

    def probe_timeout(self, count: int) -> None:
        """Nothing was heard for ``count`` probe timeouts in a row."""
        if self.state is EcnState.TESTING or (self.state is EcnState.CAPABLE and count > 1):
            self.state = EcnState.UNKNOWN
