"""A response, read as a whole or piece by piece."""

from __future__ import annotations

import codecs
import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from specter.client.headers import Headers
from specter.client.text import LineSplitter, charset_of, is_known
from specter.errors import DecodingError, ResponseNotRead, StatusError, StreamClosed, StreamConsumed
from specter.net import clock

if TYPE_CHECKING:
    from types import TracebackType

    from specter.client.request import Request
    from specter.client.url import URL
    from specter.net.info import ConnectionInfo

__all__ = ["Response", "Timing"]

CHUNK: Final = 1 << 16
LARGE: Final = 1 << 20


class Source(Protocol):
    """Where the body comes from."""

    @property
    def trailers(self) -> tuple[tuple[bytes, bytes], ...]: ...

    def read(self, limit: int) -> bytes: ...

    def readinto(self, view: memoryview) -> int: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class Timing:
    """When things happened, in seconds since the call; None while they have not."""

    started: int
    """The call, on the monotonic clock (ns)."""
    reused: bool = False
    """Whether the connection existed already; then ``connected`` is only the time it took to find it."""
    connected: float | None = None
    headers: float | None = None
    """The final response's header section was here: time to first byte."""
    complete: float | None = None
    """The last byte of the body was read."""

    def elapsed(self) -> float:
        """Return the seconds from the call until now."""
        return (clock.now() - self.started) / clock.SECOND


class Response:
    """What the server answered.

    Of a streamed response (``client.stream``) the body is read with ``read``, ``readinto`` or one of the iterators,
    once; of any other it is here already. Reading raises what went wrong: ``ReadTimeout``, ``StreamReset`` ...
    """

    http_version: Final = "HTTP/3"

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
        self.connection = connection
        """Addresses, cipher suite and certificates of the connection it came over."""
        self._source = source
        self._content: bytes | None = None
        self._started = False
        self._closed = False
        self._encoding: str | None = None

    # -- about it ---------------------------------------------------------------------------------

    @property
    def url(self) -> URL:
        return self.request.url

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

    def raise_for_status(self) -> Response:
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

    # -- the body as a whole ------------------------------------------------------------------------

    def read(self) -> bytes:
        """Read the body to its end and return it; again and again."""
        if self._content is None:
            self._begin()
            pieces = list(self._pieces(LARGE))
            self._content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return self._content

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

    # -- the body piece by piece --------------------------------------------------------------------

    def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """Yield the body as it comes, or in chunks of ``chunk_size`` bytes (the last may be shorter)."""
        if chunk_size is not None and chunk_size < 1:
            raise ValueError("chunk_size must be positive")
        if self._content is not None:
            content = self._content
            step = chunk_size or max(len(content), 1)
            return (content[start : start + step] for start in range(0, len(content), step))
        self._begin()
        return self._pieces(CHUNK) if chunk_size is None else _regular(self._pieces(max(chunk_size, CHUNK)), chunk_size)

    def iter_raw(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """The same as ``iter_bytes``: content codings are not undone."""
        return self.iter_bytes(chunk_size)

    def iter_text(self, chunk_size: int | None = None) -> Iterator[str]:
        """Yield the body as text, decoded piece by piece."""
        decoder = codecs.getincrementaldecoder(self.encoding)(errors="replace")
        for piece in self.iter_bytes(chunk_size):
            if text := decoder.decode(piece):
                yield text
        if text := decoder.decode(b"", True):
            yield text

    def iter_lines(self) -> Iterator[str]:
        """Yield the body's lines, without their ends."""
        splitter = LineSplitter()
        for text in self.iter_text():
            yield from splitter.feed(text)
        yield from splitter.finish()

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Put body bytes into ``buffer`` without a copy in between; return how many, 0 at the end.

        May be called again and again, but not mixed with the iterators.
        """
        if self._closed:
            if self.timing.complete is not None:
                return 0
            raise StreamClosed("the response was closed before its body was read")
        self._started = True
        view = memoryview(buffer).cast("B")
        try:
            count = self._source.readinto(view) if len(view) else 0
        except BaseException:
            self.close()
            raise
        if not count and len(view):
            self._finish()
        return count

    def close(self) -> None:
        """End the exchange; what the server still sends of it is dropped. Any number of times."""
        if not self._closed:
            self._closed = True
            self._source.close()

    def __enter__(self) -> Response:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- inside -------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if self._started:
            raise StreamConsumed("the body was streamed already and is gone")
        if self._closed:
            raise StreamClosed("the response was closed before its body was read")
        self._started = True

    def _pieces(self, limit: int) -> Iterator[bytes]:
        read = self._source.read
        while True:
            if self._closed:
                raise StreamClosed("the response was closed while its body was read")
            try:
                piece = read(limit)
            except BaseException:
                self.close()
                raise
            if not piece:
                break
            yield piece
        self._finish()

    def _finish(self) -> None:
        self.timing.complete = self.timing.elapsed()
        self.close()


def _regular(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Cut ``pieces`` anew, into chunks of ``size`` bytes."""
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        start = 0
        while len(buffer) - start >= size:
            yield bytes(buffer[start : start + size])
            start += size
        del buffer[:start]
    if buffer:
        yield bytes(buffer)
