"""Entry points for the whole engine: datagrams in, before and after a handshake; only events come out.

An input is a script of steps. A peer that has the keys says anything in packets; one that has none sends anything.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

from specter._backend import batch as batches
from specter._backend import frames
from specter._entropy import SeededEntropy
from specter._frame_types import (
    Ack,
    ConnectionClose,
    Crypto,
    HandshakeDone,
    MaxData,
    Ping,
    ResetStream,
    StopSending,
    Stream,
)
from specter._wire import NEVER
from specter.errors import LocalProtocolError
from specter.h3.connection import H3Connection
from specter.quic.config import QuicConfig
from specter.quic.connection import Connection
from specter.quic.events import ConnectionClosed
from specter.quic.packet import QUIC_V1, encode_retry, encode_version_negotiation, parse_header
from specter.quic.space import SpaceId
from specter.testing.endpoint import Endpoint
from specter.testing.pair import NAME, RESET_KEY, fixed_credential
from specter.testing.transfers import TransferServer
from specter.tls.config import ClientTlsConfig, ServerTlsConfig
from specter.tls.key_exchange import NamedGroup
from tests.fuzz.entry import Entry, Input, piece, require
from tests.fuzz.recorded import datagrams, payloads
from tests.h3.support import GET, OK, POST, data_frame, headers_frame, settings_frame
from tests.quic.scripted import Scripted

START = 1_000_000_000
MS = 1_000_000
STEPS = 60
"""Steps of a script that are done."""
BURSTS = 200
"""Batches that an engine may send, and events that it may tell of, for one step."""
DEADLINES = 400
"""Times that an engine may ask to be woken before it gives up a peer that is gone."""
GROUPS = (NamedGroup.X25519,)
CONFIG = QuicConfig(idle_timeout=2_000 * MS, handshake_timeout=2_000 * MS, max_streams_bidi=4, max_streams_uni=6)
GETTING = [*GET, (b"user-agent", b"fuzz")]


def _server_tls() -> ServerTlsConfig:
    return ServerTlsConfig(credentials=(fixed_credential().tls,), groups=GROUPS)


def _client(config: QuicConfig) -> Connection:
    tls = ClientTlsConfig(server_name=NAME, verify=False, groups=GROUPS, key_shares=GROUPS)
    return Connection.client(config, tls, SeededEntropy("client"), START)


def _accept(data: bytes) -> Connection:
    header = parse_header(data, 0, len(data), 8)
    entropy, ids = SeededEntropy("server"), {"original_dcid": header.dcid, "client_cid": header.scid}
    return Connection.server(CONFIG, _server_tls(), entropy, START, **ids)


class Ends:
    """Both ends of a connection, at one instant and without a network."""

    def __init__(self, config: QuicConfig = CONFIG) -> None:
        self.now = START
        self.client = _client(config)
        self.first = _flush(self.client, self.now)
        self.server = _accept(self.first[0])

    def connect(self) -> None:
        """Carry datagrams to and fro until the handshake is confirmed."""
        waiting = self.first
        for _ in range(6):
            _receive(self.server, waiting, self.now)
            _receive(self.client, _flush(self.server, self.now), self.now)
            waiting = _flush(self.client, self.now)
        require(self.client.confirmed and self.server.confirmed, "the handshake failed")


def _flush(engine: Any, now: int) -> list[bytes]:
    sent: list[bytes] = []
    for _ in range(BURSTS):
        burst = engine.send(now)
        if not len(burst):
            return sent
        sent += [bytes(data) for data, _, _ in burst]
    require(False, "it never stops sending")
    return sent


def _receive(engine: Any, datagrams: list[bytes], now: int) -> None:
    batch = batches.ReceiveBatch(max(96, len(datagrams)))
    for data in datagrams:
        batch.append(data[:65_527], None, len(data) & 3)
    engine.receive(batch, now)


class Driver:
    """What a program does with an engine, and what has to hold whatever comes."""

    def __init__(self, engine: Any, now: int) -> None:
        self.engine = engine
        self.now = now
        self.events: list[Any] = []

    def settle(self) -> None:
        _flush(self.engine, self.now)
        for _ in range(BURSTS):
            event = self.engine.next_event()
            if event is None:
                break
            require(not self.ends, f"{event} after the end")
            self.events.append(event)
        else:
            require(False, "it never stops telling")
        _flush(self.engine, self.now)

    @property
    def ends(self) -> list[Any]:
        return [event for event in self.events if isinstance(event, ConnectionClosed)]

    def receive(self, data: bytes) -> None:
        _receive(self.engine, [data], self.now)

    def wake(self) -> bool:
        """Let the time pass to the next deadline; return whether there is one."""
        deadline = self.engine.next_deadline()
        if deadline == NEVER:
            return False
        self.now = max(self.now, deadline)
        self.engine.handle_deadline(self.now)
        return True

    def finish(self) -> None:
        """Nothing comes any more: the engine has to notice, and to end."""
        for _ in range(DEADLINES):
            self.settle()
            if not self.wake():
                break
        else:
            require(False, f"it does not end: {self.engine.next_deadline() - self.now} ns to its next deadline")
        self.settle()
        require(len(self.ends) == 1, f"it ended {len(self.ends)} times: {self.ends}")


# -- after the handshake ----------------------------------------------------------------------------


def transport(data: bytes, config: QuicConfig = CONFIG) -> None:
    """A server that breaks any rule of QUIC in packets that open."""
    ends = Ends(config)
    ends.connect()
    peer, driver = Scripted(ends, as_server=True), Driver(ends.client, ends.now)  # type: ignore[arg-type]
    for _ in range(2):
        ends.client.write(ends.client.open_stream(), bytes(100), fin=False)
    _play(Input(data), driver, peer, _use_quic)


def server(data: bytes) -> None:
    """A client that breaks any rule of QUIC in packets that open."""
    ends = Ends()
    ends.connect()
    peer, driver = Scripted(ends, as_server=False), Driver(ends.server, ends.now)  # type: ignore[arg-type]
    _play(Input(data), driver, peer, _use_quic)


def http(data: bytes) -> None:
    """A server that says anything to an HTTP/3 client with three requests under way."""
    ends = Ends()
    ends.connect()
    engine = H3Connection(ends.client, entropy=SeededEntropy("h3"))
    driver = Driver(engine, ends.now)
    driver.settle()
    for headers, fin in ((GETTING, True), (POST, False), (GETTING, True)):
        with suppress(LocalProtocolError):
            engine.send_request(headers, fin=fin)
    peer = Scripted(ends, as_server=True)  # type: ignore[arg-type]
    _play(Input(data), driver, peer, _use_http)


def _play(source: Input, driver: Driver, peer: Scripted, use: Any) -> None:
    driver.settle()
    for _ in range(STEPS):
        if not source:
            break
        kind = source.number()
        if kind & 7 < 4:
            flags, number = (source.number(), source.number(4)) if kind & 8 else (0, None)
            driver.receive(peer.packet(source.piece()[:1400] or b"\0", number=number, flags=flags & 0x3C))
        elif kind & 7 == 4:
            driver.receive(source.piece())
        elif kind & 7 == 5:
            driver.wake()
        elif kind & 7 == 6:
            driver.now += source.number() * MS
        else:
            with suppress(LocalProtocolError):
                use(driver.engine, source.number())
        driver.settle()
    driver.finish()


def _use_quic(connection: Connection, what: int) -> None:
    stream_id = what >> 4
    match what & 15:
        case 0 | 1:
            connection.open_stream(bool(what & 1))
        case 2 | 3 | 4:
            connection.write(stream_id, bytes(700), fin=what & 15 == 2)
        case 5 | 6:
            connection.read(stream_id, 50)
        case 7:
            connection.reset(stream_id, 9)
        case 8:
            connection.stop_sending(stream_id, 9)
        case 9:
            connection.ping()
        case 10:
            connection.update_keys()
        case 15:
            connection.close(7, "done")


def _use_http(connection: H3Connection, what: int) -> None:
    stream_id = 4 * (what >> 4)
    match what & 15:
        case 0:
            connection.send_request(GETTING, fin=True)
        case 1 | 2:
            connection.send_body(stream_id, bytes(700), fin=what & 15 == 2)
        case 3 | 4 | 5:
            connection.read_body(stream_id, 50)
        case 6:
            connection.cancel(stream_id)
        case 15:
            connection.close()


def _say(*said: Any) -> bytes:
    return b"\0" + piece(b"".join(each if isinstance(each, bytes) else frames.encode(each) for each in said))


def transport_seeds() -> list[bytes]:
    stream = _say(Stream(0, 0, b"hello", False)) + _say(Stream(0, 5, b"world", True), Ack(((0, 3),), 10))
    wild = _say(MaxData(1 << 40), ResetStream(0, 5, 0), StopSending(4, 5)) + _say(Crypto(0, bytes(40)))
    use = b"".join(bytes([7, what]) for what in (0, 2, 0x42, 5, 0x47, 8, 9, 10))
    late = b"\x06\xff\x05\x05" + _say(Ping(), HandshakeDone()) + _say(ConnectionClose(1, 0, b"bye", False))
    flagged = b"\x08\x04" + (9).to_bytes(4, "big") + piece(frames.encode(Ping()) + bytes(8))
    stray = b"".join(b"\x04" + piece(each) for each in datagrams()[:2]) + b"\x04" + piece(b"\x40" + bytes(60))
    return [stream + use, wild, use + late, flagged * 2 + stray, *(_say(each) for each in payloads()[:6])]


def server_seeds() -> list[bytes]:
    order = bytes(7) + b"\x01" + bytes(16)
    upload = _say(Stream(0, 0, order, False), Stream(2, 0, b"data", True)) + b"\x07\x05" + b"\x07\x03"
    return [upload, *transport_seeds()[:4]]


def http_seeds() -> list[bytes]:
    control = Stream(3, 0, b"\x00" + settings_frame((1, 4096), (7, 16)), False)
    answer = headers_frame(*OK) + data_frame(b"hello")
    first = _say(control, Stream(0, 0, answer, True)) + bytes([7, 3, 7, 0x13, 7, 0x12, 7, 6, 7, 0])
    cut = b"".join(_say(Stream(4, at, answer[at : at + 5], False)) for at in range(0, len(answer), 5))
    encoder = _say(
        control, Stream(7, 0, b"\x02\x3f\xe1\x1f\xc5\x017", False), Stream(0, 0, b"\x01\x04\x02\x00\x80\xd9", True)
    )
    return [first, _say(control) + cut + bytes([7, 0x13]), encoder, *(_say(each) for each in payloads()[:6])]


# -- before it --------------------------------------------------------------------------------------


def handshake(data: bytes, config: QuicConfig = CONFIG) -> None:
    """Whoever saw a client's first datagram sends anything to it, in Initial packets that open too."""
    ends = Ends(config)
    _receive(ends.server, ends.first, ends.now)
    driver, source = Driver(ends.client, ends.now), Input(data)
    peer = Scripted(ends, as_server=True)  # type: ignore[arg-type]
    answers = _flush(ends.server, ends.now)
    for _ in range(STEPS):
        if not source:
            break
        kind = source.number()
        if kind & 3 == 0:
            driver.receive(_unprotected(ends.first[0], kind >> 2 & 3, source.piece()))
        elif kind & 3 == 1:
            driver.receive(peer.packet(source.piece()[:1400] or b"\0", SpaceId.INITIAL))
        elif kind & 3 == 2:
            place, value = source.number(2), source.number()
            changed = bytearray(answers[kind >> 2 & 1 and len(answers) - 1])
            changed[place % len(changed)] ^= value
            driver.receive(bytes(changed))
        else:
            driver.wake()
        driver.settle()
    driver.finish()


