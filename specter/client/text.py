"""Bytes of a body to text and lines, piece by piece."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import Final

__all__ = ["LineSplitter", "charset_of", "is_known"]

_INTERNAL: Final = frozenset({"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape"})
"""Text encodings of Python that no document has: they fail whatever they are told, take long, or warn."""
_LONGEST: Final = 40
"""Characters of an encoding's name. Python remembers every name that it was asked for, and servers choose them."""
_ENDS: Final = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"


def charset_of(content_type: str) -> str | None:
    """Return the charset parameter of a Content-Type, if it has one."""
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip("\"'") or None
    return None


def is_known(encoding: str) -> bool:
    """Whether Python can decode documents in ``encoding``."""
    if len(encoding) > _LONGEST:
        return False
    try:
        codec = codecs.lookup(encoding)
    except (LookupError, ValueError):
        return False
    return bool(codec._is_text_encoding) and codec.name.replace("_", "-") not in _INTERNAL


class LineSplitter:
    """Cuts text that comes in pieces into lines, without their ends, as ``str.splitlines`` does."""

    __slots__ = ("_held", "_parts")

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._held = False
        """The last piece ended in a carriage return: a line feed may belong to it."""

    def feed(self, text: str) -> Iterator[str]:
        """Yield the lines that ``text`` completes."""
        if self._held:
            text, self._held = "\r" + text, False
        if text.endswith("\r"):
            text, self._held = text[:-1], True
        if not text:
            return
        lines = text.splitlines()
        open_end = text[-1] not in _ENDS
        if open_end and len(lines) == 1:
            self._parts.append(lines[0])
            return
        rest = lines.pop() if open_end else None
        lines[0] = "".join(self._parts) + lines[0]
        self._parts = [] if rest is None else [rest]
        yield from lines

    def finish(self) -> Iterator[str]:
        """Yield what is left at the end."""
        if self._parts or self._held:
            yield "".join(self._parts)
        self._parts, self._held = [], False
