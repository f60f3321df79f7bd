"""The rules of RFC 9114 and RFC 9204 that a server can break."""

from __future__ import annotations

from specter._frame_types import ResetStream, StopSending
from specter.h3.frames import encode_frame
from tests.h3.support import OK, data_frame, headers_frame, settings_frame, varint
from tests.hostile.server import CONTROL, DECODER, ENCODER, REQUEST, SPARE, On, Said
from tests.hostile.table import Breach

_SETTINGS = On(CONTROL, b"\x00" + settings_frame())
_HEAD = headers_frame(*OK)
_TRAILERS = headers_frame((b"a", b"b"))
_UNEXPECTED, _FRAME, _ID = "H3_FRAME_UNEXPECTED", "H3_FRAME_ERROR", "H3_ID_ERROR"
_SECTION, _INSTRUCTION = "QPACK_DECOMPRESSION_FAILED", "QPACK_ENCODER_STREAM_ERROR"
CANCEL_PUSH, SETTINGS, PUSH_PROMISE, GOAWAY, MAX_PUSH_ID = 3, 4, 5, 7, 13


def _control(rule: str, fault: str, data: bytes, code: str) -> Breach:
    """Said on the control stream, behind SETTINGS."""
    return Breach(rule, fault, (_SETTINGS, On(CONTROL, data)), code)


def _response(rule: str, fault: str, data: bytes, code: str, *, fin: bool = False, tunnel: bool = False) -> Breach:
    return Breach(rule, fault, (_SETTINGS, On(REQUEST, data, fin)), code, tunnel=tunnel)


def _malformed(rule: str, fault: str, data: bytes, *, fin: bool = False) -> Breach:
    return Breach(rule, fault, (_SETTINGS, On(REQUEST, data, fin)), "H3_MESSAGE_ERROR", on_stream=True)


def _lines(rule: str, fault: str, *lines: tuple[bytes, bytes]) -> Breach:
    return _malformed(rule, fault, headers_frame(*lines))


def _section(rule: str, fault: str, block: bytes, *before: Said) -> Breach:
    return Breach(rule, fault, (_SETTINGS, *before, On(REQUEST, encode_frame(1, block))), _SECTION)


def _instructions(rule: str, fault: str, data: bytes) -> Breach:
    return Breach(rule, fault, (_SETTINGS, On(ENCODER, b"\x02" + data)), _INSTRUCTION)


def _critical(stream_id: int, name: str, data: bytes, single: str, open_: str) -> list[Breach]:
    """A stream that there has to be once, for as long as the connection."""
    first = On(stream_id, data)
    closed = "H3_CLOSED_CRITICAL_STREAM"
    return [
        Breach(single, f"a second {name}", (first, On(SPARE, data)), "H3_STREAM_CREATION_ERROR"),
        Breach(open_, f"the end of the {name}", (first, On(stream_id, b"", True)), closed),
        Breach(open_, f"a reset of the {name}", (first, ResetStream(stream_id, 0x100, len(data))), closed),
    ]


