"""What QUIC hears about who waits: requests and responses that begin, and the bytes of tunnels."""

from __future__ import annotations

from tests.h3.support import GET, OK, POST, FakeQuic, data_frame, drain, established, headers_frame, read_all

CONNECT = [(b":method", b"CONNECT"), (b":authority", b"example.org:443")]


class Count:
    """How often QUIC was told since the last look."""

    def __init__(self, quic: FakeQuic) -> None:
        self._quic = quic
        self._seen = quic.marked

    def take(self) -> int:
        before, self._seen = self._seen, self._quic.marked
        return self._seen - before


def test_a_request_is_waited_for_and_its_body_is_bulk() -> None:
    connection, quic = established()
    told = Count(quic)
    stream_id = connection.send_request(POST, fin=False)
    assert told.take() == 1
    for _ in range(5):
        connection.send_body(stream_id, bytes(1000))
    assert told.take() == 0


def test_a_response_is_waited_for_and_its_body_is_bulk() -> None:
    connection, quic = established(False)
    quic.inject(0, headers_frame(*GET), fin=True)
    drain(connection)
    told = Count(quic)
    connection.send_headers(0, OK)
    assert told.take() == 1
    connection.send_body(0, bytes(100_000), fin=True)
    assert told.take() == 0


def test_the_body_of_a_response_is_bulk_to_its_reader() -> None:
    connection, quic = established()
    stream_id = connection.send_request(GET, fin=True)
    told = Count(quic)
    quic.inject(stream_id, headers_frame(*OK) + data_frame(bytes(1000)))
    drain(connection)
    read_all(connection, stream_id)
    assert told.take() == 0


def test_every_piece_of_a_tunnel_counts_in_both_directions() -> None:
    client, quic = established()
    stream_id = client.send_request(CONNECT, fin=False)
    quic.inject(stream_id, headers_frame(*OK))
    drain(client)
    told = Count(quic)
    client.send_body(stream_id, b"ping")
    assert told.take() == 1
    quic.inject(stream_id, data_frame(b"pong"))
    drain(client)
    assert told.take() == 1


def test_a_tunnel_counts_at_the_server_too() -> None:
    server, quic = established(False)
    quic.inject(0, headers_frame(*CONNECT))
    drain(server)
    server.send_headers(0, OK)
    told = Count(quic)
    server.send_body(0, b"pong")
    quic.inject(0, data_frame(b"ping"))
    drain(server)
    assert told.take() == 2
