from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given, settings
from hypothesis import strategies as st

from specter._wire import NEVER, TransportError, TransportErrorCode

PROPERTY = settings(max_examples=60, deadline=None, derandomize=True)
SUITES = {0x1301: 32, 0x1302: 48, 0x1303: 32}
V1 = 0x00000001
V2 = 0x6B3343CF
DCID = bytes.fromhex("8394c8f03e515708")

CLIENT_HELLO = bytes.fromhex(
    """
    060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e868
    04fe3a47f06a2b69484c00000413011302010000c000000010000e00000b6578
    616d706c652e636f6dff01000100000a00080006001d00170018001000070005
    04616c706e000500050100000000003300260024001d00209370b2c9caa47fba
    baf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b000302030400
    0d0010000e0403050306030203080408050806002d00020101001c0002400100
    3900320408ffffffffffffffff05048000ffff07048000ffff08011001048000
    75300901100f088394c8f03e51570806048000ffff
    """
)
CLIENT_INITIAL = bytes.fromhex(
    """
    c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11
    d242b123dc9bd8bab936b47d92ec356c0bab7df5976d27cd449f63300099f399
    1c260ec4c60d17b31f8429157bb35a1282a643a8d2262cad67500cadb8e7378c
    8eb7539ec4d4905fed1bee1fc8aafba17c750e2c7ace01e6005f80fcb7df6212
    30c83711b39343fa028cea7f7fb5ff89eac2308249a02252155e2347b63d58c5
    457afd84d05dfffdb20392844ae812154682e9cf012f9021a6f0be17ddd0c208
    4dce25ff9b06cde535d0f920a2db1bf362c23e596d11a4f5a6cf3948838a3aec
    4e15daf8500a6ef69ec4e3feb6b1d98e610ac8b7ec3faf6ad760b7bad1db4ba3
    485e8a94dc250ae3fdb41ed15fb6a8e5eba0fc3dd60bc8e30c5c4287e53805db
    059ae0648db2f64264ed5e39be2e20d82df566da8dd5998ccabdae053060ae6c
    7b4378e846d29f37ed7b4ea9ec5d82e7961b7f25a9323851f681d582363aa5f8
    9937f5a67258bf63ad6f1a0b1d96dbd4faddfcefc5266ba6611722395c906556
    be52afe3f565636ad1b17d508b73d8743eeb524be22b3dcbc2c7468d54119c74
    68449a13d8e3b95811a198f3491de3e7fe942b330407abf82a4ed7c1b311663a
    c69890f4157015853d91e923037c227a33cdd5ec281ca3f79c44546b9d90ca00
    f064c99e3dd97911d39fe9c5d0b23a229a234cb36186c4819e8b9c5927726632
    291d6a418211cc2962e20fe47feb3edf330f2c603a9d48c0fcb5699dbfe58964
    25c5bac4aee82e57a85aaf4e2513e4f05796b07ba2ee47d80506f8d2c25e50fd
    14de71e6c418559302f939b0e1abd576f279c4b2e0feb85c1f28ff18f58891ff
    ef132eef2fa09346aee33c28eb130ff28f5b766953334113211996d20011a198
    e3fc433f9f2541010ae17c1bf202580f6047472fb36857fe843b19f5984009dd
    c324044e847a4f4a0ab34f719595de37252d6235365e9b84392b061085349d73
    203a4a13e96f5432ec0fd4a1ee65accdd5e3904df54c1da510b0ff20dcc0c77f
    cb2c0e0eb605cb0504db87632cf3d8b4dae6e705769d1de354270123cb11450e
    fc60ac47683d7b8d0f811365565fd98c4c8eb936bcab8d069fc33bd801b03ade
    a2e1fbc5aa463d08ca19896d2bf59a071b851e6c239052172f296bfb5e724047
    90a2181014f3b94a4e97d117b438130368cc39dbb2d198065ae3986547926cd2
    162f40a29f0c3c8745c0f50fba3852e566d44575c29d39a03f0cda721984b6f4
    40591f355e12d439ff150aab7613499dbd49adabc8676eef023b15b65bfc5ca0
    6948109f23f350db82123535eb8a7433bdabcb909271a6ecbcb58b936a88cd4e
    8f2e6ff5800175f113253d8fa9ca8885c2f552e657dc603f252e1a8e308f76f0
    be79e2fb8f5d5fbbe2e30ecadd220723c8c0aea8078cdfcb3868263ff8f09400
    54da48781893a7e49ad5aff4af300cd804a6b6279ab3ff3afb64491c85194aab
    760d58a606654f9f4400e8b38591356fbf6425aca26dc85244259ff2b19c41b9
    f96f3ca9ec1dde434da7d2d392b905ddf3d1f9af93d1af5950bd493f5aa731b4
    056df31bd267b6b90a079831aaf579be0a39013137aac6d404f518cfd4684064
    7e78bfe706ca4cf5e9c5453e9f7cfd2b8b4c8d169a44e55c88d4a9a7f9474241
    e221af44860018ab0856972e194cd934
    """
)
SERVER_HELLO = bytes.fromhex(
    """
    02000000000600405a020000560303eefce7f7b37ba1d1632e96677825ddf739
    88cfc79825df566dc5430b9a045a1200130100002e00330024001d00209d3c94
    0d89690b84d08a60993c144eca684d1081287c834d5311bcf32bb9da1a002b00
    020304
    """
)
SERVER_INITIAL = bytes.fromhex(
    """
    cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a
    5816b6394100f37a1c69797554780bb38cc5a99f5ede4cf73c3ec2493a1839b3
    dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84
    022f8ef4cdd93795d77d06edbb7aaf2f58891850abbdca3d20398c276456cbc4
    2158407dd074ee
    """
)
CHACHA_SECRET = bytes.fromhex("9ac312a7f877468ebe69422748ad00a15443f18203a07d6060f688f30f21632b")


