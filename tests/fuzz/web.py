"""Entry points for what the client reads besides QUIC and HTTP/3: fields, records, URLs, bodies, WebSockets."""

from __future__ import annotations

import gzip
import zlib
from contextlib import suppress
from itertools import islice
from typing import Any

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close, Frame, Opcode

from specter.client import decoding
from specter.client.altsvc import MAX_AGE, MAX_ALTERNATIVES, parse_alt_svc
from specter.client.decoding import Decoder, DecodingLimits
from specter.client.messages import Messages
from specter.client.url import URL
from specter.errors import DecodingError, InvalidURL, UnsupportedProtocol, WebSocketClosed
from specter.net.https_records import NO_RECORDS, SERVICES, _walk
from tests.fuzz.entry import Entry, Input, outcome, piece, require


def alt_svc(data: bytes) -> None:
    found = parse_alt_svc.__wrapped__(data)
    require(found is None or len(found) <= MAX_ALTERNATIVES, "more alternatives than are looked at")
    for each in found or ():
        require(0 < each.port < 65_536 and 0 <= each.max_age <= MAX_AGE and each.protocol, f"{each} cannot be")
        if each.host:
            host = f"[{each.host}]" if ":" in each.host else each.host
            require(URL(f"https://{host}:{each.port}").host == each.host, f"{each.host!r} is no host")


def alt_svc_seeds() -> list[bytes]:
    return [
        b'h3=":443"; ma=86400; persist=1, h3-29="alt.example:8443";ma=5',
        b'clear, h2="a:1"',
        b'h3%2D="[2001:db8::1]:443"; a="b\\"c" ;, w%3Dx%3Ay="x:80"',
    ]


# -- HTTPS records ----------------------------------------------------------------------------------


def https_records(data: bytes) -> None:
    """Two records with any content."""
    source = Input(data)
    owner, records = dns.name.from_text("a.test."), []
    for content in (source.piece(), source.rest()):
        with suppress(dns.exception.DNSException, ValueError):
            records.append(dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.HTTPS, content, 0, len(content)))
    if not records:
        return
    walk = _walk("a.test", 443)
    next(walk)
    answer: Any = type("Answer", (), {"rrset": dns.rrset.from_rdata_list(owner, 300, records)})
    for _ in range(20):
        try:
            walk.send(answer)
        except StopIteration as end:
            require(end.value == NO_RECORDS or len(end.value.services) <= SERVICES, f"{end.value}")
            require(all(0 < each.port < 65_536 for each in end.value.services), f"{end.value}")
            return
    require(False, "the walk never ends")


def https_records_seeds() -> list[bytes]:
    texts = [
        "1 . alpn=h3,h2 port=8443 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1 ech=AAYAAQIDBAU=",
        "0 b.test.",
        "2 svc.test. mandatory=alpn alpn=h3 no-default-alpn key65000=x",
    ]
    made = [dns.rdata.from_text("IN", "HTTPS", text).to_wire() for text in texts]
    return [piece(made[0]) + made[1], piece(made[2]) + made[0], piece(b"") + made[1]]


# -- URLs -------------------------------------------------------------------------------------------


def url(data: bytes) -> None:
    """The first line is a URL, the second one what a page there refers to."""
    text, _, reference = data.decode("utf-8", "surrogateescape").partition("\n")
    found = outcome(lambda: URL(text), InvalidURL, UnsupportedProtocol)
    if isinstance(found, str):
        return
    _check_url(found)
    joined = outcome(lambda: found.join(reference), InvalidURL, UnsupportedProtocol)
    if isinstance(joined, URL):
        _check_url(joined)


def _check_url(found: URL) -> None:
    again = URL(str(found))
    require(str(again) == str(found), f"{str(found)!r} is {str(again)!r} once read again")
    require(again.origin.port == found.port and again.target == found.target, "it names something else")
    require(found.target.startswith("/") and found.target.isascii(), f"{found.target!r} cannot be asked for")
    require(not set(found.target + found.authority) & set(" \r\n\t\0"), "control characters are sent")


