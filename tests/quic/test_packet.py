from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specter.quic import packet
from specter.quic.packet import QUIC_V1, QUIC_V2, Header, PacketError, PacketType, parse_header

DCID = bytes.fromhex("8394c8f03e515708")
SCID = bytes.fromhex("f067a5502a4262b5")

# RFC 9001, appendix A, and RFC 9369, appendix A: headers before protection.
CLIENT_INITIAL = {
    QUIC_V1: bytes.fromhex("c300000001088394c8f03e5157080000449e00000002"),
    QUIC_V2: bytes.fromhex("d36b3343cf088394c8f03e5157080000449e00000002"),
}
SERVER_INITIAL = {
    QUIC_V1: bytes.fromhex("c1000000010008f067a5502a4262b50040750001"),
    QUIC_V2: bytes.fromhex("d16b3343cf0008f067a5502a4262b50040750001"),
}
RETRY = {
    QUIC_V1: bytes.fromhex("ff000000010008f067a5502a4262b5746f6b656e04a265ba2eff4d829058fb3f0f2496ba"),
    QUIC_V2: bytes.fromhex("cf6b3343cf0008f067a5502a4262b5746f6b656ec8646ce8bfe33952d955543665dcc7b6"),
}
PROTECTED = (PacketType.INITIAL, PacketType.ZERO_RTT, PacketType.HANDSHAKE)
both_versions = pytest.mark.parametrize("version", [QUIC_V1, QUIC_V2])
quick = settings(max_examples=200, deadline=None, derandomize=True)
cids = st.binary(max_size=20)


def long_packet(
    packet_type: PacketType, version: int = QUIC_V1, token: bytes = b"", payload: int = 30, pn: int = 7
) -> bytes:
    header = bytearray(packet.encode_long_header(packet_type, version, DCID, SCID, pn, 2, token))
    packet.patch_length(header, len(header) - 4, 2 + payload)
    return bytes(header) + bytes(payload)


# Long headers


@both_versions
def test_initial_headers_of_the_rfc(version: int) -> None:
    header = bytearray(packet.encode_long_header(PacketType.INITIAL, version, DCID, b"", 2, 4))
    packet.patch_length(header, len(header) - 6, 1182)
    assert header == CLIENT_INITIAL[version]

    header = bytearray(packet.encode_long_header(PacketType.INITIAL, version, b"", SCID, 1, 2))
    packet.patch_length(header, len(header) - 4, 117)
    assert header == SERVER_INITIAL[version]


@both_versions
def test_parse_initial_of_the_rfc(version: int) -> None:
    data = b"junk" + CLIENT_INITIAL[version] + bytes(1178) + b"next"
    header = parse_header(data, 4, len(data), 8)
    assert header == Header(PacketType.INITIAL, version, DCID, b"", b"", 4 + 18, 4, len(data) - 4)


@both_versions
@pytest.mark.parametrize("packet_type", PROTECTED)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_long_header_round_trip(version: int, packet_type: PacketType, kind: type) -> None:
    token = b"a token" if packet_type is PacketType.INITIAL else b""
    data = long_packet(packet_type, version, token)
    header = parse_header(kind(data), 0, len(data), 8)
    assert (header.type, header.version, header.dcid, header.scid) == (packet_type, version, DCID, SCID)
    assert header.token == token
    assert type(header.token) is type(header.dcid) is bytes
    assert header.end == len(data)
    assert data[header.pn_offset : header.pn_offset + 2] == b"\x00\x07"


def test_long_type_bits_differ_between_versions() -> None:
    bits = {
        version: [long_packet(packet_type, version)[0] >> 4 & 3 for packet_type in PROTECTED]
        for version in (QUIC_V1, QUIC_V2)
    }
    assert bits == {QUIC_V1: [0, 1, 2], QUIC_V2: [1, 2, 3]}


