"""What the responses of both clients have in common: everything that does not wait."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypeAlias

from specter.client.decoding import decoder_for
from specter.client.headers import Headers
from specter.client.text import charset_of, is_known
from specter.client.timing import Timing
from specter.errors import DecodingError, Error, ResponseNotRead, StatusError, StreamClosed, StreamConsumed

if TYPE_CHECKING:
    from specter.client.priority import Priority
    from specter.client.request import Request
    from specter.client.url import URL
    from specter.net.info import ConnectionInfo

__all__ = ["CHUNK", "LARGE", "BaseResponse", "Source", "Take", "checked", "kept"]

CHUNK: Final = 1 << 16
"""Bytes that an iterator gives at a time at most."""
LARGE: Final = 1 << 20
"""Bytes read at a time when all of the body is wanted."""


class Source(Protocol):
    """Where the body comes from."""

    @property
    def trailers(self) -> tuple[tuple[bytes, bytes], ...]: ...

    async def read(self, limit: int) -> bytes:
        """Return 1 to ``limit`` bytes, ``b""`` at the end."""

    async def readinto(self, view: memoryview) -> int:
        """Fill ``view`` with at least one byte and return how many; 0 at the end."""

    def reprioritize(self, value: bytes) -> None:
        """Give the request another Priority field value, without waiting."""

    def close(self) -> None:
        """Cancel what is not finished, without waiting. Any number of times."""

    async def aclose(self) -> None:
        """Close, and wait until nothing runs any more that belongs to it."""


Take: TypeAlias = Callable[[int], Coroutine[object, None, bytes]]
"""Gives at most so many bytes of the body, none at its end."""


class BaseResponse:
    """Status, header fields, and the body once it was read."""

    http_version: Final = "HTTP/3"
    early_data: str | None = None
    """What became of the request's being sent as early data: ``"accepted"``, ``"rejected"`` (then it was sent again,
    after the handshake), None where it was not."""
    _expanding: Iterator[bytes] = iter(())
    """What is left of the last piece that went into the decoder."""
    _rest: memoryview | None = None
    """What was decoded and did not fit into the reader's buffer; None before there was one."""
    _over = False
    """The decoded body was read to its end, into buffers."""

    def __init__(
        self,
        status_code: int,
        *,
        headers: Headers,
        request: Request,
        source: Source,
        timing: Timing,
        informational: tuple[tuple[int, Headers], ...] = (),
        connection: ConnectionInfo | None = None,
    ) -> None:
        self.status_code = status_code
        self.headers = headers
        self.request = request
        self.timing = timing
        self.informational = informational
        """Interim responses (1xx) that came before: ``(status, headers)``."""
        self._connection = connection
        self._source = source
        limits = request.decode
        self._decoder = None if limits is None else decoder_for(request.method, status_code, headers, limits)
        self._content: bytes | None = None
        self._started = False
        self._closed = False
        self._encoding: str | None = None

    # -- about it ---------------------------------------------------------------------------------

    @property
    def url(self) -> URL:
        return self.request.url

    @property
    def connection(self) -> ConnectionInfo | None:
        """The connection it came over: addresses, what was negotiated, certificates, figures as of now."""
        info = self._connection
        return replace(info, reused=True) if info is not None and self.timing.reused else info

    @property
    def reason_phrase(self) -> str:
        """The usual phrase of the status; HTTP/3 does not send one."""
        from http import HTTPStatus

        try:
            return HTTPStatus(self.status_code).phrase
        except ValueError:
            return ""

    @property
    def is_informational(self) -> bool:
        return 100 <= self.status_code < 200

    @property
    def is_success(self) -> bool:
        return 200 <= self.status_code < 300

    @property
    def is_redirect(self) -> bool:
        return 300 <= self.status_code < 400

    @property
    def is_client_error(self) -> bool:
        return 400 <= self.status_code < 500

    @property
    def is_server_error(self) -> bool:
        return 500 <= self.status_code < 600

    @property
    def is_error(self) -> bool:
        return 400 <= self.status_code < 600

    def raise_for_status(self) -> Self:
        """Return the response itself, unless its status is an error.

        Raises:
            StatusError: the status is 4xx or 5xx.
        """
        if self.is_error:
            side = "client" if self.is_client_error else "server"
            what = f"{self.status_code} {self.reason_phrase}".rstrip()
            raise StatusError(f"{side} error: {what} for {self.request.method} {self.url}", response=self)
        return self

    @property
    def trailers(self) -> Headers:
        """The trailer section; empty before the body was read to its end."""
        return Headers.from_wire(self._source.trailers)

    def reprioritize(self, priority: Priority) -> None:
        """Tell the server how urgent the rest of the response is (PRIORITY_UPDATE, RFC 9218, section 7), unwaited for.

        It has no effect on a response that is complete, and none with a server that does not care.
        """
        if not self._closed:
            self._source.reprioritize(str(priority).encode())

    @property
    def elapsed(self) -> datetime.timedelta:
        """From the call to the end of the body, or to its headers while it is not read."""
        return datetime.timedelta(seconds=self.timing.complete or self.timing.headers or 0.0)

    @property
    def is_closed(self) -> bool:
        return self._closed

    @property
    def is_stream_consumed(self) -> bool:
        return self._started

    def __repr__(self) -> str:
        return f"<Response [{self.status_code} {self.reason_phrase}]>"

    # -- the body, once it was read -------------------------------------------------------------------

    @property
    def content(self) -> bytes:
        """The body. ``ResponseNotRead`` on a streamed response that was not ``read``."""
        if self._content is None:
            raise ResponseNotRead("the body is being streamed; call read() first")
        return self._content

    @property
    def encoding(self) -> str:
        """The charset that the headers name, or else UTF-8; may be set."""
        if self._encoding is None:
            named = charset_of(self.headers.get("content-type", ""))
            self._encoding = named if named is not None and is_known(named) else "utf-8"
        return self._encoding

    @encoding.setter
    def encoding(self, value: str) -> None:
        if not is_known(value):
            raise ValueError(f"{value!r} is not a text encoding")
        self._encoding = value

    @property
    def text(self) -> str:
        """The body as text; what does not decode becomes U+FFFD."""
        return self.content.decode(self.encoding, errors="replace")

    def json(self, **options: Any) -> Any:
        """Return what the body says in JSON; ``options`` are those of ``json.loads``.

        Raises:
            DecodingError: it is not JSON.
        """
        import json

        try:
            return json.loads(self.content, **options)
        except ValueError as error:
            raise DecodingError(f"the body is not JSON: {error}") from error

    # -- reading: coroutines for both clients -----------------------------------------------------------

    async def _read(self) -> bytes:
        """Read the body to its end, or return what was read before."""
        if self._content is None:
            self._begin()
            take = self._taker()
            pieces = []
            while piece := await take(LARGE):
                pieces.append(piece)
            self._content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return self._content

    async def _read_beginning(self, limit: int) -> None:
        """Read the body as far as it comes, ``limit`` bytes at most, and end the exchange."""
        self._begin()
        pieces: list[bytes] = []
        with contextlib.suppress(Error):
            while limit > 0 and (piece := await self._piece(limit)):
                pieces.append(piece)
                limit -= len(piece)
        self._content = b"".join(pieces)
        self._end()

    def _hand_over(self) -> None:
        """There is no body: what would carry it is somebody else's from now on."""
        self._content = b""
        self._started = self._closed = True

    def _taker(self) -> Take:
        """Return what gives the next piece of the body, decoded where that was asked for."""
        return self._piece if self._decoder is None else self._decoded

    async def _piece(self, limit: int) -> bytes:
        """Return the next 1 to ``limit`` bytes as they were sent, ``b""`` at the end."""
        if self._closed:
            raise StreamClosed("the response was closed while its body was read")
        try:
            piece = await self._source.read(limit)
        except BaseException:
            self._end()
            raise
        if not piece:
            self._finish()
        return piece

    async def _decoded(self, _limit: int) -> bytes:
        """Return the next decoded bytes, ``b""`` at the end."""
        decoder = self._decoder
        assert decoder is not None
        try:
            while (piece := next(self._expanding, None)) is None:
                raw = await self._piece(CHUNK)
                if not raw:
                    decoder.finish()
                    return b""
                self._expanding = decoder.feed(raw)
            return piece
        except DecodingError:
            self._end()
            raise

    async def _readinto(self, buffer: bytearray | memoryview) -> int:
        view = memoryview(buffer).cast("B")
        if self._decoder is not None:
            return await self._decoded_into(view)
        if self._closed:
            if self.timing.complete is not None:
                return 0
            raise StreamClosed("the response was closed before its body was read")
        self._started = True
        if not len(view):
            return 0
        try:
            count = await self._source.readinto(view)
        except BaseException:
            self._end()
            raise
        if not count:
            self._finish()
        return count

    async def _decoded_into(self, view: memoryview) -> int:
        rest = self._rest
        if rest is None:
            self._begin()
        if not rest and not self._over:
            rest = memoryview(await self._decoded(CHUNK))
            self._over = not rest
        rest = rest or memoryview(b"")
        count = min(len(rest), len(view))
        view[:count] = rest[:count]
        self._rest = rest[count:]
        return count

    def _begin(self) -> None:
        """The body is to be read now."""
        if self._started:
            raise StreamConsumed("the body was streamed already and is gone")
        if self._closed:
            raise StreamClosed("the response was closed before its body was read")
        self._started = True

    def _require_raw(self) -> None:
        """The body is wanted as it was sent."""
        if self._content is not None and self._decoder is not None:
            raise StreamConsumed("the body was decoded when it was read; what was sent is gone")

    def _finish(self) -> None:
        self.timing.complete = self.timing.elapsed()
        self._end()

    async def _close(self) -> None:
        self._end()
        await self._source.aclose()

    def _end(self) -> None:
        """End the exchange; what the server still sends of it is dropped."""
        if not self._closed:
            self._closed = True
            self._source.close()


def kept(content: bytes, chunk_size: int | None) -> Iterator[bytes]:
    """Yield a body that was read before, whole or in chunks."""
    step = chunk_size or max(len(content), 1)
    return (content[start : start + step] for start in range(0, len(content), step))


def checked(chunk_size: int | None) -> int | None:
    if chunk_size is not None and chunk_size < 1:
        raise ValueError("chunk_size must be positive")
    return chunk_size
