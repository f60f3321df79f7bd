"""Connections to real servers, recorded once and played back without them: every datagram must come out as it did.

``python -m tests.twins.replay DIRECTORY`` plays all recordings of a directory, then each again with one arriving
datagram damaged, and prints a line per run: whichever backend plays them, the lines are the same.
``python -m tests.twins.replay RECORDING NUMBER`` prints everything that happens in one damaged run.

When the wire changes on purpose (another ClientHello, another ACK policy, another release of pylsqpack), record anew
with ``python -m tests.twins.record tests/twins/recordings``; it needs the servers of ``tests/interop``. A change that
was not meant to show on the wire is a finding, and no reason to record.
"""

from __future__ import annotations

import base64
import copy
import datetime
import gzip
import hashlib
import json
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import specter
from specter._backend import batch as batches
from specter._entropy import SeededEntropy
from specter._wire import NEVER
from specter.errors import LocalProtocolError
from specter.h3.config import H3Config
from specter.h3.connection import H3Connection
from specter.h3.events import BodyReadable, H3Event, MessageComplete, ResponseReceived
from specter.quic.config import QuicConfig
from specter.quic.connection import Connection
from specter.quic.events import ConnectionClosed, HandshakeCompleted
from specter.quic.qlog import Open
from specter.testing.content import content
from specter.tls.config import ClientTlsConfig
from specter.tls.trust import TrustStore

RECORDINGS = Path(__file__).parent / "recordings"
VARIANTS = 30
"""Damaged runs of each recording."""
EARLY = 8
"""The first so many datagrams are all damaged: the handshake is among them."""
LAST_DEADLINES = 40
LOGGED = 10
"""Damaged runs that are played with an event log as well."""

Recording = dict[str, Any]
"""``connection`` (what the client was made of), ``negotiated``, ``calls`` and ``responses``, all in JSON's types.

A call is ``[name, now, arguments, result]``; a datagram is ``[ecn, base64]``.
"""


class Mismatch(Exception):
    """A call did not do what it did when it was recorded."""


def load(path: Path) -> Recording:
    recording: Recording = json.loads(gzip.decompress(path.read_bytes()))
    return recording


def store(path: Path, recording: Recording) -> None:
    text = json.dumps(recording, separators=(",", ":"))
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def pack(data: bytes | bytearray | memoryview, ecn: int) -> list[Any]:
    return [ecn, base64.b64encode(data).decode()]


@dataclass
class Response:
    """What came back for one request."""

    status: int = 0
    headers: list[list[str]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)

    def summary(self) -> dict[str, Any]:
        digest = hashlib.sha256(self.body).hexdigest()
        return {"status": self.status, "headers": self.headers, "size": len(self.body), "sha256": digest}


class Player:
    """A client connection, and the calls that recordings are made of; the recorder uses it too.

    ``transmit`` gets every batch that is to leave, ``qlog`` opens an event log.
    """

    def __init__(
        self,
        setup: dict[str, Any],
        transmit: Callable[[batches.SendBatch], object] | None = None,
        qlog: Open | None = None,
    ) -> None:
        tls = ClientTlsConfig(
            server_name=setup["server_name"],
            trust=TrustStore.load(setup["authority"].encode()),
            verification_time=datetime.datetime.fromisoformat(setup["verification_time"]),
            groups=tuple(setup["groups"]),
            key_shares=tuple(setup["key_shares"]),
        )
        seed, start = setup["seed"], setup["start"]
        settings = {**setup["quic"], "versions": tuple(setup["quic"]["versions"]), "qlog": qlog}
        self.quic = Connection.client(QuicConfig(**settings), tls, SeededEntropy(f"{seed} quic"), start)
        self.http = H3Connection(self.quic, H3Config(**setup["h3"]), entropy=SeededEntropy(f"{seed} h3"))
        self.connected = False
        self.readable: set[int] = set()
        self.complete: set[int] = set()
        self.bodies: dict[int, Response] = {}
        self._transmit = transmit

    def call(self, name: str, now: int, arguments: list[Any]) -> Any:
        """Do one call of a recording; return its result in JSON's types."""
        return getattr(self, f"do_{name}")(now, *arguments)

    @property
    def negotiated(self) -> dict[str, int]:
        return {"group": int(self.quic.tls.group or 0), "cipher_suite": int(self.quic.tls.cipher_suite or 0)}

    @property
    def responses(self) -> dict[str, dict[str, Any]]:
        return {str(stream_id): response.summary() for stream_id, response in self.bodies.items()}

    # What a driver calls.

    def do_send(self, now: int) -> list[Any]:
        batch = self.http.send(now)
        if self._transmit is not None and len(batch):
            self._transmit(batch)
        return [pack(datagram, ecn) for datagram, _, ecn in batch]

    def do_receive(self, now: int, datagrams: list[Any]) -> None:
        batch = batches.ReceiveBatch()
        for ecn, text in datagrams:
            batch.append(base64.b64decode(text), None, ecn)
        self.http.receive(batch, now)

    def do_handle_deadline(self, now: int) -> None:
        self.http.handle_deadline(now)

    def do_events(self, now: int) -> list[str]:
        events = []
        while (event := self.http.next_event()) is not None:
            self._note(event)
            events.append(describe(event))
        return events

    def _note(self, event: H3Event) -> None:
        if isinstance(event, HandshakeCompleted):
            self.connected = True
        elif isinstance(event, BodyReadable):
            self.readable.add(event.stream_id)
        elif isinstance(event, MessageComplete):
            self.complete.add(event.stream_id)
        elif isinstance(event, ResponseReceived):
            headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in event.headers]
            self.bodies[event.stream_id] = Response(event.status, headers)

    # What an application calls.

    def do_request(self, now: int, fields: list[list[str]], fin: bool) -> int:
        return self.http.send_request([(name.encode(), value.encode()) for name, value in fields], fin=fin)

    def do_body(self, now: int, stream_id: int, offset: int, size: int, fin: bool) -> int:
        return self.http.send_body(stream_id, content(offset, size), fin=fin)

    def do_read(self, now: int, stream_id: int, limit: int) -> int:
        data = self.http.read_body(stream_id, limit)
        if data:
            self.bodies[stream_id].body += data
        else:
            self.readable.discard(stream_id)
        return len(data)

    def do_close(self, now: int) -> None:
        self.http.close()


