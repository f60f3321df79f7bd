"""aioquic as a server, in its own environment: ``python -m perf.suite.aioquic_server CERTIFICATE KEY PORT``.

``GET /bytes/N`` answers with N zeros, any POST with the length of what came. It serves until its input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
from importlib import import_module
from typing import Any

_asyncio: Any = import_module("aioquic.asyncio")
_h3: Any = import_module("aioquic.h3.connection")
_events: Any = import_module("aioquic.h3.events")
_configuration: Any = import_module("aioquic.quic.configuration")

PIECE = 1 << 18
BACKLOG = 1 << 20
WINDOW = 24 << 20


class Server(_asyncio.QuicConnectionProtocol):  # type: ignore[misc]
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._h3: Any = None
        self._received: dict[int, int] = {}
        self._paths: dict[int, str] = {}
        self._left: dict[int, int] = {}
        """Bytes still to be sent, by stream."""

    def quic_event_received(self, event: Any) -> None:
        if self._h3 is None:
            self._h3 = _h3.H3Connection(self._quic)
        for happened in self._h3.handle_event(event):
            if isinstance(happened, _events.HeadersReceived):
                self._paths[happened.stream_id] = dict(happened.headers)[b":path"].decode()
                self._received[happened.stream_id] = 0
            elif isinstance(happened, _events.DataReceived):
                self._received[happened.stream_id] += len(happened.data)
            if getattr(happened, "stream_ended", False):
                self._answer(happened.stream_id)

    def _answer(self, stream: int) -> None:
        path, received = self._paths.pop(stream), self._received.pop(stream)
        if path.startswith("/bytes/"):
            self._h3.send_headers(stream, [(b":status", b"200")])
            self._left[stream] = int(path.removeprefix("/bytes/"))
            self._fill()
        else:
            self._h3.send_headers(stream, [(b":status", b"200")])
            self._h3.send_data(stream, str(received).encode(), True)

    def transmit(self) -> None:
        """Called whenever something may leave: that makes room for more."""
        self._fill()
        super().transmit()

    def _fill(self) -> None:
        """Hand over pieces, as long as not too much waits: aioquic itself takes what it is given."""
        for stream, left in list(self._left.items()):
            while left and self._waiting(stream) < BACKLOG:
                size = min(PIECE, left)
                left -= size
                self._h3.send_data(stream, bytes(size), not left)
            if left:
                self._left[stream] = left
            else:
                del self._left[stream]

    def _waiting(self, stream: int) -> int:
        found = self._quic._streams.get(stream)
        return len(found.sender._buffer) if found is not None else 0


async def serve(certificate: str, key: str, port: int) -> None:
    configuration = _configuration.QuicConfiguration(
        is_client=False, alpn_protocols=_h3.H3_ALPN, max_data=WINDOW, max_stream_data=WINDOW, idle_timeout=60
    )
    configuration.load_cert_chain(certificate, key)
    await _asyncio.serve("127.0.0.1", port, configuration=configuration, create_protocol=Server)
    print(json.dumps({"port": port}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2], int(sys.argv[3])))
