"""Applications on raw QUIC streams that check every byte: what the simulated endpoints talk about.

Every stream begins with one 24-byte order from the client: what to do, how many bytes, from which offset of the
test content. Both sides know what must come, so each piece is compared as it is read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from specter.quic import events
from specter.quic.early_data import EarlyDataStatus
from specter.quic.stream_ids import is_unidirectional
from specter.testing.content import content

if TYPE_CHECKING:
    from specter._backend import batch as batches
    from specter.quic.connection import Connection

__all__ = ["Action", "Application", "Mismatch", "Order", "Side", "TransferClient", "TransferServer"]

_ORDER: Final = struct.Struct("!QQQ")
PIECE: Final = 32_768


class Mismatch(Exception):
    """Bytes came that should not have: lost, repeated, reordered or changed data. Always a bug of the stack."""


class Action(IntEnum):
    """What a stream is for. Resets happen once ``stop_after`` bytes of the data went by."""

    DOWNLOAD = 1
    UPLOAD = 2
    ECHO = 3
    CLIENT_RESETS = 4
    """An upload that the client gives up."""
    CLIENT_STOPS = 5
    """A download that the client no longer wants."""
    SERVER_RESETS = 6
    """A download that the server gives up."""
    SERVER_STOPS = 7
    """An upload that the server no longer wants."""
    NOTIFY = 8
    """An upload on a unidirectional stream."""


_SERVER_SENDS: Final = frozenset({Action.DOWNLOAD, Action.ECHO, Action.CLIENT_STOPS, Action.SERVER_RESETS})
_CLIENT_SENDS: Final = frozenset({Action.UPLOAD, Action.ECHO, Action.CLIENT_RESETS, Action.SERVER_STOPS, Action.NOTIFY})
RESET_CODE: Final = 77
STOP_CODE: Final = 78


@dataclass(frozen=True, slots=True)
class Order:
    """One stream's job: ``size`` bytes of the test content from ``offset`` on."""

    action: Action
    size: int
    offset: int = 0

    @property
    def stop_after(self) -> int:
        return self.size // 2

    def encode(self) -> bytes:
        return _ORDER.pack(self.action, self.size, self.offset)

    @staticmethod
    def decode(data: bytes) -> Order:
        action, size, offset = _ORDER.unpack(data)
        return Order(Action(action), size, offset)


class Side:
    """What both ends do on one stream: send so much content, and check so much."""

    def __init__(self, connection: Connection, stream_id: int, order: Order | None) -> None:
        self.connection = connection
        self.stream_id = stream_id
        self.echoes = order is None
        self.order = order
        self.partial_order = b""
        self.sent = 0
        self.received = 0
        self.to_send = 0
        self.to_receive = 0
        self.reset_at = -1
        self.stop_at = -1
        self.sending_done = False
        self.receiving_done = False
        self.reset_by_peer = -1
        self.stopped_by_peer = -1

    @property
    def done(self) -> bool:
        return self.sending_done and self.receiving_done

    def push(self) -> None:
        """Write what the stream takes."""
        while self.order is not None and not self.sending_done:
            if 0 <= self.reset_at <= self.sent:
                self.connection.reset(self.stream_id, RESET_CODE)
                self.sending_done = True
                return
            if not self._write_piece(self.order):
                return

    def _write_piece(self, order: Order) -> bool:
        allowed = self.to_send if self.reset_at < 0 else self.reset_at
        if order.action is Action.ECHO and self.echoes:
            allowed = min(allowed, self.received)
        size = min(PIECE, allowed - self.sent, max(1, self.connection.writable(self.stream_id)))
        last = self.reset_at < 0 and self.sent + size == self.to_send and self.may_finish
        if not size and not last:
            return False
        taken = self.connection.write(self.stream_id, content(order.offset + self.sent, size), fin=last)
        self.sent += taken
        self.sending_done = last and taken == size
        return taken == size

    @property
    def may_finish(self) -> bool:
        """Whether the end may be sent: a server keeps it back until it has all of an upload."""
        return self.receiving_done or not self.echoes or self.to_receive == 0

    def pull(self) -> None:
        """Read and check what is there."""
        while not self.receiving_done and (data := self.connection.read(self.stream_id, PIECE)):
            self._check(data)
        if self.stop_at >= 0 and self.received >= self.stop_at and not self.receiving_done:
            self.connection.stop_sending(self.stream_id, STOP_CODE)
            self.receiving_done = True
        if not self.receiving_done and self.order is not None and self.connection.at_end(self.stream_id):
            if self.received != self.to_receive:
                raise Mismatch(f"stream {self.stream_id}: {self.received} of {self.to_receive} bytes, then the end")
            self.receiving_done = True

    def _check(self, data: bytes) -> None:
        order = self.order
        if order is None or self.received + len(data) > self.to_receive:
            raise Mismatch(f"stream {self.stream_id}: bytes beyond {self.to_receive}")
        if data != content(order.offset + self.received, len(data)):
            raise Mismatch(f"stream {self.stream_id}: wrong bytes after {self.received}")
        self.received += len(data)

    def was_reset(self, code: int) -> None:
        self.reset_by_peer = code
        self.receiving_done = True

    def was_stopped(self, code: int) -> None:
        self.stopped_by_peer = code
        self.sending_done = True


