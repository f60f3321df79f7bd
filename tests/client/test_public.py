"""The names people import."""

from __future__ import annotations

import subprocess
import sys

import pytest

import specter
from specter import errors


def test_every_public_name_is_there() -> None:
    for name in specter.__all__:
        assert getattr(specter, name) is not None
    assert sorted(specter.__all__) == dir(specter)


def test_every_error_is_public() -> None:
    assert set(errors.__all__) <= set(specter.__all__)
    for name in errors.__all__:
        assert issubclass(getattr(specter, name), specter.Error)


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        specter.nothing  # noqa: B018


def test_public_names_have_docstrings() -> None:
    for name in specter.__all__:
        assert name == "__version__" or getattr(specter, name).__doc__, name


def test_the_import_alone_loads_nothing_heavy() -> None:
    heavy = ("cryptography", "certifi", "pylsqpack", "asyncio", "socket", "logging", "specter.quic", "specter._backend")
    program = f"import sys, specter; print([name for name in {heavy!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_client_does_not_load_what_it_may_not_need() -> None:
    optional = ("asyncio", "ssl", "certifi", "specter.testing", "specter.cli")
    program = f"import sys, specter; specter.Client; print([name for name in {optional!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_backend_is_told() -> None:
    told = specter.backend()
    assert told["udp"] in ("compiled", "reference")
    assert told["libcrypto"]
