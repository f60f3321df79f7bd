"""Who knows one client knows the other."""

from __future__ import annotations

import inspect

import pytest

import specter

RENAMED = {
    "close": "aclose",
    "read": "aread",
    "readinto": "areadinto",
    "iter_bytes": "aiter_bytes",
    "iter_raw": "aiter_raw",
    "iter_text": "aiter_text",
    "iter_lines": "aiter_lines",
}
"""What the asynchronous side calls differently, as httpx does."""


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("blocking", "asynchronous"),
    [(specter.Client, specter.AsyncClient), (specter.Response, specter.AsyncResponse)],
    ids=["client", "response"],
)
def test_the_same_names_with_the_same_arguments(blocking: type, asynchronous: type) -> None:
    assert {RENAMED.get(name, name) for name in public(blocking)} == public(asynchronous) - {"attach"}
    for name in public(blocking):
        one, other = getattr(blocking, name), getattr(asynchronous, RENAMED.get(name, name))
        if callable(one):
            assert parameters(one) == parameters(other), name
    assert parameters(blocking) == parameters(asynchronous)


def parameters(function: object) -> list[tuple[str, object, object]]:
    """Return the names, kinds and defaults of a function's arguments."""
    assert callable(function)
    found = inspect.signature(function).parameters.values()
    return [(parameter.name, parameter.kind, parameter.default) for parameter in found]