class Application:
    """The engine both ends share: events in, streams pushed and pulled, datagrams out."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.sides: dict[int, Side] = {}
        self.finished: dict[int, Side] = {}
        self.log: list[events.Event] = []
        """Events that belong to no stream."""
        self.paused = False
        """A reader that is busy elsewhere: nothing is read."""

    @property
    def closed(self) -> events.ConnectionClosed | None:
        """How the connection ended, if it did."""
        last = self.log[-1] if self.log else None
        return last if isinstance(last, events.ConnectionClosed) else None

    def describe(self) -> str:
        """Return one line about where this side stands."""
        open_sides = [f"{side.stream_id}: {side.order} {side.sent}/{side.received}" for side in self.sides.values()]
        connection = self.connection
        state = f"complete={connection.handshake_complete} confirmed={connection.confirmed} closed={connection.closed}"
        return f"{state} {len(self.finished)} finished, open {open_sides[:4]} {self.log[-1:]} {connection.stats}"

    def receive(self, batch: batches.ReceiveBatch, now: int) -> None:
        self.connection.receive(batch, now)
        self.work()

    def send(self, now: int) -> batches.SendBatch:
        return self.connection.send(now)

    def next_deadline(self) -> int:
        return self.connection.next_deadline()

    def handle_deadline(self, now: int) -> None:
        self.connection.handle_deadline(now)
        self.work()

    def limit_datagrams(self, size: int) -> None:
        self.connection.limit_datagrams(size)

    def work(self) -> None:
        """Handle the events that are waiting, then move the streams they were about; that may bring more."""
        moved: dict[int, Side] = {}
        while True:
            while (event := self.connection.next_event()) is not None:
                self._handle(event, moved)
            if not moved:
                return
            for side in moved.values():
                self.shift(side)
            moved = {}

    def resume(self) -> None:
        """Read again after ``paused``."""
        self.paused = False
        for side in list(self.sides.values()):
            self.shift(side)
        self.work()

    def _handle(self, event: events.Event, moved: dict[int, Side]) -> None:
        stream_id = getattr(event, "stream_id", None)
        if stream_id is None:
            self.log.append(event)
            self.happened(event)
            return
        if isinstance(event, events.StreamOpened):
            self.opened(stream_id)
        side = self.sides.get(stream_id)
        if side is None:
            return
        if isinstance(event, events.StreamReset):
            side.was_reset(event.error_code)
        elif isinstance(event, events.StopSending):
            side.was_stopped(event.error_code)
        moved[stream_id] = side

    def shift(self, side: Side) -> None:
        """Move a stream and put it away when it is done."""
        self.move(side)
        if side.done and self.sides.pop(side.stream_id, None) is not None:
            self.finished[side.stream_id] = side

    def move(self, side: Side) -> None:
        """Push and pull one stream."""
        if not self.paused:
            side.pull()
        side.push()

    def opened(self, stream_id: int) -> None:
        """The peer opened a stream."""

    def happened(self, event: events.Event) -> None:
        """Something that belongs to no stream happened."""


class TransferServer(Application):
    """Carries out orders."""

    def opened(self, stream_id: int) -> None:
        self.sides[stream_id] = Side(self.connection, stream_id, None)

    def move(self, side: Side) -> None:
        if side.order is None and not self.paused:
            self._take_order(side)
        if side.order is not None:
            super().move(side)

    def _take_order(self, side: Side) -> None:
        side.partial_order += side.connection.read(side.stream_id, _ORDER.size - len(side.partial_order))
        if len(side.partial_order) < _ORDER.size:
            if side.receiving_done:
                self._give_up(side)
            return
        order = side.order = Order.decode(side.partial_order)
        side.to_receive = order.size if order.action in _CLIENT_SENDS else 0
        side.to_send = order.size if order.action in _SERVER_SENDS else 0
        if order.action is Action.SERVER_RESETS:
            side.reset_at = order.stop_after
        if order.action is Action.SERVER_STOPS:
            side.stop_at = order.stop_after
        side.sending_done = side.sending_done or order.action is Action.NOTIFY

    def _give_up(self, side: Side) -> None:
        """The order will not come: it was reset on its way."""
        if not side.sending_done and not is_unidirectional(side.stream_id):
            side.connection.write(side.stream_id, b"", fin=True)
        side.sending_done = True


class TransferClient(Application):
    """Gives orders, as many at once as the server allows, once the handshake is complete.

    A connection that offers early data begins with them at once; what the server rejects is ordered again.
    """

    def __init__(self, connection: Connection, orders: Iterable[Order] = ()) -> None:
        super().__init__(connection)
        self.waiting = list(orders)[::-1]
        self.ready = connection.early_data is EarlyDataStatus.OFFERED
        self.begin()

    @property
    def done(self) -> bool:
        """Whether every order was carried out."""
        return self.ready and not self.waiting and not self.sides

    def order(self, *orders: Order) -> None:
        """Add orders; they start at once when the connection is ready."""
        self.waiting[:0] = orders[::-1]
        self.begin()
        self.work()

    def happened(self, event: events.Event) -> None:
        if isinstance(event, events.EarlyDataRejected):
            self._order_again()
        elif isinstance(event, events.HandshakeCompleted):
            self.ready = True
            self.begin()
        elif isinstance(event, events.StreamsAvailable):
            self.begin()

    def _order_again(self) -> None:
        """Early data was rejected: no stream is left of those that were opened."""
        self.ready = False
        given = [side.order for side in (*self.finished.values(), *self.sides.values()) if side.order is not None]
        self.waiting += given[::-1]
        self.sides.clear()
        self.finished.clear()

    def begin(self) -> None:
        """Start as many orders as the peer allows."""
        while self.ready and self.waiting:
            order = self.waiting[-1]
            unidirectional = order.action is Action.NOTIFY
            if not self.connection.can_open(unidirectional):
                return
            self.waiting.pop()
            self._begin(order, self.connection.open_stream(unidirectional))

    def _begin(self, order: Order, stream_id: int) -> None:
        side = self.sides[stream_id] = Side(self.connection, stream_id, order)
        side.to_send = order.size if order.action in _CLIENT_SENDS else 0
        side.to_receive = order.size if order.action in _SERVER_SENDS else 0
        if order.action is Action.CLIENT_RESETS:
            side.reset_at = order.stop_after
        if order.action is Action.CLIENT_STOPS:
            side.stop_at = order.stop_after
        side.receiving_done = order.action is Action.NOTIFY
        if self.connection.write(stream_id, order.encode()) != _ORDER.size:
            raise Mismatch(f"stream {stream_id} is new and takes no bytes")
        self.shift(side)
