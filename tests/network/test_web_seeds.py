"""HTTP/3 over random networks: a mix of requests on one connection, each answered in full or failed as asked."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from specter.errors import LocalProtocolError
from specter.quic.config import QuicConfig
from specter.quic.errors import CannotMigrate
from specter.testing.content import content, content_chunks
from specter.testing.fetch import Fetch
from specter.testing.replay import scenario
from specter.testing.web import WebPair

SEEDS = int(os.environ.get("SPECTER_WEB_SEEDS", "80"))
CHUNK = 8


def with_control_streams(config: QuicConfig) -> QuicConfig:
    return replace(config, max_streams_uni=max(3, config.max_streams_uni))


def begin(web: WebPair, chance: random.Random) -> tuple[Fetch, int | None]:
    """Start a request; return it with the length of body to expect, None when it is to fail."""
    size = chance.randrange(60_000)
    kind = chance.choice(["bytes", "echo", "trailers", "reset", "headers", "digest", "tunnel", "tunnel reset"])
    if kind == "bytes":
        return web.start(f"/bytes/{size}"), size
    if kind == "echo":
        return web.start("/echo", method="POST", body=content_chunks(size)), size
    if kind == "tunnel":
        return web.start("/echo", protocol="websocket", body=content_chunks(size)), size
    if kind == "tunnel reset":
        return web.start("/reset/5000", protocol="websocket", body=content_chunks(size)), None
    if kind == "reset":
        return web.start("/reset/5000"), None
    if kind == "digest":
        return web.start("/digest", method="PUT", body=content_chunks(size)), -1
    fields = tuple((b"x-%d" % number, chance.randbytes(20).hex().encode()) for number in range(chance.randrange(30)))
    return web.start(f"/{kind}", headers=fields), -1


def disturb(web: WebPair, chance: random.Random, fetches: list[Fetch]) -> Callable[[], bool]:
    """Have up to four things happen on the way: what a program, its user and its network may do at any time.

    Returns what tells whether all of them did.
    """
    ahead: list[object] = []

    def pause() -> None:
        web.client.reading = False
        appoint(chance.random(), web.client.resume)

    def migrate() -> None:
        with suppress(CannotMigrate):
            web.migrate(host=chance.random() < 0.5)

    def keys() -> None:
        with suppress(LocalProtocolError):
            web.moving.update_keys()

    def rebind() -> None:
        if web.moving.confirmed:  # before that, packets from elsewhere are nobody's (RFC 9000, section 9)
            web.rebind(host=chance.random() < 0.5)

    def appoint(after: float, action: Callable[[], object]) -> None:
        def act() -> None:
            ahead.remove(act)
            if web.client.closed is None:
                action()
                web.flush(web.client_host)

        ahead.append(act)
        web.at(after, act)

    things: list[Callable[[], object]] = [pause, migrate, keys, rebind]
    things += [lambda: web.client.cancel(chance.choice(fetches))] * 3
    for _ in range(chance.choice([0, 0, 1, 2, 4])):
        appoint(chance.uniform(0.0, 2.0), chance.choice(things))
    return lambda: not ahead


def check(fetch: Fetch, expected: int | None) -> None:
    if fetch.cancelled:
        assert not fetch.complete
        return
    if expected is None:
        assert fetch.failed is not None
        return
    assert fetch.complete
    assert fetch.status == 200
    if expected >= 0:
        assert bytes(fetch.body) == content(0, expected)


def run(seed: int) -> None:
    plan, chance = scenario(seed), random.Random(seed)
    web = WebPair(
        seed,
        plan.up,
        plan.down,
        client_config=with_control_streams(plan.client),
        server_config=with_control_streams(plan.server),
    )
    fetches = [begin(web, chance) for _ in range(chance.randrange(1, 15))]
    undisturbed = disturb(web, random.Random(f"{seed} web uses"), [fetch for fetch, _ in fetches])

    def done() -> bool:
        return web.client.closed is not None or (web.client.done and web.moving.confirmed and undisturbed())

    web.run(done, limit=600)
    web.moving.ping()  # of a client that is silent since a rebinding its server cannot know where it is
    web.flush(web.client_host)
    for fetch, expected in fetches:
        check(fetch, expected)
    responder = web.responder
    web.run(lambda: responder.describe().startswith("0 exchanges"), limit=600)
    web.run(lambda: responder.h3.quic.stats.bytes_in_flight == 0, limit=600)  # type: ignore[attr-defined]
    assert responder.describe().startswith("0 exchanges")
    web.close()
    assert web.endpoint.peers == {}


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_web_seeds(first: int) -> None:
    for seed in range(first, first + CHUNK):
        try:
            run(seed)
        except Exception as error:
            pytest.fail(f"seed {seed}: {type(error).__name__}: {error}")
