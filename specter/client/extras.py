"""The rarer parts of a request: trailers, Expect: 100-continue, a hook for interim responses."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

from specter.client.headers import Headers, HeaderTypes
from specter.errors import LocalProtocolError
from specter.net.budget import nanoseconds
from specter.net.extras import Extras

__all__ = ["InformationalHook", "TrailerTypes", "make_extras"]

TrailerTypes: TypeAlias = "HeaderTypes | Callable[[], HeaderTypes] | None"
InformationalHook: TypeAlias = Callable[[int, Headers], object]
"""Called with status and header fields; with ``AsyncClient`` it may be a coroutine function."""

PATIENCE: Final = 1.0
"""Seconds that a body waits for 100 (Continue)."""
_NOT_IN_TRAILERS: Final = frozenset({b"content-length", b"host", b"te", b"trailer"})
"""What a receiver has to know before the body (RFC 9110, section 6.5.1), and would be misled by after it."""


def make_extras(
    trailers: TrailerTypes, expect_continue: bool | float, on_informational: InformationalHook | None
) -> Extras:
    """Return what a request has besides head and body.

    Raises:
        LocalProtocolError: a field that does not belong into trailers.
        ValueError: a time to wait that is not above 0.
    """
    return Extras(_section(trailers), _patience(expect_continue), _hook(on_informational))


def _section(trailers: TrailerTypes) -> Callable[[], list[tuple[bytes, bytes]]] | None:
    if trailers is None:
        return None
    if callable(trailers):
        return lambda: _lines(trailers())
    lines = _lines(trailers)
    return lambda: lines


def _lines(trailers: HeaderTypes) -> list[tuple[bytes, bytes]]:
    lines = Headers(trailers).raw
    for name, _ in lines:
        if name in _NOT_IN_TRAILERS:
            raise LocalProtocolError(f"{name.decode()} does not belong into trailers")
    return lines


def _patience(expect_continue: bool | float) -> int:
    seconds = float(PATIENCE if expect_continue is True else expect_continue)
    if expect_continue is not False and not seconds > 0:
        raise ValueError(f"expect_continue is a number of seconds above 0, not {expect_continue!r}")
    return nanoseconds(seconds)


def _hook(hook: InformationalHook | None) -> Callable[[int, tuple[tuple[bytes, bytes], ...]], object] | None:
    return None if hook is None else partial(_call, hook)


def _call(hook: InformationalHook, status: int, fields: tuple[tuple[bytes, bytes], ...]) -> object:
    return hook(status, Headers.from_wire(fields))
