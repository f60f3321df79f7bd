"""What a request carries: one piece of bytes, or pieces that come one after the other."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator, Mapping
from io import BytesIO
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

from specter.client.url import ParamTypes, encode_params
from specter.errors import StreamConsumed

__all__ = ["Body", "ContentTypes", "make_body"]


@runtime_checkable
class Readable(Protocol):
    """A file opened for reading bytes."""

    def read(self, size: int = -1, /) -> bytes: ...


ContentTypes: TypeAlias = bytes | bytearray | memoryview | str | Readable | Iterable[bytes] | AsyncIterable[bytes]

CHUNK: Final = 1 << 16
"""Bytes read from a file at a time, ..."""
LARGE: Final = 1 << 18
"""... and where a thread has to be asked for each of them."""


class Body:
    """A body that can be sent once, or again and again when it is ``replayable``; ``length`` is None when unknown."""

    __slots__ = ("_content", "_reading", "_start", "_used", "asynchronous", "length", "replayable")

    def __init__(self, content: ContentTypes) -> None:
        if isinstance(content, str):
            content = content.encode()
        self._content = content
        self._start = 0
        self._used = False
        self.length: int | None = None
        self.replayable = False
        self.asynchronous = False
        """Only an ``AsyncClient`` can send it."""
        self._reading = False
        if isinstance(content, bytes | bytearray | memoryview):
            self.length, self.replayable = memoryview(content).nbytes, True
        elif isinstance(content, AsyncIterable):
            self.asynchronous = not hasattr(content, "__iter__")
        elif isinstance(content, Readable):
            self._measure(content)
        elif not hasattr(content, "__iter__"):
            kind = type(content).__name__
            raise TypeError(f"content is bytes, text, a file or an iterable of bytes, not {kind}")

    def _measure(self, file: Any) -> None:
        """Find out how long a file is from where it stands."""
        try:
            self._start = file.tell()
            self.length = file.seek(0, os.SEEK_END) - self._start
            file.seek(self._start)
            self.replayable = True
        except (AttributeError, OSError):
            self.length = None

    @property
    def fresh(self) -> bool:
        """Whether the body can be sent (again)."""
        return (self.replayable and not self._reading) or not self._used

    def pieces(self, *, awaiting: bool = False) -> Iterator[bytes] | AsyncGenerator[bytes, None]:
        """Return the body from its start, ``awaiting`` those pieces that would hold up an event loop.

        Raises:
            StreamConsumed: it was sent before and cannot be again.
        """
        if not self.fresh:
            raise StreamConsumed("the body was an iterator that is used up")
        content = self._content
        if isinstance(content, bytes | bytearray | memoryview):
            return iter((bytes(content),)) if self.length else iter(())
        if isinstance(content, AsyncIterable) and (awaiting or self.asynchronous):
            return self._awaited(content)
        if awaiting and isinstance(content, Readable) and not isinstance(content, BytesIO):
            return self._read_elsewhere(content)
        return self._used_up(content)

    def _used_up(self, content: Any, most: int = CHUNK) -> Iterator[bytes]:
        """Yield what a file or an iterable gives; from the first piece on it is used."""
        again, self._used = self._used, True
        if isinstance(content, Readable):
            yield from _read(content, self._start if again else None, self.length, most)
        else:
            for chunk in content:
                if _checked(chunk):
                    yield chunk

    async def _awaited(self, content: AsyncIterable[Any]) -> AsyncGenerator[bytes, None]:
        self._used = True
        pieces = aiter(content)
        try:
            async for chunk in pieces:
                if _checked(chunk):
                    yield chunk
        finally:
            close = getattr(pieces, "aclose", None)
            if close is not None:
                await close()

    async def _read_elsewhere(self, file: Any) -> AsyncGenerator[bytes, None]:
        """Read a file in a thread: a disk may be slow, a pipe may wait for somebody."""
        from asyncio import to_thread

        pieces = self._used_up(file, LARGE)

        def read() -> bytes | None:
            try:
                return next(pieces, None)
            finally:
                self._reading = False

        while True:
            self._reading = True
            piece = await to_thread(read)
            if piece is None:
                return
            yield piece


def _read(file: Any, start: int | None, length: int | None, most: int = CHUNK) -> Iterator[bytes]:
    """Yield a file's bytes, no more than were there when the request was made."""
    if start is not None:
        file.seek(start)
    left = length
    while left is None or left > 0:
        chunk = file.read(most if left is None else min(most, left))
        if not chunk:
            return
        if isinstance(chunk, str):
            raise TypeError("the file was opened for text; open it with 'rb'")
        if left is not None:
            left -= len(chunk)
        yield chunk


def _checked(chunk: Any) -> bool:
    """Whether there is something in a piece of an iterable."""
    if isinstance(chunk, str):
        raise TypeError("the iterable gives text; a body is bytes")
    return len(chunk) > 0


def make_body(content: ContentTypes | None, data: ParamTypes, json: Any) -> tuple[Body | None, list[tuple[str, str]]]:
    """Return the body and the header fields that describe it, from the arguments of a request.

    Raises:
        ValueError: more than one of them is given.
    """
    if content is None and data is None and json is None:
        return None, []
    if sum(argument is not None for argument in (content, data, json)) > 1:
        raise ValueError("give only one of content, data and json")
    if content is not None:
        return _described(Body(content), "text/plain; charset=utf-8" if isinstance(content, str) else None)
    if data is not None:
        if not isinstance(data, Mapping | list | tuple):
            raise TypeError("data is a form: a dict or pairs; for bytes, text and files use content")
        return _described(Body(encode_params(data)), "application/x-www-form-urlencoded")
    from json import dumps

    text = dumps(json, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return _described(Body(text), "application/json")


def _described(body: Body, kind: str | None) -> tuple[Body, list[tuple[str, str]]]:
    fields = []
    if body.length is not None:
        fields.append(("content-length", str(body.length)))
    if kind is not None:
        fields.append(("content-type", kind))
    return body, fields
