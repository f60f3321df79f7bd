"""Entry points for what QUIC reads: packets, frames, parameters, acknowledgments, and what holds the data."""

from __future__ import annotations

from typing import Any

from specter._backend import frames, protection
from specter._frame_types import Ack, Crypto, EcnCounts, NewConnectionId, Padding, Ping, Stream
from specter._wire import TransportError, TransportErrorCode
from specter.quic import packet, parameters
from specter.quic.packet import PacketError, PacketType
from tests.fuzz.entry import Entry, Input, outcome, require, same, twins
from tests.fuzz.recorded import datagrams, payloads

VIEW = b"".join(number.to_bytes(2, "big") for number in range(1 << 15))
"""The bytes of the one stream that ``reassembly`` delivers."""
SECRET = bytes(range(32))
AES_128 = 0x1301


# -- integers and frames ----------------------------------------------------------------------------


def varint(data: bytes) -> None:
    result = same([outcome(lambda m=m: m.decode_varint(data, 0, len(data)), TransportError) for m in twins("frames")])
    if isinstance(result, tuple):
        value, end = result
        require(0 <= value < 1 << 62 and 0 < end <= len(data), f"{result} of {len(data)} bytes")
        encoded = frames.encode_varint(value)
        require(frames.decode_varint(encoded, 0, len(encoded)) == (value, len(encoded)), "no round trip")


def varint_seeds() -> list[bytes]:
    return [frames.encode_varint(value) for value in (0, 63, 64, 16_383, 16_384, (1 << 30) - 1, 1 << 30, (1 << 62) - 1)]


def frame(data: bytes) -> None:
    found = same([outcome(lambda m=m: m.decode(data), TransportError) for m in twins("frames")])
    if isinstance(found, list):
        for each in found:
            encoded = frames.encode(each)
            require(frames.decode(encoded) == [each], f"{each} is {frames.decode(encoded)} once encoded")


def frame_seeds() -> list[bytes]:
    made = [
        Padding(3),
        Ping(),
        Ack(((90, 100), (1, 50)), 77, EcnCounts(1, 2, 3)),
        Crypto(5, b"hello"),
        Stream(4, 1 << 20, b"data", True),
        NewConnectionId(3, 1, bytes(8), bytes(16)),
    ]
    return [frames.encode(each) for each in made] + payloads()


# -- packets ----------------------------------------------------------------------------------------


def header(data: bytes) -> None:
    view, pos = memoryview(data), 0
    while pos < len(data):
        try:
            found = packet.parse_header(view, pos, len(view), 8, greased=len(data) % 2 == 1)
        except PacketError:
            break
        require(pos < found.pn_offset <= found.end <= len(data), f"{found} of {len(data)} bytes")
        require(found.start == pos, "the packet begins elsewhere")
        pos = found.end
    outcome(lambda: packet.parse_retry(view, 0, len(view)), PacketError)
    outcome(lambda: packet.parse_version_negotiation(view, 0, len(view)), PacketError)
    require(not packet.check_retry(view, b"somebody") or data in header_seeds(), "a forged Retry is accepted")


def header_seeds() -> list[bytes]:
    long = packet.encode_long_header(PacketType.INITIAL, packet.QUIC_V1, bytes(8), bytes(5), 1, 2, b"token")
    filled = bytearray(long + bytes(30))
    packet.patch_length(filled, len(long) - 4, 32)
    retry = packet.encode_retry(packet.QUIC_V2, b"server", b"client", b"somebody", b"token")
    offer = packet.encode_version_negotiation(b"server", b"client", (1, packet.QUIC_V2, 0x1A2A3A4A))
    return [bytes(filled), bytes(filled) * 2, retry, offer, b"\x40" + bytes(40), *datagrams()]


def protected(data: bytes) -> None:
    """Open a packet that anybody may have made."""
    source = Input(data)
    short, largest, changed = bool(source.number() & 1), source.number(4) - 1, source.rest()
    start = 9 if short else 18
    results = []
    for module in twins("protection"):
        keys = module.PacketProtection(AES_128, SECRET)
        buffer = bytearray(changed)
        result = outcome(
            lambda k=keys, b=buffer: k.open(b, 0, start, len(b), largest),
            module.DecryptError,
            TransportError,
            ValueError,
        )
        results.append(
            (result, keys.failed, keys.updates, bytes(buffer[result[1] : result[2]]) if keys.first_pn == 7 else b"")
        )
    same(results)


