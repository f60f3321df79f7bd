"""Records connections to real servers for ``tests.twins.replay``: ``python -m tests.twins.record OUT_DIRECTORY``.

Each server of ``tests/interop`` is started, and one connection made to it: handshake, a GET of 1 byte, a GET of
60,000 bytes, a POST of 20,000 bytes, close. Every call to the engine is written down with its ``now`` and its result,
the datagrams of both directions among them. The client draws all its randomness from a seed, so that the same calls
give the same datagrams again; nothing secret is in a recording. Run it when the wire changed on purpose (the
docstring of ``tests.twins.replay`` says when), look at what changed, and commit the files.
"""

from __future__ import annotations

import dataclasses
import datetime
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from specter._backend import batch as batches
from specter._backend import udp
from specter.h3.config import H3Config
from specter.quic.config import MILLISECOND, SECOND, QuicConfig
from specter.testing.content import content
from specter.tls.key_exchange import DEFAULT_GROUPS, DEFAULT_KEY_SHARES, NamedGroup
from tests.interop.harness import AioquicServer, CaddyServer, ServerProcess, find_caddy, make_authority
from tests.interop.servers.upstream import Upstream
from tests.twins.replay import Player, Recording, pack, store

HOST = "127.0.0.1"
NAME = "localhost"
DOWNLOADS = (1, 60_000)
UPLOAD = 20_000
PIECE = 8_192
START = SECOND
PATIENCE = 10 * SECOND
QUIET = 60 * MILLISECOND
"""How long the line is listened to before the close: late tickets, delayed acknowledgments."""

Fields = list[list[str]]


class Recorder:
    """Drives one connection over a socket and writes down every call."""

    def __init__(self, setup: dict[str, Any], port: int) -> None:
        self.setup = setup
        self.authority = f"{NAME}:{port}"
        self.calls: list[list[Any]] = []
        self.socket = udp.UdpSocket.connect((HOST, port))
        self.arrived = batches.ReceiveBatch()
        self.origin = time.monotonic_ns() - START
        self.player = Player(setup, self.socket.send)

    def now(self) -> int:
        return time.monotonic_ns() - self.origin

    def call(self, name: str, *arguments: Any) -> Any:
        now = self.now()
        result = self.player.call(name, now, list(arguments))
        self.calls.append([name, now, list(arguments), result])
        return result

    def flush(self) -> None:
        while self.call("send"):
            pass

    def turn(self, limit: int) -> None:
        """Send, wait for something to happen (at most ``limit`` ns), and take it in."""
        self.flush()
        wait = min(self.player.http.next_deadline() - self.now(), limit)
        if wait > 0:
            self.socket.wait(wait)
        if self.socket.receive(self.arrived):
            self.call("receive", self._take_arrived())
        if self.player.http.next_deadline() <= self.now():
            self.call("handle_deadline")
        self.digest()

    def _take_arrived(self) -> list[list[Any]]:
        batch = self.arrived
        spans = [batch.span(index) for index in range(len(batch))]
        datagrams = [pack(batch.slab[start:end], batch.ecn(index)) for index, (start, end) in enumerate(spans)]
        batch.clear()
        return datagrams

    def digest(self) -> None:
        """Take events and bodies until there are no more."""
        self.call("events")
        while self.player.readable:
            for stream_id in sorted(self.player.readable):
                while self.call("read", stream_id, PIECE):
                    pass
            self.call("events")

    def until(self, condition: Callable[[], bool]) -> None:
        end = self.now() + PATIENCE
        while not condition():
            if self.player.quic.closing or self.now() > end:
                raise RuntimeError(f"the connection to {self.authority} got stuck: {self.calls[-5:]}")
            self.turn(end - self.now())

    def get(self, size: int) -> None:
        stream_id = self.call("request", self._fields("GET", f"/bytes/{size}"), True)
        self.until(lambda: stream_id in self.player.complete)
        assert self.player.bodies[stream_id].body == content(0, size)

    def post(self, size: int) -> None:
        fields = [*self._fields("POST", "/digest"), ["content-length", str(size)]]
        stream_id = self.call("request", fields, False)
        offset = 0
        while offset < size:
            length = min(PIECE, size - offset)
            offset += self.call("body", stream_id, offset, length, offset + length == size)
            self.flush()
        self.until(lambda: stream_id in self.player.complete)
        assert self.player.bodies[stream_id].status == 200

    def _fields(self, method: str, path: str) -> Fields:
        pairs = {":method": method, ":scheme": "https", ":authority": self.authority, ":path": path}
        return [*map(list, pairs.items()), ["user-agent", "specter recorder"]]

    def listen(self, duration: int) -> None:
        end = self.now() + duration
        while (left := end - self.now()) > 0:
            self.turn(left)

    def run(self) -> Recording:
        self.until(lambda: self.player.connected)
        for size in DOWNLOADS:
            self.get(size)
        self.post(UPLOAD)
        self.listen(QUIET)
        self.call("close")
        self.flush()
        self.digest()
        self.socket.close()
        return {
            "connection": self.setup,
            "negotiated": self.player.negotiated,
            "calls": self.calls,
            "responses": self.player.responses,
        }


def make_setup(seed: str, authority: Path) -> dict[str, Any]:
    """Return what the client is made of; the settings too, so that other defaults do not outdate a recording."""
    assert NamedGroup.X25519MLKEM768 in DEFAULT_KEY_SHARES
    return {
        "seed": seed,
        "start": START,
        "server_name": NAME,
        "authority": authority.read_text(),
        "verification_time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "groups": list(map(int, DEFAULT_GROUPS)),
        "key_shares": list(map(int, DEFAULT_KEY_SHARES)),
        "quic": dataclasses.asdict(QuicConfig()),
        "h3": dataclasses.asdict(H3Config()),
    }


@contextmanager
def servers(folder: Path) -> Iterator[list[ServerProcess]]:
    """Make the servers, not started yet."""
    program = find_caddy()
    if program is None:
        raise SystemExit("no Caddy: run ci/caddy, or set SPECTER_CADDY")
    (folder / "root" / "bytes").mkdir(parents=True)
    for size in DOWNLOADS:
        (folder / "root" / "bytes" / str(size)).write_bytes(content(0, size))
    authority = make_authority(folder / "ca.pem")
    upstream = Upstream()
    common = (folder / "root", folder / "ca.pem", authority.issue(NAME), HOST)
    yield [
        AioquicServer(folder / "aioquic", *common),
        CaddyServer(folder / "caddy", *common, program=program, upstream=upstream),
    ]
    upstream.close()


def main(arguments: list[str]) -> None:
    out = Path(arguments[0])
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, servers(Path(name)) as made:
        for server in made:
            server.start()
            try:
                recording = Recorder(make_setup(server.name, Path(server.authority)), server.port).run()
            finally:
                server.stop()
            path = out / f"{server.name}.json.gz"
            store(path, recording)
            print(f"{path}: {len(recording['calls'])} calls, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
