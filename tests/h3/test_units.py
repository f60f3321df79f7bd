"""The small parts: frame reader, settings, configuration, error names."""

from __future__ import annotations

import pytest

from specter._entropy import SeededEntropy
from specter.h3.config import H3Config
from specter.h3.errors import H3Error, H3ErrorCode, H3StreamError, error_name
from specter.h3.frames import FrameReader, decode_identifier, encode_frame, encode_header
from specter.h3.settings import Settings, decode_settings, encode_settings, grease_value, local_settings
from specter.h3.writer import StreamWriter
from tests.h3.support import FakeQuic


def reader(window: int = 2048) -> tuple[FrameReader, FakeQuic]:
    quic = FakeQuic()
    quic.inject(3)
    return FrameReader(quic, 3, window=window), quic


@pytest.mark.parametrize("step", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("window", [0, 1, 7, 2048])
def test_frame_reader_in_pieces(step, window):
    frames, quic = reader(window)
    wire = (
        encode_frame(1, b"head")
        + encode_frame(0x21, bytes(20))
        + encode_frame(0, b"body")
        + encode_frame(1 << 40, b"x")
        + encode_frame(0, b"")
        + encode_frame(1, b"")
        + encode_frame(7, b"tail" * 30)
    )
    seen: list[object] = []
    body = b""
    for at in range(0, len(wire), step):
        quic.inject(3, wire[at : at + step])
        frames.dry = False
        while True:
            if frames.data_left:
                piece = frames.read_data(3)
                if not piece:
                    break
                body += piece
                continue
            frame = frames.next(lambda kind, length: kind in (0, 1, 7))
            if frame is None:
                break
            seen.append(frame)
    assert seen == [(1, b"head"), (0, b""), (0, b""), (1, b""), (7, b"tail" * 30)]
    assert body == b"body"
    assert not frames.inside_frame


def test_frame_reader_knows_where_a_stream_may_end():
    for cut, inside in (
        (b"", False),
        (b"\x01", True),
        (b"\x01\x02a", True),
        (b"\x01\x01a", False),
        (b"\x21\x01", True),
    ):
        frames, quic = reader()
        quic.inject(3, cut)
        frames.next(lambda kind, length: kind == 1)
        assert frames.inside_frame is inside


def test_headers_arriving_byte_by_byte_stay_compact():
    frames, quic = reader()
    quic.inject(3, encode_header(1, 50_000))
    for _ in range(1000):
        quic.inject(3, b"x")
        frames.dry = False
        assert frames.next(lambda kind, length: True) is None
    assert len(frames._partial) == 1000


def test_identifier():
    assert decode_identifier(b"\x40\x05") == 5
    for payload in (b"", b"\x40", b"\x00\x00"):
        with pytest.raises(H3Error) as caught:
            decode_identifier(payload)
        assert caught.value.code == H3ErrorCode.H3_FRAME_ERROR


def test_settings_round_trip():
    pairs = ((1, 4096), (6, 1 << 40), (7, 100), (8, 1), (0x33, 1), (1 << 60, 3))
    assert decode_settings(encode_settings(pairs)) == pairs
    assert decode_settings(b"") == ()
    settings = Settings.from_pairs(pairs)
    assert settings.received
    assert settings.max_field_section_size == 1 << 40
    assert (settings.qpack_max_table_capacity, settings.qpack_blocked_streams) == (4096, 100)
    assert settings.enable_connect_protocol
    assert settings.h3_datagram
    assert Settings().max_field_section_size is None


def test_local_settings():
    entropy = SeededEntropy(1)
    plain = local_settings(H3Config(grease=False), entropy)
    assert plain == ((1, 4096), (6, 65_536), (7, 16))
    assert local_settings(H3Config(grease=False, enable_connect_protocol=True), entropy)[-1] == (8, 1)
    chosen = ((7, 5), (1, 4096))
    greased = local_settings(H3Config(settings=chosen), entropy)
    assert greased[:2] == chosen
    assert greased[2][0] % 0x1F == 0x21 % 0x1F
    assert decode_settings(encode_settings(greased)) == greased


def test_grease_values_are_reserved_and_vary():
    entropy = SeededEntropy(1)
    values = {grease_value(entropy) for _ in range(50)}
    assert len(values) == 50
    assert all((value - 0x21) % 0x1F == 0 and value < 1 << 62 for value in values)


@pytest.mark.parametrize(
    "options",
    [
        {"max_field_section_size": 0},
        {"max_field_lines": 0},
        {"qpack_max_table_capacity": -1},
        {"qpack_max_table_capacity": 1 << 30},
        {"qpack_blocked_streams": 1 << 20},
        {"settings": ((1, 100),)},
        {"settings": ((7, 17),)},
        {"settings": ((6, 1 << 20),)},
    ],
)
def test_config_is_checked(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        H3Config(**options)


def test_every_code_has_its_name():
    assert len(H3ErrorCode) == 20
    for code in H3ErrorCode:
        assert error_name(code) == code.name
    assert error_name(0x40) == "0x40"
    assert str(H3Error(0x105, "why")) == "H3_FRAME_UNEXPECTED: why"
    assert str(H3StreamError(0x200, "why")) == "QPACK_DECOMPRESSION_FAILED: why"


def test_writer_keeps_order_and_limit():
    quic = FakeQuic()
    writer = StreamWriter(quic, limit=100)
    writer.push(b"a" * 50)
    assert writer.pending
    quic.room = 10
    writer.open(quic.open_stream(unidirectional=True))
    writer.push(b"b" * 20, True)
    assert writer.pending
    assert not writer.flush()
    quic.grant(2, 1000)
    assert writer.flush()
    assert bytes(quic.streams[2].outgoing) == b"a" * 50 + b"b" * 20
    assert quic.streams[2].fin_out
    with pytest.raises(H3Error) as caught:
        StreamWriter(quic, limit=100).push(bytes(101))
    assert caught.value.code == H3ErrorCode.H3_EXCESSIVE_LOAD
