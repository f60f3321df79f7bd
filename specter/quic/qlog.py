"""What happened on one connection, as qlog events (draft-ietf-quic-qlog-main-schema and -quic-events, version 0.3).

Sans-IO like everything here: events go to a :class:`Sink` that the driver provides through ``QuicConfig.qlog``.
Keys, tokens and stateless reset tokens are never part of an event, where the drafts would have them too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from specter._backend import frames, protection
from specter._wire import TransportError
from specter.quic import qlog_values as values
from specter.quic.packet import PacketType
from specter.quic.space import SpaceId

if TYPE_CHECKING:
    from specter.quic.core import Core
    from specter.quic.events import ConnectionClosed
    from specter.quic.packet import Header
    from specter.quic.space import Space

__all__ = ["Data", "Open", "Sink", "Trace"]

Data: TypeAlias = dict[str, Any]

MAX_NOTES: Final = 1024
"""Events that wait for a time of their own; with more, all get the time of the last call."""
HANDSHAKE_EXPONENT: Final = 3
"""The ACK delay exponent of Initial and Handshake packets (RFC 9000, section 19.3)."""

_TYPES: Final = {SpaceId.INITIAL: "initial", SpaceId.HANDSHAKE: "handshake", SpaceId.APPLICATION: "1RTT"}


class Sink(Protocol):
    """Takes the events of one connection, in order. Neither method may raise or wait for long."""

    def write(self, time: int, name: str, data: Data) -> None:
        """Take an event; ``time`` is the driver's ``now`` (ns), ``data`` holds values that JSON has."""

    def finish(self) -> None:
        """Nothing more comes."""


Open: TypeAlias = Callable[[bytes, bool, int], Sink]
"""Makes the sink of a new connection from its original destination id, whether we are the client, and ``now``."""


class Trace:
    """Turns what the parts of a connection report into events.

    ``receiver`` and ``packer`` of the datapath call ``received``, ``duplicate`` and ``sent`` for each 1-RTT packet.
    """

    def __init__(self, core: Core, sink: Sink) -> None:
        self._core = core
        self._sink = sink
        self._notes: list[tuple[str, Data]] = []
        self._finished = False

    # -- time -------------------------------------------------------------------------------------

    def emit(self, name: str, data: Data) -> None:
        """Write an event of this moment."""
        if self._notes:
            self.settle(self._core.now)
        if not self._finished:
            self._sink.write(self._core.now, name, data)

    def note(self, name: str, data: Data) -> None:
        """Write an event of the layer above, which has no clock, with the time of the driver's next call."""
        self._notes.append((name, data))
        if len(self._notes) > MAX_NOTES:
            self.settle(self._core.now)

    def settle(self, now: int) -> None:
        """Give the events that wait for it the time ``now``."""
        notes, self._notes = self._notes, []
        if not self._finished:
            for name, data in notes:
                self._sink.write(now, name, data)

    def finish(self) -> None:
        """The connection is gone, or its driver lets go of it; any number of times."""
        if not self._finished:
            self.settle(self._core.now)
            self._finished = True
            self._sink.finish()

    # -- 1-RTT packets ----------------------------------------------------------------------------

    def received(self, first: int, number: int, view: memoryview, start: int, end: int, size: int) -> None:
        """A packet of ``size`` bytes was opened; its frames are ``view[start:end]``, its first byte is ``first``."""
        core = self._core
        peer = core.peer_parameters
        exponent = HANDSHAKE_EXPONENT if peer is None else peer.ack_delay_exponent
        header = values.short_header(first, number, core.receiver.last_cid)
        self._packet("transport:packet_received", header, view, start, end, size, exponent)

    def duplicate(self, number: int, size: int) -> None:
        """A packet that came before came again."""
        self._drop({"packet_type": "1RTT", "packet_number": number}, size, "duplicate")

    def sent(self, first: int, number: int, view: memoryview, start: int, end: int, size: int) -> None:
        """As ``received``, of a packet that is about to be sealed."""
        packer = self._core.packer
        header = values.short_header(first, number, packer.dcid)
        probe = size > self._core.datagram_size
        self._packet("transport:packet_sent", header, view, start, end, size, packer.ack_delay_exponent, probe=probe)

    def _packet(
        self,
        name: str,
        header: Data,
        view: memoryview,
        start: int,
        end: int,
        size: int,
        exponent: int,
        *,
        probe: bool = False,
    ) -> None:
        raw = {"length": size, "payload_length": end - start}
        data: Data = {"header": header, "frames": _frames(view, start, end, exponent), "raw": raw}
        self.emit(name, data | {"is_mtu_probe_packet": True} if probe else data)

    # -- other packets ----------------------------------------------------------------------------

    def long_received(self, header: Header, first: int, number: int, view: memoryview, start: int, end: int) -> None:
        """An Initial, 0-RTT or Handshake packet was opened; its frames are ``view[start:end]``."""
        data = values.long_header(header, first, number)
        size = header.end - header.start
        self._packet("transport:packet_received", data, view, start, end, size, HANDSHAKE_EXPONENT)

    def long_sent(self, packet: bytes | memoryview, number: int, start: int, end: int) -> None:
        """The same before it is sealed: all of ``packet`` but its tag, header first."""
        header = values.parse_long(packet, number)
        size = len(packet) + protection.TAG_SIZE
        self._packet(
            "transport:packet_sent", header, memoryview(packet), start, end, size, self._core.config.ack_delay_exponent
        )

    def signal_received(self, header: Header, versions: Iterable[int] = ()) -> None:
        """A Retry or Version Negotiation packet counted."""
        data: Data = {"header": values.long_header(header), "raw": {"length": header.end - header.start}}
        if header.type is PacketType.RETRY:
            data["retry_token"] = {"type": "retry", "length": len(self._core.token)}
        else:
            data["supported_versions"] = [values.version(version) for version in versions]
        self.emit("transport:packet_received", data)

    def buffered(self, header: Header) -> None:
        """A packet is kept until its keys are there."""
        size = header.end - header.start
        data = {"header": values.long_header(header), "raw": {"length": size}, "trigger": "keys_unavailable"}
        self.emit("transport:packet_buffered", data)

    def dropped(self, trigger: str, size: int, kind: PacketType | None) -> None:
        """A packet (or what was taken for one) is not looked at any further."""
        self._drop({"packet_type": values.packet_type(kind)}, size, trigger)

    def _drop(self, header: Data, size: int, trigger: str) -> None:
        self.emit("transport:packet_dropped", {"header": header, "raw": {"length": size}, "trigger": trigger})

    def lost(self, space: Space, numbers: Iterable[int]) -> None:
        """Packets of ours were declared lost."""
        close = space.sent.largest_acked - values.PACKET_THRESHOLD
        for number in numbers:
            trigger = "reordering_threshold" if number <= close else "time_threshold"
            header = {"packet_type": _TYPES[space.id], "packet_number": number}
            self.emit("recovery:packet_lost", {"header": header, "trigger": trigger})

    # -- the end ----------------------------------------------------------------------------------

    def closed(self, event: ConnectionClosed) -> None:
        """The connection is over for the layer above."""
        self.emit("connectivity:connection_closed", values.close(event))


def _frames(view: memoryview, pos: int, end: int, exponent: int) -> list[Data]:
    """Return the frames of a payload, as far as they can be read: the engine judges the rest."""
    found = []
    try:
        while pos < end:
            frame, pos = frames.decode_frame(view, pos, end)
            found.append(values.frame(frame, exponent))
    except TransportError:
        found.append({"frame_type": "unknown", "raw_frame_type": view[pos], "raw_length": end - pos})
    return found
