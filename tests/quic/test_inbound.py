"""Datagrams taken apart: coalesced, early, late, foreign, truncated, corrupted."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specter._backend import batch as batches
from specter._frame_types import ConnectionClose, Crypto, MaxData, NewConnectionId, Padding, Ping, Stream
from specter._wire import TransportErrorCode as Code
from specter.quic.config import SECOND, QuicConfig
from specter.quic.events import ConnectionClosed, HandshakeCompleted
from specter.quic.inbound import DEFERRED_LIMIT
from specter.quic.packet import PacketType, parse_header
from specter.quic.space import SpaceId
from tests.quic.scripted import Scripted, connected, encode, types_of
from tests.quic.support import Pair


def server_flight(seed: int = 1) -> tuple[Pair, list[bytes]]:
    """Return a pair whose client has heard nothing yet, and what the server would tell it, one packet each."""
    pair = Pair(seed=seed)
    pair.filter = lambda from_client, data: data if from_client else None
    pair.run(lambda: pair.server is not None)
    pair.settle(SECOND // 20)
    packets = []
    for up, data in pair.log:
        pos = 0
        while not up and pos < len(data):
            end = parse_header(data, pos, len(data), 8).end
            packets.append(data[pos:end])
            pos = end
    return pair, packets


def initials(packets: list[bytes]) -> list[bytes]:
    return [data for data in packets if data[0] & 0xF0 == 0xC0]


def foreign(size: int = 40, cid: bytes = b"foreign!", first: int = 0xD0) -> bytes:
    return (
        bytes([first])
        + b"\x00\x00\x00\x01\x08"
        + cid
        + b"\x00"
        + b"\x00" * (first == 0xC0)
        + (0x4000 | size).to_bytes(2, "big")
        + bytes(size)
    )


# -- order ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_the_servers_packets_may_come_in_any_order(seed: int) -> None:
    """Handshake and 1-RTT packets ahead of their keys are kept until the keys come."""
    pair, packets = server_flight()
    order = list(range(len(packets)))
    random.Random(seed).shuffle(order)
    peer = Scripted(pair)
    for index in order:
        peer.deliver(packets[index])
    assert HandshakeCompleted(b"h3") in peer.events
    assert peer.closed is None


def test_reversed_in_one_burst() -> None:
    pair, packets = server_flight()
    peer = Scripted(pair)
    peer.deliver(*reversed(packets))
    assert peer.target.handshake_complete


def test_an_early_1_rtt_packet_does_not_hold_up_handshake_packets_kept_behind_it() -> None:
    """The first packet kept is not the first whose keys come; and what its keys are brought by is kept too."""
    pair, packets = server_flight()
    first = initials(packets)
    handshake = [data for data in packets if data not in first]
    peer = Scripted(pair)
    early = peer.packet(encode(Stream(3, 0, b"early", True)))
    peer.deliver(early, *handshake)
    assert len(peer.target._inbound._deferred) == 1 + len(handshake)
    peer.deliver(*first)
    assert peer.target.handshake_complete
    assert peer.target._inbound._deferred == []
    assert peer.target.read(3) == b"early"


def test_packets_ahead_of_their_keys_are_kept_up_to_a_limit() -> None:
    pair, packets = server_flight()
    peer = Scripted(pair)
    for _ in range(50):
        peer.deliver(peer.packet(b"\x01" + bytes(1000)))
    inbound = peer.target._inbound
    assert len(inbound._deferred) == DEFERRED_LIMIT
    assert peer.target.stats.packets_dropped == 50 - DEFERRED_LIMIT
    for data in packets:
        peer.deliver(data)
    assert peer.target.handshake_complete
    assert len(inbound._deferred) == 0


def test_a_close_among_deferred_packets_ends_their_replay() -> None:
    pair, packets = server_flight()
    peer = Scripted(pair)
    peer.deliver(
        peer.packet(b"\x1d\x05\x00"), peer.packet(encode(Stream(3, 0, b"late", True))), peer.packet(b"\x1d\x06\x00")
    )
    for data in packets:
        peer.deliver(data)
    assert isinstance(peer.events[-1], ConnectionClosed)
    assert peer.events[-1].error_code == 5


# -- coalescing -------------------------------------------------------------------------------------------


@pytest.mark.security
@pytest.mark.parametrize("first", [0xC0, 0xD0, 0xE0], ids=["initial", "zero rtt", "handshake"])
def test_coalesced_packets_for_other_ids_leave_no_trace(first: int) -> None:
    """lsquic CVE-2025-54939: packets with foreign ids behind a good one, before the handshake is over."""
    pair, packets = server_flight()
    peer = Scripted(pair)
    junk = foreign(first=first)
    for _ in range(20):
        peer.deliver(packets[0] + junk * 20)
    assert peer.target._inbound._deferred == []
    assert peer.target.stats.packets_dropped >= 400
    assert peer.target._core.handshake_packets == 1
    for data in packets[1:]:
        peer.deliver(data)
    assert peer.target.handshake_complete


def test_a_packet_for_another_id_hides_those_behind_it_that_are_ours() -> None:
    """RFC 9000, 12.2: the first packet's id counts for the whole datagram."""
    pair, packets = server_flight()
    peer = Scripted(pair)
    peer.deliver(foreign() + packets[0])
    assert peer.target._core.handshake_packets == 0