def test_coalesced_packets_are_split() -> None:
    parts = [
        long_packet(PacketType.INITIAL, token=b"t"),
        long_packet(PacketType.HANDSHAKE, payload=60),
        b"\x40" + DCID + bytes(25),
    ]
    data = b"".join(parts)
    seen, pos = [], 0
    while pos < len(data):
        header = parse_header(data, pos, len(data), 8)
        seen.append((header.type, header.end - header.start))
        pos = header.end
    types = (PacketType.INITIAL, PacketType.HANDSHAKE, PacketType.ONE_RTT)
    assert seen == [(packet_type, len(part)) for packet_type, part in zip(types, parts, strict=True)]


@pytest.mark.parametrize("packet_type", PROTECTED)
def test_every_truncation_is_a_packet_error(packet_type: PacketType) -> None:
    data = long_packet(packet_type, token=b"tok" if packet_type is PacketType.INITIAL else b"")
    for end in range(len(data)):
        with pytest.raises(PacketError):
            parse_header(data, 0, end, 8)


@pytest.mark.parametrize("at", [5, 6 + 8])
@both_versions
def test_connection_id_over_20_bytes(version: int, at: int) -> None:
    data = bytearray(long_packet(PacketType.INITIAL, version, payload=100))
    data[at] = 21
    with pytest.raises(PacketError, match="20 bytes"):
        parse_header(data, 0, len(data), 8)


def test_length_and_token_overruns() -> None:
    head = b"\xc0" + QUIC_V1.to_bytes(4, "big") + b"\x00\x00"
    with pytest.raises(PacketError, match="Length runs past"):
        parse_header(head + b"\x00\x05" + bytes(4), 0, len(head) + 6, 0)
    with pytest.raises(PacketError, match="Token runs past"):
        parse_header(head + b"\x05" + bytes(4), 0, len(head) + 5, 0)
    huge = head + b"\xff" * 8 + bytes(40)
    with pytest.raises(PacketError, match="Token runs past"):
        parse_header(huge, 0, len(huge), 0)


def test_fixed_bit_is_required_unless_greased() -> None:
    data = bytearray(long_packet(PacketType.HANDSHAKE))
    data[0] &= ~0x40
    short = bytes(1 + 8 + 25)
    for buffer in (data, short):
        with pytest.raises(PacketError, match="fixed bit"):
            parse_header(buffer, 0, len(buffer), 8)
    assert parse_header(data, 0, len(data), 8, greased=True).type is PacketType.HANDSHAKE
    assert parse_header(short, 0, len(short), 8, greased=True).type is PacketType.ONE_RTT


@pytest.mark.parametrize("first_byte", [0x80, 0xC0, 0xFF])
def test_unknown_version_shows_only_what_is_invariant(first_byte: int) -> None:
    data = bytes([first_byte]) + b"\x1a\x2a\x3a\x4a" + bytes([200]) + bytes(200) + b"\x01\x09" + b"anything"
    header = parse_header(data, 0, len(data), 8)
    assert header == Header(PacketType.UNKNOWN, 0x1A2A3A4A, bytes(200), b"\x09", b"", 208, 0, len(data))


def test_short_header() -> None:
    data = b"xx\x41" + DCID + bytes(20)
    header = parse_header(data, 2, len(data), 8)
    assert header == Header(PacketType.ONE_RTT, 0, DCID, b"", b"", 11, 2, len(data))
    assert parse_header(b"\x40\x00", 0, 2, 0).pn_offset == 1
    for end in range(2, 12):
        with pytest.raises(PacketError):
            parse_header(data, 2, end, 8)


def test_short_header_first_byte() -> None:
    encode = packet.encode_short_header_first_byte
    assert [encode(0, 0, 1), encode(1, 0, 2), encode(0, 1, 3), encode(1, 1, 4)] == [0x40, 0x61, 0x46, 0x67]


@pytest.mark.parametrize(
    "change",
    [
        {"packet_type": PacketType.RETRY},
        {"packet_type": PacketType.ONE_RTT},
        {"packet_type": PacketType.HANDSHAKE, "token": b"t"},
        {"version": 5},
        {"dcid": bytes(21)},
        {"scid": bytes(21)},
        {"pn_length": 0},
        {"pn_length": 5},
    ],
)
def test_headers_that_cannot_exist(change: dict[str, object]) -> None:
    arguments: dict[str, object] = {
        "packet_type": PacketType.INITIAL, "version": QUIC_V1, "dcid": DCID, "scid": SCID, "pn": 0, "pn_length": 1,
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"header|token|version|connection id|packet number"):
        packet.encode_long_header(**(arguments | change))  # type: ignore[arg-type]