def sealed(keys, pn, payload, *, pn_length=2, phase=0, cid=b"12345678", first=0x40):
    """One protected short-header packet; everything but the packet itself is one byte of fence on either side."""
    header = bytes((first | phase << 2 | pn_length - 1,)) + cid
    header += (pn & (1 << 8 * pn_length) - 1).to_bytes(pn_length, "big")
    buffer = bytearray(b"<" + header + payload + bytes(16) + b">")
    pn_offset = 2 + len(cid)
    stop = keys.seal(buffer, 1, pn_offset, pn_length, pn_offset + pn_length + len(payload), pn)
    assert stop == len(buffer) - 1
    assert buffer[:1] + buffer[-1:] == b"<>"
    return buffer


def opened(keys, packet, largest=-1, cid_length=8):
    pn, start, stop, first = keys.open(packet, 1, 2 + cid_length, len(packet) - 1, largest)
    return pn, bytes(packet[start:stop]), first


def pair(protection, suite=0x1301):
    secret = bytes(range(SUITES[suite]))
    return protection.PacketProtection(suite, secret), protection.PacketProtection(suite, secret)


# --- RFC 9001, appendix A


def test_initial_secrets(protection):
    client, server = protection.initial_secrets(V1, DCID)
    assert client.hex() == "c00cf151ca5be075ed0ebfb5c80323c42d6b7db67881289af4008f1f6c357aea"
    assert server.hex() == "3c199828fd139efd216c155ad844cc81fb82fa8d7446fa7d78be803acdda951b"


@pytest.mark.parametrize(
    ("who", "key", "iv", "hp"),
    [
        (0, "1f369613dd76d5467730efcbe3b1a22d", "fa044b2f42a3fd3b46fb255c", "9f50449e04a0e810283a1e9933adedd2"),
        (1, "cf3a5331653c364c88f0f379b6067e37", "0ac1493ca1905853b0bba03e", "c206b8d9b9f0f37644430b490eeaa314"),
    ],
)
def test_key_derivation(protection, who, key, iv, hp):
    secret = protection.initial_secrets(V1, DCID)[who]
    for suite in (0x1301, "sha256", hashes.SHA256()):
        assert protection.expand_label(suite, secret, b"quic key", 16).hex() == key
        assert protection.expand_label(suite, secret, b"quic iv", 12).hex() == iv
        assert protection.expand_label(suite, secret, b"quic hp", 16).hex() == hp


