"""What ``-d`` and ``--json`` send."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from specter.cli.failure import Failure
from specter.cli.options import Options

__all__ = ["RequestBody", "request_body"]

CHUNK: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class RequestBody:
    """A body and the header fields that describe it; ``content`` is read once."""

    content: bytes | Iterator[bytes]
    headers: tuple[tuple[str, str], ...]


def request_body(options: Options) -> RequestBody | None:
    """Return the body of one request, ``None`` when nothing is to be sent. Files are streamed."""
    if options.json is not None:
        fields = [("content-type", "application/json"), ("accept", "application/json")]
        return _described(options.json, fields, options)
    if not options.data:
        return None
    fields = [("content-type", "application/x-www-form-urlencoded")]
    if len(options.data) == 1:
        return _described(options.data[0], fields, options)
    joined = b"&".join(b"".join(_pieces(value)) for value in options.data)
    return RequestBody(joined, _without_own(fields, options))


def _described(value: str, fields: list[tuple[str, str]], options: Options) -> RequestBody:
    if not value.startswith("@"):
        return RequestBody(value.encode(), _without_own(fields, options))
    file = _open(value[1:])
    size = _size(file)
    if size is not None:
        fields.append(("content-length", str(size)))
    return RequestBody(_read(file), _without_own(fields, options))


def _without_own(fields: list[tuple[str, str]], options: Options) -> tuple[tuple[str, str], ...]:
    """Leave out what the caller says with ``-H``."""
    own = {name.lower() for name, _ in options.headers}
    return tuple(field for field in fields if field[0] not in own)


def _pieces(value: str) -> Iterator[bytes]:
    if value.startswith("@"):
        yield from _read(_open(value[1:]))
    else:
        yield value.encode()


def _open(name: str) -> BinaryIO:
    if name == "-":
        return sys.stdin.buffer
    try:
        return open(name, "rb")
    except OSError as error:
        raise Failure(f"cannot read {name}: {error.strerror}") from error


def _size(file: BinaryIO) -> int | None:
    """Return how many bytes follow where that is certain: in a regular file."""
    try:
        status = os.fstat(file.fileno())
        return status.st_size - file.tell() if stat.S_ISREG(status.st_mode) else None
    except (OSError, ValueError):
        return None


def _read(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while chunk := file.read(CHUNK):
            yield chunk
