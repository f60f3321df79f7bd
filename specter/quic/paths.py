"""The network paths of a connection: validation, and moving from one to another (RFC 9000, sections 8.2 and 9)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from specter._backend import batch, frames
from specter._frame_types import Ping
from specter._wire import NEVER, TransportErrorCode
from specter.quic.config import MINIMUM_DATAGRAM
from specter.quic.ecn import EcnState
from specter.quic.errors import CannotMigrate
from specter.quic.events import CloseKind, ConnectionClosed, PathAbandoned, PathChanged
from specter.quic.mtu import MtuDiscovery
from specter.quic.path import AmplificationLimit, PathState, PathValidator

if TYPE_CHECKING:
    from specter._frame_types import PathChallenge, PathResponse
    from specter.quic.core import Core
    from specter.quic.recovery import PathRecovery

MAX_PATHS: Final = 4
"""Paths kept beside the one in use; whoever sends from more addresses displaces the oldest."""
OVERHEAD: Final = 1 + 20 + 4 + 16
"""Bytes that a 1-RTT packet has around its frames, at most."""
ATTEMPTS: Final = 3
"""Validations of a path where the peer was reached, but not with 1,200 bytes, while nobody answers on any other."""
FRAME: Final = 9
"""Bytes of PATH_CHALLENGE and PATH_RESPONSE."""


@dataclass(slots=True, eq=False)
class Path:
    """A network path, and what of the connection's state belongs to it while another one is in use.

    ``address`` is that of the peer; a client, which knows its server's address, tells paths apart by its own.
    """

    address: batch.Address
    mtu: MtuDiscovery
    amplification: AmplificationLimit
    cid: int = 0
    """The number of the peer's connection id that packets on this path carry."""
    validator: PathValidator = field(default_factory=PathValidator)
    validated: bool = False
    """Whether the peer is there, and the path carries what QUIC needs."""
    expanded: bool = True
    """Whether every challenge of the running validation had 1,200 bytes around it."""
    attempts: int = 0
    """How many validations began since the peer was reached there."""
    ours: bool = False
    """Whether we mean to move there."""
    tested: bool = False
    """Whether it was looked into what the path carries beyond that."""
    recovery: PathRecovery | None = None
    ecn: EcnState = EcnState.OFF
    until: int = NEVER
    """When nothing more is taken from it (nanoseconds)."""


