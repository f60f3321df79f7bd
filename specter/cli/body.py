"""What ``-d`` and ``--json`` send."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import BinaryIO

from specter.cli.failure import Failure
from specter.cli.options import Options

__all__ = ["RequestBody", "request_body"]

FORM = ("content-type", "application/x-www-form-urlencoded")
JSON = ("content-type", "application/json"), ("accept", "application/json")


@dataclass(frozen=True, slots=True)
class RequestBody:
    """A body and the header fields that go with it."""

    content: bytes | BinaryIO
    headers: tuple[tuple[str, str], ...]

    def close(self) -> None:
        if not isinstance(self.content, bytes) and self.content is not sys.stdin.buffer:
            self.content.close()


def request_body(options: Options) -> RequestBody | None:
    """Return the body of one request, ``None`` when nothing is to be sent. A single file is streamed."""
    if options.json is not None:
        return RequestBody(_content(options.json), JSON)
    if not options.data:
        return None
    if len(options.data) == 1:
        return RequestBody(_content(options.data[0]), (FORM,))
    return RequestBody(b"&".join(_bytes(_content(value)) for value in options.data), (FORM,))


def _content(value: str) -> bytes | BinaryIO:
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
    with content:
        return content.read()