def test_a_broken_packet_does_not_spoil_the_one_behind_it() -> None:
    pair, packets = server_flight()
    peer = Scripted(pair)
    broken = bytearray(packets[0])
    broken[-1] ^= 1
    peer.deliver(bytes(broken) + packets[-1])
    assert len(peer.target._inbound._deferred) == 1
    assert peer.target.stats.packets_dropped == 1


def test_a_1_rtt_packet_behind_handshake_packets_is_read() -> None:
    pair, packets = server_flight()
    peer = Scripted(pair)
    peer.deliver(b"".join(packets[:1]), b"".join(packets[1:]) + peer.packet(encode(Stream(3, 0, b"joined", True))))
    assert peer.target.read(3) == b"joined"


# -- truncation and corruption ----------------------------------------------------------------------------


@pytest.mark.security
def test_a_handshake_datagram_truncated_anywhere_is_dropped() -> None:
    """haproxy (QUIC frame type) and others: no length of a datagram does more than be dropped."""
    pair, packets = server_flight()
    peer = Scripted(pair)
    for data in packets[:3]:
        peer.deliver(*[data[:length] for length in range(len(data))])
    assert peer.closed is None
    assert peer.target._core.handshake_packets == 0
    assert peer.target._inbound._deferred == []
    for data in packets:
        peer.deliver(data)
    assert peer.target.handshake_complete


@pytest.mark.security
def test_a_handshake_datagram_corrupted_at_any_byte_is_dropped() -> None:
    """Every byte of the server's first datagram changed in turn: nothing breaks, and the true one still works."""
    pair, packets = server_flight()
    peer = Scripted(pair)
    whole = max(initials(packets), key=len)
    for index in range(len(whole)):
        bad = bytearray(whole)
        bad[index] ^= 0x55
        peer.deliver(bytes(bad))
    assert peer.closed is None
    assert peer.target._core.handshake_packets == 0
    for data in packets:
        peer.deliver(data)
    assert peer.target.handshake_complete


@pytest.mark.security
def test_a_1_rtt_datagram_corrupted_or_truncated_anywhere_is_dropped() -> None:
    peer = connected()
    good = peer.packet(encode(Stream(3, 0, b"payload", True), MaxData(1 << 30)))
    for index in range(len(good)):
        bad = bytearray(good)
        bad[index] ^= 0x04
        peer.deliver(bytes(bad), good[:index])
    assert peer.closed is None
    assert peer.target.readable(3) == 0
    peer.deliver(good)
    assert peer.target.read(3) == b"payload"


