"""aioquic: its asyncio protocol and its HTTP/3 layer, put together as its own example client does."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from perf.peers.adapter import FIRST_NAP, NAP, Adapter, Sample, expect, now, zeros

_client: Any = import_module("aioquic.asyncio.client")
_protocol: Any = import_module("aioquic.asyncio.protocol")
_h3: Any = import_module("aioquic.h3.connection")
_events: Any = import_module("aioquic.h3.events")
_configuration: Any = import_module("aioquic.quic.configuration")

WINDOW = 24 << 20
BACKLOG = 1 << 20
"""Bytes of an upload that wait in the connection: it takes without end what it is given."""


class Exchange:
    """One response, or a tunnel, as it comes."""

    def __init__(self, begin: int) -> None:
        self.begin = begin
        self.status = b""
        self.headers = self.first = self.end = self.size = 0
        self.waiter: asyncio.Future[None] | None = None

    def tell(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def wait(self) -> None:
        """Return when something came."""
        self.waiter = asyncio.get_running_loop().create_future()
        await self.waiter

    def sample(self) -> Sample:
        expect(self.status.startswith(b"2"), f"status {self.status!r}")
        return self.begin, self.headers, self.first or self.end, self.end, self.size


class Http(_protocol.QuicConnectionProtocol):  # type: ignore[misc]
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.h3 = _h3.H3Connection(self._quic)
        self.exchanges: dict[int, Exchange] = {}

    def quic_event_received(self, event: Any) -> None:
        for happened in self.h3.handle_event(event):
            exchange = self.exchanges.get(happened.stream_id)
            if exchange is None:
                continue
            if isinstance(happened, _events.HeadersReceived):
                exchange.headers = now()
                exchange.status = dict(happened.headers)[b":status"]
            elif isinstance(happened, _events.DataReceived):
                if happened.data and not exchange.first:
                    exchange.first = now()
                exchange.size += len(happened.data)
            if happened.stream_ended:
                exchange.end = now()
            exchange.tell()

    def open(self, exchange: Exchange, head: list[tuple[bytes, bytes]], *, fin: bool) -> int:
        stream: int = self._quic.get_next_available_stream_id()
        self.exchanges[stream] = exchange
        self.h3.send_headers(stream, head, fin)
        self.transmit()
        return stream

    def send(self, stream: int, data: bytes, fin: bool) -> None:
        self.h3.send_data(stream, data, fin)
        self.transmit()

    def backlog(self) -> int:
        """Return the bytes that wait to be sent."""
        return sum(len(stream.sender._buffer) for stream in self._quic._streams.values())


class Client(Adapter):
    version = version("aioquic")

    def __init__(self, options: dict[str, Any]) -> None:
        del options
        self._loop = asyncio.new_event_loop()
        self._context: Any = None
        self._http: Any = None

    def _run(self, work: Awaitable[Any]) -> Any:
        return self._loop.run_until_complete(work)

    def connect(self, url: str, ca_file: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 443
        self._authority = parts.netloc.encode()
        self._ca_file = ca_file
        self._run(self._connect())

    async def _connect(self) -> None:
        self._context = self._dial()
        self._http = await self._context.__aenter__()
        exchange = await self._get(self._http, "/health")
        expect(exchange.status in (b"200", b"404"), "no health")

    def _dial(self) -> Any:
        configuration = _configuration.QuicConfiguration(
            is_client=True,
            alpn_protocols=_h3.H3_ALPN,
            server_name=self._host,
            verify_mode=ssl.CERT_REQUIRED,
            max_data=WINDOW,
            max_stream_data=WINDOW,
            idle_timeout=60,
        )
        configuration.load_verify_locations(self._ca_file)
        return _client.connect("127.0.0.1", self._port, configuration=configuration, create_protocol=Http)

    def _head(self, method: bytes, path: str, *more: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        head = [(b":method", method), (b":scheme", b"https"), (b":authority", self._authority)]
        return [*head, (b":path", path.encode()), *more]

    async def _get(self, http: Http, path: str) -> Exchange:
        exchange = Exchange(now())
        stream = http.open(exchange, self._head(b"GET", path), fin=True)
        while not exchange.end:
            await exchange.wait()
        del http.exchanges[stream]
        return exchange

    def stream(self, path: str, count: int) -> Sequence[Sample]:
        return self.many(path, count, 1)

    def many(self, path: str, count: int, at_once: int) -> Sequence[Sample]:
        async def work() -> list[Sample]:
            if at_once == 1:
                return [(await self._get(self._http, path)).sample() for _ in range(count)]
            room = asyncio.Semaphore(at_once)

            async def one() -> Sample:
                async with room:
                    return (await self._get(self._http, path)).sample()

            return await asyncio.gather(*(one() for _ in range(count)))

        result: list[Sample] = self._run(work())
        return result

    def upload(self, path: str, size: int) -> Sequence[Sample]:
        async def work() -> list[Sample]:
            http, exchange = self._http, Exchange(now())
            stream = http.open(exchange, self._head(b"POST", path, (b"content-length", b"%d" % size)), fin=False)
            for piece in zeros(size):
                http.send(stream, piece, False)
                await self._drain(http)
            http.send(stream, b"", True)
            while not exchange.end:
                await exchange.wait()
            exchange.sample()
            return [(exchange.begin, exchange.end, exchange.end, exchange.end, size)]

        result: list[Sample] = self._run(work())
        return result

    async def _drain(self, http: Http) -> None:
        while http.backlog() > BACKLOG:  # noqa: ASYNC110 - aioquic has nothing to wait for
            await asyncio.sleep(0.001)

    def handshakes(self, path: str, count: int) -> Sequence[Sample]:
        async def work() -> list[Sample]:
            samples = []
            for _ in range(count):
                begin = now()
                async with self._dial() as http:
                    _, headers, first, _, size = (await self._get(http, path)).sample()
                samples.append((begin, headers, first, now(), size))
            return samples

        result: list[Sample] = self._run(work())
        return result

    # -- tunnels --------------------------------------------------------------------------------------

    async def _tunnel(self, path: str, begin: int) -> tuple[int, Exchange]:
        exchange = Exchange(begin)
        stream = self._http.open(exchange, self._head(b"CONNECT", path, (b":protocol", b"websocket")), fin=False)
        while not exchange.headers:
            await exchange.wait()
        return stream, exchange

    def echo(self, path: str, count: int, size: int) -> Sequence[Sample]:
        async def work() -> list[Sample]:
            stream, exchange = await self._tunnel(path, now())
            samples, data = [], bytes(size)
            for _ in range(count):
                begin, target, exchange.first = now(), exchange.size + size, 0
                self._http.send(stream, data, False)
                while exchange.size < target:
                    await exchange.wait()
                samples.append((begin, exchange.first, exchange.first, now(), size))
            self._http.send(stream, b"", True)
            return samples

        result: list[Sample] = self._run(work())
        return result

    def close_fin(self, path: str, count: int, size: int) -> Sequence[Sample]:
        async def work() -> list[Sample]:
            return [await self._close_fin(path, bytes(size)) for _ in range(count)]

        result: list[Sample] = self._run(work())
        return result

    async def _close_fin(self, path: str, data: bytes) -> Sample:
        stream, exchange = await self._tunnel(path, now())
        self._http.send(stream, data, True)
        while not exchange.end:
            await exchange.wait()
        return exchange.sample()

    def mixed(self, path: str, tunnel: str, count: int, size: int, writes: int) -> Sequence[Sample]:
        async def work() -> list[Sample]:
            return [await self._mixed(path, tunnel, bytes(size), writes) for _ in range(count)]

        result: list[Sample] = self._run(work())
        return result

    async def _mixed(self, path: str, target: str, data: bytes, writes: int) -> Sample:
        begin = now()
        (end, got), exchange = await asyncio.gather(self._slow(target, data, writes), self._get(self._http, path))
        _, headers, first, done, size = exchange.sample()
        return begin, headers, first, max(end, done), size + got

    async def _slow(self, target: str, data: bytes, writes: int) -> tuple[int, int]:
        """Its reader cannot be slow: bytes come as events and are gone. It naps until it has seen all of them."""
        stream, exchange = await self._tunnel(target, now())
        for index in range(writes):
            self._http.send(stream, data, index == writes - 1)
        await asyncio.sleep(FIRST_NAP)
        seen = 0
        while True:
            await asyncio.sleep(NAP)
            while exchange.size == seen and not exchange.end:
                await exchange.wait()
            if exchange.end and exchange.size == seen:
                return now(), seen
            seen = exchange.size

    def close(self) -> None:
        async def bye() -> None:
            await self._context.__aexit__(None, None, None)

        if self._context is not None:
            self._run(bye())
        self._loop.close()
