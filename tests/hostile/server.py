"""A server that breaks rules on purpose, and a real client of HTTP/3 over QUIC to watch.

The handshake is a real one. From then on the server says what a breach tells it to, sealed with its keys; what the
client answers is opened and read as a server would read it.
"""

from __future__ import annotations

from dataclasses import dataclass

from specter._frame_types import ConnectionClose, Frame, ResetStream, StopSending, Stream
from specter._wire import TransportErrorCode
from specter.h3.connection import H3Connection
from specter.h3.errors import error_name
from specter.h3.events import BodyReadable
from specter.quic.connection import Connection
from specter.tls.alerts import AlertDescription
from tests.h3.support import PLAIN, POST, drain, read_all
from tests.quic.scripted import Scripted
from tests.quic.support import Pair

REQUEST, CONTROL, ENCODER, DECODER, SPARE = 0, 3, 7, 11, 15
"""The client's first request, and unidirectional streams of the server."""

CRYPTO_ERROR = 0x100


@dataclass(frozen=True, slots=True)
class On:
    """Bytes for a stream, behind those that it had before."""

    stream_id: int
    data: bytes
    fin: bool = False


Said = Frame | bytes | On


class _Web(Pair):
    def _collect(self, name: str, connection: Connection) -> None:
        """Leave the events to HTTP/3."""


class HostileServer(Scripted):
    """Speaks to a client that waits for the response to a POST on stream 0, whose body it has not ended."""

    def __init__(self, headers: list[tuple[bytes, bytes]] = POST) -> None:
        pair = _Web()
        self.web = H3Connection(pair.client, PLAIN)
        pair.handshake()
        drain(self.web)
        self.web.send_request(headers, fin=False)
        pair.settle(300_000_000)
        super().__init__(pair)
        self._offsets: dict[int, int] = {}
        self.heard: list[Frame] = []

    def flush(self) -> list[bytes]:
        answer: list[bytes] = []
        self._take_events()
        while len(burst := self.target.send(self.pair.now)):
            answer += [bytes(data) for data, _, _ in burst]
            self._take_events()
        return answer

    def _take_events(self) -> None:
        """Do what an application does: read what there is of bodies."""
        events = drain(self.web)
        while events:
            self.events += [event for event in events if not isinstance(event, BodyReadable)]
            for event in events:
                if isinstance(event, BodyReadable):
                    read_all(self.web, event.stream_id)
            events = drain(self.web)

    def break_rules(self, *said: Said) -> None:
        """Say each thing in a packet of its own and note the frames of the answers."""
        for item in said:
            frame = self._on_stream(item) if isinstance(item, On) else item
            for datagram in self.say(frame):
                self.heard += self.open(datagram)

    def _on_stream(self, item: On) -> Stream:
        offset = self._offsets.get(item.stream_id, 0)
        self._offsets[item.stream_id] = offset + len(item.data)
        return Stream(item.stream_id, offset, item.data, item.fin)

    @property
    def connection_error(self) -> str | None:
        """The name of the code that the client closed the connection with, as it left it on the wire."""
        for frame in self.heard:
            if isinstance(frame, ConnectionClose):
                return error_name(frame.error_code) if frame.application else transport_error(frame.error_code)
        return None

    @property
    def stream_error(self) -> str | None:
        """The name of the code that the client gave the request up with; the response too unless that had ended."""
        given_up = [
            frame for frame in self.heard if isinstance(frame, ResetStream | StopSending) and frame.stream_id == REQUEST
        ]
        codes = {frame.error_code for frame in given_up}
        assert len(codes) <= 1
        return error_name(codes.pop()) if any(isinstance(frame, ResetStream) for frame in given_up) else None


def transport_error(code: int) -> str:
    if CRYPTO_ERROR <= code <= CRYPTO_ERROR + 0xFF:
        return f"CRYPTO_ERROR ({AlertDescription(code - CRYPTO_ERROR).name.lower()})"
    return TransportErrorCode(code).name