@pytest.mark.security
def test_a_clients_datagrams_corrupted_at_any_byte_are_dropped_by_a_server() -> None:
    pair = Pair()
    pair.flush(pair.client, True)
    first = pair.log[0][1]
    pair.server = pair._accept(first)
    batch = batches.ReceiveBatch()
    for index in range(0, len(first), 3):
        bad = bytearray(first)
        bad[index] ^= 0x21
        batch.append(bytes(bad))
        if batch.full:
            pair.server.receive(batch, pair.now)
            batch.clear()
    pair.server.receive(batch, pair.now)
    assert not pair.server.closing
    assert pair.server._core.handshake_packets == 0
    pair.handshake()


@settings(max_examples=100)
@given(st.binary(max_size=60), st.sampled_from(list(SpaceId)))
def test_any_payload_is_a_value_or_a_close(payload: bytes, space: SpaceId) -> None:
    """Random frames under good keys: the connection goes on or closes, and nothing else."""
    if space is SpaceId.APPLICATION:
        peer = connected(warm=False)
    else:
        pair, packets = server_flight()
        peer = Scripted(pair)
        if space is SpaceId.HANDSHAKE:
            peer.deliver(*initials(packets))
    peer.say(payload or b"\x00", space=space)
    if peer.closed is not None:
        assert peer.target.closing
    peer.pair.now = max(peer.pair.now, min(peer.target.next_deadline(), peer.pair.now + SECOND))
    peer.target.handle_deadline(peer.pair.now)
    peer.flush()


@settings(max_examples=60)
@given(st.binary(max_size=200), st.integers(0, 255))
def test_any_datagram_is_dropped_or_counted(data: bytes, first: int) -> None:
    pair, _ = server_flight()
    peer = Scripted(pair)
    core = peer.target._core
    prefix = bytes([first | 0x80]) + b"\x00\x00\x00\x01\x08" + core.first_cid + b"\x08" + core.remote_cids.current
    peer.deliver(data, prefix + data, b"\x40" + core.first_cid + data)
    assert peer.closed is None


def at_space(space: SpaceId) -> Scripted:
    """Return a scripted server whose client has the keys of a space and no later ones."""
    if space is SpaceId.APPLICATION:
        return connected(warm=False)
    pair, packets = server_flight()
    peer = Scripted(pair)
    if space is SpaceId.HANDSHAKE:
        peer.deliver(*initials(packets))
    return peer


@pytest.mark.security
@pytest.mark.parametrize("space", list(SpaceId), ids=lambda space: space.name.lower())
@pytest.mark.parametrize("head", [b"\x40", b"\x80\x00", b"\xc0", b"\xc0\x00\x00\x00\x00\x00\x00"])
def test_a_truncated_frame_type_closes(space: SpaceId, head: bytes) -> None:
    """haproxy (git, QUIC frame type): an unreadable variable-length type is not PADDING for ever."""
    peer = at_space(space)
    peer.say(b"\x00\x01\x00" + head, space=space)
    assert peer.closed is not None
    assert peer.closed.error_code == Code.FRAME_ENCODING_ERROR


UNKNOWN_TYPES = [b"\x1f", *(bytes([kind]) for kind in range(0x20, 0x40) if kind not in (0x30, 0x31))]
LONG_UNKNOWN_TYPES = [b"\x40\x40", b"\x7f\xff", b"\x80\x01\x00\x00", b"\xbf\xff\xff\xff", b"\xff" * 8]


@pytest.mark.security
@pytest.mark.parametrize("space", list(SpaceId), ids=lambda space: space.name.lower())
def test_any_unknown_frame_type_closes(space: SpaceId) -> None:
    """quinn CVE-2023-42805: every type of one byte, and longer ones up to the largest, in every space."""
    for head in UNKNOWN_TYPES + LONG_UNKNOWN_TYPES:
        peer = at_space(space)
        peer.say(Ping(), head + bytes(20), space=space)
        assert peer.closed is not None, head.hex()
        assert peer.closed.error_code == Code.FRAME_ENCODING_ERROR