@pytest.mark.parametrize("length", [0, 1, 32, 33, 100])
@pytest.mark.parametrize("context", [b"", bytes(32), bytes(range(255))])
def test_expand_label_with_a_context(protection, length, context):
    info = length.to_bytes(2, "big") + b"\x09tls13 abc" + bytes([len(context)]) + context
    expected = HKDFExpand(hashes.SHA256(), length, info).derive(b"s" * 32) if length else b""
    assert protection.expand_label("sha256", b"s" * 32, b"abc", length, context) == expected
    assert protection.expand_label("sha256", b"s" * 32, b"abc", length, context=context) == expected
    with pytest.raises(ValueError, match="bytes must be in range"):
        protection.expand_label("sha256", b"s" * 32, b"abc", length, bytes(256))


def test_expand_label_beyond_one_block(protection):
    long = protection.expand_label(0x1302, bytes(48), b"x", 200)
    assert len(long) == 200
    assert protection.expand_label(0x1302, bytes(48), b"x", 0) == b""
    info = b"\x00\xc8\x07tls13 x\x00"
    assert long == HKDFExpand(hashes.SHA384(), 200, info).derive(bytes(48))


@pytest.mark.parametrize(
    ("who", "packet", "header", "pn", "payload"),
    [
        (0, CLIENT_INITIAL, "c300000001088394c8f03e5157080000449e00000002", 2, CLIENT_HELLO.ljust(1162, b"\0")),
        (1, SERVER_INITIAL, "c1000000010008f067a5502a4262b50040750001", 1, SERVER_HELLO),
    ],
)
def test_initial_packets(protection, who, packet, header, pn, payload):
    secret = protection.initial_secrets(V1, DCID)[who]
    plain = bytes.fromhex(header)
    pn_length = (plain[0] & 3) + 1
    pn_offset = len(plain) - pn_length
    buffer = bytearray(plain + payload + bytes(16))
    keys = protection.PacketProtection(0x1301, secret)
    assert keys.seal(buffer, 0, pn_offset, pn_length, len(plain) + len(payload), pn) == len(packet)
    assert buffer == packet
    assert keys.sealed == 1
    result = keys.open(buffer, 0, pn_offset, len(buffer), -1)
    assert result == (pn, len(plain), len(plain) + len(payload), plain[0])
    assert buffer[: result[2]] == plain + payload


def test_chacha_short_header(protection):
    packet = bytes.fromhex("4cfe4189655e5cd55c41f69080575d7999c25a5bfb")
    keys = protection.PacketProtection(0x1303, CHACHA_SECRET)
    buffer = bytearray(bytes.fromhex("4200bff4") + b"\x01" + bytes(16))
    assert keys.seal(buffer, 0, 1, 3, 5, 654_360_564) == 21
    assert buffer == packet
    assert keys.open(buffer, 0, 1, 21, 654_360_563) == (654_360_564, 4, 5, 0x42)
    assert buffer[4] == 1


def test_header_protection_masks(protection):
    mask = protection.HeaderProtection(0x1303, protection.expand_label(0x1303, CHACHA_SECRET, b"quic hp", 32)).mask
    assert mask(bytes.fromhex("5e5cd55c41f69080575d7999c25a5bfb")).hex() == "aefefe7d03"
    key = bytes.fromhex("9f50449e04a0e810283a1e9933adedd2")
    mask = protection.HeaderProtection(0x1301, key).mask
    for kind in (bytes, bytearray, memoryview):
        assert mask(kind(bytes.fromhex("d1b1c98dd7689fb8ec11d242b123dc9b"))).hex() == "437b9aec36"
    with pytest.raises(ValueError, match="wrong header protection key size"):
        protection.HeaderProtection(0x1302, key)


