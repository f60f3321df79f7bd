"""An HTTP/3 server on aioquic, for the interop tests: ``/bytes/N``, ``/digest``, ``/echo``, tunnels, 404 for the rest.

``/early`` says whether the request came before the end of the handshake; ``/update-keys`` makes the server do that.

Prints ``ready`` once it listens and stops cleanly on SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import signal
from pathlib import Path
from typing import Any

from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import HandshakeCompleted, ProtocolNegotiated, QuicEvent
from aioquic.tls import CipherSuite, SessionTicket
from aioquic_tunnels import MessageEcho, RawEcho, accept

PIECE = 1 << 20


class Exchange:
    """One request: its header section and its body so far."""

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        fields = dict(headers)
        self.method = fields.get(b":method", b"").decode()
        self.path = fields.get(b":path", b"").decode()
        self.digest = hashlib.sha256()
        self.body = bytearray()
        self.size = 0

    def receive(self, data: bytes) -> None:
        self.size += len(data)
        self.digest.update(data)
        if self.path == "/echo":
            self.body += data

    def answer(self, root: Path) -> tuple[int, bytes]:
        if self.path == "/digest":
            return 200, json.dumps({"bytes": self.size, "sha256": self.digest.hexdigest()}).encode()
        if self.path == "/echo":
            return 200, bytes(self.body)
        file = root / self.path.lstrip("/")
        if file.is_file():
            return 200, file.read_bytes()
        return 404, b"nothing here\n"


class Server(QuicConnectionProtocol):
    """One client's connection."""

    root: Path

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._http: H3Connection | None = None
        self._exchanges: dict[int, Exchange] = {}
        self._tunnels: dict[int, RawEcho | MessageEcho] = {}
        self._early = True

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, HandshakeCompleted):
            self._early = False
        if isinstance(event, ProtocolNegotiated) and event.alpn_protocol in H3_ALPN:
            self._http = H3Connection(self._quic)
        if self._http is None:
            return
        for http_event in self._http.handle_event(event):
            stream_id = getattr(http_event, "stream_id", -1)
            if isinstance(http_event, HeadersReceived) and dict(http_event.headers).get(b":method") == b"CONNECT":
                self._connect(stream_id, http_event.headers)
            elif stream_id in self._tunnels:
                if isinstance(http_event, DataReceived):
                    self._tunnels[stream_id].receive(http_event.data, http_event.stream_ended)
            elif isinstance(http_event, HeadersReceived):
                self._exchanges.setdefault(http_event.stream_id, Exchange(http_event.headers))
            elif isinstance(http_event, DataReceived):
                self._exchanges[http_event.stream_id].receive(http_event.data)
            ended = isinstance(http_event, HeadersReceived | DataReceived) and http_event.stream_ended
            if ended and stream_id in self._exchanges:
                self._answer(http_event.stream_id, self._exchanges.pop(http_event.stream_id))

    def _connect(self, stream_id: int, fields: list[tuple[bytes, bytes]]) -> None:
        http = self._http
        assert http is not None
        answer, tunnel = accept(fields, lambda data, end: http.send_data(stream_id, data, end))
        http.send_headers(stream_id, answer, end_stream=tunnel is None)
        if tunnel is not None:
            self._tunnels[stream_id] = tunnel

    def _answer(self, stream_id: int, exchange: Exchange) -> None:
        assert self._http is not None
        status, body = exchange.answer(self.root)
        if exchange.path == "/update-keys":
            self._quic.request_key_update()
            status, body = 200, b"done"
        if exchange.path == "/early":
            status, body = 200, b"yes" if self._early else b"no"
        headers = [
            (b":status", str(status).encode()),
            (b"server", b"aioquic"),
            (b"content-length", str(len(body)).encode()),
        ]
        if exchange.method == "HEAD":
            body = b""
        self._http.send_headers(stream_id, headers, end_stream=not body)
        for start in range(0, len(body), PIECE):
            self._http.send_data(stream_id, body[start : start + PIECE], end_stream=start + PIECE >= len(body))


def configuration(options: argparse.Namespace) -> QuicConfiguration:
    settings = QuicConfiguration(alpn_protocols=H3_ALPN, is_client=False, congestion_control_algorithm="cubic")
    settings.load_cert_chain(options.cert, options.key)
    if options.cipher:
        settings.cipher_suites = [CipherSuite[options.cipher]]
    if options.versions:
        settings.supported_versions = [int(version, 16) for version in options.versions.split(",")]
    return settings


async def run(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    Server.root = options.root
    tickets: dict[bytes, SessionTicket] = {}
    keep: dict[str, Any] = {}
    if options.tickets:
        keep["session_ticket_handler"] = lambda ticket: tickets.update({ticket.ticket: ticket})
        keep["session_ticket_fetcher"] = lambda label: tickets.pop(label, None)
    server = await serve(
        options.host,
        options.port,
        configuration=configuration(options),
        create_protocol=Server,
        retry=options.retry,
        **keep,
    )
    print("ready", flush=True)
    await stop.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--cert", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--cipher", help="the one cipher suite to offer, by its RFC name without TLS_")
    parser.add_argument("--versions", default="", help="QUIC versions to support, hexadecimal, with commas between")
    parser.add_argument("--retry", action="store_true")
    parser.add_argument("--tickets", action="store_true", help="give out session tickets, each for one connection")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