# -- rules ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [Stream(0, 0, b"x", False), MaxData(1), NewConnectionId(1, 0, b"12345678", bytes(16)), b"\x1d\x00\x00", b"\x1e"],
    ids=["stream", "max data", "connection id", "application close", "handshake done"],
)
@pytest.mark.parametrize("space", [SpaceId.INITIAL, SpaceId.HANDSHAKE])
def test_frames_that_do_not_belong_into_handshake_packets(said: Stream, space: SpaceId) -> None:
    peer = at_space(space)
    peer.say(Ping(), said, space=space)
    assert peer.closed is not None
    assert peer.closed.error_code == Code.PROTOCOL_VIOLATION


@pytest.mark.parametrize(
    ("space", "flags"), [(SpaceId.INITIAL, 0x04), (SpaceId.INITIAL, 0x08), (SpaceId.APPLICATION, 0x10)]
)
def test_reserved_bits_close(space: SpaceId, flags: int) -> None:
    peer = connected() if space is SpaceId.APPLICATION else Scripted(server_flight()[0])
    peer.deliver(peer.packet(b"\x01" + bytes(20), space, flags=flags))
    assert peer.closed is not None
    assert peer.closed.error_code == Code.PROTOCOL_VIOLATION


@pytest.mark.parametrize("space", list(SpaceId))
def test_a_packet_without_the_fixed_bit_is_dropped(space: SpaceId) -> None:
    """RFC 9000, 17.2 and 17.3.1: whoever sealed it."""
    peer = connected() if space is SpaceId.APPLICATION else Scripted(server_flight()[0])
    before = peer.target._core.packets_processed
    if space is not SpaceId.HANDSHAKE:
        peer.deliver(peer.packet(b"\x01" + bytes(20), space, flags=0x40))
    assert peer.target._core.packets_processed == before
    assert peer.closed is None


def test_packets_from_another_source_id_are_dropped_once_the_servers_is_known() -> None:
    """RFC 9000, section 7.2."""
    pair, packets = server_flight()
    peer = Scripted(pair)
    peer.deliver(packets[0])
    known = peer.source._core.first_cid
    peer.source._core.first_cid = b"another!"
    before = peer.target._core.handshake_packets
    peer.say(Ping(), space=SpaceId.INITIAL)
    assert peer.target._core.handshake_packets == before
    peer.source._core.first_cid = known
    peer.say(Ping(), space=SpaceId.INITIAL)
    assert peer.target._core.handshake_packets == before + 1


def test_handshake_packets_are_read_although_the_peer_has_moved_to_another_id() -> None:
    """The server retires its first id before the handshake is confirmed; its Handshake packets still carry it."""
    pair = Pair()
    pair.run(lambda: pair.client.handshake_complete)
    peer = Scripted(pair)
    assert not pair.client.confirmed
    peer.say(NewConnectionId(1, 1, b"12345678", bytes(16)))
    before = peer.target._core.handshake_packets
    peer.say(Ping(), space=SpaceId.HANDSHAKE)
    assert peer.target._core.handshake_packets == before + 1


def test_an_initial_with_a_token_from_a_server_is_dropped() -> None:
    pair, packets = server_flight()
    header = parse_header(packets[0], 0, len(packets[0]), 8)
    assert header.token == b""
    at = 7 + len(header.dcid) + len(header.scid)
    peer = Scripted(pair)
    peer.deliver(packets[0][:at] + b"\x01t" + packets[0][at + 1 :])
    assert peer.target._core.handshake_packets == 0