def test_retry_tag(protection):
    retry = bytes.fromhex("ff000000010008f067a5502a4262b5746f6b656e04a265ba2eff4d829058fb3f0f2496ba")
    assert protection.retry_integrity_tag(V1, DCID, retry[:-16]) == retry[-16:]
    assert protection.retry_integrity_tag(V1, DCID, memoryview(retry)[:-16]) == retry[-16:]
    assert protection.retry_integrity_tag(V1, b"", retry[:-16]) != retry[-16:]


# --- RFC 9369, appendix A


def test_version_2(protection):
    client, server = protection.initial_secrets(V2, DCID)
    assert protection.expand_label(0x1301, client, b"quicv2 key", 16).hex() == "8b1a0bc121284290a29e0971b5cd045d"
    assert protection.expand_label(0x1301, server, b"quicv2 key", 16).hex() == "82db637861d55e1d011f19ea71d5d2a7"
    retry = bytes.fromhex("cf6b3343cf0008f067a5502a4262b5746f6b656ec8646ce8bfe33952d955543665dcc7b6")
    assert protection.retry_integrity_tag(V2, DCID, retry[:-16]) == retry[-16:]
    packet = bytes.fromhex("5558b1c60ae7b6b932bc27d786f4bc2bb20f2162ba")
    keys = protection.PacketProtection(0x1303, CHACHA_SECRET, V2)
    buffer = bytearray(packet)
    assert keys.open(buffer, 0, 1, 21, 654_360_563) == (654_360_564, 4, 5, 0x42)


@pytest.mark.parametrize("version", [0, 2, 0xFF00001D])
def test_unknown_version(protection, version):
    message = f"unsupported version 0x{version:08x}"
    with pytest.raises(ValueError, match=message):
        protection.initial_secrets(version, DCID)
    with pytest.raises(ValueError, match=message):
        protection.retry_integrity_tag(version, DCID, b"")
    with pytest.raises(ValueError, match=message):
        protection.PacketProtection(0x1301, bytes(32), version)


def test_unknown_suite(protection):
    for call in (protection.PacketProtection, protection.HeaderProtection):
        with pytest.raises(ValueError, match="unsupported cipher suite 0x1304"):
            call(0x1304, bytes(32))
    with pytest.raises(ValueError, match="unsupported cipher suite 0x1304"):
        protection.expand_label(0x1304, bytes(32), b"", 16)
    with pytest.raises(ValueError, match="wrong secret size"):
        protection.PacketProtection(0x1302, bytes(32))


# --- packet numbers


def test_packet_number_sample(protection):
    assert protection.decode_packet_number(0x9B32, 2, 0xA82F30EA) == 0xA82F9B32


@PROPERTY
@given(
    largest=st.integers(-1, 1 << 10) | st.integers(-1, (1 << 62) - 2),
    place=st.floats(-1, 1, exclude_min=True),
    size=st.integers(1, 4),
)
def test_packet_number_within_the_window(protection, largest, place, size):
    half = 1 << (8 * size - 1)
    pn = max(largest + 1 + max(int(place * half), 1 - half), 0)
    if pn >= 1 << 62:
        return
    assert protection.decode_packet_number(pn & ((1 << 8 * size) - 1), size, largest) == pn


# --- seal and open


@PROPERTY
@given(
    suite=st.sampled_from(sorted(SUITES)),
    payload=st.binary(min_size=3, max_size=1300),
    cid=st.binary(max_size=20),
    pn=st.integers(0, 1 << 40),
    pn_length=st.integers(1, 4),
)
def test_round_trip(protection, suite, payload, cid, pn, pn_length):
    writer, reader = pair(protection, suite)
    packet = sealed(writer, pn, payload, cid=cid, pn_length=pn_length)
    assert opened(reader, memoryview(packet), pn - 1, len(cid)) == (pn, payload, 0x40 | pn_length - 1)
    assert reader.failed == 0
    assert reader.first_pn == writer.first_pn == pn


