"""``-F``: forms with files, encoded as they are sent (multipart/form-data, RFC 7578).

The well-kept encoders (urllib3's, httpx's own) build the body in memory or are not public; this one holds a piece of
one file at a time, knows its length beforehand and can start over for a retry.
"""

from __future__ import annotations

import mimetypes
import os
import re
import secrets
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from specter.cli.failure import USAGE, Failure

__all__ = ["Multipart", "Part", "multipart", "parse_part"]

_SETTINGS: Final = re.compile(r'\s*;\s*(type|filename)=("(?:[^"\\]|\\.)*"|[^;]*)', re.IGNORECASE)
_TAIL: Final = re.compile(rf"(?:{_SETTINGS.pattern})+\s*$", re.IGNORECASE)
_OCTETS: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Part:
    """One field: its ``content`` is bytes, or the name of a file that is read while it is sent."""

    name: str
    content: bytes | os.PathLike[str]
    filename: str | None = None
    kind: str | None = None

    @property
    def head(self) -> bytes:
        lines = f'Content-Disposition: form-data; name="{_quoted(self.name)}"'
        if self.filename is not None:
            lines += f'; filename="{_quoted(self.filename)}"'
        if self.kind is not None:
            lines += f"\r\nContent-Type: {self.kind}"
        return f"{lines}\r\n\r\n".encode(errors="surrogateescape")


def _quoted(text: str) -> str:
    """Escape what would end the parameter or the line, as browsers do."""
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def parse_part(text: str) -> Part:
    """Return what ``NAME=CONTENT`` says.

    Raises:
        Failure: there is no ``=``, or a file cannot be read.
    """
    from pathlib import Path

    name, equals, content = text.partition("=")
    if not equals or not name:
        raise Failure(f"-F {text!r} is not NAME=CONTENT", USAGE)
    tail = _TAIL.search(content)
    settings = {key.lower(): _unquoted(value) for key, value in _SETTINGS.findall(tail[0])} if tail else {}
    value = content[: tail.start()] if tail else content
    kind = settings.get("type")
    if kind is not None and not kind.isprintable():
        raise Failure(f"-F {name}: {kind!r} is no type", USAGE)
    if value.startswith("@") and value != "@-":
        path = Path(value[1:])
        guessed = kind or mimetypes.guess_type(path.name)[0] or _OCTETS
        return Part(name, path, settings.get("filename", path.name), guessed)
    if value == "@-":
        return Part(name, sys.stdin.buffer.read(), settings.get("filename", "-"), kind or _OCTETS)
    data = _text_of(value[1:]) if value.startswith("<") else value.encode(errors="surrogateescape")
    return Part(name, data, settings.get("filename"), kind)


def _unquoted(value: str) -> str:
    if value.startswith('"') and value.endswith('"') and len(value) > 1:
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value.strip()


def _text_of(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        with open(name, "rb") as file:
            return file.read()
    except OSError as error:
        raise Failure(f"cannot read {name}: {error.strerror}") from error


class Multipart:
    """The encoded form as something to read from, from its start again after ``seek(0)``."""

    def __init__(self, parts: Sequence[Part], boundary: str) -> None:
        self.boundary = boundary
        self._segments = list(_segments(parts, f"--{boundary}".encode()))
        self._sizes = [_size(segment) for segment in self._segments]
        self._index = 0
        self._done = 0
        """Bytes of the segment at hand that were read."""
        self._position = 0
        self._file: BinaryIO | None = None

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, ``b""`` at the end.

        Raises:
            Failure: a file cannot be read, or is shorter than it was.
        """
        while self._index < len(self._segments):
            left = self._sizes[self._index] - self._done
            if left:
                data = self._take(left if size < 0 else min(size, left))
                self._done += len(data)
                self._position += len(data)
                return data
            self.close()
            self._index, self._done = self._index + 1, 0
        return b""

    def _take(self, count: int) -> bytes:
        segment = self._segments[self._index]
        if isinstance(segment, bytes):
            return segment[self._done : self._done + count]
        try:
            if self._file is None:
                self._file = open(segment, "rb")  # noqa: SIM115  closed in close()
            data = self._file.read(count)
        except OSError as error:
            raise _unreadable(segment, error) from error
        if not data:
            raise Failure(f"{os.fspath(segment)} became shorter while it was sent")
        return data

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to the start, or to the end: nowhere else."""
        if offset or whence not in (os.SEEK_SET, os.SEEK_END):
            raise OSError("a form is read from its start")
        self.close()
        at_end = whence == os.SEEK_END
        self._index, self._done = (len(self._segments) if at_end else 0), 0
        self._position = sum(self._sizes) if at_end else 0
        return self._position

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _segments(parts: Iterable[Part], delimiter: bytes) -> Iterable[bytes | os.PathLike[str]]:
    for part in parts:
        yield delimiter + b"\r\n" + part.head
        yield part.content
        yield b"\r\n"
    yield delimiter + b"--\r\n"


def _size(segment: bytes | os.PathLike[str]) -> int:
    if isinstance(segment, bytes):
        return len(segment)
    try:
        return os.stat(segment).st_size
    except OSError as error:
        raise _unreadable(segment, error) from error


def _unreadable(segment: os.PathLike[str], error: OSError) -> Failure:
    return Failure(f"cannot read {os.fspath(segment)}: {error.strerror}")


def multipart(said: Iterable[str]) -> Multipart:
    """Return the form that the values of ``-F`` make."""
    return Multipart([parse_part(text) for text in said], f"specter-{secrets.token_hex(16)}")