def test_a_server_drops_initials_in_small_datagrams() -> None:
    """RFC 9000, 14.1: also those of a connection that exists."""
    pair = Pair()
    pair.filter = lambda from_client, data: data if from_client else None
    pair.run(lambda: pair.server is not None)
    peer = Scripted(pair, as_server=False)
    before = peer.target._core.handshake_packets
    peer.deliver(peer.packet(encode(Ping(), Padding(1000)), SpaceId.INITIAL))
    assert peer.target._core.handshake_packets == before
    small = peer.packet(encode(Ping(), Padding(1000)), SpaceId.INITIAL)
    peer.deliver(small + bytes(1200 - len(small)))
    assert peer.target._core.handshake_packets == before + 1


def test_zero_rtt_and_other_versions_are_dropped() -> None:
    pair, _ = server_flight()
    peer = Scripted(pair)
    cid = peer.target._core.first_cid
    zero_rtt = b"\xd0\x00\x00\x00\x01\x08" + cid + b"\x00\x40\x20" + bytes(32)
    other = b"\xc0\x0a\x0a\x0a\x0a\x08" + cid + b"\x00" + bytes(40)
    peer.deliver(zero_rtt, other)
    assert peer.target.stats.packets_dropped == 2
    assert types_of(zero_rtt) == [PacketType.ZERO_RTT]


def test_duplicates_are_processed_once() -> None:
    peer = connected()
    packet = peer.packet(encode(Stream(3, 0, b"once", False)))
    before = peer.target._core.packets_processed
    peer.deliver(packet, packet)
    peer.deliver(packet)
    assert peer.target._core.packets_processed == before + 1
    assert peer.target.read(3) == b"once"


def test_datagrams_from_other_addresses_buy_no_credit() -> None:
    """RFC 9000, section 8.1: an address is only answered for what it sent itself."""
    pair = Pair()
    pair.flush(pair.client, True)
    data = pair.log[0][1]
    pair.server = pair._accept(data)
    batch = batches.ReceiveBatch()
    batch.append(data)
    for _ in range(10):
        batch.append(bytes(1200), ("192.0.2.1", 4433))
    pair.server.receive(batch, pair.now)
    assert pair.server._core.amplification.received == 1200
    assert pair.server.stats.datagrams_received == 11


def test_nothing_of_a_batch_is_kept() -> None:
    """The slab is read again at once: every byte that matters later was copied."""
    pair, packets = server_flight()
    peer = Scripted(pair)
    early = peer.packet(encode(Stream(3, 0, b"early", False)))
    batch = batches.ReceiveBatch()
    for data in (early, *packets, peer.packet(encode(Stream(3, 5, b"later", True), b"\x07\x05token"))):
        batch.append(data)
        peer.target.receive(batch, pair.now)
        batch.slab[:] = b"\xff" * len(batch.slab)
        batch.clear()
        peer.flush()
    assert peer.target.read(3) == b"earlylater"
    assert [event.token for event in peer.events if hasattr(event, "token")] == [b"token"]


def test_close_reasons_of_the_handshake_are_heard() -> None:
    pair, _ = server_flight()
    peer = Scripted(pair)
    peer.say(ConnectionClose(0x128, 6, "h\u00f6".encode() + b"\xff", False), space=SpaceId.INITIAL)
    assert peer.closed is not None
    assert (peer.closed.error_code, peer.closed.reason, peer.closed.frame_type) == (0x128, "h\u00f6\ufffd", 6)


def test_crypto_of_a_finished_level_is_a_violation_only_if_new() -> None:
    pair, packets = server_flight()
    peer = Scripted(pair)
    peer.deliver(*initials(packets))
    base = peer.target._core.spaces[SpaceId.INITIAL].crypto_in.consumed
    peer.say(Crypto(0, b"old"), space=SpaceId.INITIAL)
    assert peer.closed is None
    peer.say(Crypto(base, b"new"), space=SpaceId.INITIAL)
    assert peer.closed is not None
    assert peer.closed.error_code == Code.PROTOCOL_VIOLATION


def test_the_young_connection_of_a_config_without_streams_opens() -> None:
    pair = Pair(client_config=QuicConfig(max_streams_uni=0, max_streams_bidi=0))
    pair.handshake()
