"""A server's end of many connections: who a datagram belongs to, and what to say when it belongs to nobody.

Sans-IO like the engines it holds, and driven by the same calls.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from specter._backend import batch as batches
from specter._wire import NEVER, TransportErrorCode
from specter.quic.cids import encode_stateless_reset, reset_token
from specter.quic.config import MINIMUM_DATAGRAM, SECOND
from specter.quic.connection import Connection
from specter.quic.packet import (
    MIN_INITIAL_DCID,
    QUIC_V1,
    Header,
    PacketError,
    PacketType,
    encode_retry,
    encode_version_negotiation,
    parse_header,
)
from specter.quic.token import AddressToken, TokenMinter
from specter.testing.early_arrivals import Arrival, EarlyArrivals
from specter.testing.engine import Outbox
from specter.testing.refusal import encode_refusal, is_authentic

if TYPE_CHECKING:
    from specter._entropy import Entropy
    from specter.quic.config import QuicConfig
    from specter.testing.engine import Address, Engine
    from specter.tls.config import ServerTlsConfig

__all__ = ["Endpoint", "EndpointStats", "Peer"]

CID_LENGTH: Final = 8
"""Bytes of the connection ids that the server's connections give out."""
RESETS_PER_SECOND: Final = 100


@dataclass(slots=True)
class EndpointStats:
    """What became of datagrams and connections."""

    accepted: int = 0
    refused: int = 0
    dropped: int = 0
    retries: int = 0
    negotiations: int = 0
    resets: int = 0


@dataclass(slots=True, eq=False)
class Peer:
    """One connection, the engine that drives it (itself, or what wraps it), and how it is reached."""

    connection: Connection
    engine: Engine
    address: Address
    routes: set[bytes] = field(default_factory=set)
    deadline: int = NEVER
    inbox: batches.ReceiveBatch | None = None