def _unprotected(first: bytes, kind: int, said: bytes) -> bytes:
    """Return ``said`` as it is, or in a Retry or Version Negotiation packet that answers ``first``."""
    asked = parse_header(first, 0, len(first), 8)
    if kind == 1:
        return encode_retry(QUIC_V1, said[:8], asked.scid, asked.dcid, said[8:] or b"token")
    if kind == 2:
        versions = [int.from_bytes(said[at : at + 4], "big") for at in range(0, len(said), 4)]
        return encode_version_negotiation(asked.dcid, asked.scid, versions)
    return said


def handshake_seeds() -> list[bytes]:
    whole = b"\x02\0\0\0\x06\0\0\0"
    initial = (
        b"\x01" + piece(frames.encode(Crypto(0, b"\x02\0\0\x30" + bytes(48)))) + b"\x01" + piece(frames.encode(Ping()))
    )
    return [
        whole,
        b"\x02\0\5\1" + whole,
        initial + whole,
        b"\3\3" + whole,
        b"\x04" + piece(b"somebodya token") + whole,
        b"\x04" + piece(b"somebody") + b"\x08" + piece(b"\x6b\x33\x43\xcf\x1a\x2a\x3a\x4a"),
        b"\x08" + piece(b"\xff\0\0\x1d" + b"\x1a\x2a\x3a\x4a") + whole,
        *(b"\0" + piece(each) for each in datagrams()),
    ]