def test_patch_length_limits() -> None:
    buffer = bytearray(4)
    packet.patch_length(memoryview(buffer), 1, 16383)
    assert buffer == b"\x00\x7f\xff\x00"
    for length in (-1, 16384):
        with pytest.raises(ValueError, match="two bytes"):
            packet.patch_length(buffer, 1, length)


# Packet numbers (RFC 9000, appendices A.2 and A.3)


@pytest.mark.parametrize(
    ("pn", "largest_acked", "length"),
    [
        (0xAC5C02, 0xABE8B3, 2),
        (0xACE8FE, 0xABE8B3, 3),
        (0, -1, 1),
        (127, -1, 1),
        (128, -1, 2),
        (1000 + 128, 1000, 1),
        (1000 + 129, 1000, 2),
        (1000 + (1 << 15), 1000, 2),
        (1001 + (1 << 15), 1000, 3),
        (1000 + (1 << 23), 1000, 3),
        (1001 + (1 << 23), 1000, 4),
        (1000 + (1 << 31), 1000, 4),
    ],
)
def test_packet_number_length(pn: int, largest_acked: int, length: int) -> None:
    assert packet.packet_number_length(pn, largest_acked) == length


@pytest.mark.parametrize(("pn", "largest_acked"), [(5, 5), (4, 5), (1 << 31, -1)])
def test_packet_number_beyond_four_bytes(pn: int, largest_acked: int) -> None:
    with pytest.raises(ValueError, match="cannot be told"):
        packet.packet_number_length(pn, largest_acked)


def test_decode_packet_number_of_the_rfc() -> None:
    assert packet.decode_packet_number(0x9B32, 2, 0xA82F30EA) == 0xA82F9B32


@pytest.mark.parametrize(
    ("truncated", "length", "largest", "pn"),
    [
        (0, 1, -1, 0),
        (0xFF, 1, -1, 0xFF),
        (0x00, 1, 0xFE, 0x100),
        (0xFF, 1, 0x100, 0xFF),
        (0x80, 1, 0xFF, 0x180),
        (0x81, 1, 0xFF, 0x81),
        (0x00, 4, (1 << 32) - 1, 1 << 32),
        (0x00, 1, (1 << 62) - 2, (1 << 62) - 256),
    ],
)
def test_decode_packet_number_edges(truncated: int, length: int, largest: int, pn: int) -> None:
    assert packet.decode_packet_number(truncated, length, largest) == pn


@quick
@given(acked=st.integers(-1, (1 << 62) - (1 << 32)), ahead=st.integers(1, 1 << 31), data=st.data())
def test_packet_number_round_trip(acked: int, ahead: int, data: st.DataObject) -> None:
    pn = acked + ahead
    largest_received = data.draw(st.integers(acked, pn - 1))
    length = packet.packet_number_length(pn, acked)
    truncated = int.from_bytes(packet.encode_packet_number(pn, length), "big")
    assert packet.decode_packet_number(truncated, length, largest_received) == pn


# Retry and Version Negotiation


@both_versions
def test_retry_of_the_rfc(version: int) -> None:
    assert packet.encode_retry(version, SCID, b"", DCID, b"token") == RETRY[version]
    assert packet.check_retry(RETRY[version], DCID)
    assert packet.check_retry(memoryview(bytearray(RETRY[version])), DCID)
    data = b"__" + RETRY[version]
    assert packet.parse_retry(data, 2, len(data)) == packet.Retry(version, b"", SCID, b"token")
    assert parse_header(data, 2, len(data), 8).type is PacketType.RETRY


def test_changed_retry_is_refused() -> None:
    original = RETRY[QUIC_V1]
    for at in range(len(original)):
        changed = bytearray(original)
        changed[at] ^= 0x01
        assert not packet.check_retry(changed, DCID), at
    assert not packet.check_retry(original, DCID[:-1])
    assert not packet.check_retry(original, b"")