class Endpoint:
    """Accepts and routes; everything it sends comes out of ``send``, in turn from each connection that has something.

    ``wrap`` puts an application around each new connection. With ``retry`` every client must show its
    address first. At most ``max_connections`` live at once, ``max_handshakes`` of them unfinished; those
    beyond are refused. ``reset_key`` lets an endpoint that forgot its connections reset them. ``versions``
    are offered and taken in place of those of ``config``.
    """

    def __init__(
        self,
        config: QuicConfig,
        tls: ServerTlsConfig,
        entropy: Entropy,
        *,
        retry: bool = False,
        wrap: Callable[[Connection], Engine] | None = None,
        max_connections: int = 1024,
        max_handshakes: int = 256,
        reset_key: bytes | None = None,
        versions: tuple[int, ...] = (),
    ) -> None:
        self.retry = retry
        self.accepting = True
        self.on_failure: Callable[[Peer, Exception], None] | None = None
        """Hears of an engine that raised, which is then dropped; without it the exception goes on."""
        self.stats = EndpointStats()
        self.peers: dict[Peer, None] = {}
        self._config = config
        self._tls = tls
        self._entropy = entropy
        self._wrap = wrap or (lambda connection: connection)
        self._max_connections = max_connections
        self._max_handshakes = max_handshakes
        self._reset_key = reset_key or entropy.token(32)
        self._minter = TokenMinter(entropy.token(32))
        self._versions = versions or config.versions
        self._routes: dict[bytes, Peer] = {}
        self._handshaking: set[Peer] = set()
        self._awake: dict[Peer, None] = {}
        self._timers: list[tuple[int, int, Peer]] = []
        self._timer_serial = 0
        self._early = EarlyArrivals()
        self._replies = batches.SendBatch()
        self._spare: list[batches.ReceiveBatch] = []
        self._reset_credit = float(RESETS_PER_SECOND)
        self._reset_time = 0

    @property
    def connections(self) -> list[Connection]:
        """Every connection that is not gone yet, oldest first."""
        return [peer.connection for peer in self.peers]

    def describe(self) -> str:
        """Return one line about this endpoint and its first few connections."""
        told = [getattr(peer.engine, "describe", lambda: "")() for peer in list(self.peers)[:3]]
        return f"{len(self.peers)} connections, {self.stats} {told}"

    # -- the driver's calls -------------------------------------------------------------------------

    def receive(self, batch: batches.ReceiveBatch, now: int) -> None:
        """Hand each datagram to its connection; a connection gets all of its datagrams in one burst."""
        busy: dict[Peer, None] = {}
        for index in range(len(batch)):
            start, end = batch.span(index)
            data = batch.view[start:end]
            peer = self._route(data, batch.address(index), batch.ecn(index), now)
            if peer is not None:
                busy[peer] = None
                self._put(peer, data, batch.address(index), batch.ecn(index), now)
        for peer in busy:
            self._deliver(peer, now)

    def send(self, now: int) -> Outbox:
        """Return one batch of each connection that has something; call again until nothing comes."""
        outbox = Outbox()
        if len(self._replies) and len(replies := self._replies.deliver()):
            outbox.batches.append(replies)
        awake, self._awake = self._awake, {}
        for peer in awake:
            with self._guarded(peer):
                batch = peer.engine.send(now)
                if len(batch):
                    outbox.batches.append(batch)
                    self._awake[peer] = None
                self._settle(peer)
        return outbox

    def next_deadline(self) -> int:
        timers = self._timers
        while timers and (timers[0][0] != timers[0][2].deadline or timers[0][2] not in self.peers):
            heapq.heappop(timers)
        return timers[0][0] if timers else NEVER

    def handle_deadline(self, now: int) -> None:
        """Wake the connections whose deadline has passed."""
        while self.next_deadline() <= now:
            peer = heapq.heappop(self._timers)[2]
            peer.deadline = NEVER
            self.touch(peer)
            with self._guarded(peer):
                peer.engine.handle_deadline(now)

    def touch(self, peer: Peer) -> None:
        """Let ``peer`` send, and look at its deadline again: for use after working with its connection."""
        self._awake[peer] = None

    def close(self, error_code: int = 0, reason: str = "") -> None:
        """Close every connection and accept none any more; ``send`` has what there is to say about it."""
        self.accepting = False
        for peer in self.peers:
            peer.connection.close(error_code, reason)
            self.touch(peer)

    # -- routing ------------------------------------------------------------------------------------

    def _route(self, data: memoryview, address: Address, ecn: int, now: int) -> Peer | None:
        """Return the connection ``data`` is for, a new one if it opens one; else reply or drop."""
        try:
            header = parse_header(data, 0, len(data), CID_LENGTH)
        except PacketError:
            self.stats.dropped += 1
            return None
        peer = self._routes.get(header.dcid)
        if peer is not None:
            return peer
        if header.type is PacketType.ONE_RTT:
            self._reset(header.dcid, address, len(data), now)
        elif header.type is PacketType.ZERO_RTT:
            self._early.keep(Arrival(header.dcid, bytes(data), address, ecn))
        elif len(data) < MINIMUM_DATAGRAM or header.version == 0:
            self.stats.dropped += 1
        elif header.version not in self._versions:
            self._negotiate(header, address)
        elif header.type is PacketType.INITIAL and len(header.dcid) >= MIN_INITIAL_DCID:
            if is_authentic(data, header):
                return self._admit(header, address, now)
            self.stats.dropped += 1
        else:
            self.stats.dropped += 1
        return None

    def _admit(self, header: Header, address: Address, now: int) -> Peer | None:
        full = len(self.peers) >= self._max_connections or len(self._handshaking) >= self._max_handshakes
        if full or not self.accepting:
            self.stats.refused += 1
            self._refuse(header, address, TransportErrorCode.CONNECTION_REFUSED, "no room")
            return None
        token = self._open_token(header, address, now)
        if token is None and self._minter.is_retry(header.token):
            self.stats.refused += 1
            self._refuse(header, address, TransportErrorCode.INVALID_TOKEN, "this token is not for you")
            return None
        if token is None and self.retry:
            self._ask_again(header, address, now)
            return None
        return self._accept(header, token, address, now)

    def _accept(self, header: Header, token: AddressToken | None, address: Address, now: int) -> Peer:
        original, retry_scid = header.dcid, None
        if token is not None and token.original_dcid is not None:
            original, retry_scid = token.original_dcid, token.retry_scid
        connection = Connection.server(
            self._config,
            self._tls,
            self._entropy,
            now,
            original_dcid=original,
            client_cid=header.scid,
            retry_scid=retry_scid,
            address=address,
            validated=token is not None,
            reset_key=self._reset_key,
            version=header.version,
        )
        peer = Peer(connection, self._wrap(connection), address)
        self.peers[peer] = None
        self._handshaking.add(peer)
        self.stats.accepted += 1
        self._update_routes(peer)
        for arrival in self._early.take(header.dcid):
            self._put(peer, memoryview(arrival.data), arrival.address, arrival.ecn, now)
        return peer

    def _update_routes(self, peer: Peer) -> None:
        """Follow the connection ids that the connection gives out and takes back."""
        wanted = peer.connection.host_cids
        if wanted == peer.routes:
            return
        self._forget(peer, peer.routes - wanted)
        for new in wanted - peer.routes:
            self._routes[new] = peer
        peer.routes = wanted

    # -- connections --------------------------------------------------------------------------------

    def _put(self, peer: Peer, data: memoryview, address: Address, ecn: int, now: int) -> None:
        if peer.inbox is None:
            peer.inbox = self._spare.pop() if self._spare else batches.ReceiveBatch()
        if peer.inbox.full:
            self._deliver(peer, now)
            self._put(peer, data, address, ecn, now)
            return
        peer.inbox.append(data, address, ecn)

    def _deliver(self, peer: Peer, now: int) -> None:
        inbox, peer.inbox = peer.inbox, None
        if inbox is None:
            return
        self.touch(peer)
        with self._guarded(peer):
            peer.engine.receive(inbox, now)
            self._update_routes(peer)
        inbox.clear()
        self._spare.append(inbox)

    @contextmanager
    def _guarded(self, peer: Peer) -> Iterator[None]:
        """Keep a fault inside one connection from ending the others, if ``on_failure`` is there to hear of it."""
        try:
            yield
        except Exception as error:
            if self.on_failure is None:
                raise
            self._remove(peer)
            self.on_failure(peer, error)

    def _settle(self, peer: Peer) -> None:
        """After a connection was worked with: its ids, its deadline, and whether it is still there."""
        if peer.connection.handshake_complete or peer.connection.closing:
            self._handshaking.discard(peer)
        if peer.connection.closed:
            self._remove(peer)
            return
        self._update_routes(peer)
        deadline = peer.engine.next_deadline()
        if deadline != peer.deadline:
            peer.deadline = deadline
            self._arm(peer)

    def _arm(self, peer: Peer) -> None:
        """Put the peer's deadline on the heap; entries that no longer hold are swept out when they are many."""
        if len(self._timers) > 256 + 4 * len(self.peers):
            armed = (other for other in self.peers if other.deadline != NEVER and other is not peer)
            self._timers = [(other.deadline, serial, other) for serial, other in enumerate(armed)]
            heapq.heapify(self._timers)
            self._timer_serial = len(self._timers)
        if peer.deadline != NEVER:
            self._timer_serial += 1
            heapq.heappush(self._timers, (peer.deadline, self._timer_serial, peer))

    def _remove(self, peer: Peer) -> None:
        self.peers.pop(peer, None)
        self._handshaking.discard(peer)
        self._awake.pop(peer, None)
        self._forget(peer, peer.routes)
        peer.routes = set()

    def _forget(self, peer: Peer, cids: set[bytes]) -> None:
        for cid in cids:
            if self._routes.get(cid) is peer:
                del self._routes[cid]

    # -- answers without state ----------------------------------------------------------------------

    def _open_token(self, header: Header, address: Address, now: int) -> AddressToken | None:
        if not header.token:
            return None
        retry = self._minter.open(header.token, _binding(address), now // SECOND, version=header.version)
        if retry is None or not retry.from_retry:
            return self._minter.open(header.token, _host(address), now // SECOND, version=header.version)
        return retry if retry.retry_scid == header.dcid else None

    def _ask_again(self, header: Header, address: Address, now: int) -> None:
        scid = self._entropy.token(CID_LENGTH)
        arguments = (_binding(address), header.dcid, scid, now // SECOND, self._entropy)
        token = self._minter.mint(*arguments, version=header.version)
        if self._reply(encode_retry(header.version, scid, header.scid, header.dcid, token), address):
            self.stats.retries += 1

    def new_token(self, address: Address, now: int, *, version: int = QUIC_V1) -> bytes:
        """Return a token for a later connection from ``address``, to give to ``Connection.issue_token``.

        ``version`` is that connection's, and the only one the token is good for (RFC 9369, section 5).
        """
        return self._minter.mint(_host(address), None, None, now // SECOND, self._entropy, version=version)

    def _negotiate(self, header: Header, address: Address) -> None:
        if self._reply(encode_version_negotiation(header.dcid, header.scid, self._versions), address):
            self.stats.negotiations += 1

    def _refuse(self, header: Header, address: Address, code: int, reason: str) -> None:
        self._reply(encode_refusal(header, code, reason), address)

    def _reset(self, dcid: bytes, address: Address, size: int, now: int) -> None:
        """Answer a 1-RTT packet of a connection we do not know, unless there were too many of them lately."""
        passed = (now - self._reset_time) / SECOND
        self._reset_credit = min(RESETS_PER_SECOND, self._reset_credit + passed * RESETS_PER_SECOND)
        self._reset_time = now
        datagram = encode_stateless_reset(reset_token(self._reset_key, dcid), size, self._entropy)
        if datagram is None or self._reset_credit < 1 or not self._reply(datagram, address):
            self.stats.dropped += 1
            return
        self._reset_credit -= 1
        self.stats.resets += 1

    def _reply(self, datagram: bytes, address: Address) -> bool:
        """Queue a datagram that belongs to no connection; False when too many wait already."""
        replies = self._replies
        if replies.full:
            return False
        start = replies.begin()
        replies.slab[start : start + len(datagram)] = datagram
        replies.commit(start + len(datagram), address)
        return True


def _host(address: Address) -> str:
    return "" if address is None else address[0]


def _binding(address: Address) -> str:
    return "" if address is None else f"{address[0]} {address[1]}"