# -- with an event log ------------------------------------------------------------------------------


class _Log:
    """Takes what JSON has, in order."""

    def __init__(self) -> None:
        self._last = START
        self._over = False

    def write(self, time: int, name: str, data: dict[str, Any]) -> None:
        require(not self._over and time >= self._last and ":" in name, f"{name} at {time}")
        json.dumps(data, allow_nan=False)
        self._last = time

    def finish(self) -> None:
        self._over = True


TRACED = replace(CONFIG, qlog=lambda dcid, is_client, now: _Log())


def qlog(data: bytes) -> None:
    """The same peers against a client that logs; the first byte says which."""
    (handshake if data[:1] > b"\x7f" else transport)(data[1:], TRACED)


def qlog_seeds() -> list[bytes]:
    return [b"\0" + each for each in transport_seeds()] + [b"\xff" + each for each in handshake_seeds()]


# -- a server's socket ------------------------------------------------------------------------------


def endpoint(data: bytes) -> None:
    """Anybody sends anything to a server's socket."""
    entropy = SeededEntropy("endpoint")
    engine = Endpoint(
        CONFIG, _server_tls(), entropy, retry=data[:1] > b"\x7f", wrap=TransferServer, reset_key=RESET_KEY
    )
    source, now = Input(data[1:]), START
    for _ in range(STEPS):
        if not source:
            break
        _receive(engine, [source.piece()], now)
        sent = _flush(engine, now)
        require(sum(map(len, sent)) <= 3 * len(data) + 3 * 65_535, "a small datagram is answered with much")
    for _ in range(DEADLINES):
        deadline = engine.next_deadline()
        if deadline == NEVER:
            break
        now = max(now, deadline)
        engine.handle_deadline(now)
        _flush(engine, now)
    require(not engine.peers, "connections are left")


def endpoint_seeds() -> list[bytes]:
    hello = Ends().first
    foreign = b"\xc3" + bytes.fromhex("1a2a3a4a") + hello[0][5:]
    scripts = [b"".join(map(piece, hello)), piece(hello[0]) + piece(b"\x40" + bytes(50)), piece(foreign)]
    return [lead + script for lead in (b"\0", b"\xff") for script in scripts]


ENTRIES = [
    Entry("datapath", transport, transport_seeds, runs=60, native=True),
    Entry("engine_server", server, server_seeds, runs=40, native=True),
    Entry("engine", http, http_seeds, runs=60, native=True),
    Entry("engine_handshake", handshake, handshake_seeds, runs=60, native=True),
    Entry("qlog", qlog, qlog_seeds, runs=40, native=True),
    Entry("endpoint", endpoint, endpoint_seeds, runs=40),
]
