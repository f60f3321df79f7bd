"""Entry points for what a client makes of the header fields of an answer."""

from __future__ import annotations

import codecs

from specter.cli.retry import LONGEST, retry_after
from specter.client.decoding import DecodingLimits, decoder_for
from specter.client.headers import Headers
from specter.client.pieces import Lines, Text, through
from specter.client.priority import Priority
from specter.client.text import charset_of, is_known
from specter.client.websocket_handshake import HandshakeOffer
from specter.errors import DecodingError, RemoteProtocolError
from tests.fuzz.entry import Entry, Input, outcome, piece, require

UNICODE = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")


def text(data: bytes) -> None:
    """A Content-Type and a body, which comes in pieces: decoding never fails, and pieces make no difference."""
    source = Input(data)
    named = charset_of(Headers.from_wire([(b"content-type", source.piece())])["content-type"])
    encoding = named if named is not None and is_known(named) else "utf-8"
    step, body = source.number() + 1, source.rest()
    whole = body.decode(encoding, errors="replace")
    pieces = [body[at : at + step] for at in range(0, len(body), step)]
    parts = "".join(through(Text(encoding), pieces))
    if codecs.lookup(encoding).name in UNICODE:
        require(parts == whole, "pieces decode otherwise")
    require("".join(through(Lines(encoding), pieces)) == "".join(parts.splitlines()), "lines are lost")


def text_seeds() -> list[bytes]:
    types = [
        b"text/html; charset=utf-16",
        b'text/plain;charset="shift_jis"',
        b"a/b; charset=utf-7",
        b"a/b; charset=hex",
    ]
    types += [b"a/b; charset=" + name for name in (b"idna", b"punycode", b"undefined", b"unicode_escape", b"utf-8-sig")]
    body = "straße\r\nℵ\u2028\x85end".encode("utf-16") + b"\xff\x80+AGE-"
    return [piece(each) + b"\x02" + body for each in types]


def fields(data: bytes) -> None:
    """Retry-After, Priority, Content-Encoding, and what a server chose for a WebSocket."""
    source = Input(data)
    which, value = source.number() % 4, source.rest()
    headers = Headers.from_wire([(name, value) for name in _NAMES[which]])
    if which == 0:
        answer = type("Answer", (), {"headers": headers})
        wait = retry_after(answer)  # type: ignore[arg-type]
        require(wait is None or 0 <= wait <= LONGEST, f"it waits for {wait} seconds")
    elif which == 1:
        again = Priority.parse(headers["priority"])
        require(Priority.parse(str(again)) == again, f"{again} is another one once encoded")
    elif which == 2:
        outcome(lambda: decoder_for("GET", 200, headers, DecodingLimits()), DecodingError)
    else:
        offer = HandshakeOffer(["chat"], compression=True)
        outcome(lambda: offer.subprotocol(headers), RemoteProtocolError)
        outcome(lambda: offer.accept(headers, 100), RemoteProtocolError)


_NAMES = (
    [b"retry-after"],
    [b"priority"],
    [b"content-encoding"],
    [b"sec-websocket-protocol", b"sec-websocket-extensions"],
)


def field_seeds() -> list[bytes]:
    return [
        b"\0" + b"120",
        b"\0" + b"Fri, 31 Dec 2100 23:59:59 GMT",
        b"\1" + b"u=3, i;x=1, a=?0",
        b"\2" + b"gzip, br, deflate",
        b"\3" + b"chat",
        b"\3" + b"permessage-deflate; server_max_window_bits=10; client_max_window_bits=15",
        b'\3permessage-deflate; server_no_context_takeover; client_no_context_takeover; a="b\\"c"',
    ]


ENTRIES = [
    Entry("text", text, text_seeds, runs=300),
    Entry("response_fields", fields, field_seeds, runs=300),
]