@PROPERTY
@given(
    suite=st.sampled_from(sorted(SUITES)),
    position=st.integers(0, 1 << 16),
    flip=st.integers(1, 255),
    first=st.sampled_from([0x40, 0xC0]),
)
def test_any_flipped_bit_is_noticed(protection, suite, position, flip, first):
    writer, reader = pair(protection, suite)
    packet = sealed(writer, 77, b"payload of a packet", first=first)
    position = 1 + position % (len(packet) - 2)
    packet[position] ^= flip
    before = bytes(packet)
    with pytest.raises(protection.DecryptError, match="packet does not authenticate"):
        opened(reader, packet, 70)
    assert reader.failed == 1
    header = 2 + 8 + 4
    assert packet[:header] == before[:header]
    assert packet[-17:] == before[-17:]


def test_every_short_packet_is_dropped(protection):
    writer, reader = pair(protection)
    packet = sealed(writer, 5, b"abc", pn_length=1)
    for end in range(1, len(packet) - 1):
        before = bytes(packet)
        with pytest.raises(protection.DecryptError, match="packet is too short"):
            reader.open(packet, 1, 10, end, -1)
        assert packet == before
    assert reader.failed == len(packet) - 2
    assert opened(reader, packet) == (5, b"abc", 0x40)


def test_smallest_payload_is_empty(protection):
    writer, reader = pair(protection)
    assert opened(reader, sealed(writer, 5, b"", pn_length=4)) == (5, b"", 0x43)


@pytest.mark.parametrize(
    "bounds",
    [(-1, 9, 50), (9, 9, 50), (0, 9, 51)],
)
def test_open_outside_the_buffer(protection, bounds):
    start, pn_offset, end = bounds
    keys, _ = pair(protection)
    with pytest.raises(ValueError, match="packet outside the buffer"):
        keys.open(bytearray(50), start, pn_offset, end, -1)
    assert keys.failed == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 9, 2, 12, 0), "packet too short to be protected"),
        ((0, 9, 4, 12, 0), "packet too short to be protected"),
        ((0, 9, 0, 20, 0), "packet too short to be protected"),
        ((0, 9, 5, 20, 0), "packet too short to be protected"),
        ((3, 3, 2, 20, 0), "packet too short to be protected"),
        ((-1, 3, 2, 20, 0), "packet too short to be protected"),
        ((0, 9, 2, 35, 0), "packet outside the buffer"),
    ],
)
def test_seal_outside_the_buffer(protection, arguments, message):
    keys, _ = pair(protection)
    buffer = bytearray(50)
    with pytest.raises(ValueError, match=message):
        keys.seal(buffer, *arguments)
    assert buffer == bytes(50)
    assert keys.sealed == 0


def test_limits(protection):
    aes, chacha = pair(protection, 0x1302)[0], pair(protection, 0x1303)[0]
    assert (aes.confidentiality_limit, aes.integrity_limit) == (1 << 23, 1 << 52)
    assert (chacha.confidentiality_limit, chacha.integrity_limit) == (1 << 62, 1 << 36)


def test_long_headers_have_no_phase(protection):
    writer, reader = pair(protection)
    packet = sealed(writer, 3, b"abcd", first=0xC4)
    assert opened(reader, packet) == (3, b"abcd", 0xC5)
    assert (reader.updates, reader.key_phase) == (0, 0)


# --- key updates


def test_update_secret(protection):
    secret = bytes.fromhex("9ac312a7f877468ebe69422748ad00a15443f18203a07d6060f688f30f21632b")
    following = bytes.fromhex("1223504755036d556342ee9361d253421a826c9ecdf3c7148684b36b714881f9")
    assert protection.expand_label(0x1303, secret, b"quic ku", 32) == following
    old = protection.PacketProtection(0x1303, secret)
    old.update()
    reader = protection.PacketProtection(0x1303, secret)
    reader.update()
    assert opened(reader, sealed(old, 1, b"abc", phase=1)) == (1, b"abc", 0x45)