class Paths:
    """The paths beside the one in use (``core.path``), and how this one changes."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._fallback: Path | None = None
        """The last validated path, while the one in use is not."""
        self.others: dict[batch.Address, Path] = {}
        self.arrival: Path | None = None
        """The path that the packet at hand came by, if it is not the one in use."""
        self.pending = False
        """Whether a challenge or a response waits on any path."""
        self.deadline = NEVER
        self.sent_elsewhere = 0
        """Bytes that left on other paths since this was last set to 0."""

    def new(self, address: batch.Address) -> Path:
        """Return a path of which nothing is known yet; it is not kept."""
        core = self._core
        mtu = MtuDiscovery(core.config.datagram_size, core.config.max_datagram_size)
        if core.peer_parameters is not None:
            mtu.limit(core.peer_parameters.max_udp_payload_size, core.now)
        return Path(address, mtu, AmplificationLimit(validated=core.is_client))

    # -- frames -------------------------------------------------------------------------------------------

    def challenged(self, data: bytes) -> None:
        """Handle PATH_CHALLENGE: the answer takes the path that it came by."""
        path = self.arrival or self._core.path
        path.validator.receive_challenge(data)
        self.pending = True

    def answered(self, data: bytes, now: int) -> None:
        """Handle PATH_RESPONSE, by whatever path it came."""
        for path in (self._core.path, *self.others.values()):
            if path.validator.receive_response(data, now):
                self._reached(path, now)
                self._rearm()
                return

    def follow_ids(self) -> None:
        """The peer gave or retired connection ids: use what is left."""
        core = self._core
        core.path.cid = core.remote_cids.current_sequence
        core.packer.dcid = core.remote_cids.current

    # -- validation ---------------------------------------------------------------------------------------

    def validate(self, path: Path, now: int, pto: int = 0) -> None:
        """Challenge the peer on ``path``, unless that is under way already; ``pto`` is how soon to ask again."""
        core = self._core
        if path.validator.state is not PathState.VALIDATING:
            path.validator.start(now, pto or core.pto, core.entropy, initial_pto=core.recovery.initial_pto)
            path.expanded = True
            self.pending = True
            self._rearm()

    def _reached(self, path: Path, now: int) -> None:
        """The peer answered on ``path``."""
        path.amplification.validate()
        if not path.expanded:
            self._expand(path, now)
            return
        path.validated, path.attempts = True, 0
        if path is self._core.path:
            self._settle()
        elif path.ours:
            self._move(path, now)

    def _expand(self, path: Path, now: int) -> None:
        """Validate once more, with 1,200 bytes: the path has to carry them."""
        path.attempts += 1
        self.validate(path, now, path.validator.pto)

    def _settle(self) -> None:
        """The path in use is good: find out what it carries, and begin with the delay of its validation as RTT.

        That is no sample, but better than a guess (RFC 9002, section 6.2.2).
        """
        core = self._core
        self._fallback = None
        delay = core.path.validator.delay
        if delay and not core.recovery.rtt.has_sample:
            core.recovery.rtt.restart(delay)
        if not core.path.tested:
            core.test_path()

    def handle_deadline(self, now: int) -> None:
        """Ask again, give up validations and paths whose time is over."""
        for path in (*self.others.values(), self._core.path):
            if path.validator.handle_deadline(now):
                self._failed(path, now)
            elif now >= path.until and path is not self._fallback:
                self.drop(path)
        self.look_for_pending()
        self._rearm()

    def _failed(self, path: Path, now: int) -> None:
        """The validation of ``path`` failed: nobody answers there (any more)."""
        fallback = self._fallback
        if path is not self._core.path:
            if path is not fallback:
                self.drop(path)
        elif not path.validated:
            deserted = fallback is not None and fallback.validator.state is PathState.FAILED
            if deserted and 0 < path.attempts < ATTEMPTS:
                self._expand(path, now)  # here somebody was, not long ago: bad luck is likelier than a narrow path
            else:
                self._revert()

    def _revert(self) -> None:
        """Go back to the last validated path, or end silently when there is none (RFC 9000, section 9.3.2)."""
        core, failed, fallback = self._core, self._core.path, self._fallback
        if fallback is None:
            reason = "no path to the peer is left"
            core.vanish(ConnectionClosed(CloseKind.TIMEOUT, TransportErrorCode.NO_VIABLE_PATH, reason))
            return
        self._fallback = None
        self._switch(fallback)
        self.drop(failed)

    def _rearm(self) -> None:
        paths = (self._core.path, *self.others.values())
        ends = (path.until for path in paths if path is not self._fallback)
        self.deadline = min(*(path.validator.next_time for path in paths), *ends)

    # -- sending ------------------------------------------------------------------------------------------

    def look_for_pending(self) -> None:
        """Find out whether there is still something to send on any path."""
        self.pending = any(path.validator.has_pending for path in (self._core.path, *self.others.values()))

    def send_elsewhere(self, now: int) -> None:
        """Seal what is to be said on paths that are not in use."""
        for path in self.others.values():
            if path.validator.has_pending and not self._core.batch.full:
                sent = self.send_on(path, now)
                path.amplification.on_sent(sent)
                self.sent_elsewhere += sent

    def send_on(self, path: Path, now: int) -> int:
        """Seal a datagram with the challenge and the responses of ``path``; return its size.

        It has 1,200 bytes, or what the address has earned (RFC 9000, sections 8.2.1 and 8.2.2).
        """
        core, packer = self._core, self._core.packer
        size = min(MINIMUM_DATAGRAM, path.amplification.allowance)
        cid = self._id_of(path)
        said = self._frames(path, size, now)
        if cid is None or not said:
            return 0
        before = packer.address, packer.dcid, packer.ecn
        packer.address, packer.dcid, packer.ecn = path.address, cid, 0
        sent = packer.probe(now, b"".join(map(frames.encode, said)), size, said[0])
        packer.address, packer.dcid, packer.ecn = before
        core.idle.packet_sent(now, core.pto)
        return sent

    def _frames(self, path: Path, size: int, now: int) -> list[PathChallenge | PathResponse]:
        """Take the frames that fit into a datagram; responses that do not, or were not earned, are forgotten."""
        found: list[PathChallenge | PathResponse] = []
        validator, room = path.validator, (size - OVERHEAD) // FRAME
        if path.amplification.earned >= size:
            while len(found) < room and (response := validator.next_response()) is not None:
                found.append(response)
        validator.drop_responses()
        if len(found) < room and (challenge := validator.next_challenge(now)) is not None:
            found.append(challenge)
            path.expanded = path.expanded and size == MINIMUM_DATAGRAM
        return found

    def _id_of(self, path: Path) -> bytes | None:
        """Return the connection id for packets on ``path``, another one if the peer retired that one meanwhile."""
        ids = self._core.remote_cids
        cid = ids.id_of(path.cid)
        if cid is None and (sequence := ids.take()) is not None:
            path.cid = sequence
            cid = ids.id_of(sequence)
        return cid

    # -- the peer moves -----------------------------------------------------------------------------------

    def keep(self, path: Path, *, shares_id: bool) -> bool:
        """Remember ``path``; return whether there is a connection id for it.

        A path by which the peer sends to the same id as before (``shares_id``) may be a new binding of a NAT that the
        peer does not know of: it shares our id too (RFC 9000, section 9.5).
        """
        core = self._core
        if path is core.path or path.address in self.others:
            return True
        sequence = core.path.cid if shares_id or not core.remote_cids.current else core.remote_cids.take()
        if sequence is None:
            return False
        path.cid = sequence
        while len(self.others) >= MAX_PATHS:
            self.drop(next(other for other in self.others.values() if other is not self._fallback))
        self.others[path.address] = path
        return True

    def follow_peer(self, path: Path, now: int) -> None:
        """The peer sent by ``path`` what only the path in use carries: take it too (RFC 9000, section 9.3)."""
        left, pto = self._core.path, self._core.pto
        self._switch(path)
        if not left.validated:
            self.drop(left)
        else:
            left.until = now + 3 * pto
            self.others[left.address] = left
            self._fallback = left
            self.validate(left, now, pto)  # a packet that an attacker forwarded must not end it (section 9.3.3)
        if path.validated:
            self._settle()
        else:
            self.validate(path, now, pto)
        self._rearm()

    # -- our own move (client role) -----------------------------------------------------------------------

    def migrate(self, address: batch.Address, now: int, *, preferred: bool = False) -> None:
        """Probe another path, and move there once it is validated (RFC 9000, sections 9.1 and 9.2).

        ``address`` is what the datagrams of that path carry, in both directions, to tell it from others: the address
        of a new socket. ``PathChanged`` or ``PathAbandoned`` follows; until then, and after the latter, the connection
        goes on as it is. ``preferred`` says that it leads to the server's preferred address (section 9.6).

        Raises:
            CannotMigrate: the server wants none, gave no connection id for it, or it is too early or too late.
        """
        core = self._core
        reason = self._obstacle(address, preferred)
        sequence = None if reason else core.remote_cids.take(preferred=1 if preferred else -1)
        if sequence is None:
            raise CannotMigrate(reason or "the server has given no connection id for another path")
        path = self.new(address)
        path.cid, path.ours = sequence, True
        self.others[address] = path
        self.validate(path, now)

    def _obstacle(self, address: batch.Address, preferred: bool) -> str:
        """Return why this connection cannot move to ``address``, an empty string if it can."""
        core = self._core
        peer = core.peer_parameters
        if not core.is_client or not core.handshake_confirmed or not core.closer.open or peer is None:
            return "only a client with a confirmed handshake migrates"
        if peer.disable_active_migration and not preferred:
            return "the server does not want its clients to migrate"
        if not core.remote_cids.current:
            return "the server uses no connection ids, by which it could tell who moved"
        if address == core.address or address in self.others:
            return "there is such a path already"
        return "too many paths at once" if len(self.others) >= MAX_PATHS else ""

    def abandon(self, address: batch.Address) -> None:
        """Give up a path that is not in use; nothing if there is none."""
        path = self.others.get(address)
        if path is not None and path is not self._fallback:
            self.drop(path)
            self._rearm()

    def _move(self, path: Path, now: int) -> None:
        """Take the path that we wanted, and listen on the old one as long as packets may be on their way there."""
        core, left, pto = self._core, self._core.path, self._core.pto
        path.ours = False
        self._switch(path)
        left.until = now + 3 * pto
        self.others[left.address] = left
        self._settle()
        core.queue(Ping())  # what makes the server follow

    # -- changing -----------------------------------------------------------------------------------------

    def _switch(self, path: Path) -> None:
        """Send on ``path`` from now on; the caller decides what becomes of the one in use so far."""
        core, left = self._core, self._core.path
        self.others.pop(path.address, None)
        path.until = NEVER
        if left.validated:
            left.amplification = AmplificationLimit(validated=True)  # what it answers from now on has to be earned
        if _same_host(left.address, path.address):
            path.mtu, path.tested = left.mtu, left.tested
        else:
            left.recovery = core.recovery.change_path(path.recovery)
            left.ecn, core.ecn.state = core.ecn.state, path.ecn
            core.packer.ecn = core.ecn.codepoint
        core.path, core.address = path, path.address
        core.mtu, core.amplification = path.mtu, path.amplification
        core.follow_mtu()
        self._id_of(path)
        core.remote_cids.use(path.cid)
        self.follow_ids()
        core.packer.address = core.receiver.address = path.address
        core.stats.path_changes += 1
        core.emit(PathChanged(path.address))

    def drop(self, path: Path) -> None:
        """Forget a path that is not in use, and retire its connection id."""
        core = self._core
        self.others.pop(path.address, None)
        if all(other.cid != path.cid for other in (core.path, *self.others.values())):
            core.remote_cids.release(path.cid)
        if core.is_client:
            core.emit(PathAbandoned(path.address))


def _same_host(one: batch.Address, other: batch.Address) -> bool:
    """Whether only the port differs: most likely the same path, with the same capacity (RFC 9000, section 9.4)."""
    return one is not None and other is not None and one[0] == other[0]