def url_seeds() -> list[bytes]:
    texts = (
        "https://example.org/a/../b?c=d#e\n../f?g",
        "https://[2001:db8::1%25eth0]:8443/%7e%zz?[x]\n//other.test:444/",
        "HTTPS://B\u00fccher.example:443?\u00e9\nhttp://a/",
        "https://a.test./\nhttps:b",
    )
    return [text.encode() for text in texts]


# -- bodies -----------------------------------------------------------------------------------------

CODINGS = (["gzip"], ["deflate"], ["br"], ["zstd"], ["deflate", "gzip"], ["gzip"] * 4, ["x-gzip", "unknown"])
MAX_SIZE = 300_000


def body(data: bytes) -> None:
    """The first byte picks the codings, the second one how the rest is cut."""
    source = Input(data)
    codings, step, rest = CODINGS[source.number() % len(CODINGS)], 1 + source.number(), source.rest()
    decoder = Decoder(codings, DecodingLimits(max_size=MAX_SIZE))
    size = 0
    with suppress(DecodingError):
        for at in range(0, len(rest), step):
            for expanded in islice(decoder.feed(rest[at : at + step]), 1_000):
                require(len(expanded) <= 4 * decoding.PIECE, f"a piece of {len(expanded)} bytes")
                size += len(expanded)
                require(size <= MAX_SIZE, "more than the limit")
        decoder.finish()


def body_seeds() -> list[bytes]:
    plain = b"hello " * 50
    packed, deflated = gzip.compress(plain, mtime=0), zlib.compress(plain)
    bare = zlib.compressobj(wbits=-15)
    made = [
        b"\0\x05" + packed,
        b"\0\x3f" + packed * 2,
        b"\1\x20" + deflated,
        b"\1\0" + bare.compress(plain) + bare.flush(),
    ]
    made += [b"\4\x40" + gzip.compress(deflated, mtime=0), b"\0\xff" + gzip.compress(bytes(1 << 19), mtime=0)]
    available = decoding._available()
    if "br" in available:
        import brotli

        made.append(b"\2\x09" + brotli.compress(plain))
    if "zstd" in available:
        zstd = decoding._optional("compression.zstd") or decoding._optional("backports.zstd")
        made.append(b"\3\x09" + zstd.compress(plain) * 2)
    return made


# -- WebSockets -------------------------------------------------------------------------------------


def websocket(data: bytes) -> None:
    """A server's frames in pieces; the first bits say with or without compression, and what we do meanwhile."""
    source = Input(data)
    choice, step, rest = source.number(), 1 + source.number(), source.rest()
    extensions = [PerMessageDeflate(False, False, 15, 15)] if choice & 1 else []
    messages = Messages(client=True, max_size=2_000, extensions=extensions)
    if choice & 2:
        messages.close(1000, "done")
    for at in range(0, len(rest), step):
        messages.feed(rest[at : at + step])
        while (message := messages.next()) is not None:
            require(len(message) <= 2_000, "a message above the limit")
    if not messages.over:
        messages.feed(b"")
    require(messages.over, "it is open after the end of the tunnel")
    require(isinstance(messages.closed(), WebSocketClosed), "nobody knows why")
    for _ in range(len(rest) + 10):
        if not messages.current:
            return
        messages.sent(len(messages.current))
    require(False, "there is always more to send")


def websocket_seeds() -> list[bytes]:
    deflate = PerMessageDeflate(False, False, 15, 15)
    frames = [Frame(Opcode.TEXT, b"hel", fin=False), Frame(Opcode.PING, b"ping"), Frame(Opcode.CONT, b"lo")]
    frames.append(Frame(Opcode.CLOSE, Close(1000, "bye").serialize()))
    plain = b"".join(frame.serialize(mask=False) for frame in frames)
    packed = b"".join(frame.serialize(mask=False, extensions=[deflate]) for frame in frames)
    large = Frame(Opcode.TEXT, bytes(3_000)).serialize(mask=False)
    return [b"\0\xff" + plain, b"\0\0" + plain, b"\1\x03" + packed, b"\2\x10" + plain, b"\0\xff" + large]


ENTRIES = [
    Entry("alt_svc", alt_svc, alt_svc_seeds),
    Entry("https_records", https_records, https_records_seeds),
    Entry("url", url, url_seeds, runs=300),
    Entry("decoding", body, body_seeds),
    Entry("websocket", websocket, websocket_seeds),
]