def test_retry_needs_a_token() -> None:
    with pytest.raises(ValueError, match="token"):
        packet.encode_retry(QUIC_V1, SCID, b"", DCID, b"")
    empty = RETRY[QUIC_V1][:15] + bytes(16)
    with pytest.raises(PacketError, match="without a token"):
        packet.parse_retry(empty, 0, len(empty))
    other = long_packet(PacketType.HANDSHAKE)
    with pytest.raises(PacketError, match="not a Retry"):
        packet.parse_retry(other, 0, len(other))


def test_version_negotiation_round_trip() -> None:
    data = packet.encode_version_negotiation(SCID, bytes(60), [QUIC_V1, 0x0A1A2A3A, QUIC_V2])
    assert data[0] & 0xC0 == 0xC0
    header = parse_header(data, 0, len(data), 8)
    assert (header.type, header.dcid, header.scid) == (PacketType.VERSION_NEGOTIATION, bytes(60), SCID)
    assert packet.parse_version_negotiation(data, 0, len(data)) == (QUIC_V1, 0x0A1A2A3A, QUIC_V2)
    cleared = bytes([0x80]) + data[1:]
    assert packet.parse_version_negotiation(b"." + cleared, 1, len(data) + 1) == (QUIC_V1, 0x0A1A2A3A, QUIC_V2)


def test_malformed_version_negotiation() -> None:
    data = packet.encode_version_negotiation(SCID, DCID, [QUIC_V1])
    for end in range(len(data)):
        with pytest.raises(PacketError):
            packet.parse_version_negotiation(data, 0, end)
    for other in (long_packet(PacketType.INITIAL), b"\x40" + data[1:]):
        with pytest.raises(PacketError):
            packet.parse_version_negotiation(other, 0, len(other))


# Bad input


@quick
@given(data=st.binary(max_size=120), length=st.integers(0, 20), greased=st.booleans(), at=st.integers(0, 20))
def test_random_bytes_give_a_header_or_a_packet_error(data: bytes, length: int, greased: bool, at: int) -> None:
    try:
        header = parse_header(data, min(at, len(data)), len(data), length, greased=greased)
    except PacketError:
        return
    assert header.start < header.pn_offset <= header.end <= len(data)


@quick
@given(
    first=st.integers(0x80, 0xFF),
    version=st.sampled_from([0, QUIC_V1, QUIC_V2, 0xFF00001D]),
    rest=st.binary(max_size=80),
)
def test_random_long_headers(first: int, version: int, rest: bytes) -> None:
    data = bytes([first]) + version.to_bytes(4, "big") + rest
    for parse in (packet.parse_retry, packet.parse_version_negotiation):
        with contextlib.suppress(PacketError):
            parse(data, 0, len(data))
    assert not packet.check_retry(data, DCID)
    try:
        header = parse_header(data, 0, len(data), 8)
    except PacketError:
        return
    assert header.start < header.pn_offset <= header.end <= len(data)


@quick
@given(
    packet_type=st.sampled_from(PROTECTED),
    version=st.sampled_from(packet.SUPPORTED_VERSIONS),
    dcid=cids,
    scid=cids,
    token=st.binary(max_size=100),
    pn=st.integers(0, (1 << 62) - 1),
    pn_length=st.integers(1, 4),
)
def test_long_header_round_trip_of_anything(
    packet_type: PacketType, version: int, dcid: bytes, scid: bytes, token: bytes, pn: int, pn_length: int
) -> None:
    token = token if packet_type is PacketType.INITIAL else b""
    data = bytearray(packet.encode_long_header(packet_type, version, dcid, scid, pn, pn_length, token))
    pn_offset = len(data) - pn_length
    packet.patch_length(data, pn_offset - 2, pn_length)
    assert parse_header(data, 0, len(data), 8) == Header(
        packet_type, version, dcid, scid, token, pn_offset, 0, len(data)
    )
    assert data[0] & 0x03 == pn_length - 1
    assert data[pn_offset:] == packet.encode_packet_number(pn, pn_length)
