"""A peer that says exactly what a test wants: it has a real connection's keys, and neither rules nor manners."""

from __future__ import annotations

from specter._backend import batch as batches
from specter._backend import frames
from specter._frame_types import ConnectionClose, Frame, Ping
from specter.quic.connection import Connection
from specter.quic.events import ConnectionClosed, Event
from specter.quic.packet import PacketError, PacketType, encode_long_header, parse_header, patch_length
from specter.quic.space import SpaceId
from tests.quic.support import Pair

_TYPES = {SpaceId.INITIAL: PacketType.INITIAL, SpaceId.HANDSHAKE: PacketType.HANDSHAKE}


def encode(*said: Frame | bytes) -> bytes:
    return b"".join(frame if isinstance(frame, bytes) else frames.encode(frame) for frame in said)


def types_of(datagram: bytes) -> list[PacketType]:
    """Return the types of a datagram's packets."""
    found, pos = [], 0
    while pos < len(datagram):
        try:
            header = parse_header(datagram, pos, len(datagram), 8)
        except PacketError:
            break
        found.append(header.type)
        pos = header.end
    return found


class Scripted:
    """Speaks in the place of one end of a pair; the other end, ``target``, is real. It acknowledges nothing."""

    def __init__(self, pair: Pair, *, as_server: bool = True) -> None:
        assert pair.server is not None
        self.pair = pair
        self.source = pair.server if as_server else pair.client
        self.target = pair.client if as_server else pair.server
        self.numbers = [space.sent.next_pn for space in self.source._core.spaces]
        self.sealers = [space.sealer for space in self.source._core.spaces]
        self.events: list[Event] = []

    @property
    def closed(self) -> ConnectionClosed | None:
        return next((event for event in self.events if isinstance(event, ConnectionClosed)), None)

    def packet(
        self, payload: bytes, space: SpaceId = SpaceId.APPLICATION, *, number: int | None = None, flags: int = 0
    ) -> bytes:
        """Return a sealed packet; ``flags`` are exclusive-ored into the first byte before it is protected."""
        if number is None:
            number = self.numbers[space]
            self.numbers[space] += 1
        core = self.source._core
        if space is SpaceId.APPLICATION:
            header = bytes([0x43 ^ flags]) + core.remote_cids.current + number.to_bytes(4, "big")
        else:
            header = encode_long_header(_TYPES[space], 1, core.remote_cids.current, core.first_cid, number, 4)
            header = bytes([header[0] ^ flags]) + header[1:]
        buffer = bytearray(header + payload + bytes(16))
        if space is not SpaceId.APPLICATION:
            patch_length(buffer, len(header) - 6, len(buffer) - len(header) + 4)
        sealer = self.sealers[space]
        assert sealer is not None
        sealer.seal(buffer, 0, len(header) - 4, 4, len(buffer) - 16, number)
        return bytes(buffer)

    def deliver(self, *datagrams: bytes) -> list[bytes]:
        """Hand datagrams to the target in one burst, as a driver does; return what it answers."""
        batch = batches.ReceiveBatch(max(96, 2 * len(datagrams)))
        for data in datagrams:
            batch.append(data)
        self.target.receive(batch, self.pair.now)
        return self.flush()

    def flush(self) -> list[bytes]:
        answer: list[bytes] = []
        while len(burst := self.target.send(self.pair.now)):
            answer += [bytes(data) for data, _, _ in burst]
        while (event := self.target.next_event()) is not None:
            self.events.append(event)
        return answer

    def say(self, *said: Frame | bytes, space: SpaceId = SpaceId.APPLICATION) -> list[bytes]:
        """Send one packet with these frames; return what the target answers."""
        return self.deliver(self.packet(encode(*said), space))

    def open(self, datagram: bytes, space: SpaceId = SpaceId.APPLICATION) -> list[Frame]:
        """Return the frames of the target's datagram; of a coalesced one, those of the packet of ``space``."""
        buffer, pos = bytearray(datagram), 0
        opener = self.source._core.spaces[space].opener
        assert opener is not None
        while pos < len(buffer):
            header = parse_header(buffer, pos, len(buffer), 8)
            if header.type is _TYPES.get(space, PacketType.ONE_RTT):
                _, start, end, _ = opener.open(buffer, pos, header.pn_offset, header.end, -1)
                return frames.decode(bytes(buffer), start, end)
            pos = header.end
        return []

    def say_many(self, said: list[Frame | bytes], per_packet: int = 100) -> list[bytes]:
        """Send frames in full packets, one after the other, while the target is there."""
        answer: list[bytes] = []
        for start in range(0, len(said), per_packet):
            if self.target.closing:
                break
            answer += self.say(*said[start : start + per_packet])
        return answer


def connected(pair: Pair | None = None, *, as_server: bool = True, warm: bool = True) -> Scripted:
    """Return a scripted peer after a real handshake; ``warm`` lets the first exchange of ids and limits pass."""
    pair = pair or Pair()
    pair.handshake()
    if warm:
        pair.settle(300_000_000)
    return Scripted(pair, as_server=as_server)


def inject(connection: Connection, *said: Frame | bytes) -> None:
    """Make a connection say something it would never say."""
    for frame in said:
        connection._core.packer.control.append((encode(frame), Ping()))


def close_frames(found: list[Frame]) -> list[ConnectionClose]:
    return [frame for frame in found if isinstance(frame, ConnectionClose)]