def describe(event: H3Event) -> str:
    """Return the text of an event with all that is in it, the same in every process."""
    if isinstance(event, ConnectionClosed) and event.failure is not None:
        return f"{replace(event, failure=None)!r} after {type(event.failure).__name__}: {event.failure}"
    told = (f"{one.name}={getattr(event, one.name)!r}" for one in fields(event))  # header fields are not in its repr()
    return f"{type(event).__name__}({', '.join(told)})"


class Log:
    """An event log as lines of text; it opens itself."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, original_dcid: bytes, is_client: bool, now: int) -> Log:
        return self

    def write(self, time: int, name: str, data: dict[str, Any]) -> None:
        self.lines.append(json.dumps([time, name, data]))

    def finish(self) -> None:
        self.lines.append("finished")


def play(recording: Recording, qlog: Open | None = None) -> Player:
    """Do every call as it was recorded. Raises ``Mismatch`` at the first result that is another one."""
    player = Player(recording["connection"], qlog=qlog)
    for number, (name, now, arguments, expected) in enumerate(recording["calls"]):
        result = player.call(name, now, arguments)
        if result != expected:
            raise Mismatch(f"call {number}, {name} at {now}: {brief(result)} instead of {brief(expected)}")
    return player


def brief(result: Any) -> str:
    """Return a result with the sizes and digests of datagrams in place of their bytes."""
    match result:
        case [int(ecn), str(text)]:
            data = base64.b64decode(text)
            return f"{len(data)} bytes {hashlib.sha256(data).hexdigest()[:32]} ecn {ecn}"
        case list():
            return "[" + ", ".join(map(brief, result)) + "]"
    return repr(result)


# -- damage -------------------------------------------------------------------------------------------------


def flip(chance: random.Random, data: bytes, earlier: bytes) -> list[bytes]:
    """One bit anywhere is another one."""
    position = chance.randrange(len(data))
    return [data[:position] + bytes([data[position] ^ 1 << chance.randrange(8)]) + data[position + 1 :]]


def disfigure(chance: random.Random, data: bytes, earlier: bytes) -> list[bytes]:
    """A byte of the header is another one: form, version, connection ids, token, length."""
    position = chance.randrange(min(24, len(data)))
    return [data[:position] + bytes([data[position] ^ chance.randrange(1, 256)]) + data[position + 1 :]]


def truncate(chance: random.Random, data: bytes, earlier: bytes) -> list[bytes]:
    return [data[: chance.randrange(len(data))]]


def extend(chance: random.Random, data: bytes, earlier: bytes) -> list[bytes]:
    return [data + chance.randbytes(chance.randrange(1, 100))]


def join(chance: random.Random, data: bytes, earlier: bytes) -> list[bytes]:
    """Two datagrams arrive as one."""
    return [earlier + data]


def repeat(chance: random.Random, data: bytes, earlier: bytes) -> list[bytes]:
    return [data, data]


def lose(chance: random.Random, data: bytes, earlier: bytes) -> list[bytes]:
    return []


Damage = Callable[[random.Random, bytes, bytes], list[bytes]]
DAMAGES: tuple[Damage, ...] = (truncate, flip, lose, disfigure, truncate, extend, flip, join, disfigure, repeat)


@dataclass(frozen=True)
class Variant:
    """A recording of which one arriving datagram was damaged."""

    label: str
    recording: Recording


def make_variants(recording: Recording) -> Iterator[Variant]:
    """Yield the damaged runs of a recording, always the same ones."""
    chance = random.Random(f"{recording['connection']['seed']} damage")
    calls = recording["calls"]
    places = [(at, slot) for at, call in enumerate(calls) if call[0] == "receive" for slot in range(len(call[2][0]))]
    chosen = [*range(EARLY), *chance.sample(range(EARLY, len(places)), VARIANTS - EARLY)]
    chance.shuffle(chosen)
    for number, which in enumerate(chosen):
        damage = DAMAGES[number % len(DAMAGES)]
        before = places[max(which - 1, 0)]
        damaged = _damage(recording, places[which], before, damage, chance)
        yield Variant(f"{number}: {damage.__name__} datagram {which} of {len(places)}", damaged)


def _damage(
    recording: Recording, place: tuple[int, int], before: tuple[int, int], damage: Damage, chance: random.Random
) -> Recording:
    calls = list(recording["calls"])
    at, slot = place
    earlier = base64.b64decode(calls[before[0]][2][0][before[1]][1])
    name, now, arguments, result = copy.deepcopy(calls[at])
    ecn, text = arguments[0][slot]
    pieces = damage(chance, base64.b64decode(text), earlier)
    arguments[0][slot : slot + 1] = [pack(piece, ecn) for piece in pieces]
    calls[at] = [name, now, arguments, result]
    return {**recording, "calls": calls}


def trace(recording: Recording, qlog: Open | None = None) -> list[str]:
    """Do every call, whatever comes of it, then let the clock run to the end; return what happened line by line."""
    player = Player(recording["connection"], qlog=qlog)
    lines: list[str] = []
    now = 0
    for name, now, arguments, _ in recording["calls"]:
        lines.append(_attempt(player, name, now, arguments))
    for _ in range(LAST_DEADLINES):
        lines += [_attempt(player, "read", now, [stream_id, 1 << 20]) for stream_id in sorted(player.readable)]
        if (deadline := player.http.next_deadline()) >= NEVER:
            break
        now = max(now, deadline)
        lines += [_attempt(player, name, now, []) for name in ("handle_deadline", "send", "events")]
    return [*lines, json.dumps(player.responses), str(player.quic.stats)]


def _attempt(player: Player, name: str, now: int, arguments: list[Any]) -> str:
    try:
        result = brief(player.call(name, now, arguments))
    except LocalProtocolError as error:  # a request on a connection that is over, say
        result = f"{type(error).__name__}: {error}"
    return f"{now} {name} {result}, next {player.http.next_deadline()}"


def _print_all(directory: Path) -> None:
    for path in sorted(directory.glob("*.json.gz")):
        recording = load(path)
        player = play(recording)
        print(f"{path.name}: as recorded, {player.quic.stats}")
        for variant in make_variants(recording):
            print(f"{path.name} {variant.label}: {_digest(trace(variant.recording))}")
        _print_logs(path.name, recording)
    kinds = {value for name, value in specter.backend().items() if name not in ("libcrypto", "layers")}
    print("backend", *sorted(kinds), specter.backend()["libcrypto"])


def _print_logs(name: str, recording: Recording) -> None:
    """Play a recording, and some of its damaged runs, with an event log; the calls must not come out otherwise."""
    log = Log()
    play(recording, log)
    print(f"{name} qlog: {len(log.lines)} events {_digest(log.lines)}")
    for variant in islice(make_variants(recording), LOGGED):
        log = Log()
        same = trace(variant.recording, log) == trace(variant.recording)
        print(f"{name} qlog {variant.label}: {same} {_digest(log.lines)}")


def _digest(lines: list[str]) -> str:
    return hashlib.sha256(chr(10).join(lines).encode()).hexdigest()


def main(arguments: list[str]) -> None:
    path = Path(arguments[0])
    if len(arguments) == 1:
        _print_all(path)
        return
    variant = list(make_variants(load(path)))[int(arguments[1])]
    print(variant.label, *trace(variant.recording), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
