"""Seeds from connections to real servers: their datagrams, and the frames in them."""

from __future__ import annotations

import base64
from functools import cache
from typing import Any

from tests.twins.replay import RECORDINGS, Player, load

FIRST = 6
"""So many datagrams of each recording, and payloads, are seeds."""


@cache
def _recordings() -> list[dict[str, Any]]:
    return [load(path) for path in sorted(RECORDINGS.glob("*.json.gz"))]


@cache
def _datagrams() -> tuple[bytes, ...]:
    found = []
    for recording in _recordings():
        arrived = [data for name, _, args, _ in recording["calls"] if name == "receive" for _, data in args[0]]
        found += [base64.b64decode(data) for data in arrived[:FIRST]]
    return tuple(found)


def datagrams() -> list[bytes]:
    """Return the first datagrams that servers sent."""
    return list(_datagrams())


class _Observer:
    """Keeps the plaintext of packets that arrive."""

    def __init__(self) -> None:
        self.payloads: dict[bytes, None] = {}

    def received(self, first: int, number: int, view: memoryview, start: int, end: int, size: int) -> None:
        self.payloads[bytes(view[start:end])[:300]] = None

    def duplicate(self, number: int, size: int) -> None: ...

    def sent(self, first: int, number: int, view: memoryview, start: int, end: int, size: int) -> None: ...


@cache
def _payloads() -> tuple[bytes, ...]:
    found: list[bytes] = []
    for recording in _recordings():
        player, observer = Player(recording["connection"]), _Observer()
        player.quic._core.receiver.observer = observer
        for name, now, arguments, _ in recording["calls"]:
            player.call(name, now, arguments)
            if len(observer.payloads) >= 4 * FIRST:
                break
        found += list(observer.payloads)[: 4 * FIRST]
    return tuple(found)


def payloads() -> list[bytes]:
    """Return what the first 1-RTT packets of servers said, cut after 300 bytes."""
    return list(_payloads())
