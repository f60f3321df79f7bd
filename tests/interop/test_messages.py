"""The rarer parts of messages, with servers that others wrote."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

import specter
from specter.testing.content import content, content_chunks
from tests.interop.conftest import MakeServer
from tests.interop.harness import PAGE, ServerProcess, content_digest

pytestmark = pytest.mark.interop

SIZE = 200_000


def digest_of(size: int) -> dict[str, object]:
    return {"bytes": size, "sha256": hashlib.sha256(content(0, size)).hexdigest()}


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_bodies_are_decoded(make_server: MakeServer, coding: str) -> None:
    server = make_server("caddy")
    options = {"verify": server.authority, "resolve": {"localhost": server.host}}
    with specter.Client(**options, decode=True) as client:  # type: ignore[arg-type]
        url, headers = server.url + "/pages/page.html", {"accept-encoding": coding}
        response = client.get(url, headers=headers)
        assert response.headers["content-encoding"] == coding
        assert response.text == PAGE
        with client.stream("GET", url, headers=headers) as streamed:
            assert sum(len(chunk) for chunk in streamed.iter_raw()) < len(PAGE) // 5
        with client.stream("GET", url) as streamed:
            assert "".join(streamed.iter_text()) == PAGE
        assert "content-encoding" not in client.get(url, decode=False).headers


def test_trailers_are_taken_or_dropped(server: ServerProcess, client: specter.Client) -> None:
    for trailers in ({"x-checksum": "abc"}, lambda: [("x-a", "1"), ("x-a", "2")]):
        response = client.post(f"{server.url}/digest", content=content(0, SIZE), trailers=trailers)
        assert response.json() == digest_of(SIZE)
    assert client.get(f"{server.url}/bytes/1").timing.reused


def test_a_body_waits_to_be_asked_for(server: ServerProcess, client: specter.Client) -> None:
    """Whether the server says 100 or not."""
    headers = {"content-length": str(SIZE)}
    for body in (content(0, SIZE), content_chunks(SIZE)):
        response = client.post(f"{server.url}/digest", content=body, headers=headers, expect_continue=0.3)
        assert response.json() == digest_of(SIZE)


def test_priorities_may_change(server: ServerProcess, client: specter.Client) -> None:
    digest = hashlib.sha256()
    with client.stream("GET", f"{server.url}/bytes/1000000", priority=specter.Priority(5)) as response:
        for piece in every_piece(response):
            digest.update(piece)
    assert digest.hexdigest() == content_digest(1_000_000)
    assert client.get(f"{server.url}/bytes/1").timing.reused


def every_piece(response: specter.Response) -> Iterator[bytes]:
    for number, piece in enumerate(response.iter_bytes(100_000)):
        response.reprioritize(specter.Priority(number % 8, incremental=number % 2 == 0))
        yield piece


def test_what_a_connection_tells_of_itself(server: ServerProcess, client: specter.Client) -> None:
    first = client.get(f"{server.url}/bytes/1000000")
    info, timing = first.connection, first.timing
    assert info is not None
    assert (info.alpn, info.quic_version, info.tls_version) == ("h3", "QUICv1", "TLSv1.3")
    assert info.bytes_received > 1_000_000
    assert 0 < info.round_trip_time < 5
    assert timing.answered is not None
    assert timing.secured is not None
    assert timing.headers is not None
    assert 0 < timing.answered <= timing.secured <= timing.headers
    again = client.get(f"{server.url}/bytes/1")
    assert again.connection is not None
    assert again.connection.reused
    assert again.timing.secured is None
