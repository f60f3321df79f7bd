"""Specter's exceptions in the libraries' words."""

from __future__ import annotations

from typing import Any

import pytest

from specter import errors
from specter.integrations._library import EXCEPTIONS, Library
from tests.integrations.support import Kit


def kinds(root: type[errors.Error]) -> list[type[errors.Error]]:
    return [root, *(found for kind in root.__subclasses__() for found in kinds(kind))]


def make(kind: type[errors.Error]) -> errors.Error:
    more: dict[type[errors.Error], dict[str, Any]] = {
        errors.CertificateError: {"check": "name", "name": "x"},
        errors.HandshakeError: {"code": 1, "remote": True},
        errors.StatusError: {"response": None},
    }
    return kind("what happened", **more.get(kind, {}))


PUBLIC = [kind for kind in kinds(errors.Error) if kind.__module__ == "specter.errors"]


@pytest.mark.parametrize("kind", PUBLIC)
def test_every_exception_has_a_counterpart(kit: Kit, kind: type[errors.Error]) -> None:
    translated = Library(kit.httpx).translated(make(kind))
    assert isinstance(translated, kit.httpx.RequestError)
    assert str(translated) == "what happened"
    family = [("Timeout", "TimeoutException"), ("ConnectError", "TransportError"), ("ProtocolError", "ProtocolError")]
    for ours, theirs in family:
        if issubclass(kind, getattr(errors, ours)):
            assert isinstance(translated, getattr(kit.httpx, theirs))


def test_exceptions_of_the_inside_go_by_their_public_ancestors() -> None:
    for kind in kinds(errors.Error):
        assert any(issubclass(kind, public) for public in PUBLIC)


def test_what_has_no_line_of_its_own_has_an_ancestor_near_by() -> None:
    """Only kinds that tell more of the same are left to their ancestors; whoever adds one has to decide."""
    left = {kind.__name__ for kind in PUBLIC if kind not in EXCEPTIONS}
    assert left == {
        "CertificateError",
        "HandshakeError",
        "ResponseNotRead",
        "StreamClosed",
        "StreamConsumed",
        "StreamReset",
    }


def test_names_that_both_have_are_the_same(kit: Kit) -> None:
    library = Library(kit.httpx)
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
