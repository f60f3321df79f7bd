"""Entry points for HTTP/3 and QPACK."""

from __future__ import annotations

from contextlib import suppress

import pylsqpack

from specter.h3.config import H3Config
from specter.h3.errors import H3ErrorCode, H3Fault, H3StreamError
from specter.h3.fields import FieldError, KnownLines, parse_request, parse_response, parse_trailers
from specter.h3.frames import FrameReader, FrameType, decode_identifier, decode_priority_update, encode_frame
from specter.h3.qpack import FieldDecoder, FieldEncoder
from specter.h3.settings import Settings, decode_settings, encode_settings
from specter.h3.writer import StreamWriter
from specter.quic.events import ConnectionClosed
from tests.fuzz.entry import Entry, Input, outcome, piece, require
from tests.h3.support import GET, OK, POST, FakeQuic, data_frame, drain, established, headers_frame, settings_frame

CONFIG = H3Config(grease=False, max_field_section_size=2000, max_field_lines=50, qpack_blocked_streams=2)
LARGEST = 4096


# -- frames and settings ----------------------------------------------------------------------------


def frame(data: bytes) -> None:
    """Frames of a stream, which come in pieces: those that are gathered, skipped, and DATA."""
    source, quic = Input(data), FakeQuic()
    step, stream_id = source.number() + 1, quic.open_stream()
    rest = source.rest()
    reader = FrameReader(quic, stream_id, window=step)
    seen = 0
    for at in range(0, len(rest), step):
        quic.inject(stream_id, rest[at : at + step])
        reader.dry = False
        for _ in range(2 * len(rest) + 2):
            taken = reader.read_data(step) if reader.data_left else reader.next(_admit)
            if not taken:
                break
            seen += len(taken) if isinstance(taken, bytes) else len(taken[1])
        require(not taken, "there are always more frames")
    require(seen <= len(rest), f"{seen} bytes of {len(rest)}")


def _admit(kind: int, length: int) -> bool:
    require(0 <= kind < 1 << 62 and 0 <= length < 1 << 62, f"frame {kind} of {length} bytes")
    return kind % 2 == 1 and length <= LARGEST


def frame_seeds() -> list[bytes]:
    many = headers_frame(*OK) + data_frame(b"hello") + encode_frame(0x21, bytes(70)) + data_frame(bytes(200))
    return [bytes([step]) + many for step in (0, 6, 255)] + [b"\xff" + settings_frame((1, 4096), (6, 1 << 40))]


def setting(data: bytes) -> None:
    found = outcome(lambda: decode_settings(data), H3Fault)
    if not isinstance(found, str):
        Settings.from_pairs(found)
        require(decode_settings(encode_settings(found)) == found, "no round trip")
    for parse in (decode_identifier, decode_priority_update):
        outcome(lambda parse=parse: parse(data), H3Fault)


def setting_seeds() -> list[bytes]:
    pairs = [(1, 4096), (6, 16_384), (7, 16), (8, 1), (0x33, 1), (0x1F * 9 + 0x21, 5)]
    return [b"", encode_settings(pairs), encode_settings([(1, 1 << 61)]), b"\x04u=1,i", b"\x40\x08"]


# -- field sections ---------------------------------------------------------------------------------


def qpack(data: bytes) -> None:
    """Encoder instructions and field sections in any order, and what the peer's decoder says about ours."""
    source, quic = Input(data), FakeQuic()
    writers = [StreamWriter(quic, quic.open_stream(True)) for _ in range(2)]
    decoder, encoder = FieldDecoder(CONFIG, writers[0]), FieldEncoder(CONFIG, writers[1])
    encoder.apply(Settings(qpack_max_table_capacity=4096, qpack_blocked_streams=2))
    blocked: set[int] = set()
    with suppress(H3Fault):
        while source:
            step, said = source.number(), source.piece()
            _qpack_step(step, said, decoder, encoder, blocked)
            require(len(blocked) <= CONFIG.qpack_blocked_streams, "more blocked streams than allowed")


def _qpack_step(step: int, said: bytes, decoder: FieldDecoder, encoder: FieldEncoder, blocked: set[int]) -> None:
    stream_id = 4 * (step >> 2)
    if step & 3 == 0:
        for ready in decoder.feed(said):
            blocked.discard(ready)
            decoder.resume(ready)
    elif step & 3 == 1 and stream_id not in blocked:
        with suppress(H3StreamError):
            if decoder.decode(stream_id, said) is None:
                blocked.add(stream_id)
    elif step & 3 == 2:
        blocked.discard(stream_id)
        decoder.cancel(stream_id)
    elif step & 3 == 3:
        encoder.encode(stream_id, [*OK, (b"x-name", said[:100])])
        encoder.feed(said)


