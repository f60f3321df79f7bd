"""Specter's exceptions in the libraries' words."""

from __future__ import annotations

import pytest

from specter import errors
from specter.integrations._library import Library
from tests.integrations.support import Kit


def kinds(root: type[errors.Error]) -> list[type[errors.Error]]:
    return [root, *(found for kind in root.__subclasses__() for found in kinds(kind))]


def make(kind: type[errors.Error]) -> errors.Error:
    """An instance, however many more arguments it takes."""
    code = getattr(kind.__init__, "__code__", None)
    names = () if code is None else code.co_varnames[code.co_argcount :][: code.co_kwonlyargcount]
    return kind("what happened", **dict.fromkeys(names, 1))


PUBLIC = [kind for kind in kinds(errors.Error) if kind.__module__ == "specter.errors"]


@pytest.mark.parametrize("kind", PUBLIC)
def test_every_exception_has_a_counterpart(blocking_kit: Kit, kind: type[errors.Error]) -> None:
    translated = Library(blocking_kit.httpx).translated(make(kind))
    assert isinstance(translated, blocking_kit.httpx.RequestError)
    assert str(translated) == "what happened"
    family = [("Timeout", "TimeoutException"), ("ConnectError", "TransportError"), ("ProtocolError", "ProtocolError")]
    for ours, theirs in family:
        if issubclass(kind, getattr(errors, ours)):
            assert isinstance(translated, getattr(blocking_kit.httpx, theirs))


def test_exceptions_of_the_inside_go_by_their_public_ancestors() -> None:
    for kind in kinds(errors.Error):
        assert any(issubclass(kind, public) for public in PUBLIC)


def test_names_that_both_have_are_the_same(blocking_kit: Kit) -> None:
    library = Library(blocking_kit.httpx)
    for ours in (
        errors.ConnectTimeout,
        errors.ReadTimeout,
        errors.WriteTimeout,
        errors.PoolTimeout,
        errors.ConnectError,
        errors.RemoteProtocolError,
        errors.LocalProtocolError,
        errors.UnsupportedProtocol,
        errors.DecodingError,
    ):
        assert library.exceptions[ours].__name__ == ours.__name__