@pytest.mark.parametrize("suite", sorted(SUITES))
def test_the_peer_updates(protection, suite):
    writer, reader = pair(protection, suite)
    for generation in range(5):
        phase = generation & 1
        pn = 10 * generation
        packet = sealed(writer, pn, b"payload", phase=phase)
        assert opened(reader, packet, pn - 1) == (pn, b"payload", 0x41 | phase << 2)
        assert (reader.updates, reader.key_phase, reader.first_pn) == (generation, phase, pn)
        assert (writer.updates, writer.key_phase, writer.first_pn) == (generation, phase, pn)
        assert writer.sealed == 1
        writer.update()
        assert writer.sealed == 0
        assert writer.first_pn == NEVER


def test_packets_of_the_previous_phase(protection):
    writer, reader = pair(protection)
    late = [sealed(writer, pn, b"late") for pn in range(4)]
    writer.update()
    assert opened(reader, sealed(writer, 6, b"new!", phase=1), 3)[0] == 6
    assert opened(reader, sealed(writer, 5, b"new!", phase=1), 6)[0] == 5
    assert reader.first_pn == 5
    assert opened(reader, late[0], 6) == (0, b"late", 0x41)
    assert (reader.updates, reader.first_pn) == (1, 5)
    reader.drop_previous()
    with pytest.raises(protection.DecryptError):
        opened(reader, late[1], 6)
    assert (reader.updates, reader.failed) == (1, 1)


def test_our_update_mirrored(protection):
    writer, reader = pair(protection)
    opened(reader, sealed(writer, 0, b"old!"))
    reader.update()
    assert (reader.key_phase, reader.updates, reader.first_pn) == (1, 1, NEVER)
    assert opened(reader, sealed(writer, 1, b"old!"), 0)[0] == 1
    assert opened(reader, sealed(writer, 2, b"old!"), 1)[0] == 2
    late = sealed(writer, 3, b"old!")
    writer.update()
    assert opened(reader, sealed(writer, 4, b"new!", phase=1), 2)[0] == 4
    assert reader.first_pn == 4
    assert opened(reader, late, 4)[0] == 3
    assert (reader.updates, reader.failed) == (1, 0)


def test_the_old_key_above_the_new_phase_is_not_accepted(protection):
    writer, reader = pair(protection)
    too_late = sealed(writer, 9, b"old!")
    opened(reader, sealed(writer, 0, b"old!"))
    writer.update()
    opened(reader, sealed(writer, 5, b"new!", phase=1), 0)
    with pytest.raises(protection.DecryptError):
        opened(reader, too_late, 5)
    assert reader.updates == 1


def test_a_new_key_on_an_old_number(protection):
    writer, reader = pair(protection)
    opened(reader, sealed(writer, 8, b"old!"), 7)
    writer.update()
    with pytest.raises(TransportError) as caught:
        opened(reader, sealed(writer, 5, b"new!", phase=1), 8)
    assert caught.value.code == TransportErrorCode.KEY_UPDATE_ERROR
    assert reader.updates == 0


def test_a_forged_phase_changes_nothing(protection):
    writer, reader = pair(protection)
    with pytest.raises(protection.DecryptError):
        opened(reader, sealed(writer, 0, b"abcd", phase=1))
    assert (reader.updates, reader.key_phase, reader.failed) == (0, 0, 1)
    assert opened(reader, sealed(writer, 1, b"abcd"))[0] == 1


def test_other_keys_do_not_open(protection):
    writer, _ = pair(protection)
    stranger = protection.PacketProtection(0x1301, bytes(32))
    for count in range(1, 4):
        with pytest.raises(protection.DecryptError, match="packet does not authenticate"):
            opened(stranger, sealed(writer, count, b"payload"))
        assert stranger.failed == count
