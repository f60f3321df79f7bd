"""Header fields: names without case, values in order, repetitions kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import TypeAlias

__all__ = ["HeaderTypes", "Headers"]

HeaderTypes: TypeAlias = (
    "Headers | Mapping[str, str] | Mapping[bytes, bytes] | Iterable[tuple[str, str]] | Iterable[tuple[bytes, bytes]]"
)


class Headers(MutableMapping[str, str]):
    """A multi-dict with httpx's meaning: ``headers["x"]`` joins repetitions with commas, ``get_list`` does not.

    Names are kept in lower case, as HTTP/3 sends them. Values are text: UTF-8, or Latin-1 where they are not that.
    """

    __slots__ = ("_fields",)

    def __init__(self, headers: HeaderTypes | None = None) -> None:
        self._fields: list[tuple[bytes, bytes]] = []
        if headers is not None:
            self._fields.extend(_pairs(headers))

    @classmethod
    def from_wire(cls, fields: Iterable[tuple[bytes, bytes]]) -> Headers:
        """Take over field lines whose names are in lower case already."""
        headers = cls()
        headers._fields = list(fields)
        return headers

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        """The field lines in order, as bytes."""
        return list(self._fields)

    # -- one name ---------------------------------------------------------------------------------

    def get_list(self, name: str, split_commas: bool = False) -> list[str]:
        """Return every value of ``name``; with ``split_commas`` also those that share a line."""
        wanted = _name(name)
        values = [_text(value) for key, value in self._fields if key == wanted]
        if not split_commas:
            return values
        return [part.strip() for value in values for part in value.split(",")]

    def __getitem__(self, name: str) -> str:
        values = self.get_list(name)
        if not values:
            raise KeyError(name)
        return values[0] if len(values) == 1 else ", ".join(values)

    def __setitem__(self, name: str, value: str) -> None:
        """Put one value in the place of the first; other repetitions go."""
        key, line = _name(name), (_name(name), _value(value))
        places = [index for index, field in enumerate(self._fields) if field[0] == key]
        if not places:
            self._fields.append(line)
            return
        self._fields[places[0]] = line
        for index in reversed(places[1:]):
            del self._fields[index]

    def __delitem__(self, name: str) -> None:
        key = _name(name)
        kept = [field for field in self._fields if field[0] != key]
        if len(kept) == len(self._fields):
            raise KeyError(name)
        self._fields = kept

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str | bytes) and any(key == _name(name) for key, _ in self._fields)

    def add(self, name: str, value: str) -> None:
        """Append a value, next to those the name has."""
        self._fields.append((_name(name), _value(value)))

    # -- all of them ------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(_text(key) for key, _ in self._fields))

    def __len__(self) -> int:
        return len({key for key, _ in self._fields})

    def multi_items(self) -> list[tuple[str, str]]:
        """Return ``(name, value)`` of each line, repetitions apart."""
        return [(_text(name), _text(value)) for name, value in self._fields]

    def update(self, headers: HeaderTypes | None = None) -> None:  # type: ignore[override]
        """Replace the names of ``headers``, all values of each, and add those that are new."""
        if not headers:
            return
        new = Headers(headers)
        for name in new:
            if name in self:
                del self[name]
        self._fields.extend(new._fields)

    def copy(self) -> Headers:
        return Headers.from_wire(self._fields)

    def __eq__(self, other: object) -> bool:
        """Compare as sets of lines: the order of different names has no meaning."""
        try:
            theirs = other if isinstance(other, Headers) else Headers(other)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return False
        return sorted(self._fields) == sorted(theirs._fields)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = [(name, "[secure]" if name in _SECRETS else value) for name, value in self.multi_items()]
        return f"Headers({shown!r})"


_SECRETS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})


def _pairs(headers: HeaderTypes) -> Iterator[tuple[bytes, bytes]]:
    if isinstance(headers, Headers):
        yield from headers._fields
        return
    items = headers.items() if isinstance(headers, Mapping) else headers
    for name, value in items:
        yield _name(name), _value(value)


def _name(name: str | bytes) -> bytes:
    if isinstance(name, bytes):
        return name.lower()
    if not isinstance(name, str):
        raise TypeError(f"a header name is text, not {type(name).__name__}")
    return name.lower().encode()


def _value(value: str | bytes) -> bytes:
    if isinstance(value, bytes):
        return value.strip(b" \t")
    if not isinstance(value, str):
        raise TypeError(f"a header value is text, not {type(value).__name__}")
    return value.strip(" \t").encode()


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")