def qpack_seeds() -> list[bytes]:
    encoder = pylsqpack.Encoder()
    made = [(0, encoder.apply_settings(4096, 2))]
    for stream in range(3):
        instructions, block = encoder.encode(4 * stream, [*GET, (b"x-name", b"value"), (b"cookie", b"a=b")])
        made += [(0, instructions), (4 * stream + 1, block)]
    late = [made[0], made[2], made[4], made[1], made[3]]
    answers = [(3, b"\x80"), (3, b"\x01"), (2, b""), (1, bytes.fromhex("0000510b2f696e6465782e68746d6c"))]
    return [b"".join(bytes([step]) + piece(said) for step, said in steps) for steps in (made, late, answers)]


def field(data: bytes) -> None:
    """Lines of a message, as a peer sends them."""
    source, lines = Input(data), []
    while source:
        lines.append((source.take(source.number()), source.take(source.number())))
    known: KnownLines = set()
    for lead in ([], OK, GET):
        every = [*lead, *lines]
        first = outcome(lambda every=every: parse_response(every, known), FieldError)
        require(first == outcome(lambda every=every: parse_response(every, known), FieldError), "known lines differ")
        outcome(lambda every=every: parse_trailers(every, known), FieldError)
        outcome(lambda every=every: parse_request(every, known, extended_connect=True), FieldError)


def field_seeds() -> list[bytes]:
    lines = [OK, GET, POST, [(b":method", b"CONNECT"), (b":protocol", b"websocket")], [(b"content-length", b"5")] * 2]
    lines += [[(b"te", b"trailers"), (b"host", b"example.org")], [(b"A", b" b "), (b"connection", b"close")]]
    return [b"".join(bytes([len(part)]) + part for line in each for part in line) for each in lines]


# -- a connection -----------------------------------------------------------------------------------

STREAMS = (0, 4, 8, 3, 7, 11, 15)


def streams(data: bytes) -> None:
    """A server that puts anything on any stream."""
    source = Input(data)
    connection, quic = established(True, CONFIG, settings=((1, 4096), (7, 16)))
    connection.send_request(GET, fin=True)
    connection.send_request(POST, fin=False)
    connection.send_request([(b":method", b"HEAD"), *GET[1:]], fin=True)
    events = drain(connection)
    while source:
        step, which = source.number(), STREAMS[source.number() % len(STREAMS)]
        if step & 7 == 7:
            quic.inject_reset(which, source.number(2))
        elif step & 7 == 6:
            connection.read_body(which, source.number(2))
        else:
            quic.inject(which, source.piece(), fin=step & 7 == 5)
        events += drain(connection)
    closed = [event for event in events if isinstance(event, ConnectionClosed)]
    require(len(closed) == (quic.close_code is not None), f"closed {len(closed)} times with {quic.close_code}")
    if quic.close_code is not None:
        H3ErrorCode(quic.close_code)
        require(events[-1] is closed[0], "events after the end")


def streams_seeds() -> list[bytes]:
    def say(index: int, said: bytes, *, fin: bool = False) -> bytes:
        return bytes([5 if fin else 0, index]) + piece(said)

    answer = (
        headers_frame((b":status", b"103")) + headers_frame(*OK) + data_frame(b"hello") + headers_frame((b"a", b"b"))
    )
    encoder = say(4, b"\x02\x3f\xe1\x1f\xc5\x017") + say(0, encode_frame(1, b"\x02\x00\x80\xd9"), fin=True)
    read = bytes([6, 0, 0, 100])
    goaway = say(3, encode_frame(FrameType.GOAWAY, b"\x04")) + bytes([7, 1, 1, 0x0B])
    return [
        say(0, answer, fin=True) + read,
        b"".join(say(0, answer[at : at + 3]) for at in range(0, len(answer), 3)) + read,
        encoder + say(5, b"\x03\x80"),
        goaway + say(1, answer) + read,
        say(3, settings_frame()) + say(6, b"\x21hello"),
        say(2, headers_frame(*OK, (b"content-length", b"3")), fin=True) + say(5, b"\x01"),
    ]


ENTRIES = [
    Entry("h3_frames", frame, frame_seeds),
    Entry("settings", setting, setting_seeds),
    Entry("qpack", qpack, qpack_seeds),
    Entry("fields", field, field_seeds),
    Entry("h3_streams", streams, streams_seeds),
]
