"""What the values of options have to look like: click calls these, and tells which option it was."""

from __future__ import annotations

import click

__all__ = ["header", "resolve", "seconds", "seconds_or_none"]


def header(text: str) -> tuple[str, str]:
    """``name: value``; ``name;`` is a field without a value, as curl has it."""
    name, colon, value = text.partition(":")
    if not colon and text.endswith(";"):
        name, colon = text[:-1], ":"
    if not colon or not name.strip():
        raise click.BadParameter(f"{text!r} is not 'name: value'")
    return name.strip(), value.strip()


def seconds(text: str) -> float:
    """A time above 0."""
    number = _number(text)
    if not number > 0:
        raise click.BadParameter(f"{text!r} is not a number of seconds above 0")
    return number


def seconds_or_none(text: str) -> float:
    """A time, or none at all."""
    number = _number(text)
    if not number >= 0:
        raise click.BadParameter(f"{text!r} is not a number of seconds")
    return number


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return -1.0
    return number if number < float("inf") else -1.0


def resolve(text: str) -> tuple[str, int, str]:
    """``host:port:address``; IPv6 addresses with or without brackets."""
    bracket = text.startswith("[")
    host, _, rest = text[bracket:].partition("]:" if bracket else ":")
    port, _, address = rest.partition(":")
    address = address.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536 or not address:
        raise click.BadParameter(f"{text!r} is not host:port:address")
    return host.lower(), int(port), address
