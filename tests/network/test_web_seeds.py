"""HTTP/3 over random networks: a mix of requests on one connection, each answered in full or failed as asked."""

from __future__ import annotations

import os
import random
from dataclasses import replace

import pytest

from specter.quic.config import QuicConfig
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


def check(fetch: Fetch, expected: int | None) -> None:
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
    web.run(lambda: web.client.done or web.client.closed is not None, limit=600)
    for fetch, expected in fetches:
        check(fetch, expected)
    responder = web.responder
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