def protected_seeds() -> list[bytes]:
    made = []
    for first, start in ((0x43, 9), (0x47, 9), (0xC3, 18)):
        buffer = bytearray([first]) + bytes(start - 1) + (7).to_bytes(4, "big") + bytes(20 + 16)
        keys = protection.PacketProtection(AES_128, SECRET)
        keys.seal(buffer, 0, start, 4, len(buffer) - 16, 7)
        made.append(bytes([start == 9]) + bytes(4) + bytes(buffer))
    return made


# -- transport parameters ---------------------------------------------------------------------------


def parameter(data: bytes) -> None:
    for from_server in (False, True):
        try:
            found = parameters.decode(data, from_server=from_server)
        except TransportError as error:
            require(error.code == TransportErrorCode.TRANSPORT_PARAMETER_ERROR, f"closes with {error}")
            continue
        again = parameters.decode(parameters.encode(found), from_server=from_server)
        require(again == found, f"{found} is {again} once encoded")


def parameter_seeds() -> list[bytes]:
    address = parameters.PreferredAddress.at(("192.0.2.1", 443), ("2001:db8::1", 443), bytes(8), bytes(16))
    full = parameters.TransportParameters(
        max_idle_timeout=30_000,
        initial_max_data=1 << 20,
        initial_source_connection_id=bytes(8),
        active_connection_id_limit=4,
        version_information=parameters.VersionInformation(1, (1, packet.QUIC_V2)),
    )
    private = parameters.TransportParameters(
        original_destination_connection_id=bytes(8), stateless_reset_token=bytes(16), preferred_address=address
    )
    return [b"", parameters.encode(full), parameters.encode(private)]


# -- acknowledgments --------------------------------------------------------------------------------


def tracker(data: bytes) -> None:
    """Receive packets and acknowledge them, in any order."""
    same([_track(module, data) for module in twins("acks")])


def _track(module: Any, data: bytes) -> list[Any]:
    source, acks, now, seen = Input(data), module.AckTracker(False, 2, 10, 100, 25_000_000, 8), 0, []
    while source:
        step, value = source.number(), source.number(2)
        now += 1_000_000 * (step >> 6)
        if step & 3 < 2:
            seen.append(acks.record(value, now, bool(step & 4), step >> 3 & 3))
        elif step & 3 == 2:
            _check_ack(acks, acks.encode(now, 3, value % 100 + 20))
            acks.sent(now)
        elif acks.largest >= 0:
            acks.forget(value)
        seen.append((acks.ranges, acks.largest, acks.deadline, acks.pending, acks.is_duplicate(value)))
    return seen


def _check_ack(acks: Any, encoded: bytes) -> None:
    ranges = acks.ranges
    require(len(ranges) <= 8, "more ranges than allowed")
    require(all(low <= high for low, high in ranges), f"{ranges} are no ranges")
    require(all(ranges[i][0] > ranges[i + 1][1] + 1 for i in range(len(ranges) - 1)), f"{ranges} touch")
    if encoded:
        (ack,) = frames.decode(encoded)
        require(isinstance(ack, Ack) and list(ack.ranges) == ranges[: len(ack.ranges)], f"{ack} for {ranges}")


def tracker_seeds() -> list[bytes]:
    steps = [(4, 1), (4, 2), (2, 90), (0x4C, 9), (4, 5), (0x84, 70), (2, 9), (3, 5), (4, 0xFFFF), (3, 0xFFFF), (2, 50)]
    return [b"".join(bytes([step]) + value.to_bytes(2, "big") for step, value in steps[start:]) for start in (0, 3, 6)]


def acknowledge(data: bytes) -> None:
    """Take ACK frames for packets that were sent, and that were not."""
    same([_acknowledge(module, data) for module in twins("sent")])


