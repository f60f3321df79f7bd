"""What ``-d``, ``--json``, ``-F`` and ``-T`` send."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from specter.cli.failure import Failure
from specter.cli.form import multipart
from specter.cli.options import Options

if TYPE_CHECKING:
    from specter.cli.display import Bar

__all__ = ["Counted", "RequestBody", "Source", "form_query", "request_body"]

FORM = ("content-type", "application/x-www-form-urlencoded")
JSON = ("content-type", "application/json"), ("accept", "application/json")


class Source(Protocol):
    """Something to read a body from."""

    def read(self, size: int = -1, /) -> bytes: ...

    def tell(self) -> int: ...

    def seek(self, offset: int, whence: int = ..., /) -> int: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class RequestBody:
    """A body and the header fields that go with it."""

    content: bytes | Source
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def replayable(self) -> bool:
        """Whether it can be had once more."""
        return self.content is not sys.stdin.buffer

    @property
    def size(self) -> int | None:
        """Bytes, None where nobody knows before the end."""
        if isinstance(self.content, bytes):
            return len(self.content)
        try:
            position = self.content.tell()
            size = self.content.seek(0, os.SEEK_END) - position
            self.content.seek(position)
        except OSError:
            return None
        return size

    def close(self) -> None:
        if not isinstance(self.content, bytes) and self.replayable:
            self.content.close()


class Counted:
    """A source that tells a progress bar what was read of it."""

    def __init__(self, source: Source, bar: Bar) -> None:
        self._source = source
        self._bar = bar

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size)
        self._bar.advance(len(data))
        return data

    def tell(self) -> int:
        return self._source.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._source.seek(offset, whence)


def request_body(options: Options) -> RequestBody | None:
    """Return the body of one request, ``None`` when nothing is to be sent. Files are streamed.

    Raises:
        Failure: a file cannot be read.
    """
    if options.form:
        form = multipart(options.form)
        return RequestBody(form, (("content-type", f"multipart/form-data; boundary={form.boundary}"),))
    if options.upload_file is not None:
        return RequestBody(_content(f"@{options.upload_file}"))
    if options.json is not None:
        return RequestBody(_content(options.json), JSON)
    if not options.data or options.get:
        return None
    if len(options.data) == 1:
        return RequestBody(_content(options.data[0]), (FORM,))
    return RequestBody(_joined(options), (FORM,))


def form_query(options: Options) -> str:
    """Return what ``-G`` adds to the URL."""
    return _joined(options).decode(errors="replace") if options.get else ""


def _joined(options: Options) -> bytes:
    return b"&".join(_bytes(_content(value)) for value in options.data)


def _content(value: str) -> bytes | Any:
    """Return text as bytes, ``@FILE`` and ``@-`` opened."""
    if not value.startswith("@"):
        return value.encode(errors="surrogateescape")
    name = value[1:]
    if name == "-":
        return sys.stdin.buffer
    try:
        return open(name, "rb")
    except OSError as error:
        raise Failure(f"cannot read {name}: {error.strerror}") from error


def _bytes(content: bytes | BinaryIO) -> bytes:
    if isinstance(content, bytes):
        return content
    if content is sys.stdin.buffer:
        return content.read()
    with content:
        return content.read()
