"""What a request carries: one piece of bytes, or pieces that come one after the other."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

from specter.client.url import ParamTypes, encode_params
from specter.errors import StreamConsumed

__all__ = ["Body", "ContentTypes", "make_body"]


@runtime_checkable
class Readable(Protocol):
    """A file opened for reading bytes."""

    def read(self, size: int = -1, /) -> bytes: ...


ContentTypes: TypeAlias = bytes | bytearray | memoryview | str | Readable | Iterable[bytes]

CHUNK: Final = 1 << 16


class Body:
    """A body that can be sent once, or again and again when it is ``replayable``; ``length`` is None when unknown."""

    __slots__ = ("_content", "_start", "_used", "length", "replayable")

    def __init__(self, content: ContentTypes) -> None:
        if isinstance(content, str):
            content = content.encode()
        self._content = content
        self._start = 0
        self._used = False
        self.length: int | None = None
        self.replayable = False
        if isinstance(content, bytes | bytearray | memoryview):
            self.length, self.replayable = memoryview(content).nbytes, True
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
        return self.replayable or not self._used

    def pieces(self) -> Iterator[bytes]:
        """Return the body from its start.

        Raises:
            StreamConsumed: it was sent before and cannot be again.
        """
        if not self.fresh:
            raise StreamConsumed("the body was an iterator that is used up")
        content = self._content
        if isinstance(content, bytes | bytearray | memoryview):
            return iter((bytes(content),)) if self.length else iter(())
        return self._used_up(content)

    def _used_up(self, content: Any) -> Iterator[bytes]:
        """Yield what a file or an iterable gives; from the first piece on it is used."""
        again, self._used = self._used, True
        if isinstance(content, Readable):
            yield from _read(content, self._start if again else None, self.length)
        else:
            yield from _checked(content)


def _read(file: Any, start: int | None, length: int | None) -> Iterator[bytes]:
    """Yield a file's bytes, no more than were there when the request was made."""
    if start is not None:
        file.seek(start)
    left = length
    while left is None or left > 0:
        chunk = file.read(CHUNK if left is None else min(CHUNK, left))
        if not chunk:
            return
        if isinstance(chunk, str):
            raise TypeError("the file was opened for text; open it with 'rb'")
        if left is not None:
            left -= len(chunk)
        yield chunk


def _checked(content: Iterable[Any]) -> Iterator[bytes]:
    for chunk in content:
        if isinstance(chunk, str):
            raise TypeError("the iterable gives text; a body is bytes")
        if len(chunk):
            yield chunk


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
