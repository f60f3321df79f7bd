"""Whole connections, back to back: handshake, streams, limits, close."""

from __future__ import annotations

import hashlib

import pytest

from specter.quic.events import HandshakeCompleted, StreamFinished
from tests.quic.support import Pair


def test_handshake_is_confirmed_on_both_sides() -> None:
    pair = Pair()
    pair.handshake()
    assert HandshakeCompleted(b"h3") in pair.events["client"]
    assert HandshakeCompleted(b"h3") in pair.events["server"]


@pytest.mark.parametrize("size", [0, 1, 1199, 300_000])
def test_client_stream_arrives(size: int) -> None:
    pair = Pair()
    pair.handshake()
    data = hashlib.shake_128(b"x").digest(size)
    stream = pair.client.open_stream()
    sent = pair.client.write(stream, data, fin=True)
    got = bytearray()
    server = pair.server
    assert server is not None

    def done() -> bool:
        nonlocal sent
        got.extend(server.read(stream))
        if sent < size:
            sent += pair.client.write(stream, memoryview(data)[sent:], fin=True)
        return len(got) == size and server.at_end(stream) and StreamFinished(stream) in pair.events["client"]

    pair.run(done)
    assert bytes(got) == data
