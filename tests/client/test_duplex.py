"""Uploads and responses that overlap."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

import specter
from specter.quic.config import QuicConfig
from specter.testing.content import content, content_chunks
from tests.client.support import MakeClient, StartServer

SMALL = QuicConfig(
    stream_window=16_384,
    stream_window_max=16_384,
    connection_window=32_768,
    connection_window_max=32_768,
    send_buffer=16_384,
)
SIZE = 400_000


def test_an_echo_much_larger_than_every_window(start_server: StartServer, make_client: MakeClient) -> None:
    server = start_server(config=SMALL)
    client = make_client(server, quic=SMALL)
    assert client.post("/echo", content=content(0, SIZE)).content == content(0, SIZE)
    assert client.post("/echo", content=content_chunks(SIZE, 1000)).content == content(0, SIZE)


def test_an_echo_read_piece_by_piece(start_server: StartServer, make_client: MakeClient) -> None:
    server = start_server(config=SMALL)
    client = make_client(server, quic=SMALL)
    with client.stream("POST", "/echo", content=content_chunks(SIZE, 5000)) as response:
        body = b"".join(response.iter_bytes(777))
    assert body == content(0, SIZE)


def test_the_answer_to_a_piece_comes_before_the_next_piece_is_made(client: specter.Client) -> None:
    made: list[float] = []

    def pieces() -> Iterator[bytes]:
        for index in range(3):
            made.append(time.monotonic())
            yield b"%d" % index
            time.sleep(0.05)

    arrived: list[tuple[bytes, float]] = []
    with client.stream("POST", "/echo", content=pieces()) as response:
        arrived.extend((piece, time.monotonic()) for piece in response.iter_bytes())
    assert b"".join(piece for piece, _ in arrived) == b"012"
    assert arrived[0][1] < made[-1]


@pytest.mark.parametrize("status", [200, 413])
def test_an_early_response_ends_the_upload(client: specter.Client, status: int) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 10_000
            yield bytes(10_000)

    response = client.post(f"/status/{status}", content=endless())
    assert response.status_code == status
    assert response.text == f"{status}\n"
    assert sent < 20_000_000
    assert client.get("/bytes/1").timing.reused


def test_an_early_response_to_a_body_with_a_length(client: specter.Client) -> None:
    assert client.post("/status/413", content=bytes(5_000_000)).status_code == 413
    assert client.get("/bytes/1").timing.reused


def test_a_reset_in_the_middle_of_an_upload(client: specter.Client) -> None:
    with pytest.raises(specter.StreamReset, match="H3_INTERNAL_ERROR"):
        client.post("/reset/1000", content=content_chunks(5_000_000)).read()


def test_a_generator_is_closed_when_it_is_not_wanted_any_more(client: specter.Client) -> None:
    closed: list[bool] = []

    def endless() -> Iterator[bytes]:
        try:
            while True:
                yield bytes(10_000)
        finally:
            closed.append(True)

    client.post("/status/413", content=endless())
    assert closed == [True]


def test_backpressure(start_server: StartServer, make_client: MakeClient) -> None:
    """A server that does not read stops the generator, not the memory of the client."""
    server = start_server(config=SMALL)
    client = make_client(server, quic=SMALL, timeout=specter.Timeouts(5, write=0.3))
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1000
            yield bytes(1000)

    with pytest.raises(specter.WriteTimeout):
        client.post("/delay/30", content=endless())
    assert taken < 100_000
