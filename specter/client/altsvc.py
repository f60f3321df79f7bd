"""The Alt-Svc field: what it says, and nothing about what becomes of it (RFC 7838, section 3)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from specter.client.url import URL
from specter.errors import Error

__all__ = ["DEFAULT_MAX_AGE", "MAX_AGE", "MAX_ALTERNATIVES", "Alternative", "parse_alt_svc"]

DEFAULT_MAX_AGE: Final = 86_400
"""Seconds that an alternative stays fresh when the field does not say (section 3.1)."""
MAX_AGE: Final = 365 * 86_400
"""Seconds after which any alternative has to be heard of again, whatever the field says."""
MAX_ALTERNATIVES: Final = 16
"""Alternatives of one field that are looked at; the most preferred come first."""
MAX_FIELD: Final = 8192
"""Bytes of a field value that are looked at."""

_TOKEN: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105
_QUOTED: Final = r'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
_MEMBER: Final = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*")*', re.DOTALL)
_ALTERNATIVE: Final = re.compile(f"({_TOKEN})=({_QUOTED})")
_PARAMETER: Final = re.compile(f"[ \t]*;[ \t]*(?:({_TOKEN})=({_TOKEN}|{_QUOTED}))?")
_AUTHORITY: Final = re.compile(r"([A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_PERCENT: Final = re.compile(r"%([0-9A-F]{2})?")
_NEEDLESS: Final = re.compile(_TOKEN.replace("%", ""))


class _Malformed(ValueError):
    """A list member that is none."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """An alternative service: the ALPN name of its protocol, and where it is.

    ``host`` is empty for the origin's own. ``max_age`` is in seconds from the making of the response; ``persist``
    tells that a change of networks is no reason to forget it.
    """

    protocol: bytes
    host: str
    port: int
    max_age: int = DEFAULT_MAX_AGE
    persist: bool = False


@lru_cache(maxsize=128)
def parse_alt_svc(value: bytes) -> tuple[Alternative, ...] | None:
    """Return the alternatives of a field value, the most preferred first; none for ``clear``.

    Several field lines are one value, joined with commas. Members that are malformed are skipped; a value with
    nothing in it that is well-formed is no Alt-Svc at all: None.
    """
    found: list[Alternative] = []
    for member in _members(value[:MAX_FIELD].decode("latin-1")):
        if member == "clear":
            return ()
        try:
            found.append(_alternative(member))
        except _Malformed:
            continue
    return tuple(found[:MAX_ALTERNATIVES]) or None


def _members(value: str) -> list[str]:
    """Cut a list at its commas, but for those in quotes. An open quote ends it."""
    members: list[str] = []
    position = 0
    while position < len(value):
        match = _MEMBER.match(value, position)
        end = match.end() if match is not None else len(value)
        if end < len(value) and value[end] == '"':
            break
        members.append(value[position:end].strip(" \t"))
        position = end + 1
    return [member for member in members if member]


def _alternative(member: str) -> Alternative:
    match = _ALTERNATIVE.match(member)
    if match is None:
        raise _Malformed
    host, port = _authority(_unquoted(match[2]))
    parameters = _parameters(member, match.end())
    age = parameters.get("ma", str(DEFAULT_MAX_AGE))
    if not (age.isascii() and age.isdigit()):
        raise _Malformed
    return Alternative(
        protocol=_protocol(match[1]),
        host=host,
        port=port,
        max_age=MAX_AGE if len(age) > len(str(MAX_AGE)) else min(int(age), MAX_AGE),
        persist=parameters.get("persist") == "1",
    )


def _parameters(member: str, position: int) -> dict[str, str]:
    """Return the parameters by name; of several with one name the first counts, and an empty one is nothing."""
    parameters: dict[str, str] = {}
    while position < len(member):
        match = _PARAMETER.match(member, position)
        if match is None:
            raise _Malformed
        if match[1]:
            parameters.setdefault(match[1].lower(), _unquoted(match[2]))
        position = match.end()
    return parameters


def _unquoted(text: str) -> str:
    return _ESCAPED.sub(r"\1", text[1:-1]) if text.startswith('"') else text


def _protocol(token: str) -> bytes:
    """Decode an ALPN name, which can be written in one way only: all that need not be encoded is not."""

    def decode(match: re.Match[str]) -> str:
        char = chr(int(match[1], 16)) if match[1] else ""
        if not char or _NEEDLESS.fullmatch(char):
            raise _Malformed
        return char

    return _PERCENT.sub(decode, token).encode("latin-1")


def _authority(text: str) -> tuple[str, int]:
    """Return host and port; the host is in normal form, or empty."""
    match = _AUTHORITY.fullmatch(text)
    if match is None or not 0 < int(match[2]) < 65_536:
        raise _Malformed
    if not match[1]:
        return "", int(match[2])
    try:
        url = URL(f"https://{text}")
    except Error as error:
        raise _Malformed from error
    return url.host, url.port