HTTP = [
    _response("RFC 9114 4.1-7", "DATA before any HEADERS", data_frame(b"x"), _UNEXPECTED),
    _response(
        "RFC 9114 4.1-7",
        "DATA behind an interim response",
        headers_frame((b":status", b"103")) + data_frame(b"x"),
        _UNEXPECTED,
    ),
    _response("RFC 9114 4.1-7", "DATA behind trailers", _HEAD + _TRAILERS + data_frame(b"x"), _UNEXPECTED),
    _response("RFC 9114 4.1-7", "HEADERS behind trailers", _HEAD + _TRAILERS + _TRAILERS, _UNEXPECTED),
    _malformed("RFC 9114 4.1-3", "a second response where trailers belong", _HEAD + _HEAD),
    _malformed(
        "RFC 9114 4.1.2",
        "more content than Content-Length says",
        headers_frame(*OK, (b"content-length", b"1")) + data_frame(b"ab"),
    ),
    _malformed(
        "RFC 9114 4.1.2",
        "less content than Content-Length says",
        headers_frame(*OK, (b"content-length", b"9")) + data_frame(b"ab"),
        fin=True,
    ),
    _malformed("RFC 9114 4.1.2", "the end before any response", b"", fin=True),
    _lines("RFC 9114 4.2-2", "a field name in upper case", *OK, (b"Server", b"x")),
    *[
        _lines("RFC 9114 4.2-3", f"the field {name.decode()}", *OK, (name, b"close"))
        for name in (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
    ],
    _lines("RFC 9114 4.3-3", "a pseudo-header field of requests", *OK, (b":path", b"/")),
    _lines("RFC 9114 4.3-3", "an unknown pseudo-header field", *OK, (b":color", b"red")),
    _malformed("RFC 9114 4.3-3", "a pseudo-header field in trailers", _HEAD + headers_frame((b":path", b"/"))),
    _lines("RFC 9114 4.3-4", "a pseudo-header field behind other fields", (b"a", b"b"), *OK),
    _lines("RFC 9114 4.3.2-1", "a response without a status", (b"a", b"b")),
    _lines("RFC 9114 4.3.2-1", "two statuses", *OK, *OK),
    _lines("RFC 9114 4.3.2-1", "a status that is no number", (b":status", b"20x")),
    _response("RFC 9114 4.4-8", "trailers in a tunnel", _HEAD + _TRAILERS, _UNEXPECTED, tunnel=True),
    _lines("RFC 9114 4.5", "status 101", (b":status", b"101")),
    _control(
        "RFC 9114 5.2-10",
        "GOAWAY that takes back an earlier one",
        encode_frame(GOAWAY, b"\x00") + encode_frame(GOAWAY, b"\x04"),
        _ID,
    ),
    Breach(
        "RFC 9114 6.1-3", "a bidirectional stream of the server", (_SETTINGS, On(1, b"x")), "H3_STREAM_CREATION_ERROR"
    ),
    *_critical(CONTROL, "control stream", b"\x00" + settings_frame(), "RFC 9114 6.2.1-2", "RFC 9114 6.2.1-2"),
    Breach(
        "RFC 9114 6.2.1-2",
        "our control stream is not wanted",
        (_SETTINGS, StopSending(2, 0x100)),
        "H3_CLOSED_CRITICAL_STREAM",
    ),
    Breach(
        "RFC 9114 6.2.1-2",
        "GOAWAY before SETTINGS",
        (On(CONTROL, b"\x00" + encode_frame(GOAWAY, b"\x00")),),
        "H3_MISSING_SETTINGS",
    ),
    Breach(
        "RFC 9114 6.2.1-2",
        "an unknown frame before SETTINGS",
        (On(CONTROL, b"\x00" + encode_frame(0x21, b"")),),
        "H3_MISSING_SETTINGS",
    ),
    Breach("RFC 9114 4.6-3", "a push stream nobody allowed", (_SETTINGS, On(SPARE, b"\x01\x00")), _ID),
    _control("RFC 9114 7.1-7", "GOAWAY with nothing in it", encode_frame(GOAWAY, b""), _FRAME),
    _control("RFC 9114 7.1-7", "GOAWAY with a byte too many", encode_frame(GOAWAY, b"\x00\x00"), _FRAME),
    Breach(
        "RFC 9114 7.1-7",
        "SETTINGS that end inside a pair",
        (On(CONTROL, b"\x00" + encode_frame(SETTINGS, b"\x06")),),
        _FRAME,
    ),
    _response("RFC 9114 7.1-8", "the end inside a frame", _HEAD + b"\x00\x05ab", _FRAME, fin=True),
    _response("RFC 9114 7.1-8", "the end inside a frame's header", _HEAD + b"\x00", _FRAME, fin=True),
    _control("RFC 9114 7.2.1-2", "DATA on the control stream", data_frame(b"x"), _UNEXPECTED),
    _control("RFC 9114 7.2.2-3", "HEADERS on the control stream", _HEAD, _UNEXPECTED),
    _response("RFC 9114 7.2.3-5", "CANCEL_PUSH on a request stream", encode_frame(CANCEL_PUSH, b"\x00"), _UNEXPECTED),
    _control("RFC 9114 7.2.3-7", "CANCEL_PUSH for a push nobody allowed", encode_frame(CANCEL_PUSH, b"\x00"), _ID),
    _control("RFC 9114 7.2.4-2", "SETTINGS twice", settings_frame(), _UNEXPECTED),
    _response("RFC 9114 7.2.4-3", "SETTINGS on a request stream", settings_frame(), _UNEXPECTED),
    Breach(
        "RFC 9114 7.2.4-6",
        "one setting twice",
        (On(CONTROL, b"\x00" + settings_frame((6, 1), (6, 2))),),
        "H3_SETTINGS_ERROR",
    ),
    *[
        Breach(
            "RFC 9114 7.2.4.1-6",
            f"setting {kind} of HTTP/2",
            (On(CONTROL, b"\x00" + settings_frame((kind, 0))),),
            "H3_SETTINGS_ERROR",
        )
        for kind in (2, 3, 4, 5)
    ],
    _response(
        "RFC 9114 7.2.5-5", "a promise of a push nobody allowed", encode_frame(PUSH_PROMISE, b"\x00\x00\x00"), _ID
    ),
    _control(
        "RFC 9114 7.2.5-8",
        "PUSH_PROMISE on the control stream",
        encode_frame(PUSH_PROMISE, b"\x00\x00\x00"),
        _UNEXPECTED,
    ),
    *[
        _control("RFC 9114 7.2.6-3", f"GOAWAY for stream {stream_id}", encode_frame(GOAWAY, varint(stream_id)), _ID)
        for stream_id in (1, 2, 3)
    ],
    _response("RFC 9114 7.2.6-5", "GOAWAY on a request stream", encode_frame(GOAWAY, b"\x00"), _UNEXPECTED),
    _response("RFC 9114 7.2.7-2", "MAX_PUSH_ID on a request stream", encode_frame(MAX_PUSH_ID, b"\x00"), _UNEXPECTED),
    _control("RFC 9114 7.2.7-3", "MAX_PUSH_ID from a server", encode_frame(MAX_PUSH_ID, b"\x00"), _UNEXPECTED),
    *[
        _control(
            "RFC 9114 7.2.8-3", f"frame {kind} of HTTP/2 on the control stream", encode_frame(kind, b""), _UNEXPECTED
        )
        for kind in (2, 6, 8, 9)
    ],
    *[
        _response(
            "RFC 9114 7.2.8-3", f"frame {kind} of HTTP/2 on a request stream", encode_frame(kind, b""), _UNEXPECTED
        )
        for kind in (2, 6, 8, 9)
    ],
    _lines("RFC 9114 10.3-1", "a field name with a space", *OK, (b"a b", b"x")),
    _lines("RFC 9114 10.3-1", "a field name with a colon", *OK, (b"a:b", b"x")),
    *[
        _lines("RFC 9114 10.3-2", f"a field value with {name}", *OK, (b"a", b"x" + byte + b"y"))
        for name, byte in (("CR", b"\r"), ("LF", b"\n"), ("NUL", b"\x00"))
    ],
]

QPACK = [
    _section(
        "RFC 9204 2.2.1-3",
        "an insert count above what is needed",
        b"\x02\x00\xd9",
        On(ENCODER, b"\x02\x3f\xe1\x1f\x41a\x01b"),
    ),
    _section(
        "RFC 9204 2.2.3-1",
        "a reference at or above the insert count",
        b"\x02\x00\x10",
        On(ENCODER, b"\x02\x3f\xe1\x1f\x41a\x01b"),
    ),
    _section("RFC 9204 2.2.3-1", "a reference without any insert", b"\x00\x00\x80"),
    _section("RFC 9204 3.1-4", "a static index that there is not", b"\x00\x00\xff\x24"),
    _section("RFC 9204 4.5.1.1-8", "an insert count no encoder makes", b"\xff\x80\xff"),
    _section("RFC 9204 4.5", "a section without its prefix", b""),
    _section("RFC 9204 4.1.2", "a string longer than the section", b"\x00\x00\x51\x7f"),
    _section("RFC 9204 7.4-3", "an integer without end", b"\x00\x00\xff" + b"\xff" * 12),
    _instructions("RFC 9204 2.2.3-2", "a copy of an entry that there is not", b"\x3f\xe1\x1f\x00"),
    _instructions("RFC 9204 3.1-4", "an insert by a static name that there is not", b"\x3f\xe1\x1f\xff\x24\x01a"),
    _instructions("RFC 9204 3.2.2-2", "an entry larger than the table", b"\x3f\x01\x7f\x01" + b"a" * 128),
    _instructions("RFC 9204 4.3.1-3", "a capacity above our limit", b"\x3f\xff\xff\x7f"),
    _instructions("RFC 9204 7.4-3", "an integer without end on the encoder stream", b"\xff" * 12),
    *[
        Breach(rule, fault, (_SETTINGS, On(DECODER, b"\x03" + data)), "QPACK_DECODER_STREAM_ERROR")
        for rule, fault, data in (
            ("RFC 9204 4.4.1-4", "an acknowledgment of a section that there was not", b"\x80"),
            ("RFC 9204 4.4.3-3", "an increment of zero", b"\x00"),
            ("RFC 9204 4.4.3-3", "an increment beyond what was inserted", b"\x3e"),
        )
    ],
    *_critical(ENCODER, "encoder stream", b"\x02", "RFC 9204 4.2-4", "RFC 9204 4.2-5"),
    *_critical(DECODER, "decoder stream", b"\x03", "RFC 9204 4.2-4", "RFC 9204 4.2-5"),
]
