"""Between client and server a relay that loses, repeats and reorders datagrams: the driver's timers have to work."""

from __future__ import annotations

import random
import select
import socket
import threading

import pytest

import specter
from specter.testing.content import content
from specter.testing.server import Server
from tests.client.support import MakeClient


class Relay:
    """Forwards datagrams between one client and ``server``; ``loss``, ``copies`` and ``delays`` are probabilities."""

    def __init__(self, server: Server, *, loss: float = 0.0, copies: float = 0.0, delays: float = 0.0) -> None:
        self.silent = False
        self._target = (server.host, server.port)
        self._chance = random.Random(1)
        self._loss, self._copies, self._delays = loss, copies, delays
        self._held: list[tuple[socket.socket, bytes, tuple[str, int]]] = []
        self._front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._front.bind(("127.0.0.1", 0))
        self._back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._back.bind(("127.0.0.1", 0))
        self._client: tuple[str, int] | None = None
        self._stop = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self.port: int = self._front.getsockname()[1]

    def close(self) -> None:
        self._stop = True
        self._thread.join()
        self._front.close()
        self._back.close()

    def _run(self) -> None:
        while not self._stop:
            ready, _, _ = select.select([self._front, self._back], [], [], 0.02)
            for end in ready:
                data, source = end.recvfrom(65_536)
                if end is self._front:
                    self._client = source
                    self._forward(self._back, data, self._target)
                elif self._client is not None:
                    self._forward(self._front, data, self._client)
            if not ready:
                self._let_go()

    def _forward(self, end: socket.socket, data: bytes, target: tuple[str, int]) -> None:
        if self.silent or self._chance.random() < self._loss:
            return
        if self._chance.random() < self._delays:
            self._held.append((end, data, target))
            return
        end.sendto(data, target)
        if self._chance.random() < self._copies:
            end.sendto(data, target)
        if len(self._held) > 3:
            self._let_go()

    def _let_go(self) -> None:
        held, self._held = self._held, []
        for end, data, target in held:
            end.sendto(data, target)


def through(make_client: MakeClient, server: Server, relay: Relay) -> specter.Client:
    return make_client(server, base_url=f"https://127.0.0.1:{relay.port}", timeout=10)


@pytest.mark.parametrize(
    "trouble", [{"loss": 0.05}, {"copies": 0.2}, {"delays": 0.2}], ids=lambda trouble: next(iter(trouble))
)
def test_everything_arrives(server: Server, make_client: MakeClient, trouble: dict[str, float]) -> None:
    relay = Relay(server, **trouble)
    try:
        with through(make_client, server, relay) as client:
            for size in (10, 50_000, 300_000):
                assert client.get(f"/bytes/{size}").content == content(0, size)
            assert client.post("/echo", content=content(0, 200_000)).content == content(0, 200_000)
    finally:
        relay.close()


def test_silence_in_the_middle(server: Server, make_client: MakeClient) -> None:
    """The network goes dark: a read timeout, and the next request does not use what is dead."""
    relay = Relay(server)
    try:
        with through(make_client, server, relay) as client:
            client.get("/bytes/1")
            relay.silent = True
            with pytest.raises(specter.ReadTimeout):
                client.get("/bytes/1", timeout=0.3)
            with pytest.raises(specter.ConnectTimeout):
                client.get("/bytes/1", timeout=0.3)
            relay.silent = False
            assert len(client.get("/bytes/2").content) == 2
    finally:
        relay.close()
