"""The other end of the pump: Specter's engine as a server whose bodies never end."""

from __future__ import annotations

from typing import Final

from perf.bench.pump.client import AUTHORITY
from specter._backend import batch as batches
from specter._entropy import SeededEntropy
from specter.h3.connection import H3Connection
from specter.h3.events import BodyReadable, RequestReceived
from specter.quic.config import QuicConfig
from specter.quic.connection import Connection
from specter.quic.packet import parse_header
from specter.testing.certificates import CertificateAuthority
from specter.tls.ciphers import CipherSuite
from specter.tls.config import ServerTlsConfig

__all__ = ["DATA_FRAME", "Feed"]

DATA_FRAME: Final = 16_384
"""Bytes of one DATA frame."""
_BLOCK: Final = bytes(range(256)) * (DATA_FRAME // 256)
_FRAME_ROOM: Final = DATA_FRAME + 16
_CID_LENGTH: Final = 8


class Feed:
    """Answers every request with an endless body, in DATA frames of 16 KiB and datagrams of 1,200 bytes.

    ``busy`` streams at most carry data, the others stay open and idle; None means all.
    """

    def __init__(self, *, streams: int = 16, busy: int | None = None) -> None:
        self._config = QuicConfig(
            max_streams_bidi=max(100, streams), send_buffer=(256 << 10) if streams <= 16 else 2 * _FRAME_ROOM
        )
        self._credential = CertificateAuthority().issue(AUTHORITY).tls
        self._h3: H3Connection | None = None
        self._batch = batches.ReceiveBatch()
        self._busy = busy
        self._streams: list[int] = []
        self.answered = 0
        self.uploaded = 0
        """Bytes of request bodies."""

    def _accept(self, datagram: bytes, now: int) -> H3Connection:
        header = parse_header(datagram, 0, len(datagram), _CID_LENGTH)
        tls = ServerTlsConfig(credentials=(self._credential,), cipher_suites=(CipherSuite.TLS_AES_128_GCM_SHA256,))
        quic = Connection.server(
            self._config, tls, SeededEntropy("server"), now, original_dcid=header.dcid, client_cid=header.scid
        )
        return H3Connection(quic)

    def take(self, datagrams: list[bytes], now: int) -> None:
        """Receive what the client sent."""
        if not datagrams:
            return
        if self._h3 is None:
            self._h3 = self._accept(datagrams[0], now)
        for datagram in datagrams:
            if self._batch.full:
                self._deliver(now)
            self._batch.append(datagram)
        self._deliver(now)

    def _deliver(self, now: int) -> None:
        h3 = self._engine()
        h3.receive(self._batch, now)
        self._batch.clear()
        while (event := h3.next_event()) is not None:
            if isinstance(event, RequestReceived):
                self._answer(h3, event.stream_id)
            elif isinstance(event, BodyReadable):
                while piece := h3.read_body(event.stream_id):
                    self.uploaded += len(piece)

    def _answer(self, h3: H3Connection, stream_id: int) -> None:
        self.answered += 1
        h3.send_headers(stream_id, [(b":status", b"200")])
        if self._busy is None or len(self._streams) < self._busy:
            self._streams.append(stream_id)

    def _engine(self) -> H3Connection:
        if self._h3 is None:
            raise RuntimeError("nothing was received yet")
        return self._h3

    def give(self, now: int) -> list[bytes]:
        """Return datagrams that may leave now."""
        h3 = self._engine()
        quic = h3.quic
        for stream_id in self._streams:
            while quic.writable(stream_id) >= _FRAME_ROOM:
                h3.send_body(stream_id, _BLOCK)
        if h3.next_deadline() <= now:
            h3.handle_deadline(now)
        leaving: list[bytes] = []
        while len(batch := h3.send(now)):
            leaving.extend(bytes(datagram) for datagram, _, _ in batch)
        return leaving
