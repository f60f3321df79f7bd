"""The QPACK glue: RFC 9204's examples, blocking, limits, and errors."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress

import pylsqpack
import pytest

from specter.h3.config import H3Config
from specter.h3.errors import H3Error, H3ErrorCode, H3StreamError
from specter.h3.events import ExchangeFailed, MessageComplete, ResponseReceived
from specter.h3.frames import FrameType, encode_frame
from specter.h3.qpack import (
    MAX_UNACKNOWLEDGED,
    AcknowledgmentCounter,
    FieldDecoder,
    FieldEncoder,
    check_line_count,
)
from specter.h3.settings import Settings
from specter.h3.writer import StreamWriter
from tests.h3.support import GET, OK, PLAIN, FakeQuic, closed_with, drain, established, peer_uni, section

CAPACITY_4096 = b"\x3f\xe1\x1f"


class Rig:
    """A decoder and what it says."""

    def __init__(self, config: H3Config = PLAIN) -> None:
        self.quic = FakeQuic()
        self.stream_id = self.quic.open_stream(unidirectional=True)
        self.decoder = FieldDecoder(config, StreamWriter(self.quic, self.stream_id))

    @property
    def said(self) -> str:
        return self.quic.streams[self.stream_id].outgoing.hex()


def test_examples_of_the_rfc():
    """RFC 9204, Appendix B, without the Insert Count Increment, which we leave to Section Acknowledgments."""
    rig = Rig(H3Config(qpack_max_table_capacity=220))
    decoder = rig.decoder
    assert decoder.decode(0, bytes.fromhex("0000510b2f696e6465782e68746d6c")) == [(b":path", b"/index.html")]
    assert rig.said == ""
    table = "3fbd01 c00f7777772e6578616d706c652e636f6d c10c2f73616d706c652f70617468"
    assert decoder.feed(bytes.fromhex(table.replace(" ", ""))) == []
    assert decoder.decode(4, bytes.fromhex("03811011")) == [
        (b":authority", b"www.example.com"),
        (b":path", b"/sample/path"),
    ]
    assert rig.said == "84"
    assert decoder.feed(bytes.fromhex("4a637573746f6d2d6b65790c637573746f6d2d76616c7565")) == []
    assert decoder.decode(8, bytes.fromhex("050080c181")) is None
    decoder.cancel(8)
    assert rig.said == "8448"
    assert decoder.feed(b"\x02") == []
    third = [(b":authority", b"www.example.com"), (b":path", b"/"), (b"custom-key", b"custom-value")]
    assert decoder.decode(12, bytes.fromhex("050080c181")) == third
    assert decoder.feed(bytes.fromhex("810d637573746f6d2d76616c756532")) == []
    assert decoder.decode(16, bytes.fromhex("060080")) == [(b"custom-key", b"custom-value2")]
    assert rig.said == "84488c90"


def test_blocked_section_waits_for_the_encoder_stream():
    rig = Rig()
    assert rig.decoder.decode(0, b"\x02\x00\x80") is None
    assert rig.decoder.blocked_bytes == 3
    assert rig.decoder.feed(CAPACITY_4096) == []
    assert rig.decoder.feed(b"\xc0\x01") == []
    assert rig.decoder.feed(b"a") == [0]
    assert rig.decoder.resume(0) == [(b":authority", b"a")]
    assert rig.decoder.blocked_bytes == 0
    assert rig.said == "80"


@pytest.mark.security
@pytest.mark.parametrize("limit", [0, 1, 16])
def test_one_blocked_stream_too_many(limit):
    """Netty CVE-2026-48748: exactly ``limit`` streams may block."""
    rig = Rig(H3Config(qpack_blocked_streams=limit))
    for number in range(limit):
        assert rig.decoder.decode(4 * number, b"\x02\x00\x80") is None
    with pytest.raises(H3Error) as caught:
        rig.decoder.decode(4 * limit, b"\x02\x00\x80")
    assert caught.value.code == H3ErrorCode.QPACK_DECOMPRESSION_FAILED


@pytest.mark.security
def test_blocked_bytes_are_limited():
    """lsquic CVE-2026-115482; xquic 1.9.4."""
    rig = Rig(H3Config(max_blocked_bytes=1000))
    block = b"\x02\x00\x80" + b"\x51\x7f\x51" + bytes(208) + b"\xd9" * 36
    check_line_count(block, 512)
    for number in range(4):
        assert rig.decoder.decode(4 * number, block) is None
    with pytest.raises(H3Error) as caught:
        rig.decoder.decode(16, block)
    assert caught.value.code == H3ErrorCode.H3_EXCESSIVE_LOAD


def test_cancelling_frees_a_blocked_stream():
    rig = Rig(H3Config(qpack_blocked_streams=1))
    for number in range(100):
        assert rig.decoder.decode(4 * number, b"\x02\x00\x80") is None
        rig.decoder.cancel(4 * number)
    assert rig.decoder.blocked_bytes == 0


@pytest.mark.parametrize(
    "block",
    ["", "00", "ff", "000051", "0000510b2f", "0000ff", "0000ffffffffffffffffffffff", "000080", "010080", "ff80ff"],
)
def test_undecodable_sections(block):
    rig = Rig()
    with pytest.raises(H3Error) as caught:
        rig.decoder.decode(0, bytes.fromhex(block))
    assert caught.value.code == H3ErrorCode.QPACK_DECOMPRESSION_FAILED


def test_unblocked_section_that_does_not_decode():
    rig = Rig()
    assert rig.decoder.decode(0, b"\x02\x00\x80\x51\x0b") is None
    assert rig.decoder.feed(CAPACITY_4096 + b"\xc0\x01a") == [0]
    with pytest.raises(H3Error) as caught:
        rig.decoder.resume(0)
    assert caught.value.code == H3ErrorCode.QPACK_DECOMPRESSION_FAILED


@pytest.mark.parametrize(
    "data", [b"\x3f\xe2\x1f", b"\x02", b"\x80\x00", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"]
)
def test_bad_encoder_instructions(data):
    rig = Rig()
    with pytest.raises(H3Error) as caught:
        rig.decoder.feed(data)
    assert caught.value.code == H3ErrorCode.QPACK_ENCODER_STREAM_ERROR


def test_claimed_string_lengths_store_nothing():
    rig = Rig()
    rig.decoder.feed(CAPACITY_4096)
    with pytest.raises(H3Error):
        rig.decoder.feed(b"\xc1" + b"\x7f\xff\xff\xff\x07")


class TestLineCount:
    def test_all_representations(self):
        encoder = pylsqpack.Encoder()
        encoder.apply_settings(4096, 16)
        lines = [(b":status", b"200"), (b"x-name", b"v" * 200), (b"server", b"specter"), (b"y" * 90, b"w" * 300)]
        for number in range(8):
            _, block = encoder.encode(4 * number, lines)
            check_line_count(block, 4)
            with pytest.raises(H3StreamError):
                check_line_count(block, 3)

    @pytest.mark.parametrize("cut", range(1, 40))
    def test_truncated(self, cut):
        block = section((b":status", b"200"), (b"x-name", b"value"), (b"server", b"q"))
        with suppress(H3Error):
            check_line_count(block[: max(0, len(block) - cut)], 10)

    def test_endless_integer(self):
        with pytest.raises(H3Error):
            check_line_count(b"\x00\x00" + b"\xff" * 100, 10)


@pytest.mark.security
def test_expansion_bomb_is_refused_undecoded():
    """quic-go CVE-2025-64702: one-byte references to an entry of 4 KiB."""
    rig = Rig()
    value = b"v" * 4000
    rig.decoder.feed(CAPACITY_4096 + b"\xc0\x7f\xa1\x1e" + value)
    tracemalloc.start()
    try:
        with pytest.raises(H3StreamError) as caught:
            rig.decoder.decode(0, b"\x02\x00" + b"\x80" * 60_000)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        lines = rig.decoder.decode(4, b"\x02\x00" + b"\x80" * 510)
        largest = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.code == H3ErrorCode.H3_EXCESSIVE_LOAD
    assert peak < 200_000
    assert lines is not None
    assert len(lines) == 510
    assert largest < 3 << 20


def test_bomb_ends_one_exchange_and_tells_the_encoder():
    connection, quic = established()
    connection.send_request(GET, fin=True)
    quic.inject(7, b"\x02" + CAPACITY_4096 + b"\xc0\x7f\xa1\x1e" + b"v" * 4000)
    quic.inject(0, encode_frame(FrameType.HEADERS, b"\x02\x00" + b"\x80" * 60_000))
    (event,) = drain(connection)
    assert isinstance(event, ExchangeFailed)
    assert event.error_code == H3ErrorCode.H3_EXCESSIVE_LOAD
    assert bytes(quic.streams[10].outgoing) == b"\x03\x40"
    connection.send_request(GET, fin=True)
    quic.inject(4, encode_frame(FrameType.HEADERS, b"\x02\x00\xd9" + b"\x80" * 100))
    (event,) = drain(connection)
    assert event.error_code == H3ErrorCode.H3_EXCESSIVE_LOAD
    assert bytes(quic.streams[10].outgoing) == b"\x03\x40\x84\x44"


def test_blocked_exchange_goes_on_where_it_stopped():
    connection, quic = established()
    connection.send_request(GET, fin=True)
    encoder = peer_uni(quic, 1)
    quic.inject(0, encode_frame(FrameType.HEADERS, b"\x02\x00\xd9\x80") + b"\x00\x02hi", fin=True)
    assert drain(connection) == []
    quic.inject(encoder, b"\x02" + CAPACITY_4096 + b"\xc5\x01")
    assert drain(connection) == []
    quic.inject(encoder, b"7")
    events = drain(connection)
    assert events[0] == ResponseReceived(0, 200, ((b"content-disposition", b"7"),)) or len(events[0].headers) == 1
    assert connection.read_body(0) == b"hi"
    assert drain(connection) == [MessageComplete(0)]


def test_reset_of_a_blocked_exchange():
    connection, quic = established()
    connection.send_request(GET, fin=True)
    quic.inject(0, encode_frame(FrameType.HEADERS, b"\x02\x00\xd9\x80"))
    quic.inject_reset(0, 0x10C)
    assert [type(event) for event in drain(connection)] == [ExchangeFailed]
    assert bytes(quic.streams[10].outgoing) == b"\x03\x40"
    quic.inject(7, b"\x02" + CAPACITY_4096 + b"\xc5\x017")
    assert drain(connection) == []
    assert quic.close_code is None


def test_trailers_may_block_too():
    connection, quic = established()
    connection.send_request(GET, fin=True)
    quic.inject(0, encode_frame(FrameType.HEADERS, section(*OK)) + b"\x00\x01a")
    quic.inject(0, encode_frame(FrameType.HEADERS, b"\x02\x00\x80"), fin=True)
    drain(connection)
    assert connection.read_body(0) == b"a"
    assert drain(connection) == []
    quic.inject(7, b"\x02" + CAPACITY_4096 + b"\x43abc\x01d")
    events = drain(connection)
    assert events[0].headers == ((b"abc", b"d"),)
    assert events[1:] == [MessageComplete(0)]


@pytest.mark.security
def test_too_many_blocked_streams_close_the_connection():
    connection, quic = established()
    for _ in range(17):
        stream_id = connection.send_request(GET, fin=True)
        quic.inject(stream_id, encode_frame(FrameType.HEADERS, b"\x02\x00\x80"))
    assert closed_with(connection, quic) == "QPACK_DECOMPRESSION_FAILED"


@pytest.mark.parametrize(
    ("kind", "data", "code"),
    [
        (2, b"\x02", "QPACK_ENCODER_STREAM_ERROR"),
        (2, b"\x3f\xff\xff\x7f", "QPACK_ENCODER_STREAM_ERROR"),
        (3, b"\x00", "QPACK_DECODER_STREAM_ERROR"),
        (3, b"\x01", "QPACK_DECODER_STREAM_ERROR"),
        (3, b"\x80", "QPACK_DECODER_STREAM_ERROR"),
    ],
)
def test_bad_instructions_close_the_connection(kind, data, code):
    connection, quic = established()
    connection.send_request(GET, fin=True)
    quic.inject(7, bytes([kind]) + data)
    assert closed_with(connection, quic) == code


@pytest.mark.security
def test_decoder_stream_that_nobody_reads():
    connection, quic = established()
    quic.inject(7, b"\x02" + CAPACITY_4096 + b"\xc5\x017")
    drain(connection)
    quic.streams[10].room = 0
    for _ in range(100_000):
        stream_id = connection.send_request(GET, fin=True)
        connection.cancel(stream_id)
        quic.streams.pop(stream_id)
        if quic.close_code is not None:
            break
    assert closed_with(connection, quic) == "H3_EXCESSIVE_LOAD"


class TestEncoder:
    def rig(self, capacity: int = 4096, blocked: int = 16) -> tuple[FieldEncoder, FakeQuic]:
        quic = FakeQuic()
        encoder = FieldEncoder(PLAIN, StreamWriter(quic, quic.open_stream(unidirectional=True)))
        encoder.apply(Settings(qpack_max_table_capacity=capacity, qpack_blocked_streams=blocked))
        return encoder, quic

    def test_table_is_no_larger_than_ours(self):
        _, quic = self.rig(capacity=1 << 40)
        assert bytes(quic.streams[2].outgoing) == CAPACITY_4096
        _, quic = self.rig(capacity=100)
        assert bytes(quic.streams[2].outgoing) == b"\x3f\x45"
        _, quic = self.rig(capacity=0)
        assert not quic.streams[2].outgoing

    def lines(self, number: int) -> list[tuple[bytes, bytes]]:
        return [(b":path", b"/"), (b"x-token", b"t" * 50), (b"x-number", b"%d" % number)]

    def test_without_acknowledgments_it_stops_using_the_table(self):
        encoder, _ = self.rig(blocked=16)
        peer = pylsqpack.Decoder(4096, 16)
        assert peer is not None
        referring = sum(encoder.encode(4 * n, self.lines(0))[0] != 0 for n in range(1000))
        assert 0 < referring <= MAX_UNACKNOWLEDGED

    def test_with_acknowledgments_it_goes_on(self):
        encoder, quic = self.rig()
        peer = pylsqpack.Decoder(4096, 16)
        fed = 0
        for number in range(1000):
            block = encoder.encode(4 * number, self.lines(0))
            instructions = bytes(quic.streams[2].outgoing[fed:])
            fed += len(instructions)
            peer.feed_encoder(instructions)
            acknowledgment, lines = peer.feed_header(4 * number, block)
            assert lines == self.lines(0)
            encoder.feed(acknowledgment)
        assert block[0] != 0

    def test_stuck_encoder_stream_means_static_sections(self):
        encoder, quic = self.rig()
        for number in range(4):
            encoder.encode(4 * number, self.lines(0))
        quic.streams[2].room = 0
        encoder.encode(100, self.lines(1))
        encoder.encode(104, self.lines(1))
        for number in range(200, 300):
            assert encoder.encode(4 * number, self.lines(1))[0] == 0
        assert len(encoder._output._queue) < 1000


def test_acknowledgments_are_counted_across_pieces():
    counter = AcknowledgmentCounter()
    for stream_id in (0, 4, 4, 127, 1000, 5000):
        counter.expect(stream_id)
    data = b"\x80" + b"\x84" + b"\xff\x00" + b"\x05" + b"\x7f\xa9\x07"
    for at in range(len(data)):
        counter.feed(data[at : at + 1])
    assert counter._sections == {4: 1, 5000: 1}
    counter.feed(b"\xff\x89\x26\x84")
    assert counter.missing == 0