def _acknowledge(module: Any, data: bytes) -> list[Any]:
    sent, seen, now = module.SentPackets(), [], 1_000
    for number in range(80):
        if number % 16 == 9:
            sent.skip(number)
        else:
            tokens, stream = ((number,), (4, number * 100, 100, False)) if number % 3 else ((), None)
            sent.record(number, now + number, 100, number % 5 != 0, number % 7 != 0, tokens, stream)
    found = outcome(lambda: frames.decode(data), TransportError)
    for ack in found if isinstance(found, list) else ():
        if isinstance(ack, Ack):
            now += 1_000
            acked = outcome(lambda ack=ack, now=now: sent.acknowledge(ack.ranges, now), TransportError)
            lost = sent.detect_lost(now, 500)
            seen += [_described(acked), _described(lost), sent.largest_acked, sent.loss_time]
            require(sent.bytes_in_flight >= 0 and sent.ack_eliciting_in_flight >= 0, "less than nothing is in flight")
    seen += [sent.bytes_in_flight, sent.ack_eliciting_in_flight, len(sent)]
    require(sent.bytes_in_flight == sent.discard(), "bytes in flight do not add up")
    return seen


def _described(result: Any) -> Any:
    if isinstance(result, str):
        return result
    names = ("count", "size", "largest", "streams", "tokens", "eliciting", "persistent_span")
    return [getattr(result, name, None) for name in names]


def acknowledge_seeds() -> list[bytes]:
    ranges = [((0, 8),), ((20, 24), (10, 18), (0, 3)), ((79, 79),), ((9, 9),), ((80, 80),)]
    return [frames.encode(Ack(each, 5)) for each in ranges] + [frames.encode(Ack(((30, 40),), 0)) * 3]


# -- data in order ----------------------------------------------------------------------------------


def reassembly(data: bytes) -> None:
    """Deliver pieces of a stream in any order, and read it: what comes out are its bytes."""
    same([_reassemble(module, data) for module in twins("reassembly")])


def _reassemble(module: Any, data: bytes) -> list[Any]:
    source, buffer, seen = Input(data), module.RecvBuffer(40_000, module.SegmentBudget(16)), []
    while source:
        step, offset, size = source.number(), source.number(2), source.number()
        at = buffer.consumed
        if step & 7 < 4:
            args = (offset, VIEW[offset : offset + size], step & 0xF8 == 0xF8)
            seen.append(outcome(lambda args=args: buffer.receive(*args), TransportError))
        elif step & 7 < 6:
            read = buffer.read(offset)
            require(read == VIEW[at : at + len(read)], f"other bytes at {at}")
            seen.append(len(read))
        elif step & 7 == 6:
            seen.append(buffer.read_frames(0, size, offset))
        elif step & 0xF8 == 0xF8:
            seen.append(buffer.discard())
        elif step & 0xF8 == 0:
            seen.append(outcome(lambda offset=offset: buffer.reset(offset), TransportError))
        seen.append((buffer.readable, buffer.consumed, buffer.highest, buffer.complete, buffer.finished))
        require(buffer.pending_segments <= 16, "more gaps than allowed")
    return seen


def reassembly_seeds() -> list[bytes]:
    def step(kind: int, offset: int = 0, size: int = 0) -> bytes:
        return bytes([kind]) + offset.to_bytes(2, "big") + bytes([size])

    mixed = step(0, 100, 50) + step(0, 0, 100) + step(4, 90) + step(0, 300, 20) + step(0, 140, 170) + step(4, 1000)
    gaps = b"".join(step(0, 10 + 20 * number, 5) for number in range(17))
    return [
        mixed,
        gaps,
        mixed + step(0xF8, 320, 9) + step(5, 5),
        mixed + step(7, 500),
        mixed + step(0xFF),
        step(6, 9, 9),
    ]


ENTRIES = [
    Entry("varint", varint, varint_seeds, native=True),
    Entry("frames", frame, frame_seeds, runs=300, native=True),
    Entry("headers", header, header_seeds, runs=300),
    Entry("protection", protected, protected_seeds, native=True),
    Entry("parameters", parameter, parameter_seeds, runs=300),
    Entry("acks", tracker, tracker_seeds, native=True),
    Entry("sent", acknowledge, acknowledge_seeds, native=True),
    Entry("reassembly", reassembly, reassembly_seeds, native=True),
]
